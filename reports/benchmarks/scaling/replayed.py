"""Many drivers of one shared study at once, on a PostgreSQL server of our own.

Each is a search with one simulated worker, in a thread of one of a few processes: it asks, beats,
saves its trials' files where all find them, tells, and reads what others have finished, all by the
project's own code. It only trains nothing, but waits for as long.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, TypeVar

import numpy as np
from optuna.trial import TrialState
from sqlalchemy import Engine, create_engine, text

from autoimb.budget import Deadline
from autoimb.policy import DEFAULT_POLICY
from autoimb.runs.folder import RunFolder
from autoimb.runs.rows import TrialRows
from autoimb.runs.sharing import SharedStudy
from autoimb.search.study import StudySettings, run_study
from reports.benchmarks.machine import busy_seconds, processor_seconds
from reports.benchmarks.postgres import Server, server
from reports.benchmarks.rows import Row
from reports.benchmarks.scaling.searches import planned
from reports.benchmarks.scaling.simulated import (
    Costs,
    Measured,
    Simulated,
    Spent,
    Trials,
    WallClock,
)

__all__ = ["replayed"]

T = TypeVar("T")

NAME = "replayed"
PROCESSES = 4
APART = 2  # times the seconds of a trial, that drivers run before and after what is looked at
SCORED = 1_000  # rows whose predictions a trial keeps


class Step(NamedTuple):
    """What a driver did with the database, in seconds.

    Attributes
    ----------
    at : float
        When it wanted to, by ``time.monotonic()``.
    waited : float
        Until the others let it.
    took : float
        By the wall clock.
    own : float
        Of the driver's processor.
    """

    at: float
    waited: float
    took: float
    own: float


@dataclass
class Driven:
    """What one driver did.

    Attributes
    ----------
    steps, tells : list of Step
        Asking, under the lock; and telling how a trial ended.
    spent : list of Spent
        The trials of its worker.
    """

    steps: list[Step] = field(default_factory=list)
    tells: list[Step] = field(default_factory=list)
    spent: list[Spent] = field(default_factory=list)


class _Timed(SharedStudy):
    """A shared study that notes how long its driver takes."""

    @cached_property
    def driven(self) -> Driven:
        """What it did."""
        return Driven()

    def exclusively(self, step: Callable[[], T]) -> T:
        """Do something while no other driver does."""
        if self._inside:
            return super().exclusively(step)
        return super().exclusively(_noted(step, self.driven.steps))

    def rows(self, study: int) -> TrialRows:
        """Return the way to the trials, which notes too."""
        return _TimedRows(self.database.engine, study, self.driven.tells)


class _TimedRows(TrialRows):
    """Trials whose ends are noted."""

    def __init__(self, engine: Engine, study: int, tells: list[Step]) -> None:
        super().__init__(engine, study)
        self._tells = tells

    def end(
        self, number: int, state: TrialState, value: float | None, said: Mapping[str, Any]
    ) -> bool:
        """End a trial."""
        return _noted(lambda: TrialRows.end(self, number, state, value, said), self._tells)()


def _noted(step: Callable[[], T], steps: list[Step]) -> Callable[[], T]:
    at = time.monotonic()

    def noted() -> T:
        began, own = time.monotonic(), time.thread_time()
        try:
            return step()
        finally:
            took = time.monotonic() - began
            steps.append(Step(at, began - at, took, time.thread_time() - own))

    return noted


@dataclass(frozen=True)
class Replay:
    """What all drivers are told.

    Attributes
    ----------
    url, folder : str
        Of the database, and where places and RUN folders are.
    trials : Trials
    stagger : float
        Seconds within which drivers begin, one after the other.
    """

    url: str
    folder: str
    trials: Trials
    stagger: float

    def drive(self, share: float, begins: float, ends: float) -> Driven:
        """Search as one driver; its place among them (0 to 1) says when it begins."""
        study, duels = planned()
        clock = WallClock()
        clock.wait(begins + share * self.stagger - clock.now())
        joined = _Timed.join(
            self.url, f"{self.folder}/shared", name=NAME, terms={"plan": {}}, workers=1
        )
        run = RunFolder.open(
            f"{self.folder}/run{share:.4f}",
            fingerprint="0" * 16,
            resume=True,
            study=NAME,
            place=joined.place,
        )
        workers = Simulated(self.trials, clock, Costs())
        with joined, run as folder:
            run_study(
                study.basis,
                study.prepared.space,
                profile=study.trial_profile,
                settings=StudySettings(
                    deadline=Deadline(ends),
                    backend=workers,
                    storage=joined,
                ),
                duels=duels,
                folder=folder,
            )
        return replace(joined.driven, spent=workers.spent)


def _drive_some(replay: Replay, shares: Sequence[float], told: Connection) -> None:
    """Search as some of the drivers, in a thread each, once it is said from when to when."""
    planned()
    told.send(os.getpid())
    begins, ends = told.recv()
    with ThreadPoolExecutor(len(shares)) as pool:
        told.send(list(pool.map(lambda share: replay.drive(share, begins, ends), shares)))


class _Watch:
    """What a server did between two looks.

    Parameters
    ----------
    own : Server
    drivers : sequence of int
        Processes.
    """

    def __init__(self, own: Server, drivers: Sequence[int]) -> None:
        self._server, self._drivers = own, drivers
        url = own.url.replace("postgresql:", "postgresql+psycopg:")
        self._engine = create_engine(url, isolation_level="AUTOCOMMIT")

    def look(self) -> dict[str, float]:
        """Return the processor time of server, drivers and all programs, and what it counts."""
        with self._engine.connect() as connection:
            query = (
                "SELECT xact_commit + xact_rollback, numbackends "
                "FROM pg_stat_database WHERE datname = 'postgres'"
            )
            transactions, connections = connection.execute(text(query)).one()
        return {
            "server": processor_seconds(self._server.process),
            "drivers_own": sum(map(processor_seconds, self._drivers)),
            "machine": busy_seconds(),
            "transactions": transactions,
            "connections": connections,
        }


def replayed(*, drivers: int, seconds: float, lasts: float) -> Row:
    """Let so many drivers search one study, each with trials of so many seconds in the mean.

    Parameters
    ----------
    drivers : int
    seconds : float
        Of a trial; any takes from half to one and a half times as long.
    lasts : float
        Seconds that are looked at.

    Returns
    -------
    dict
        Of the workers' seconds the share that trials took (`busy`), and those a second that ended;
        of steps under the lock and of tells the median and the 95 % quantile, in milliseconds, and
        of the seconds how long the lock was held, and its holders had a processor; what a trial
        took of the processors of server and drivers, in seconds, and transactions; connections; the
        processors that other programs had.
    """
    kinds = [f"{rung:g}" for rung in DEFAULT_POLICY.rungs] + ["confirm", "duel"]
    places = np.linspace(0.5, 1.5, 101)
    even = [
        Measured(kind, "any", seconds * place, ended=False) for kind in kinds for place in places
    ]
    trials = Trials(even, 0, rows=SCORED)
    with (
        tempfile.TemporaryDirectory() as folder,
        server(f"max_connections={4 * drivers + 20}") as own,
        _processes(Replay(own.url, folder, trials, seconds), drivers) as processes,
    ):
        watch = _Watch(own, [process.recv() for process in processes])
        apart = APART * seconds
        begins = time.monotonic() + apart
        window = begins, begins + lasts
        for process in processes:
            process.send((begins - apart, window[1] + apart))
        before, after = _looked(watch, window)
        done = [driver for process in processes for driver in process.recv()]
    steps, tells, spent = (
        [one for driver in done for one in getattr(driver, name)]
        for name in ("steps", "tells", "spent")
    )
    steps, tells = (
        [one for one in each if begins <= one.at < window[1]] for each in (steps, tells)
    )
    ended = sum(begins <= trial.began + trial.seconds < window[1] for trial in spent)
    spans = {name: after[name] - before[name] for name in before}
    return {
        "drivers": drivers,
        "seconds": seconds,
        "lasts": lasts,
        "busy": sum(trial.within(*window) for trial in spent) / (drivers * lasts),
        "ended": ended / lasts,
        "held": sum(step.took for step in steps) / lasts,
        "held_own": sum(step.own for step in steps) / lasts,
        "steps": len(steps) / lasts,
        **{f"step_{what}": _spread(getattr(s, what) for s in steps) for what in Step._fields[1:]},
        "tell_took": _spread(tell.took for tell in tells),
        "connections": after["connections"],
        "others": (spans["machine"] - spans["server"] - spans["drivers_own"]) / lasts,
        **{name: spans[name] / max(ended, 1) for name in ("server", "drivers_own", "transactions")},
    }


@contextmanager
def _processes(replay: Replay, drivers: int) -> Iterator[list[Connection]]:
    """Start a few processes for so many drivers; give what is said to each."""
    context, processes, told = multiprocessing.get_context("spawn"), [], []
    for number in range(min(PROCESSES, drivers)):
        here, there = context.Pipe()
        shares = [place / drivers for place in range(number, drivers, PROCESSES)]
        processes.append(context.Process(target=_drive_some, args=(replay, shares, there)))
        told.append(here)
        processes[-1].start()
    try:
        yield told
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _looked(watch: _Watch, window: tuple[float, float]) -> list[dict[str, float]]:
    """Look at the begin and the end of a window."""
    looks = []
    for moment in window:
        time.sleep(max(moment - time.monotonic(), 0.0))
        looks.append(watch.look())
    return looks


def _spread(seconds: Iterable[float]) -> list[float]:
    """Return the median and the 95 % quantile, in milliseconds."""
    return [round(1e3 * float(q), 2) for q in np.quantile(list(seconds) or [0.0], [0.5, 0.95])]
