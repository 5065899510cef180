"""The same seed and number of workers, the same answer: the synchronous schedule."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import time
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from autoimb.errors import OptionError
from autoimb.estimator import AutoImbClassifier
from autoimb.evaluation.outcome import Outcome
from autoimb.evaluation.task import Task, Trial
from autoimb.runtime.pool import InProcess, Resources
from autoimb.runtime.shared import Evaluate
from autoimb.search.request import Request
from autoimb.search.study import StudyResult
from autoimb.space.draw import Space
from tests.support import studies, tables

SPACE = Space.restricted(
    {"resampling": ["none", "random_over"], "ensemble": ["single"], "network": ["mlp", "resnet"]}
)


class Reversed(InProcess):
    """A backend and its runner, whose trials end in the opposite order, one at a time."""

    def __init__(self) -> None:
        self.log: list[tuple[str, int]] = []

    def runner(self, task: Task, evaluate: Evaluate, resources: Resources) -> Reversed:
        super().__init__(task, evaluate)
        return self

    def submit(self, number: int, trial: Trial) -> None:
        self.log.append(("starts", number))
        super().submit(number, trial)

    def collect(self, seconds: float) -> list[tuple[int, Outcome]]:
        self.running = dict(reversed(self.running.items()))
        ended = super().collect(seconds)
        self.running = dict(reversed(self.running.items()))
        self.log += [("ends", number) for number, _ in ended]
        return ended


def late(task, trial, *, seconds):
    """Take a time that nobody can tell before."""
    time.sleep(random.SystemRandom().uniform(0, seconds))
    return studies.complete(trial.strategy, task.dataset)


def told(result: StudyResult) -> list[object]:
    """All that a study says, but for its seconds."""
    board = [(r.number, r.stage, r.status, r.strategy, r.score) for r in result.records]
    with_networks = [(n, scored.fitted is not None) for n, scored in result.results.items()]
    return [board, with_networks, list(result.duels)]


def test_a_batch_begins_when_all_of_the_last_one_has_ended():
    backend = Reversed()
    settings = {"space": SPACE, "n_jobs": 3, "n_trials": 5, "synchronous": True}
    in_reverse = told(studies.study(backend=backend, **settings))
    first = [("starts", 0), ("starts", 1), ("starts", 2), ("ends", 2), ("ends", 1), ("ends", 0)]
    # The last batch is smaller than the number of workers.
    last = [("starts", 3), ("starts", 4), ("ends", 4), ("ends", 3)]
    assert backend.log == first + last
    assert told(studies.study(**settings)) == in_reverse


@pytest.mark.slow
def test_the_pace_of_workers_decides_nothing():
    settings = {"space": SPACE, "duels": True, "partners": ("small_trees",), "n_jobs": 2}
    settings |= {
        "synchronous": True,
        "n_trials": 16,
        "evaluate": partial(late, seconds=0.05),
    }
    first, second = (told(studies.study(**settings)) for _ in range(2))
    board, _, duels = first
    assert {stage for _, stage, *_ in board} == {"network", "search", "partner"}
    assert duels
    assert second == first


def test_a_process_without_children_runs_batches_one_trial_after_the_other(monkeypatch):
    settings = {"space": SPACE, "n_jobs": 2, "n_trials": 6, "synchronous": True}
    in_workers = told(studies.study(**settings))
    monkeypatch.setattr(multiprocessing.current_process(), "daemon", True)
    assert told(studies.study(**settings)) == in_workers


def searched(
    frame: pd.DataFrame, y: object, path: Path, *, rows: Any = None, **params: object
) -> tuple[str, str]:
    """Search with real networks; return the leaderboard, and the digest of the artifact."""
    model = AutoImbClassifier(
        time_budget=None,
        n_trials=4,
        cv=None if rows else 2,
        schedule="synchronous",
        random_state=0,
        partners="small_trees",
        max_artifact_mb=5,
        **params,
    ).fit(frame, y, **rows or {})
    board = model.leaderboard().drop(columns="seconds").to_csv()
    return board, hashlib.sha256(model.export(path).read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.usefixtures("minimal_work")
def test_leaderboard_and_artifact_are_the_same_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    frame, y = tables.mixed_table("binary", 240)
    first, second = (searched(frame, y, tmp_path / f"{i}", n_jobs=2) for i in range(2))
    assert second == first


@pytest.mark.parametrize("limits", [{}, {"time_budget": 60.0}, {"n_trials": 3, "time_budget": 60}])
def test_a_clock_does_not_go_with_it(limits):
    with pytest.raises(OptionError, match="n_trials and time_budget=None; got n_trials="):
        Request(schedule="synchronous", **limits)


def test_a_schedule_has_two_names():
    with pytest.raises(OptionError, match="Did you mean 'synchronous'"):
        Request(schedule="synchron")
