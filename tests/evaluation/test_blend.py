"""The blend: kept only where it is better on rows that did not choose it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from autoimb.assessment.crossfit import stratified_groups
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import get_metric
from autoimb.budget import Deadline
from autoimb.evaluation.blend import blend
from autoimb.evaluation.outcome import Scored, ranked
from autoimb.policy import Result, SearchPolicy

POLICY = SearchPolicy()


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
        results[number] = result_of(
            judge, softmax(prior + 1.5 * np.eye(n_classes)[y] + noise, axis=1)
        )
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
    (mixture,) = blend(judge, results)
    best = max(result.score.utility for result in results.values())
    assert mixture.gain > 0
    assert judge.utility((mixture.proba, mixture.labels(judge, results))) > best
    assert 2 <= len(mixture.weights) <= POLICY.result.max_blended
    weights = list(mixture.weights.values())
    assert weights == sorted(weights, reverse=True)
    assert sum(weights) == pytest.approx(1)
    np.testing.assert_allclose(mixture.proba.sum(axis=1), 1)


def test_several_classes_are_blended():
    judge, results = case("balanced_accuracy", n_classes=3, n=1500)
    (mixture,) = blend(judge, results)
    assert mixture.is_blend
    assert mixture.proba.shape == (len(judge.y), 3)


def test_for_labels_the_likelihood_alone_weighs():
    """The same candidates for another metric of labels: the same blend."""
    (f1,), (accuracy,) = (blend(*case(name)) for name in ("f1", "balanced_accuracy"))
    assert f1.is_blend
    assert f1.weights == accuracy.weights


def test_a_blend_whose_labels_are_worse_is_not_kept():
    """Likelier, but one strategy alone labels every row right."""
    judge, results = case("f1")
    right = judge.score(results[2].oof, judge.y)
    results[2] = result_of(judge, results[2].oof, labels=judge.y, score=right)
    (mixture,) = blend(judge, results)
    assert mixture.weights == {2: 1.0}


def test_equal_strategies_stay_single():
    judge, results = case(same=True)
    (mixture,) = blend(judge, results)
    assert mixture.weights == {0: 1.0}
    np.testing.assert_array_equal(mixture.proba, results[0].oof)


def test_where_the_metric_is_at_its_limit_the_log_loss_decides():
    """All rank perfectly, with independent doubts: their mean is as right, and surer of it."""
    judge, results = case()
    for number in results:
        doubt = np.random.default_rng(number).uniform(0.01, 0.49, len(judge.y))
        proba = np.where(np.eye(2)[judge.y] == 1, 1 - doubt[:, None], doubt[:, None])
        results[number] = result_of(judge, proba)
    (mixture,) = blend(judge, results)
    assert {r.score.value for r in results.values()} == {1.0}
    assert mixture.is_blend


def test_noise_is_not_blended():
    """One strategy that knows and many that don't: the mean can only be worse."""
    judge, results = case("log_loss", k=1)
    rng = np.random.default_rng(7)
    for number in range(1, 12):
        proba = softmax(rng.normal(size=(len(judge.y), 2)), axis=1)
        results[number] = result_of(judge, proba)
    assert blend(judge, results)[0].weights == {0: 1.0}


def test_the_same_answer_twice():
    judge, results = case()
    (one,) = blend(judge, results, random_state=3)
    (two,) = blend(judge, dict(reversed(results.items())), random_state=3)
    assert one.weights == two.weights
    np.testing.assert_array_equal(one.proba, two.proba)


def test_only_trials_with_networks_join():
    judge, results = case()
    results[50] = result_of(judge, np.eye(2)[judge.y], fitted=None)
    assert max(blend(judge, results)[0].weights) < 50


def test_one_candidate_or_one_group_is_single():
    judge, results = case()
    assert blend(judge, {4: results[4]})[0].weights == {4: 1.0}
    alone = replace(judge, group=np.zeros_like(judge.group))
    assert not blend(alone, results)[0].is_blend


def test_a_view_mixes_a_part_as_it_was_predicted():
    judge, results = case()
    (mixture,) = blend(judge, results)
    assert mixture.is_blend
    assert len(mixture.by_part) == len(judge.parts)
    for part, (_, use) in enumerate(judge.parts):
        np.testing.assert_allclose(mixture.view(results, part)[use], mixture.proba[use])
    (single,) = blend(judge, {3: results[3]})
    np.testing.assert_allclose(single.view(results, 0), results[3].view(0))


def test_an_expired_deadline_gives_the_best_single():
    judge, results = case()
    (mixture,) = blend(judge, results, deadline=Deadline.after(-1))
    assert list(mixture.weights) == ranked(results)[:1]


def test_no_clock_is_read_without_a_deadline(monkeypatch):
    judge, results = case(n=800)
    clock = iter(range(10**9))
    (before,) = blend(judge, results)
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)) * 1e6)
    assert blend(judge, results)[0].weights == before.weights


def test_the_policy_limits_the_work_and_the_size_of_a_blend():
    judge, results = case()
    assert len(blend(judge, results)[0].weights) > 3
    policy = SearchPolicy(result=Result(max_blended=2))
    assert len(blend(judge, results, policy=policy)[0].weights) == 2
    policy = SearchPolicy(result=Result(blend_work=1, min_candidates=3))
    assert blend(judge, results, policy=policy)[0].weights.keys() <= set(ranked(results)[:3])


def test_row_weights_count():
    """Rows of no weight have no say: with the others' labels turned, the blend is the same."""
    judge, results = case("log_loss")
    weight = (np.arange(len(judge.y)) % 2).astype(np.float64)
    turned = np.where(weight > 0, judge.y, 1 - judge.y)
    (one,) = blend(replace(judge, weight=weight), results)
    (two,) = blend(replace(judge, y=turned, weight=weight), results)
    assert two.weights == one.weights
