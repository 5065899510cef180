"""What the benchmark of a hundred workers rests on: searches and drivers that train nothing."""

from __future__ import annotations

import time
from pathlib import Path

import optuna
import pytest
from tables import strategy_with

from autoimb.assessment.uncertainty import Score
from autoimb.policy import DEFAULT_POLICY
from autoimb.runs.record import TrialRecord
from reports.benchmarks.rows import Row
from reports.benchmarks.scaling.replayed import Replay
from reports.benchmarks.scaling.searches import searched, went_on
from reports.benchmarks.scaling.simulated import Costs, Measured, Trials
from reports.benchmarks.worth import worth_on

KINDS = [f"{rung:g}" for rung in DEFAULT_POLICY.rungs] + ["confirm", "duel"]


def trials(*seconds: float) -> Trials:
    return Trials([Measured(kind, "any", own, ended=False) for kind in KINDS for own in seconds], 0)


def simulated(workers: int, *seconds: float, synchronous: bool = False, draw: float = 0.0) -> Row:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return searched(
        trials(*seconds),
        workers=workers,
        synchronous=synchronous,
        budget=240.0 / workers,
        seed=0,
        costs=Costs(0.0, draw),
    )


def test_the_same_seed_gives_the_same_search() -> None:
    assert simulated(4, 1.0, 5.0, draw=0.1) == simulated(4, 1.0, 5.0, draw=0.1)


def test_workers_are_busy_where_nothing_keeps_them_waiting() -> None:
    for workers in (1, 4):
        own = simulated(workers, 4.0)
        assert own["busy"] > 0.9  # none begins that would not end
        assert own["busy"] == pytest.approx(own["trials"] / 60)
        assert own["cut"] == own["driver"] == 0.0


def test_a_driver_that_draws_keeps_workers_waiting() -> None:
    own = simulated(8, 4.0, draw=1.0)
    assert own["driver"] > 0.8
    assert own["busy"] < 0.7


def test_a_batch_waits_for_its_slowest_trial() -> None:
    at_once, batches = simulated(8, 1.0, 7.0), simulated(8, 1.0, 7.0, synchronous=True)
    assert batches["busy"] < 0.7 < at_once["busy"]


def record(number: int, value: float, *, rung: float, follows: int | None = None) -> TrialRecord:
    score = Score(value, 0.0, (value,), False, value)
    one, seconds = strategy_with(), 10.0 * rung
    return TrialRecord(
        number, "search", one, "partial", "", score, seconds, rung=rung, follows=follows
    )


def test_who_went_on_early_is_not_among_the_best_in_the_end() -> None:
    first = [record(n, value, rung=0.25) for n, value in enumerate((0.5, 0.9, 0.1, 0.2, 0.3, 0.8))]
    after = [record(6, 0.5, rung=1.0, follows=0), record(7, 0.9, rung=1.0, follows=1)]
    count, early = went_on([*first, *after])
    assert (count, early) == (2, [7.5])


def test_a_simulated_strategy_keeps_its_worth_and_its_place() -> None:
    one = strategy_with()
    assert worth_on(3)(one) == worth_on(3)(one) != worth_on(4)(one)


def test_a_driver_that_trains_nothing_notes_what_it_waits_for(tmp_path: Path) -> None:
    now = time.monotonic()
    replay = Replay(f"sqlite:///{tmp_path}/study.db", str(tmp_path), trials(0.1), 0.0)
    driven = replay.drive(0.0, now, now + 4.0)
    assert driven.spent
    assert len(driven.tells) >= len(driven.spent)
    assert all(step.took >= 0 and step.waited >= 0 for step in (*driven.steps, *driven.tells))
