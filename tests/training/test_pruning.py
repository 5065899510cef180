"""Giving trials up: late, and only below the worst fold of the best one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoimb.data.folds import plan_folds
from autoimb.evaluation.outcome import Outcome, Pruned, Scored
from autoimb.evaluation.trial import evaluate
from autoimb.policy import SearchPolicy, Training
from autoimb.runs.record import usable
from autoimb.space.components import COMPONENTS
from autoimb.space.strategy import Strategy
from autoimb.training.fit import Job
from autoimb.training.parts import Parts
from autoimb.training.pruning import Bar
from tests.support.studies import judge_of
from tests.support.tables import chosen, dataset_of, mixed_table, short_plan, strategy_with

BEGINS = Training().pruning_start
VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@given(
    floor=VALUES, checkpoint=st.integers(0, 19), planned=st.integers(1, 20), value=st.floats(0, 1)
)
def test_nothing_is_given_up_early_or_above_the_bar(floor, checkpoint, planned, value):
    checkpoint = min(checkpoint, planned - 1)
    bar = Bar(tuple(floor), len(floor), BEGINS)
    if (checkpoint + 1) / planned < BEGINS or value >= max(floor):
        assert not bar.above(checkpoint, planned, value)
    elif value < min(floor):
        assert bar.above(checkpoint, planned, value)


def test_equal_shares_of_the_plans_are_compared():
    bar = Bar((0.1, 0.2, 0.3, 0.4), planned=4, begins=BEGINS)
    assert not bar.above(9, 20, 0.25)  # halfway, where the bar stands at 0.2
    assert bar.above(9, 20, 0.15)
    assert bar.above(19, 20, 0.35)
    stopped = Bar((0.1, 0.2), planned=4, begins=BEGINS)  # the best one ended early: its end stands
    assert stopped.above(19, 20, 0.15)
    assert not stopped.above(19, 20, 0.25)
    assert not Bar((), planned=4, begins=BEGINS).above(3, 4, -1.0)


def test_the_bar_is_as_far_below_the_worst_fold_as_that_is_below_the_mean():
    bar = Bar.of((0.5, 0.8, -1.0), (0.4, 0.8, -1.0), 7, SearchPolicy())
    assert bar.floor == pytest.approx((0.3, 0.72, -1.1))
    assert (bar.planned, bar.begins) == (7, BEGINS)
    looser = SearchPolicy(training=Training(pruning_slack=0.5, pruning_start=0.9))
    bar = Bar.of((0.5, 0.8, -1.0), (0.4, 0.8, -1.0), 7, looser)
    assert bar.floor == pytest.approx((0.25, 0.4, -1.5))
    assert bar.begins == 0.9


def evaluated(strategy: Strategy, bar: Bar | None) -> Outcome:
    dataset = dataset_of(*mixed_table("binary", 200))
    plan = short_plan(dataset, plan_folds(dataset.y, cv=3, random_state=0), checkpoints=10)
    data = Parts(dataset, plan.folds, seed=plan.seed)
    return evaluate(Job(strategy, plan, data, bar=bar), judge_of(dataset, plan))


def test_a_trial_below_the_bar_is_given_up_and_one_above_is_the_same_as_without():
    free = evaluated(strategy_with(), None)
    assert isinstance(free, Scored)
    curve, floor = free.trace.curve, free.trace.floor
    assert (len(curve), len(floor), free.trace.planned) == (10, 10, 10)
    assert all(low <= mean for low, mean in zip(floor, curve))
    given_up = evaluated(strategy_with(), Bar((2.0,) * 10, 10, BEGINS))
    assert isinstance(given_up, Pruned)
    assert given_up.reason == "Given up after 3 of 10 planned checkpoints."
    assert given_up.trace.curve == curve[:3]
    assert usable(given_up) is None
    kept = evaluated(strategy_with(), Bar(floor, 10, BEGINS))
    assert isinstance(kept, Scored)
    assert kept.trace == free.trace
    np.testing.assert_array_equal(kept.oof, free.oof)


@pytest.mark.parametrize("name", ["boosting"])
def test_rounds_that_follow_each_other_are_not_judged_by_one(name):
    strategy = strategy_with(ensemble=chosen(COMPONENTS["ensemble"][name], 0.0))
    assert isinstance(evaluated(strategy, Bar((2.0,) * 10, 10, BEGINS)), Scored)
