"""Decision rules, and the thresholds that users name."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import recall_score

from autoimb.assessment.decision import (
    DecisionRule,
    Evidence,
    ThresholdCounts,
    best_offsets,
    threshold_for,
)
from autoimb.assessment.metrics import get_metric
from autoimb.errors import OptionError
from tests.support.tables import calibrated_rows

BY_COUNTS = ["balanced_accuracy", "geometric_mean", "f1", "fbeta", "mcc", "accuracy"]


def named(expression, y, proba, positive, *, weight=None):
    return threshold_for(
        expression, ThresholdCounts.of(y, proba, positive, weight=weight), positive
    )


# --- the rule -------------------------------------------------------------------------------------


@given(st.floats(0.01, 0.99), st.integers(0, 1), st.integers(0, 1000))
def test_two_offsets_are_a_threshold(threshold, positive, seed):
    y, proba = calibrated_rows(50, (0.8, 0.2), seed=seed)
    rule = named(threshold, y, proba, positive)
    assert rule.threshold(positive) == pytest.approx(threshold)
    assert rule.threshold(1 - positive) == pytest.approx(1 - threshold)
    assert ((rule.apply(proba) == positive) == (proba[:, positive] >= threshold)).all()


def test_a_probability_at_the_threshold_reaches_it():
    proba = np.array([[0.7, 0.3], [0.70001, 0.29999]])
    for positive in (0, 1):
        turned = proba[:, ::-1] if positive == 0 else proba
        rule = named(0.3, np.array([0, 1]), turned, positive)
        assert (rule.apply(turned) == positive).tolist() == [True, False]


def test_costs_of_right_labels_move_the_threshold():
    rule = DecisionRule("costs", costs=((1.0, 3.0), (9.0, 2.0)))
    assert rule.threshold(1) == pytest.approx(2 / 9)  # 2 more for a false alarm, 7 for a miss
    assert rule.threshold(0) == pytest.approx(7 / 9)
    assert DecisionRule("costs", costs=((0.0, 0.0), (0.0, 0.0))).threshold(1) is None
    assert DecisionRule().threshold(1) == 0.5
    assert DecisionRule("offsets", (0.0, 1e4)).threshold(1) == pytest.approx(0.0)


# --- the best offsets -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", BY_COUNTS)
@given(
    seed=st.integers(0, 1000),
    positive=st.integers(0, 1),
    ties=st.booleans(),
    weighted=st.booleans(),
)
def test_the_best_threshold_of_all_is_found(name, seed, positive, ties, weighted):
    y, proba = calibrated_rows(40, (0.7, 0.3), seed=seed)
    if ties:
        proba[:, 1] = np.round(proba[:, 1], 1)
        proba[:, 0] = 1 - proba[:, 1]
    weight = np.random.default_rng(seed).uniform(0.1, 2, 40) if weighted else None
    metric = get_metric(name, n_classes=2, positive=positive)
    offsets = best_offsets(metric, Evidence.of(y, proba, weight), (0.0, 0.0))
    labels = DecisionRule("offsets", offsets).apply(proba)
    score = proba[:, positive]
    tried = [np.where(score >= t, positive, 1 - positive) for t in [*np.unique(score), 2.0]]
    best = max(metric(y, proba, labelled, weight=weight) for labelled in tried)
    assert metric(y, proba, labels, weight=weight) == pytest.approx(best, abs=1e-9)


def test_the_threshold_lies_in_the_middle_of_what_is_as_good():
    proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    metric = get_metric("f1", n_classes=2, positive=1)
    rows = Evidence.of(np.array([0, 0, 1, 1]), proba, None)
    threshold = DecisionRule("offsets", best_offsets(metric, rows, (0.0, 0.0))).threshold(1)
    assert 0.35 < threshold < 0.45


@pytest.mark.parametrize(("n_classes", "most"), [(2, 51), (3, 3 * 3 * (17 + 1))])
def test_a_metric_of_others_is_called_a_few_times(n_classes, most):
    y, proba = calibrated_rows(400, (1 / n_classes,) * n_classes)
    calls = 0

    def function(y_true, proba):
        nonlocal calls
        calls += 1
        return -float(calls)  # where it stands is worse than what was tried: all passes are made

    metric = replace(get_metric(function, n_classes=n_classes, positive=1), kind="label")
    offsets = best_offsets(metric, Evidence.of(y, proba, None), (0.0,) * n_classes)
    assert offsets[0] == 0.0
    assert 0.9 * most < calls <= most


# --- thresholds that users name -------------------------------------------------------------------


@given(st.integers(5, 3_000), st.floats(0.01, 0.5), st.integers(0, 1000), st.integers(0, 2))
def test_three_rows_or_more_lie_between_two_thresholds(n, rate, seed, decimals):
    y, proba = calibrated_rows(n, (1 - rate, rate), seed=seed)
    if decimals:
        proba[:, 1] = np.round(proba[:, 1], decimals)
        proba[:, 0] = 1 - proba[:, 1]
    weight = np.random.default_rng(seed).uniform(0.1, 2, n)
    counts = ThresholdCounts.of(y, proba, 1, weight=weight)
    rows = ThresholdCounts.of(y, proba, 1).counts.sum(axis=1)
    assert len(counts.cuts) <= 1_001
    assert (np.diff(counts.cuts) > 0).all()
    assert (rows[0], rows[-1]) == (0, 0)
    assert rows[1:-1].min() >= 3
    np.testing.assert_allclose(counts.counts.sum(axis=0), np.bincount(y, weight, 2))
    for cut, called in zip(counts.cuts, np.cumsum(counts.counts, axis=0)):
        labels = DecisionRule("offsets", (0.0, float(cut))).apply(proba)
        np.testing.assert_allclose(np.bincount(y[labels == 1], weight[labels == 1], 2), called)


def test_a_rare_class_has_as_many_thresholds_as_the_others():
    y, proba = calibrated_rows(20_000, (0.99, 0.01))
    rare = ThresholdCounts.of(y, proba, 1).counts[:, 1]
    assert rare.max() <= 0.04 * rare.sum()


@given(st.floats(0.05, 1.0), st.integers(0, 1000), st.integers(0, 1))
def test_recall_is_reached_by_the_highest_threshold(recall, seed, positive):
    y, proba = calibrated_rows(60, (0.7, 0.3), seed=seed)
    rule = named(f"recall>={recall!r}", y, proba, positive)
    labels = rule.apply(proba)
    assert recall_score(y, labels, pos_label=positive) >= recall - 1e-9
    cuts = ThresholdCounts.of(y, proba, positive).cuts
    at = np.searchsorted(cuts, rule.offsets[positive])
    offsets = np.zeros(2)
    offsets[positive] = cuts[at - 1]
    stricter = DecisionRule("offsets", tuple(offsets)).apply(proba)
    assert recall_score(y, stricter, pos_label=positive) < recall


@given(st.floats(0.05, 0.9), st.integers(0, 1000))
def test_precision_is_reached_by_the_lowest_threshold(target, seed):
    y, proba = calibrated_rows(60, (0.7, 0.3), seed=seed)
    cuts = ThresholdCounts.of(y, proba, 1).cuts[1:]
    labels = [DecisionRule("offsets", (0.0, float(cut))).apply(proba) == 1 for cut in cuts]
    precision = [float(y[positive].mean()) for positive in labels]
    if max(precision) < target:
        with pytest.raises(OptionError, match=f"best reachable precision is {max(precision):.3g}"):
            named(f"precision>={target!r}", y, proba, 1)
        return
    lowest = max(at for at, value in enumerate(precision) if value >= target - 1e-12)
    labelled = named(f"precision>={target!r}", y, proba, 1).apply(proba)
    assert ((labelled == 1) == labels[lowest]).all()


def test_expressions_are_read_kindly():
    y, proba = calibrated_rows(200, (0.7, 0.3))
    rule = named("recall>=0.8", y, proba, 1)
    assert rule.name == "recall>=0.8"
    assert named(" recall >= 80% ", y, proba, 1) == rule
    assert named("0.3", y, proba, 1) == named(0.3, y, proba, 1)
    assert named("recall>=0.8", y, proba, 1, weight=np.ones(200)) == rule


@pytest.mark.parametrize(
    "bad", ["recall>0.8", "f1>=0.5", "recall>=1.5", "precision>=0", 0, 1.0, -3, ""]
)
def test_other_expressions_are_refused(bad):
    y, proba = calibrated_rows(20, (0.7, 0.3))
    with pytest.raises(OptionError, match="number between 0 and 1"):
        named(bad, y, proba, 1)


def test_thresholds_need_two_classes():
    y, proba = calibrated_rows(20, (0.5, 0.3, 0.2))
    with pytest.raises(OptionError, match="has 3"):
        named(0.3, y, proba, 1)
