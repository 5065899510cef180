import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, recall_score

from autoimb.assessment.decision import (
    DecisionRule,
    cost_matrix,
    cross_fit_labels,
    fit_rule,
    label_metric_for,
    threshold_for,
)
from autoimb.assessment.metrics import get_metric
from autoimb.assessment.offsets import Evidence, best_offsets
from autoimb.errors import OptionError

BY_COUNTS = ["balanced_accuracy", "geometric_mean", "f1", "fbeta", "mcc", "accuracy"]


def sample(n, prior, *, seed=0, spread=1.5):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (n, len(prior))) + np.log(prior)
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = (rng.random((n, 1)) > proba.cumsum(axis=1)).sum(axis=1).clip(max=len(prior) - 1)
    y[: len(prior)] = np.arange(len(prior))
    return y.astype(np.int64), proba


# --- the rule -------------------------------------------------------------------------------------


def test_the_most_probable_class():
    proba = np.array([[0.6, 0.4], [0.3, 0.7]])
    assert DecisionRule().apply(proba).tolist() == [0, 1]
    assert DecisionRule().threshold(1) == 0.5


@settings(deadline=None, max_examples=50)
@given(st.floats(0.01, 0.99), st.integers(0, 1), st.integers(0, 1000))
def test_two_offsets_are_a_threshold(threshold, positive, seed):
    y, proba = sample(50, (0.8, 0.2), seed=seed)
    rule = threshold_for(threshold, y, proba, positive)
    assert rule.threshold(positive) == pytest.approx(threshold)
    assert rule.threshold(1 - positive) == pytest.approx(1 - threshold)
    assert ((rule.apply(proba) == positive) == (proba[:, positive] >= threshold)).all()


def test_a_probability_at_the_threshold_reaches_it():
    proba = np.array([[0.7, 0.3], [0.70001, 0.29999]])
    for positive in (0, 1):
        turned = proba[:, ::-1] if positive == 0 else proba
        rule = threshold_for(0.3, np.array([0, 1]), turned, positive)
        assert (rule.apply(turned) == positive).tolist() == [True, False]


def test_costs_choose_the_least_expected():
    costs = ((0.0, 1.0), (9.0, 0.0))
    rule = DecisionRule("costs", costs=costs)
    assert rule.threshold(1) == pytest.approx(0.1)
    assert rule.threshold(0) == pytest.approx(0.9)
    assert rule.apply(np.array([[0.91, 0.09], [0.89, 0.11]])).tolist() == [0, 1]


def test_costs_are_checked():
    assert cost_matrix([1, 9], 2) == ((0.0, 1.0), (9.0, 0.0))
    assert cost_matrix([[0, 1], [9, 0]], 2) == ((0.0, 1.0), (9.0, 0.0))
    for bad in ([1, 2, 3], [[0, 1], [np.nan, 0]], "balanced", [[1, 2], [3]]):
        with pytest.raises(OptionError, match="costs must be 2"):
            cost_matrix(bad, 2)


@pytest.mark.parametrize(
    "rule",
    [
        DecisionRule(),
        DecisionRule("offsets", (0.0, 1.5), name="x"),
        DecisionRule("costs", costs=((0.0, 1.0), (2.0, 0.0))),
    ],
)
def test_json(rule):
    assert DecisionRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule


# --- fitting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BY_COUNTS)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    positive=st.integers(0, 1),
    ties=st.booleans(),
    weighted=st.booleans(),
)
def test_the_best_threshold_of_all_is_found(name, seed, positive, ties, weighted):
    y, proba = sample(40, (0.7, 0.3), seed=seed)
    if ties:
        proba[:, 1] = np.round(proba[:, 1], 1)
        proba[:, 0] = 1 - proba[:, 1]
    weight = np.random.default_rng(seed).uniform(0.1, 2, 40) if weighted else None
    metric = get_metric(name, n_classes=2, positive=positive)
    offsets = best_offsets(metric, Evidence.of(y, proba, weight), (0.0, 0.0))
    labels = DecisionRule("offsets", offsets).apply(proba)
    score = proba[:, positive]
    tried = [np.where(score >= t, positive, 1 - positive) for t in [*np.unique(score), 2.0]]
    best = max(metric(y, proba, each, weight=weight) for each in tried)
    assert metric(y, proba, labels, weight=weight) == pytest.approx(best, abs=1e-9)


def test_the_threshold_lies_in_the_middle_of_what_is_as_good():
    proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    metric = get_metric("f1", n_classes=2, positive=1)
    rows = Evidence.of(np.array([0, 0, 1, 1]), proba, None)
    threshold = DecisionRule("offsets", best_offsets(metric, rows, (0.0, 0.0))).threshold(1)
    assert 0.35 < threshold < 0.45


@pytest.mark.parametrize("prior", [(0.95, 0.05), (0.9, 0.07, 0.03)])
@pytest.mark.parametrize("name", ["balanced_accuracy", "geometric_mean"])
def test_the_plug_in_is_relative_to_the_prior(name, prior):
    y, proba = sample(5000, prior)
    metric = get_metric(name, n_classes=len(prior), positive=1)
    rule = fit_rule(metric, y, proba)
    expected = (proba / np.bincount(y) * len(y)).argmax(axis=1)
    assert (rule.apply(proba) == expected).mean() > 0.9
    tuned_or_not = metric(y, proba, cross_fit_labels(metric, y, proba, np.arange(5000) % 5))
    assert tuned_or_not > metric(y, proba, expected) - 0.01


@pytest.mark.parametrize("prior", [(0.93, 0.07), (0.9, 0.05, 0.05)])
def test_few_calibrated_rows_are_not_tuned_to_their_noise(prior):
    metric = get_metric("f1", n_classes=len(prior), positive=1)
    new_y, new_proba = sample(20_000, prior, seed=100)
    best = best_offsets(metric, Evidence.of(new_y, new_proba, None), (0.0,) * len(prior))
    most = metric(new_y, new_proba, DecisionRule("offsets", best).apply(new_proba))
    values = []
    for seed in range(8):
        y, proba = sample(200, prior, seed=seed)
        values.append(metric(new_y, new_proba, fit_rule(metric, y, proba).apply(new_proba)))
    assert np.mean(values) > most - 0.02


def test_tuning_is_kept_where_probabilities_mislead():
    y, proba = sample(2000, (0.9, 0.1))
    skewed = proba**3 / (proba**3).sum(axis=1, keepdims=True)  # same order, other values
    metric = get_metric("f1", n_classes=2, positive=1)
    rule = fit_rule(metric, y, skewed)
    assert rule.name == "tuned for f1"
    assert metric(y, skewed, rule.apply(skewed)) > metric(y, skewed) + 0.03


@pytest.mark.parametrize("name", ["f1", "mcc", "f1_macro"])
def test_offsets_of_several_classes_beat_the_most_probable(name):
    y, proba = sample(3000, (0.94, 0.03, 0.03))
    metric = get_metric(name, n_classes=3, positive=1)
    labels = cross_fit_labels(metric, y, proba, np.arange(3000) % 3)
    assert metric(y, proba, labels) > metric(y, proba) + (0.005 if name == "mcc" else 0.02)


@pytest.mark.parametrize("name", ["average_precision", "roc_auc", "log_loss", "brier"])
def test_labels_of_other_metrics_maximise_f1(name):
    y, proba = sample(800, (0.95, 0.05))
    metric = get_metric(name, n_classes=2, positive=1)
    f1 = get_metric("f1", n_classes=2, positive=1)
    assert label_metric_for(metric) == f1
    assert label_metric_for(f1) is f1
    assert fit_rule(metric, y, proba) == fit_rule(f1, y, proba)


def test_label_metrics_of_others_are_tuned_too():
    y, proba = sample(500, (0.9, 0.1))
    for name in ("neg_mean_absolute_error", "rand_score"):
        metric = get_metric(name, n_classes=2, positive=1)
        assert metric(y, proba, fit_rule(metric, y, proba).apply(proba)) >= metric(y, proba)


def test_costs_need_no_fit():
    y, proba = sample(100, (0.8, 0.2))
    metric = get_metric("f1", n_classes=2, positive=1)
    rule = fit_rule(metric, y, proba, costs=(1, 9))
    assert rule == DecisionRule("costs", costs=((0.0, 1.0), (9.0, 0.0)), name="least expected cost")
    labels = cross_fit_labels(metric, y, proba, np.arange(100) % 2, costs=(1, 9))
    assert (labels == (proba[:, 1] > 0.1)).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.integers(2, 8), st.integers(2, 4))
def test_few_rows_get_labels_all_the_same(seed, n, n_classes):
    rng = np.random.default_rng(seed)
    y, proba = rng.integers(0, n_classes, n), rng.dirichlet(np.ones(n_classes), n)
    for name in ("f1", "balanced_accuracy", "mcc"):
        metric = get_metric(name, n_classes=n_classes, positive=1)
        labels = cross_fit_labels(metric, y, proba, np.arange(n) % 2)
        assert np.isin(labels, np.arange(n_classes)).all()


@pytest.mark.parametrize("prior", [(0.9, 0.1), (0.9, 0.05, 0.05)])
@pytest.mark.parametrize("name", ["f1", "balanced_accuracy", "average_precision"])
def test_no_row_has_a_part_in_its_label(name, prior):
    y, proba = sample(1500, prior)
    proba = proba * np.array(prior) ** -1.5  # so that tuning is worth it
    proba /= proba.sum(axis=1, keepdims=True)
    group = np.arange(1500) % 3
    metric = get_metric(name, n_classes=len(prior), positive=1)
    before = cross_fit_labels(metric, y, proba, group)
    changed = y.copy()
    changed[group == 1] = 0
    after = cross_fit_labels(metric, changed, proba, group)
    assert (after[group == 1] == before[group == 1]).all()
    if metric.kind == "label":  # the others' rule sees probabilities alone
        assert (after[group != 1] != before[group != 1]).any()


def test_weights_reach_the_rule():
    y, proba = sample(400, (0.8, 0.2))
    metric = get_metric("f1", n_classes=2, positive=1)
    unit = fit_rule(metric, y, proba, weight=np.ones(400))
    assert unit == fit_rule(metric, y, proba)
    assert unit != fit_rule(metric, y, proba, weight=np.where(y == 1, 5.0, 1.0))


# --- thresholds that users name -------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(st.floats(0.05, 1.0), st.integers(0, 1000), st.integers(0, 1))
def test_recall_is_reached_by_the_highest_threshold(wanted, seed, positive):
    y, proba = sample(60, (0.7, 0.3), seed=seed)
    rule = threshold_for(f"recall>={wanted!r}", y, proba, positive)
    labels = rule.apply(proba)
    assert recall_score(y, labels, pos_label=positive) >= wanted - 1e-9
    least = proba[labels == positive, positive].min()
    stricter = np.where(proba[:, positive] > least, positive, 1 - positive)
    assert recall_score(y, stricter, pos_label=positive) < wanted


@settings(deadline=None, max_examples=50)
@given(st.floats(0.05, 0.9), st.integers(0, 1000))
def test_precision_is_reached_by_the_lowest_threshold(wanted, seed):
    y, proba = sample(60, (0.7, 0.3), seed=seed)
    score = proba[:, 1]
    precision = {t: y[score >= t].mean() for t in score}
    if max(precision.values()) < wanted:
        with pytest.raises(
            OptionError, match=f"best reachable precision is {max(precision.values()):.3g}"
        ):
            threshold_for(f"precision>={wanted!r}", y, proba, 1)
        return
    labels = threshold_for(f"precision>={wanted!r}", y, proba, 1).apply(proba)
    lowest = min(t for t, value in precision.items() if value >= wanted - 1e-12)
    assert (labels == (score >= lowest)).all()


def test_expressions_are_read_kindly():
    y, proba = sample(200, (0.7, 0.3))
    rule = threshold_for("recall>=0.8", y, proba, 1)
    assert rule.name == "recall>=0.8"
    assert threshold_for(" recall >= 80% ", y, proba, 1) == rule
    assert threshold_for("0.3", y, proba, 1) == threshold_for(0.3, y, proba, 1)
    assert threshold_for("recall>=0.8", y, proba, 1, weight=np.ones(200)) == rule


@pytest.mark.parametrize(
    "bad", ["recall>0.8", "f1>=0.5", "recall>=1.5", "precision>=0", 0, 1.0, -3, ""]
)
def test_other_expressions_are_refused(bad):
    y, proba = sample(20, (0.7, 0.3))
    with pytest.raises(OptionError, match="number between 0 and 1"):
        threshold_for(bad, y, proba, 1)


def test_thresholds_need_two_classes():
    y, proba = sample(20, (0.5, 0.3, 0.2))
    with pytest.raises(OptionError, match="has 3"):
        threshold_for(0.3, y, proba, 1)
    assert DecisionRule("offsets", (0.0, 1.0, 2.0)).threshold(1) is None


def test_f1_of_the_rule_is_what_scikit_learn_says():
    y, proba = sample(500, (0.9, 0.1))
    rule = fit_rule(get_metric("f1", n_classes=2, positive=1), y, proba)
    by_threshold = proba[:, 1] > rule.threshold(1)
    assert f1_score(y, by_threshold) == f1_score(y, rule.apply(proba))
