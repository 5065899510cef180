"""The blend: kept only where it is better on rows that did not choose it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import log_loss

from autoimb.assessment.crossfit import stratified_groups
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import get_metric
from autoimb.budget import Deadline
from autoimb.errors import BudgetError
from autoimb.evaluation import blend as module
from autoimb.evaluation.blend import blend
from autoimb.evaluation.outcome import Scored
from autoimb.evaluation.weighing import ScoredRows, Weighing, draw_bags
from autoimb.policy import Result, SearchPolicy

POLICY = SearchPolicy()


def _proba(logits):
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def case(metric="average_precision", *, n=3000, k=6, n_classes=2, rate=0.05, same=False, seed=0):
    """Results whose errors are independent, so that their mean is better (or all the same)."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < rate).astype(np.int64)
    if n_classes > 2:
        y = rng.choice(n_classes, n, p=[0.7, 0.2, 0.1])
    metric = get_metric(metric, n_classes=n_classes, positive=1)
    judge = Judge(metric, y, stratified_groups(y, 5))
    prior = np.log(np.bincount(y, minlength=n_classes) / n)
    results = {}
    for number in range(k):
        noise = np.random.default_rng(100 if same else 100 + number).normal(size=(n, n_classes))
        results[number] = result_of(judge, _proba(prior + 1.5 * np.eye(n_classes)[y] + noise))
    return judge, results


def result_of(judge, proba, **changes):
    of_labels = judge.metric.kind == "label"
    labels = judge.labels(proba) if of_labels else proba.argmax(axis=1)
    fields = {
        "score": judge.score(proba, labels),
        "oof": proba,
        "labels": labels if of_labels else None,
        "fitted": object(),
    }
    return Scored(**fields | changes)


@pytest.mark.parametrize("metric", ["average_precision", "roc_auc", "log_loss", "f1", "mcc"])
def test_independent_errors_are_blended(metric):
    judge, results = case(metric)
    found = blend(judge, results)
    best = max(result.score.utility for result in results.values())
    assert found.is_blend
    assert found.gain > 0
    assert found.score.utility > best
    assert 2 <= len(found.numbers) <= POLICY.result.max_blended
    assert list(found.weights) == sorted(found.weights, reverse=True)
    assert sum(found.weights) == pytest.approx(1)
    assert found.proba.shape == (len(judge.y), 2)
    np.testing.assert_allclose(found.proba.sum(axis=1), 1)
    assert set(np.unique(found.labels)) <= {0, 1}


def test_several_classes_are_blended():
    judge, results = case("balanced_accuracy", n_classes=3, n=1500)
    found = blend(judge, results)
    assert found.is_blend
    assert found.proba.shape == (len(judge.y), 3)


@pytest.mark.parametrize("name", ["average_precision", "brier", "f1", "balanced_accuracy"])
def test_what_weighs_a_blend(name):
    """The log-likelihood a row, and the metric's mean over groups unless it is of labels."""
    judge, results = case(name)
    metric, y, group, proba = judge.metric, judge.y, judge.group, results[0].oof
    rows = ScoredRows(judge, proba[None]).take(np.ones(len(y), dtype=bool))
    expected = -log_loss(y, proba)
    if metric.kind != "label":
        values = [metric(y[group == g], proba[group == g]) for g in np.unique(group)]
        expected += np.mean(values) if metric.greater_is_better else -np.mean(values)
    assert rows.merit(rows.proba[0]) == pytest.approx(expected)


def test_for_labels_the_likelihood_alone_weighs():
    """The same candidates for another metric of labels: the same blend."""
    f1, accuracy = (blend(*case(name)) for name in ("f1", "balanced_accuracy"))
    assert f1.is_blend
    assert (f1.numbers, f1.weights) == (accuracy.numbers, accuracy.weights)


def test_a_blend_whose_labels_are_worse_is_not_kept():
    """Likelier, but one strategy alone labels every row right."""
    judge, results = case("f1")
    right = judge.score(results[2].oof, judge.y)
    results[2] = result_of(judge, results[2].oof, labels=judge.y, score=right)
    found = blend(judge, results)
    assert found.gain > 0
    assert not found.is_blend
    assert found.numbers == (2,)


def test_equal_strategies_stay_single():
    judge, results = case(same=True)
    found = blend(judge, results)
    assert not found.is_blend
    assert (found.numbers, found.weights) == ((0,), (1.0,))
    np.testing.assert_array_equal(found.proba, results[0].oof)
    assert found.score is results[0].score


def test_where_the_metric_is_at_its_limit_the_log_loss_decides():
    """All rank perfectly, with independent doubts: their mean is as right, and surer of it."""
    judge, results = case()
    for number in results:
        doubt = np.random.default_rng(number).uniform(0.01, 0.49, len(judge.y))
        proba = np.where(np.eye(2)[judge.y] == 1, 1 - doubt[:, None], doubt[:, None])
        results[number] = result_of(judge, proba)
    found = blend(judge, results)
    assert {r.score.value for r in results.values()} == {1.0}
    assert found.is_blend
    assert found.score.value == 1.0


def test_noise_is_not_blended():
    """One strategy that knows and many that don't: the mean can only be worse."""
    judge, results = case("log_loss", k=1)
    rng = np.random.default_rng(7)
    for number in range(1, 12):
        proba = _proba(rng.normal(size=(len(judge.y), 2)))
        results[number] = result_of(judge, proba)
    assert blend(judge, results).numbers == (0,)


def test_the_same_answer_twice():
    judge, results = case()
    one, two = (blend(judge, results, random_state=3) for _ in range(2))
    assert (one.numbers, one.weights) == (two.numbers, two.weights)
    np.testing.assert_array_equal(one.proba, two.proba)
    backwards = dict(reversed(results.items()))
    assert blend(judge, backwards, random_state=3).weights == one.weights


def test_only_trials_with_networks_join():
    judge, results = case()
    results[50] = result_of(judge, np.eye(2)[judge.y], fitted=None)
    assert max(blend(judge, results).numbers) < 50


def test_no_result():
    judge, _ = case(k=0)
    with pytest.raises(BudgetError, match="No trial was completed"):
        blend(judge, {})
    with pytest.raises(BudgetError, match="No trial was completed"):
        blend(judge, {0: result_of(judge, np.full((len(judge.y), 2), 0.5), fitted=None)})


def test_one_candidate_or_one_group_is_single():
    judge, results = case()
    assert blend(judge, {4: results[4]}).numbers == (4,)
    alone = replace(judge, group=np.zeros_like(judge.group))
    assert not blend(alone, results).is_blend


def test_labels_are_there_for_every_metric():
    judge, results = case(same=True)
    assert results[0].labels is None
    assert blend(judge, results).labels.shape == judge.y.shape


def test_a_row_has_no_part_in_the_weights_that_mix_it():
    """Turning the labels of one group changes nothing of how that group is predicted."""
    judge, results = case("log_loss")
    own = judge.group == judge.group[0]
    before = blend(judge, results)
    turned = replace(judge, y=np.where(own, 1 - judge.y, judge.y))
    proba = np.stack([results[number].oof for number in sorted(results)])
    bags = draw_bags(len(proba), len(judge.y), 0, POLICY)
    weigh = Weighing(
        bags, Deadline(), POLICY, np.zeros(len(proba), dtype=bool), np.zeros((len(proba), 2))
    )
    for labels in (judge, turned):
        rows = ScoredRows(labels, proba)
        weights, _ = weigh.fit(rows.take(~own))
        np.testing.assert_allclose(before.proba[own], rows.mix(weights)[own])


def test_a_view_mixes_a_part_as_it_was_predicted():
    judge, results = case()
    found = blend(judge, results)
    assert found.is_blend
    assert len(found.by_part) == len(judge.parts)
    for part, (_, use) in enumerate(judge.parts):
        np.testing.assert_allclose(found.view(results, part)[use], found.proba[use])
    single = blend(judge, {3: results[3]})
    np.testing.assert_allclose(single.view(results, 0), results[3].view(0))


def test_an_expired_deadline_gives_the_best_single():
    judge, results = case()
    found = blend(judge, results, deadline=Deadline.after(-1))
    assert not found.is_blend
    assert found.score.utility == max(r.score.utility for r in results.values())


def test_no_clock_is_read_without_a_deadline(monkeypatch):
    judge, results = case(n=800)
    clock = iter(range(10**9))
    before = blend(judge, results)
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)) * 1e6)
    assert blend(judge, results).weights == before.weights


def test_work_is_bounded_by_rows():
    result = SimpleNamespace(score=SimpleNamespace(utility=0.5), fitted=object())
    results = dict.fromkeys(range(40), result)
    most = [len(module._candidates(results, n_cells=n, policy=POLICY)) for n in (1000, 200_000)]
    assert most == [module._MAX_CANDIDATES, 6]
    assert len(module._candidates(results, n_cells=10**7, policy=POLICY)) == (
        POLICY.result.min_candidates
    )


def test_the_policy_says_how_many_are_blended():
    judge, results = case()
    assert len(blend(judge, results).numbers) > 2
    policy = SearchPolicy(result=Result(max_blended=2))
    assert len(blend(judge, results, policy=policy).numbers) == 2


def test_row_weights_count():
    """Rows of no weight have no say: with the others' labels turned, the blend is the same."""
    judge, results = case("log_loss")
    weight = (np.arange(len(judge.y)) % 2).astype(np.float64)
    turned = np.where(weight > 0, judge.y, 1 - judge.y)
    one = blend(replace(judge, weight=weight), results)
    assert blend(replace(judge, y=turned, weight=weight), results).weights == one.weights
