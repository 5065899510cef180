"""How far shared studies are, as who reads their database sees it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, get_args

from optuna.trial import FrozenTrial

from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.runs.database import Database, quiet_optuna, reach
from autoimb.runs.drivers import Driver, drivers_of
from autoimb.runs.record import APART, Status
from autoimb.runs.sharing import TERMS

__all__ = ["StudyStatus", "studies_at"]


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is.

    Attributes
    ----------
    name : str
    drivers, workers : int
        That were heard of lately, by the database's clock.
    trials_a_minute : float
        Of these drivers since each joined, at any rung.
    strategies : dict of str to int
        Strategies by status.
    apart : dict of str to int
        Partners and duels, by stage.
    best : dict or None
        The best complete strategy: trial, score, error and description.
    """

    name: str
    drivers: int
    workers: int
    trials_a_minute: float
    strategies: dict[str, int]
    apart: dict[str, int]
    best: dict[str, Any] | None

    @classmethod
    def of(cls, name: str, trials: Sequence[FrozenTrial], drivers: Sequence[Driver]) -> Self:
        """Count the trials of a study, of whose drivers these live."""
        ended = [t for t in trials if t.user_attrs.get("status") in get_args(Status)]
        count = Counter(str(trial.user_attrs.get("driver")) for trial in ended)
        passed = {
            trial.user_attrs.get("follows")
            for trial in ended
            if trial.user_attrs["status"] in ("complete", "partial")
        }
        standing = [trial for trial in ended if trial.number not in passed]
        tried = [trial for trial in standing if trial.user_attrs["stage"] not in APART]
        apart = Counter(t.user_attrs["stage"] for t in standing if t not in tried)
        complete = [trial for trial in tried if trial.user_attrs["status"] == "complete"]
        best = min(complete, key=_rank, default=None)
        return cls(
            name=name,
            drivers=len(drivers),
            workers=sum(one.workers for one in drivers),
            trials_a_minute=sum(60 * count[d.name] / max(d.joined, 1e-3) for d in drivers),
            strategies=dict(Counter(t.user_attrs["status"] for t in tried).most_common()),
            apart=dict(sorted(apart.items())),
            best=None if best is None else {"trial": best.number, **best.user_attrs["result"]},
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "study": self.name,
            "running": self.drivers > 0,
            "drivers": self.drivers,
            "workers": self.workers,
            "trials_a_minute": round(self.trials_a_minute, 2),
            "strategies": self.strategies,
            **{f"{stage}s": count for stage, count in self.apart.items()},
            "best": self.best,
        }


def studies_at(url: str, *, policy: SearchPolicy = DEFAULT_POLICY) -> list[StudyStatus]:
    """Look at all shared studies in a database.

    Raises
    ------
    RunError
        Where it can't be reached; without the URL, which may hold a password.
    """
    with quiet_optuna():
        database = Database(reach(url), patience=policy.storage_patience)
    try:
        return database.patiently(lambda: list(_studies(database, policy)))
    finally:
        database.close()


def _studies(database: Database, policy: SearchPolicy) -> Iterator[StudyStatus]:
    storage = database.storage
    for study in storage.get_all_studies():
        if TERMS not in study.user_attrs:
            continue
        every = drivers_of(database.engine, study.study_name)
        living = [driver for driver in every if driver.silent <= policy.silent_seconds]
        # a FrozenStudy keeps its number to itself
        number = storage.get_study_id_from_name(study.study_name)
        trials = storage.get_all_trials(number, deepcopy=False)
        yield StudyStatus.of(study.study_name, trials, living)


def _rank(trial: FrozenTrial) -> tuple[bool, float, int]:
    """Sort complete trials: confirmed ones first, then by what the search maximizes."""
    value = float("-inf") if trial.value is None else trial.value
    return trial.user_attrs["stage"] != "confirm", -value, trial.number
