"""Smaller blends: as good on rows that did not weigh them, and cheaper to predict."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from autoimb import AutoImbClassifier
from autoimb.assessment.judge import Judge
from autoimb.budget import Deadline
from autoimb.errors import OptionError
from autoimb.evaluation import smaller as module
from autoimb.evaluation.blend import Mixture, blend
from autoimb.evaluation.limits import counted_seconds
from autoimb.evaluation.outcome import Scored
from autoimb.evaluation.smaller import smaller
from autoimb.search.request import Request
from tests.evaluation.test_blend import case, result_of
from tests.pipeline import test_partners
from tests.support.tables import ONE_TRIAL, mixed_table

Results = dict[int, Scored]


def seconds_of(results: Results, **changed: float) -> dict[int, float]:
    """Return a second for each trial, unless changed by ``n0=``, ``n1=`` and so on."""
    return {number: changed.get(f"n{number}", 1.0) for number in results}


def smaller_of(
    judge: Judge, results: Results, mixtures: tuple[Mixture, ...], **changed: Any
) -> tuple[Mixture, ...]:
    options: dict[str, Any] = {
        "single": 0,
        "partners": [],
        "seconds": seconds_of(results),
        "deadline": Deadline(),
    }
    return smaller(judge, results, mixtures, **options | changed)


def alike(metric: str, seed: int) -> tuple[Judge, Results]:
    """Return results whose errors are mostly the same."""
    judge, results = case(metric, k=8, n=1_500, rate=0.1, seed=seed)
    shared = np.log(results[0].oof)
    for number, result in results.items():
        proba = softmax((shared + 0.4 * np.log(result.oof)) / 1.4, axis=1)
        results[number] = result_of(judge, proba)
    return judge, results


@pytest.mark.parametrize(("metric", "seed"), [("average_precision", 2), ("log_loss", 0), ("f1", 0)])
def test_a_smaller_blend_is_as_good(metric: str, seed: int) -> None:
    judge, results = alike(metric, seed)
    (best,) = blend(judge, results)
    (small,) = smaller_of(judge, results, (best,))
    assert len(small.weights) < len(best.weights)
    assert small.weights.keys() <= best.weights.keys()
    assert sum(small.weights.values()) == pytest.approx(1)
    before, after = (
        judge.utility((mixture.proba, mixture.labels(judge, results))) for mixture in (best, small)
    )
    assert after >= before
    for part, (_, use) in enumerate(judge.parts):
        np.testing.assert_array_equal(small.view(results, part)[use], small.proba[use])


def test_what_takes_long_for_its_weight_is_dropped_first() -> None:
    judge, results = case(k=6)
    (best,) = blend(judge, results)
    heaviest = next(iter(best.weights))
    kept = list(module._parts(best, [], seconds_of(results, **{f"n{heaviest}": 1e3})))
    assert kept[0] == set(best.weights) - {heaviest}
    assert [len(numbers) for numbers in kept] == list(range(len(best.weights) - 1, 1, -1))
    assert all(later < earlier for earlier, later in pairwise(kept))


def test_a_strategy_that_is_as_good_replaces_the_blend_only_if_it_is_faster() -> None:
    judge, results = alike("average_precision", 2)
    mixtures = blend(judge, results)
    results = results | {99: result_of(judge, np.eye(2)[judge.y])}
    (single,) = smaller_of(judge, results, mixtures, single=99)
    assert single.weights == {99: 1.0}
    slow = seconds_of(results, n99=100.0)
    assert 99 not in smaller_of(judge, results, mixtures, single=99, seconds=slow)[0].weights


def test_few_rare_rows_leave_the_networks_with_the_most_weight() -> None:
    judge, results = case(k=12, n=600, rate=0.1)
    partners = [10, 11]
    alone, joined = blend(judge, results, partners=partners)
    assert len(alone.weights) > 5
    (kept, small) = smaller_of(judge, results, (alone, joined), partners=partners)
    networks = [number for number in joined.weights if number not in partners]
    assert kept is alone
    assert small.weights.keys() == {*networks[:5], *partners}
    assert sum(small.weights[number] for number in partners) == pytest.approx(0.5)


def test_without_time_or_a_blend_nothing_changes() -> None:
    judge, results = case(k=6)
    mixtures = blend(judge, results)
    assert smaller_of(judge, results, mixtures, deadline=Deadline.after(-1)) is mixtures
    alone = blend(judge, {3: results[3]})
    assert smaller_of(judge, results, alone) is alone


@pytest.mark.parametrize("rows", [500, 2_000])
def test_networks_and_trees_keep_their_shares(rows: int) -> None:
    judge, results = test_partners.case(0.5, rows=rows, n_trees=2)
    partners = [8, 9]
    alone, joined = blend(judge, results, partners=partners)
    share = sum(joined.weights.get(number, 0.0) for number in partners)
    kept = list(module._parts(joined, partners, seconds_of(results)))
    parts = [module._part(judge, results, joined, numbers, partners) for numbers in kept]
    for part in parts:
        assert not part.weights.keys() <= set(partners)
        for weights in (part.weights, *part.by_part):
            assert sum(weights.values()) == pytest.approx(1)
        if not part.weights.keys().isdisjoint(partners):
            of_trees = sum(part.weights.get(number, 0.0) for number in partners)
            assert of_trees == pytest.approx(share)
    assert len(parts[-1].weights) == 2
    chosen = smaller_of(judge, results, (alone, joined), partners=partners)
    with_trees = not chosen[-1].weights.keys().isdisjoint(partners)
    assert len(chosen) == 1 + with_trees


def test_a_search_exports_a_small_blend_unless_asked_for_the_accurate_one() -> None:
    frame, y = mixed_table("binary", 300)
    search = ONE_TRIAL | {"n_trials": 6, "cv": 3}
    small, accurate = (
        AutoImbClassifier(**search, blend=name).fit(frame, y) for name in ("small", "accurate")
    )
    assert AutoImbClassifier().blend == "small"
    costs = [sum(map(counted_seconds, model.pipeline_.strategies)) for model in (small, accurate)]
    assert len(accurate.pipeline_.strategies) > 1
    assert costs[0] < costs[1]
    with pytest.raises(OptionError, match=r"'tiny'.*small.*accurate"):
        Request(blend="tiny")
