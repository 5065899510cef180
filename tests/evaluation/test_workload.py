"""How many rows a study works on, and what the rows that are left stand for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoimb.data.encoding.encoder import Encoder
from autoimb.data.folds import plan_folds
from autoimb.data.profile import profile
from autoimb.data.schema import infer_schema
from autoimb.data.subsample import subsample
from autoimb.data.target import encode_target
from autoimb.evaluation.outcome import Infeasible, Scored
from autoimb.evaluation.workload import make_plan, study_profile, subsampled, trial_operations
from autoimb.policy import Reserves, SearchPolicy, Sizes
from autoimb.space.components import COMPONENTS
from autoimb.space.resampling.component import RESAMPLING
from tests.support.tables import (
    chosen,
    dataset_of,
    first_round,
    outcome_of,
    short_plan,
    strategy_with,
)


def simulated(n_rows: int = 6_000, *, rate: float = 0.04, seed: int = 0):
    """Numbers whose class follows from a logistic model."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(size=(n_rows, 3)), columns=["a", "b", "c"])
    logits = 1.5 * frame["a"] - frame["b"] + np.log(rate / (1 - rate)) - 1.2
    chance = 1 / (1 + np.exp(-logits.to_numpy()))
    return frame, (random.random(n_rows) < chance).astype(np.int64)


@given(
    sizes=st.lists(st.integers(1, 60), min_size=2, max_size=5),
    most=st.integers(10, 200),
    seed=st.integers(0, 5),
)
def test_subsampling_keeps_rare_classes_whole_and_every_class_its_mass(sizes, most, seed):
    y = np.repeat(np.arange(len(sizes)), sizes)
    rows, scale = subsample(y, np.arange(len(y)), most, np.random.default_rng(seed))
    assert len(rows) == min(len(y), most)
    assert len(np.unique(rows)) == len(rows)
    assert (np.diff(rows) > 0).all()
    np.testing.assert_allclose(np.bincount(y[rows], scale), sizes)
    kept = np.bincount(y[rows])
    fair = most // len(sizes)
    for size, left in zip(sizes, kept):
        assert left >= min(size, fair)


def test_a_table_that_fits_is_left_alone():
    dataset = dataset_of(*simulated())
    folds = plan_folds(dataset.y, random_state=0)
    *same, seen = subsampled(dataset, folds, random_state=0, time_budget=60.0)
    assert same == [dataset, folds]
    np.testing.assert_array_equal(seen, np.arange(len(dataset.y)))


def test_what_does_not_fit_is_subsampled_alike_in_all_folds():
    sizes = Sizes(min_training_rows=1_000, max_scored_rows=500)
    policy = SearchPolicy(sizes=sizes, reserves=Reserves(cell_seconds=1e-9))
    given = {"random_state": 0, "time_budget": 0.1, "policy": policy}
    dataset = dataset_of(*simulated())
    folds = plan_folds(dataset.y, random_state=0)
    few, plan, seen = subsampled(dataset, folds, **given)
    np.testing.assert_array_equal(dataset.y[seen], few.y)
    assert len(few.y) == 1_000
    rare = int((dataset.y == 1).sum())
    assert int((few.y == 1).sum()) == rare
    np.testing.assert_allclose(few.sampled_shares, [(1_000 - rare) / (dataset.y == 0).sum(), 1.0])
    # by weight the classes are as they were
    share = np.bincount(few.y, few.weight) / few.weight.sum()
    np.testing.assert_allclose(share, np.bincount(dataset.y) / len(dataset.y))
    assert len(plan.scored) == 500
    weight = plan.scored_weight(few.weight)
    scored = np.bincount(few.y[plan.scored], weight) / weight.sum()
    np.testing.assert_allclose(scored, share)
    for fold in plan.folds:
        assert not set(fold.train) & set(fold.score)
        assert set(fold.score) <= set(plan.scored)
        assert (plan.group[fold.score] == plan.group[fold.score][0]).all()
    again, _, _ = subsampled(dataset, folds, **given)
    np.testing.assert_array_equal(again.columns.numbers, few.columns.numbers)


def test_of_a_table_too_wide_for_its_time_each_fold_keeps_as_many_columns_as_there_is_time_for():
    random = np.random.default_rng(0)
    numbers = pd.DataFrame(random.normal(size=(1_000, 1_200)))
    dataset = dataset_of(numbers.rename(columns=str), np.arange(1_000) % 2)
    folds = plan_folds(dataset.y, random_state=0)
    kept = []
    for seconds in (1.0, 3.0, 60.0):
        few, *_ = subsampled(dataset, folds, random_state=0, time_budget=seconds)
        assert len(few.y) == 1_000
        kept.append(few.layout.screened)
    assert kept[0] == SearchPolicy().sizes.min_columns
    assert kept[0] < kept[1] < 1_200
    assert kept[2] is None
    encoder = Encoder.fit(few.columns, folds.folds[0].train, layout=few.layout, y=few.y)
    assert encoder.width(ple=True) == 2_400
    plain = SearchPolicy(sizes=Sizes(max_input_bytes=4 * 5 * 1_000 * 800))  # memory counts as well
    few, *_ = subsampled(dataset, folds, random_state=0, time_budget=1e6, policy=plain)
    assert few.layout.screened == 400 - 1


@pytest.mark.parametrize(("seconds", "scored"), [(None, 1_000), (60.0, 600), (10.0, 100)])
def test_no_more_rows_of_many_classes_are_scored_than_there_is_time_for_what_follows(
    seconds, scored
):
    policy = SearchPolicy(
        sizes=Sizes(max_scored_cells=40_000), reserves=Reserves(cell_seconds=3e-4)
    )
    dataset = dataset_of(simulated(1_000)[0], np.arange(1_000) % 40)
    folds = plan_folds(dataset.y, random_state=0)
    _, plan, _ = subsampled(dataset, folds, random_state=0, time_budget=seconds, policy=policy)
    assert len(plan.scored) == scored
    assert set(dataset.y[plan.scored]) == set(range(40))


def test_no_clock_is_read(monkeypatch):
    dataset = dataset_of(*simulated())
    folds = plan_folds(dataset.y, random_state=0)
    monkeypatch.setattr("time.monotonic", lambda: pytest.fail("a clock was read"))
    make_plan(dataset, folds, random_state=0, operations=trial_operations(60.0))
    subsampled(dataset, folds, random_state=0, time_budget=0.1)


def planned(n_rows: int = 6_000):
    """Return a simulated table and the plan of a search of one minute."""
    dataset = dataset_of(*simulated(n_rows))
    folds = plan_folds(dataset.y, random_state=0)
    return dataset, make_plan(dataset, folds, random_state=0, operations=trial_operations(60.0))


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"resampling": chosen(COMPONENTS["resampling"]["random_under"], 1.0)},
        {"resampling": chosen(COMPONENTS["resampling"]["batch_balancing"], 1.0)},
        {"class_weight": chosen(COMPONENTS["class_weight"]["power"], 1.0)},
        {"ensemble": chosen(COMPONENTS["ensemble"]["balanced_bagging"], 1.0, members=4)},
    ],
    ids=["none", "random_under", "batch_balancing", "power", "balanced_bagging"],
)
def test_probabilities_of_a_subsampled_study_are_those_of_the_whole_table(choices):
    policy = SearchPolicy(
        sizes=Sizes(min_training_rows=2_500), reserves=Reserves(cell_seconds=1e-9)
    )
    dataset = dataset_of(*simulated())
    folds = plan_folds(dataset.y, cv=3, random_state=0)
    few, folds, _ = subsampled(dataset, folds, random_state=0, time_budget=0.1, policy=policy)
    plan = short_plan(few, folds, checkpoints=8)
    outcome = outcome_of(strategy_with(**choices), few, plan)
    assert isinstance(outcome, Scored), outcome.reason
    weight = folds.scored_weight(few.weight)
    mean = float(weight @ outcome.oof[:, 1] / weight.sum())
    assert mean == pytest.approx(dataset.y.mean(), rel=0.12)


def test_a_dear_strategy_sees_fewer_rows_and_closer_checkpoints():
    dataset, plan = planned(20_000)
    cheap = strategy_with()
    dear = strategy_with(
        network=chosen(COMPONENTS["network"]["tabm"], 0.3),
        ensemble=chosen(COMPONENTS["ensemble"]["bagging"], 0.0),
    )
    large = first_round(dear, dataset, plan)
    inputs = plan.outline.inputs[large.network.ple]
    row = 2.0 * len(large.rows) * large.network.products(inputs)  # of a forward pass of all
    operations = 3 * row * plan.policy.training.min_epochs * 8_000
    small = replace(plan, operations=operations)
    work = {}
    for name, strategy in {"cheap": cheap, "dear": dear}.items():
        round_ = first_round(strategy, dataset, small)
        member, schedule = round_.rows[0], round_.schedule
        work[name] = (
            len(member.rows),
            schedule.steps * schedule.checkpoints * schedule.batch_size,
        )
        assert member.weights.mean() == pytest.approx(1.0)
    assert work["dear"][0] == pytest.approx(8_000, abs=1)
    assert work["cheap"][0] == len(plan.folds.folds[0].train)
    assert work["dear"][1] < work["cheap"][1]


def test_networks_that_are_far_too_dear_are_infeasible():
    dataset, plan = planned(20_000)
    small = replace(plan, operations=1e9)
    dear = strategy_with(network=chosen(COMPONENTS["network"]["tabm"], 1.0))
    outcome = outcome_of(dear, dataset, small)
    assert isinstance(outcome, Infeasible)
    assert "times the work that is planned for a trial" in outcome.reason


def test_work_that_does_not_fit_a_trial_is_infeasible_and_says_so():
    dataset, plan = planned()
    frame, y = simulated()
    schema, _ = infer_schema(frame)
    table = study_profile(profile(frame, schema, encode_target(y)), dataset, plan)
    option = RESAMPLING["tomek_links"]
    assert option.feasible(table) is None
    reason = option.feasible(replace(table, n_rows=500_000))
    assert reason is not None
    assert "times the work that is planned for a trial" in reason
    assert "500,000" in reason
    assert RESAMPLING["random_under"].feasible(replace(table, n_rows=10**8)) is None
