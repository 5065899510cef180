"""The judge: what scores, compares, fits decision rules and labels out of fold."""

from dataclasses import replace

import numpy as np
import pytest

from autoimb.assessment.decision import DecisionRule, Evidence, best_offsets, plug_in_rule
from autoimb.assessment.judge import Judge, label_metric_for
from autoimb.assessment.metrics import get_metric
from autoimb.budget import Deadline
from tests.support.tables import calibrated_rows


def judge_of(name, y, *, n_classes=2, groups=5, **fields):
    metric = get_metric(name, n_classes=n_classes, positive=1)
    return Judge(metric, y, np.arange(len(y)) % groups, **fields)


# --- rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", [(0.95, 0.05), (0.9, 0.07, 0.03)])
def test_the_plug_in_of_balanced_accuracy_is_relative_to_the_prior(prior):
    y, proba = calibrated_rows(5000, prior)
    judge = judge_of("balanced_accuracy", y, n_classes=len(prior))
    expected = (proba / np.bincount(y) * len(y)).argmax(axis=1)
    assert (judge.fit_rule(proba).apply(proba) == expected).mean() > 0.9
    tuned_or_not = judge.metric(y, proba, judge.labels(proba))
    assert tuned_or_not > judge.metric(y, proba, expected) - 0.01


def test_the_plug_in_of_the_geometric_mean_is_its_own():
    """A few rows are nearly sure, others a little rarer than in the table: it takes these too."""
    rare, share = np.array([0.5, 0.012, 0.006]), np.array([0.01, 0.2, 0.79])
    proba = np.repeat(np.stack([1 - rare, rare], axis=1), 2, axis=0)
    y, weight = np.array([0, 1] * 3), proba.ravel()[[0, 1, 4, 5, 8, 9]] * np.repeat(share, 2)
    named = {
        n: get_metric(n, n_classes=2, positive=1) for n in ("geometric_mean", "balanced_accuracy")
    }
    labels = {
        name: plug_in_rule(metric, Evidence.of(y, proba, weight)).apply(proba)
        for name, metric in named.items()
    }
    for name, metric in named.items():
        values = {other: metric(y, proba, labels[other], weight=weight) for other in named}
        assert max(values, key=values.__getitem__) == name
        assert max(values.values()) > min(values.values()) + 0.001


@pytest.mark.parametrize("name", ["average_precision", "f1"])
def test_labels_of_several_classes_past_a_deadline_are_nearly_as_good(name):
    prior = (0.4, 0.3, 0.2, 0.1)
    y, proba = calibrated_rows(400, prior, seed=0)
    judge = judge_of(name, y, n_classes=4)
    macro = get_metric("f1", n_classes=4, positive=0)
    in_time, late = (
        macro(y, proba, judge.until(deadline).labels(proba))
        for deadline in (Deadline(), Deadline.after(-1.0))
    )
    assert late > in_time - 0.1


@pytest.mark.parametrize("prior", [(0.93, 0.07), (0.9, 0.05, 0.05)])
def test_few_calibrated_rows_are_not_tuned_to_their_noise(prior):
    new_y, new_proba = calibrated_rows(20_000, prior, seed=100)
    metric = get_metric("f1", n_classes=len(prior), positive=1)
    best = best_offsets(metric, Evidence.of(new_y, new_proba, None), (0.0,) * len(prior))
    most = metric(new_y, new_proba, DecisionRule("offsets", best).apply(new_proba))
    values = []
    for seed in range(8):
        y, proba = calibrated_rows(200, prior, seed=seed)
        rule = judge_of("f1", y, n_classes=len(prior)).fit_rule(proba)
        values.append(metric(new_y, new_proba, rule.apply(new_proba)))
    assert np.mean(values) > most - 0.02


def test_tuning_is_kept_where_probabilities_mislead():
    y, proba = calibrated_rows(2000, (0.9, 0.1))
    skewed = proba**3 / (proba**3).sum(axis=1, keepdims=True)  # same order, other values
    judge = judge_of("f1", y)
    rule = judge.fit_rule(skewed)
    assert rule.name == "tuned for f1"
    assert judge.metric(y, skewed, rule.apply(skewed)) > judge.metric(y, skewed) + 0.03


@pytest.mark.parametrize("name", ["average_precision", "roc_auc", "log_loss", "brier"])
def test_labels_of_other_metrics_maximise_f1(name):
    y, proba = calibrated_rows(800, (0.95, 0.05))
    judge, f1 = judge_of(name, y), judge_of("f1", y)
    assert label_metric_for(judge.metric) == f1.metric
    assert label_metric_for(f1.metric) is f1.metric
    assert judge.fit_rule(proba) == f1.fit_rule(proba)


def test_weights_reach_the_rule():
    y, proba = calibrated_rows(400, (0.8, 0.2))
    plain = judge_of("f1", y).fit_rule(proba)
    assert judge_of("f1", y, weight=np.ones(400)).fit_rule(proba) == plain
    assert judge_of("f1", y, weight=np.where(y == 1, 5.0, 1.0)).fit_rule(proba) != plain


# --- labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "gain"),
    [("f1", 0.02), ("mcc", 0.01), ("f1_macro", 0.02), ("neg_mean_absolute_error", -1e-9)],
)
def test_offsets_of_several_classes_beat_the_most_probable(name, gain):
    y, proba = calibrated_rows(3000, (0.94, 0.03, 0.03))
    judge = judge_of(name, y, n_classes=3, groups=3)
    labels = judge.fit_rule(proba).apply(proba)
    assert judge.metric(y, proba, labels) > judge.metric(y, proba) + gain


@pytest.mark.parametrize("prior", [(0.9, 0.1), (0.9, 0.05, 0.05)])
@pytest.mark.parametrize("name", ["f1", "balanced_accuracy", "average_precision"])
def test_no_row_has_a_part_in_its_label(name, prior):
    y, proba = calibrated_rows(1500, prior)
    proba = proba * np.array(prior) ** -1.5  # so that tuning is worth it
    proba /= proba.sum(axis=1, keepdims=True)
    judge = judge_of(name, y, n_classes=len(prior), groups=3)
    labels, group = judge.labels(proba), judge.group == 1
    turned = replace(judge, y=np.where(group, 0, y)).labels(proba)
    assert (turned[group] == labels[group]).all()
    if judge.metric.kind == "label":  # the others' rule sees probabilities alone
        assert (turned[~group] != labels[~group]).any()


def test_a_part_is_labelled_by_its_own_view_alone():
    """Both the rule of a part and what it is used on come from the view of that part."""
    y, proba = calibrated_rows(600, (0.9, 0.1))
    judge = judge_of("f1", y, groups=3)
    views = [proba ** (1 + part) for part in range(3)]
    views = [view / view.sum(axis=1, keepdims=True) for view in views]
    labels = judge.labels(views.__getitem__)
    for part, (learn, use) in enumerate(judge.parts):
        rule = judge.take(learn).fit_rule(views[part][learn])
        np.testing.assert_array_equal(labels[use], rule.apply(views[part][use]))
    np.testing.assert_array_equal(judge.labels(lambda _: proba), judge.labels(proba))


# --- rows -----------------------------------------------------------------------------------------


def test_another_metric_judges_the_same_rows():
    """What a judge keeps of its rows by one metric is not taken for another's."""
    y, proba = calibrated_rows(900, (0.8, 0.2))
    labels = proba.argmax(axis=1)
    judge = judge_of("average_precision", y)
    assert not judge.pooled
    f1 = judge.with_metric(get_metric("f1", n_classes=2, positive=1))
    assert f1.pooled
    assert f1.score(proba, labels).value == f1.metric(y, proba, labels)
    assert judge.score(proba, labels) != f1.score(proba, labels)
