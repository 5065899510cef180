"""The blend: kept only where it is better on rows that did not choose it."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import log_loss

from autoimb.assessment.crossfit import deal
from autoimb.assessment.decision import cross_fit_labels
from autoimb.assessment.metrics import get_metric
from autoimb.assessment.uncertainty import score
from autoimb.errors import BudgetError
from autoimb.search import blend as module
from autoimb.search.blend import blend
from autoimb.search.budget import Deadline
from autoimb.search.evaluate import Outcome


def _proba(logits):
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def _case(metric="average_precision", *, n=3000, k=6, n_classes=2, rate=0.05, same=False, seed=0):
    """Outcomes whose errors are independent, so that their mean is better (or all the same)."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < rate).astype(np.int64)
    if n_classes > 2:
        y = rng.choice(n_classes, n, p=[0.7, 0.2, 0.1])
    group = deal(y, 5)
    metric = get_metric(metric, n_classes=n_classes, positive=1)
    prior = np.log(np.bincount(y, minlength=n_classes) / n)
    outcomes = {}
    for number in range(k):
        noise = np.random.default_rng(100 if same else 100 + number).normal(size=(n, n_classes))
        proba = _proba(prior + 1.5 * np.eye(n_classes)[y] + noise)
        outcomes[number] = _outcome(metric, y, group, proba)
    return metric, outcomes, y, group


def _outcome(metric, y, group, proba, **changes):
    argmax = proba.argmax(axis=1)
    labels = cross_fit_labels(metric, y, proba, group) if metric.kind == "label" else argmax
    fields = {
        "status": "complete",
        "score": score(metric, y, proba, labels, group),
        "oof": proba,
        "labels": labels if metric.kind == "label" else None,
        "fitted": object(),
    }
    return Outcome(**fields | changes)


@pytest.mark.parametrize("metric", ["average_precision", "roc_auc", "log_loss", "f1", "mcc"])
def test_independent_errors_are_blended(metric):
    metric, outcomes, y, group = _case(metric)
    found = blend(metric, outcomes, y, group)
    best = max(outcome.score.utility for outcome in outcomes.values())
    assert found.kept
    assert found.gain > 0
    assert found.score.utility > best
    assert 2 <= len(found.numbers) <= module.MOST_STRATEGIES
    assert list(found.weights) == sorted(found.weights, reverse=True)
    assert sum(found.weights) == pytest.approx(1)
    assert found.proba.shape == (len(y), 2)
    np.testing.assert_allclose(found.proba.sum(axis=1), 1)
    assert set(np.unique(found.labels)) <= {0, 1}


def test_several_classes_are_blended():
    metric, outcomes, y, group = _case("balanced_accuracy", n_classes=3, n=1500)
    found = blend(metric, outcomes, y, group)
    assert found.kept
    assert found.proba.shape == (len(y), 3)


@pytest.mark.parametrize("name", ["average_precision", "brier", "f1", "balanced_accuracy"])
def test_what_weighs_a_blend(name):
    """The log-likelihood a row, and the metric's mean over groups unless it is of labels."""
    metric, outcomes, y, group = _case(name)
    rows = module._Rows(metric, outcomes[0].oof[None], y, group, None)
    rows = rows.take(np.ones(len(y), dtype=bool))
    expected = -log_loss(y, outcomes[0].oof)
    if metric.kind != "label":
        values = [metric(y[group == g], outcomes[0].oof[group == g]) for g in np.unique(group)]
        expected += np.mean(values) if metric.greater_is_better else -np.mean(values)
    assert rows.merit(rows.proba[0]) == pytest.approx(expected)


def test_for_labels_the_likelihood_alone_weighs():
    """The same candidates for another metric of labels: the same blend."""
    f1, accuracy = (blend(*_case(name)) for name in ("f1", "balanced_accuracy"))
    assert f1.kept
    assert (f1.numbers, f1.weights) == (accuracy.numbers, accuracy.weights)


def test_a_blend_whose_labels_are_worse_is_not_kept():
    """Likelier, but one strategy alone labels every row right."""
    metric, outcomes, y, group = _case("f1")
    right = score(metric, y, outcomes[2].oof, y, group)
    outcomes[2] = _outcome(metric, y, group, outcomes[2].oof, labels=y, score=right)
    found = blend(metric, outcomes, y, group)
    assert found.gain > 0
    assert not found.kept
    assert found.numbers == (2,)


def test_equal_strategies_stay_single():
    metric, outcomes, y, group = _case(same=True)
    found = blend(metric, outcomes, y, group)
    assert not found.kept
    assert (found.numbers, found.weights) == ((0,), (1.0,))
    np.testing.assert_array_equal(found.proba, outcomes[0].oof)
    assert found.score is outcomes[0].score


def test_where_the_metric_is_at_its_limit_the_log_loss_decides():
    """All rank perfectly, with independent doubts: their mean is as right, and surer of it."""
    metric, outcomes, y, group = _case()
    for number in outcomes:
        doubt = np.random.default_rng(number).uniform(0.01, 0.49, len(y))
        proba = np.where(np.eye(2)[y] == 1, 1 - doubt[:, None], doubt[:, None])
        outcomes[number] = _outcome(metric, y, group, proba)
    found = blend(metric, outcomes, y, group)
    assert {o.score.value for o in outcomes.values()} == {1.0}
    assert found.kept
    assert found.score.value == 1.0


def test_noise_is_not_blended():
    """One strategy that knows and many that don't: the mean can only be worse."""
    metric, outcomes, y, group = _case("log_loss", k=1)
    rng = np.random.default_rng(7)
    for number in range(1, 12):
        proba = _proba(rng.normal(size=(len(y), 2)))
        outcomes[number] = _outcome(metric, y, group, proba)
    assert blend(metric, outcomes, y, group).numbers == (0,)


def test_the_same_answer_twice():
    metric, outcomes, y, group = _case()
    one, two = (blend(metric, outcomes, y, group, random_state=3) for _ in range(2))
    assert (one.numbers, one.weights) == (two.numbers, two.weights)
    np.testing.assert_array_equal(one.proba, two.proba)
    backwards = dict(reversed(outcomes.items()))
    assert blend(metric, backwards, y, group, random_state=3).weights == one.weights


def test_only_complete_trials_with_networks_join():
    metric, outcomes, y, group = _case()
    truth = np.eye(2)[y]
    outcomes[50] = _outcome(metric, y, group, truth, fitted=None)
    outcomes[51] = _outcome(metric, y, group, truth, status="pruned")
    outcomes[52] = _outcome(metric, y, group, truth, oof=None)
    outcomes[53] = Outcome("failed")
    assert max(blend(metric, outcomes, y, group).numbers) < 50


def test_nothing_to_hand_over():
    metric, _, y, group = _case(k=0)
    with pytest.raises(BudgetError, match="No trial was completed"):
        blend(metric, {}, y, group)


def test_one_candidate_or_one_group_is_single():
    metric, outcomes, y, group = _case()
    assert blend(metric, {4: outcomes[4]}, y, group).numbers == (4,)
    assert not blend(metric, outcomes, y, np.zeros_like(group)).kept


def test_labels_are_there_for_every_metric():
    metric, outcomes, y, group = _case(same=True)
    assert outcomes[0].labels is None
    assert blend(metric, outcomes, y, group).labels.shape == y.shape


def test_a_row_has_no_part_in_the_weights_that_mix_it():
    """Turning the labels of one group changes nothing of how that group is predicted."""
    metric, outcomes, y, group = _case("log_loss")
    own = group == group[0]
    before = blend(metric, outcomes, y, group)
    turned = np.where(own, 1 - y, y)
    proba = np.stack([outcomes[number].oof for number in sorted(outcomes)])
    bags = module._bags(len(proba), n_rows=len(y), random_state=0)
    for labels in (y, turned):
        rows = module._Rows(metric, proba, labels, group, None)
        weights, _ = module._fit(rows.take(~own), bags, Deadline())
        np.testing.assert_allclose(before.proba[own], rows.mix(weights)[own])


def test_an_expired_deadline_gives_the_best_single():
    metric, outcomes, y, group = _case()
    found = blend(metric, outcomes, y, group, deadline=Deadline.after(-1))
    assert not found.kept
    assert found.score.utility == max(o.score.utility for o in outcomes.values())


def test_no_clock_is_read_without_a_deadline(monkeypatch):
    metric, outcomes, y, group = _case(n=800)
    ticks = iter(range(10**9))
    before = blend(metric, outcomes, y, group)
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)) * 1e6)
    assert blend(metric, outcomes, y, group).weights == before.weights


def test_work_is_bounded_by_rows():
    score_of = SimpleNamespace(utility=0.5)
    outcome = SimpleNamespace(status="complete", score=score_of, oof=(), fitted=object())
    outcomes = dict.fromkeys(range(40), outcome)
    most = [len(module._candidates(outcomes, n_rows=n)) for n in (1000, 200_000, 10**7)]
    assert most == [module.MOST_CANDIDATES, 6, module.LEAST_CANDIDATES]


def test_row_weights_count():
    """Rows of no weight have no say: with the others' labels turned, the blend is the same."""
    metric, outcomes, y, group = _case("log_loss")
    weight = (np.arange(len(y)) % 2).astype(np.float64)
    turned = np.where(weight > 0, y, 1 - y)
    one = blend(metric, outcomes, y, group, weight=weight)
    assert blend(metric, outcomes, turned, group, weight=weight).weights == one.weights
