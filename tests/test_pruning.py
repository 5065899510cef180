"""Giving trials up: late, and only below the worst fold of the best one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import chosen, dataset_of, mixed_table, short_plan, strategy_with

from autoimb.assessment.metrics import get_metric
from autoimb.data.folds import plan_folds
from autoimb.search.budget import Deadline
from autoimb.search.evaluate import Outcome, evaluate
from autoimb.search.pruning import LEAST_SHARE, Bar
from autoimb.space.rooms import ROOMS
from autoimb.space.strategy import Strategy

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@given(floor=VALUES, tick=st.integers(0, 19), planned=st.integers(1, 20), value=st.floats(0, 1))
def test_nothing_is_given_up_early_or_above_the_bar(floor, tick, planned, value):
    tick = min(tick, planned - 1)
    bar = Bar(tuple(floor), len(floor))
    if (tick + 1) / planned < LEAST_SHARE or value >= max(floor):
        assert not bar.above(tick, planned, value)
    elif value < min(floor):
        assert bar.above(tick, planned, value)


def test_equal_shares_of_the_plans_are_compared():
    bar = Bar((0.1, 0.2, 0.3, 0.4), planned=4)
    assert not bar.above(9, 20, 0.25)  # halfway, where the bar stands at 0.2
    assert bar.above(9, 20, 0.15)
    assert bar.above(19, 20, 0.35)
    stopped = Bar((0.1, 0.2), planned=4)  # the best one ended early: its end stands
    assert stopped.above(19, 20, 0.15)
    assert not stopped.above(19, 20, 0.25)
    assert not Bar((), planned=4).above(3, 4, -1.0)


def test_the_bar_is_as_far_below_the_worst_fold_as_that_is_below_the_mean():
    assert Bar.of((0.5, 0.8, -1.0), (0.4, 0.8, -1.0), 7).floor == pytest.approx((0.3, 0.72, -1.1))


def evaluated(strategy: Strategy, bar: Bar | None) -> Outcome:
    dataset = dataset_of(*mixed_table("binary", 200))
    plan = short_plan(dataset, plan_folds(dataset.y, cv=3, random_state=0), ticks=10)
    metric = get_metric("average_precision", n_classes=2, positive=1)
    return evaluate(strategy, dataset, plan, metric=metric, deadline=Deadline(), bar=bar)


def test_a_trial_below_the_bar_is_given_up_and_one_above_is_the_same_as_without():
    free = evaluated(strategy_with(), None)
    assert free.status == "complete"
    assert (len(free.curve), len(free.floor), free.planned) == (10, 10, 10)
    assert all(low <= mean for low, mean in zip(free.floor, free.curve))
    given_up = evaluated(strategy_with(), Bar((2.0,) * 10, 10))
    assert given_up.status == "pruned"
    assert given_up.reason == "Given up after 3 of 10 ticks."
    assert given_up.curve == free.curve[:3]
    assert given_up.score is given_up.fitted is given_up.oof is None
    kept = evaluated(strategy_with(), Bar(free.floor, 10))
    assert kept.curve == free.curve
    np.testing.assert_array_equal(kept.oof, free.oof)


@pytest.mark.parametrize("name", ["boosting"])
def test_rounds_that_follow_each_other_are_not_judged_by_one(name):
    strategy = strategy_with(ensemble=chosen(ROOMS["ensemble"][name], 0.0))
    assert evaluated(strategy, Bar((2.0,) * 10, 10)).status == "complete"
