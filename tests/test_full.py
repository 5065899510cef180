"""What is handed over, trained again on all rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tables import chosen, short_plan, strategy_with

from autoimb.pipeline.artifact import load, save
from autoimb.pipeline.fitted import FittedPipeline
from autoimb.search import full
from autoimb.search.budget import Deadline
from autoimb.search.evaluate import Outcome, evaluate
from autoimb.search.full import fit_encoders, refit_full
from autoimb.search.planning import Plan
from autoimb.search.prepare import Prepared, Table, prepare
from autoimb.search.refit import refit
from autoimb.search.request import Request
from autoimb.search.search import search
from autoimb.space.rooms import ROOMS
from autoimb.space.strategy import Choice, Strategy
from autoimb.training.parts import Parts
from autoimb.training.rounds import train_again, train_strategy
from autoimb.training.run import Run
from autoimb.training.schedule import Replay

QUICK = Request(n_trials=2, time_budget=None, cv=2, rooms=(("network", ("mlp",)),))


def table(n_rows: int = 150) -> tuple[pd.DataFrame, pd.Series]:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": random.normal(size=n_rows), "b": random.choice(["x", "y"], n_rows), "c": 1.0}
    )
    return frame, pd.Series((frame["a"] + random.normal(size=n_rows) > 1.3).astype(int))


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(Table(*table()), QUICK)


def outcome_of(prepared: Prepared, plan: Plan, strategy: Strategy) -> Outcome:
    outcome = evaluate(
        strategy, prepared.dataset, plan, metric=prepared.metric, deadline=Deadline()
    )
    assert outcome.fitted is not None, outcome.reason
    return outcome


def lever(room: str, name: str) -> dict[str, Choice]:
    return {room: chosen(ROOMS[room][name], 0.2)}


@pytest.mark.parametrize(
    "choices",
    [
        {},
        lever("network", "tabm"),
        lever("network", "realmlp"),
        lever("resampling", "smote"),
        lever("resampling", "batch_balancing"),
        lever("loss", "ldam"),
        lever("ensemble", "balanced_bagging"),
        lever("ensemble", "boosting"),
        lever("ensemble", "snapshot"),
    ],
    ids=lambda choices: next((choice.name for choice in choices.values()), "none"),
)
def test_on_the_same_rows_the_same_networks_come_out(
    prepared: Prepared, choices: dict[str, Choice]
) -> None:
    plan = short_plan(prepared.dataset, prepared.folds, ticks=4)
    parts = Parts(prepared.dataset, plan.folds, seed=0)
    given: dict[str, Any] = {"effort": plan.effort, "costs": None, "check": lambda: None}
    asked = [0]

    def measure(*_: Any) -> float:  # the third of the four ticks is best, for every fold
        asked[0] += 1
        return -abs((asked[0] - 1) // len(plan.folds.folds) % 4 - 2.0)

    strategy = strategy_with(**choices)
    before = train_strategy(strategy, parts, measure=measure, **given)
    rounds = len(before.packs)
    ends = np.array(before.ticks).reshape(rounds, -1)
    assert (ends == ends[:, :1]).all()
    replay = Replay(plan.folds, tuple(int(tick) for tick in ends[:, 0]))
    packs = train_again(strategy, parts, replay=replay, **given)
    assert len(packs) == rounds
    for pack, old in zip(packs, before.packs):
        np.testing.assert_array_equal(pack.weight, old.weight)
        np.testing.assert_array_equal(pack.log_prior, old.log_prior)
        for name, values in pack.state.items():
            np.testing.assert_array_equal(values, old.state[name], err_msg=name)


def test_more_rows_are_gone_over_as_often_at_the_same_rates(prepared: Prepared) -> None:
    plan = short_plan(prepared.dataset, prepared.folds)
    parts, strategy = Parts(prepared.dataset, plan.folds, seed=0), strategy_with()

    def run_on(these: Parts, until: Any) -> Run:
        return Run(strategy, these, plan.effort, None, until, lambda: None, "cpu")

    few, most = run_on(parts, None).schedule, run_on(parts.whole(3), Replay(plan.folds, (0,)))
    rows = len(prepared.dataset.y) / plan.folds.training_rows
    assert most.schedule == replace(few, steps=round(rows * few.steps))
    assert most.schedule.steps > few.steps


def test_what_folds_of_the_same_rows_share_is_held_once(prepared: Prepared) -> None:
    parts = Parts(prepared.dataset, prepared.folds, seed=0)
    whole = parts.whole(3)
    assert whole.encoder(2) is whole.encoder(0)
    assert whole.encoder(0) is not parts.encoder(0)
    smote = lever("resampling", "smote")["resampling"]
    assert whole.training(2, smote) is not whole.training(0, smote)  # chance differs


@pytest.mark.parametrize("strategies", [1, 2])
def test_all_strategies_together_get_about_the_networks_of_one(
    prepared: Prepared, strategies: int
) -> None:
    plan = short_plan(prepared.dataset, prepared.folds)
    given = [strategy_with(), strategy_with(**lever("resampling", "smote"))][:strategies]
    outcomes = [outcome_of(prepared, plan, strategy) for strategy in given]
    weights = (1.0,) if strategies == 1 else (0.3, 0.7)
    got = refit_full(prepared, plan, outcomes, weights, deadline=Deadline())
    assert [len(one.packs[0].fold) for one in got.strategies] == [2 // strategies] * strategies
    assert len(got.encoders) == 1
    everything = fit_encoders(prepared.dataset, plan.folds.whole(1).folds)[0]
    np.testing.assert_array_equal(got.encoders[0].edges, everything.edges)
    for one, outcome in zip(got.strategies, outcomes):
        assert outcome.fitted is not None
        assert one.strategy == outcome.fitted.strategy
        assert one.calibrator == outcome.fitted.calibrator
        assert one.predict_proba(prepared.dataset.columns, got.encoders).sum(1) == pytest.approx(1)
    assert got.notices == (
        "What is handed over was trained again on all rows; "
        "the scores are of networks that saw 75.",
    )


def test_a_confirmed_strategy_is_trained_again_like_each_of_its_deals(prepared: Prepared) -> None:
    once = short_plan(prepared.dataset, prepared.folds)
    outcome = outcome_of(prepared, once.times(3), strategy_with())
    assert len(outcome.epochs) == 6
    got = refit_full(prepared, once, [outcome], [1.0], deadline=Deadline())
    assert len(got.strategies[0].packs[0].fold) == 6
    assert got.strategies[0].work == 3


def test_without_time_the_networks_of_all_deals_stay(prepared: Prepared, tmp_path: Path) -> None:
    once = short_plan(prepared.dataset, prepared.folds)
    outcome = outcome_of(prepared, once.times(2), strategy_with())
    got = refit_full(prepared, once, [outcome], [1.0], deadline=Deadline.after(0.0))
    assert got.strategies == (outcome.fitted,)
    assert len(got.encoders) == 4
    assert "no time" in got.notices[0]
    pipeline = replace(
        search(*table(), QUICK).pipeline,
        encoders=got.encoders,
        strategies=got.strategies,
        weights=(1.0,),
    )
    save(pipeline, tmp_path / "p.autoimb")
    frame = table()[0]
    same: FittedPipeline = load(tmp_path / "p.autoimb")
    np.testing.assert_array_equal(same.predict_proba(frame), pipeline.predict_proba(frame))


def test_rows_that_the_user_set_aside_never_train() -> None:
    frame, y = table()
    held = (frame[100:], y[100:])
    aside = prepare(Table(frame[:100], y[:100], None, held), replace(QUICK, cv=None))
    plan = short_plan(aside.dataset, aside.folds)
    outcome = outcome_of(aside, plan, strategy_with())
    got = refit_full(aside, plan, [outcome], [1.0], deadline=Deadline())
    assert got.strategies == (outcome.fitted,)
    assert got.notices == ()


@pytest.mark.parametrize("trouble", ["interrupt", "error", "divergence"])
def test_what_could_not_be_trained_again_keeps_its_folds(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """The heavier strategy is first; the trouble is with the other."""
    plan = short_plan(prepared.dataset, prepared.folds)
    plain, smote = strategy_with(), strategy_with(**lever("resampling", "smote"))
    outcomes = [outcome_of(prepared, plan, strategy) for strategy in (plain, smote)]

    def troubled(strategy: Strategy, *given: Any, **named: Any) -> Any:
        if strategy == plain and trouble == "interrupt":
            raise KeyboardInterrupt
        if strategy == plain and trouble == "error":
            raise RuntimeError("no")
        packs = train_again(strategy, *given, **named)
        if strategy == smote:
            return packs
        state = {name: np.full_like(values, np.nan) for name, values in packs[0].state.items()}
        return (replace(packs[0], state=state),)

    monkeypatch.setattr(full, "train_again", troubled)
    told: list[str] = []
    got = refit_full(
        prepared, plan, outcomes, [0.2, 0.8], deadline=Deadline(), on_progress=told.append
    )
    assert got.strategies[0] == outcomes[0].fitted
    assert len(got.encoders) == 3
    assert set(got.strategies[1].packs[0].fold) == {2}
    assert got.notices[0].startswith("1 of the 2 strategies were trained again on all rows")
    assert told[:2] == [f"training again on all rows: {n} of 2 strategies" for n in range(2)]
    assert np.isfinite(
        got.strategies[1].predict_proba(prepared.dataset.columns, got.encoders)
    ).all()


def test_more_workers_hand_over_the_same() -> None:
    frame, y = table()
    one, two = (search(frame, y, replace(QUICK, n_jobs=n)) for n in (1, 2))
    assert any("trained again" in notice for notice in one.facts.notices)
    np.testing.assert_array_equal(
        one.pipeline.predict_proba(frame), two.pipeline.predict_proba(frame)
    )


def test_newer_rows_are_all_trained_on_too() -> None:
    frame, y = table()
    pipeline = search(frame, y, QUICK).pipeline
    again = refit(pipeline, QUICK, frame, y)
    assert len(again.encoders) == len(pipeline.encoders) == 1
    np.testing.assert_array_equal(again.predict_proba(frame), pipeline.predict_proba(frame))
