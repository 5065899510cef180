"""Progress of a search in a RUN folder, as another process sees it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from autoimb.runs.folder import RunFolder, understood
from autoimb.runs.record import RAN, TrialRecord

__all__ = ["Pace", "RunStatus"]


@dataclass(frozen=True)
class Pace:
    """How fast a running search goes.

    Attributes
    ----------
    workers : int
        Processes that run trials.
    seconds : float
        Since it began, or was resumed.
    trials_a_minute : float
        That ended since then.
    ends : float or None
        Seconds from now until it is expected to end: its budget, or earlier where at this pace all
        its strategies have been tried by then; None where nothing tells.
    """

    workers: int
    seconds: float
    trials_a_minute: float
    ends: float | None

    @classmethod
    def of(
        cls,
        request: Mapping[str, Any],
        records: Iterable[TrialRecord],
        ended: Mapping[int, float],
        *,
        seconds: float,
    ) -> Pace:
        """Measure the pace of a search.

        Parameters
        ----------
        request : mapping
            As ``run.json`` has it.
        records : iterable of TrialRecord
            Of all trials.
        ended : mapping of int to float
            Seconds ago that each trial ended.
        seconds : float
            Since it began, or was resumed.
        """
        lately = {number for number, ago in ended.items() if ago <= seconds}
        tried = [r for r in records if not r.apart and r.status in RAN]
        new = sum(record.number in lately for record in tried)
        ends = []
        if request["time_budget"] is not None:
            ends.append(float(request["time_budget"]) - seconds)
        if request["n_trials"] is not None and new:
            ends.append(max(request["n_trials"] - len(tried), 0) * seconds / new)
        return cls(
            workers=int(request["n_jobs"]),
            seconds=seconds,
            trials_a_minute=60 * len(lately) / seconds,
            ends=max(min(ends), 0.0) if ends else None,
        )


@dataclass(frozen=True)
class RunStatus:
    """How far a search is.

    Attributes
    ----------
    running : bool
        Whether a process holds the folder.
    finished : bool
        Whether its results are written.
    strategies : dict of str to int
        Strategies by status.
    apart : dict of str to int
        Partners and duels, by stage.
    best : TrialRecord or None
        The best complete strategy.
    pace : Pace or None
        Of a search that runs.
    """

    running: bool
    finished: bool
    strategies: dict[str, int]
    apart: dict[str, int]
    best: TrialRecord | None
    pace: Pace | None

    @classmethod
    def of(cls, folder: RunFolder) -> RunStatus:
        """Look at a folder, which a search may be writing to.

        Parameters
        ----------
        folder : RunFolder

        Raises
        ------
        RunError
            Where its ``run.json`` or ``study.db`` is damaged.
        """
        run, running, records = folder.read_run(), folder.in_use, folder.store.records()
        tried = [record for record in records if not record.apart]
        complete = [record for record in tried if record.status == "complete"]
        pace = None
        if running and "session" in run:
            now = time.time()
            with understood(folder.path / "run.json", "request"):
                ended = {number: now - end for number, end in folder.store.end_times().items()}
                seconds = max(now - run["session"]["started"], 1e-3)
                pace = Pace.of(run["request"], records, ended, seconds=seconds)
        return cls(
            running=running,
            finished="results" in run,
            strategies=dict(Counter(record.status for record in tried).most_common()),
            apart=dict(sorted(Counter(r.stage for r in records if r.apart).items())),
            best=min(complete, key=lambda record: record.rank, default=None),
            pace=pace,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values; moments are in UTC."""
        best, pace = self.best, self.pace
        return {
            "running": self.running,
            "finished": self.finished,
            "strategies": self.strategies,
            **{f"{stage}s": count for stage, count in self.apart.items()},
            "best": None if best is None else _brief(best),
            "workers": None if pace is None else pace.workers,
            "seconds": None if pace is None else round(pace.seconds, 1),
            "trials_a_minute": None if pace is None else round(pace.trials_a_minute, 2),
            "expected_end": None if pace is None else _moment(pace.ends),
        }


def _brief(record: TrialRecord) -> dict[str, Any]:
    score = record.score
    return {
        "trial": record.number,
        "score": None if score is None else score.value,
        "error": None if score is None else score.error,
        "strategy": record.strategy.to_json(),
        "description": record.strategy.describe(),
    }


def _moment(ends: float | None) -> str | None:
    if ends is None:
        return None
    return datetime.fromtimestamp(time.time() + ends, UTC).isoformat(timespec="seconds")
