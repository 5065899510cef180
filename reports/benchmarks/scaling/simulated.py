"""Workers that train nothing: a search's own scheduler runs, in virtual time or by the wall clock.

A simulated trial takes as long as a measured one of the same network at the same rung: the longer,
the further up a strategy's own place among them is, which is the same at all rungs. Its score is
the strategy's worth and noise, of which there is less the longer it is trained.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, Self
from zlib import crc32

import numpy as np

from autoimb.assessment.uncertainty import Score
from autoimb.budget import Deadline
from autoimb.evaluation.trial import Cut, Outcome, Scored, Trace
from autoimb.runtime.pool import Resources
from autoimb.runtime.worker import Assignment, Work
from autoimb.space.strategy import Strategy
from autoimb.training.parts import Parts
from autoimb.training.store import Store
from reports.benchmarks.worth import NOISE, worth_on

__all__ = [
    "ClockDeadline",
    "Costs",
    "Measured",
    "ProcessorClock",
    "Simulated",
    "Spent",
    "Trials",
    "VirtualClock",
    "WallClock",
    "kind_of",
]

CONFIRMED = 4.0  # times the planned work, that a confirmation is as sure as


class Clock(Protocol):
    """Where the time is read."""

    def now(self) -> float:
        """Return the seconds since some moment."""
        ...


class Passing(Clock, Protocol):
    """A clock that can be waited by."""

    def wait(self, seconds: float, most: float = math.inf) -> None:
        """Let so many seconds pass; a real clock not more than `most` at once."""
        ...


class WallClock:
    """The time of this machine."""

    def now(self) -> float:
        """Read the clock that deadlines read."""
        return time.monotonic()

    def wait(self, seconds: float, most: float = math.inf) -> None:
        """Sleep."""
        time.sleep(max(min(seconds, most), 0.0))


@dataclass
class VirtualClock:
    """A time that passes only where something is said to take time."""

    seconds: float = 0.0

    def now(self) -> float:
        """Return what has passed."""
        return self.seconds

    def wait(self, seconds: float, most: float = math.inf) -> None:  # noqa: ARG002 - as others do
        """Let it pass at once."""
        self.seconds += max(seconds, 0.0)


class ProcessorClock:
    """The time that this process had a processor, whatever else runs beside."""

    def now(self) -> float:
        """Return it."""
        return time.process_time()


@dataclass(frozen=True)
class ClockDeadline(Deadline):
    """A deadline by another clock.

    Attributes
    ----------
    clock : Clock
    """

    clock: Clock = field(default_factory=VirtualClock)

    def left(self) -> float:
        """Return the seconds left."""
        return self.at - self.clock.now()

    def within(self, seconds: float | None) -> Self:
        """Return this deadline, or the one so many seconds from now where that is earlier."""
        most = math.inf if seconds is None else self.clock.now() + seconds
        return replace(self, at=min(self.at, most))


class Measured(NamedTuple):
    """A trial of a real search.

    Attributes
    ----------
    kind : str
        Its rung, or ``"confirm"`` or ``"duel"``.
    network : str
        The option.
    seconds : float
        At this rung alone.
    ended : bool
        Whether its own patience ended it.
    """

    kind: str
    network: str
    seconds: float
    ended: bool


def kind_of(rung: float, *, confirm: bool, duel: bool) -> str:
    """Name what takes trials of one network about as long."""
    return "confirm" if confirm else "duel" if duel else f"{rung:g}"


class Trials:
    """What becomes of the trials of a simulated table.

    Parameters
    ----------
    measured : sequence of Measured
    seed : int
        Of the table.
    scale : float
        Times the measured seconds, that trials take.
    rows : int
        Of the out-of-fold predictions.
    """

    def __init__(
        self, measured: Sequence[Measured], seed: int, *, scale: float = 1.0, rows: int = 1
    ) -> None:
        self._seed, self._scale, self._rows = seed, scale, rows
        self._known: dict[tuple[str, str], list[Measured]] = {}
        for trial in sorted(measured, key=lambda one: one.seconds):
            for network in (trial.network, ""):
                self._known.setdefault((trial.kind, network), []).append(trial)
        self.worth = worth_on(seed)

    def outcome(self, asked: Assignment) -> Scored:
        """Return what an assignment gives, and the seconds that it takes."""
        key = crc32(repr(asked.strategy).encode())
        kind = kind_of(asked.rung, confirm=asked.confirm, duel=asked.duel)
        like = self._like(kind, asked.strategy, place=key / 2**32)
        error = NOISE / math.sqrt(CONFIRMED if asked.confirm else asked.rung)
        random = np.random.default_rng([self._seed, key, crc32(kind.encode())])
        value = self.worth(asked.strategy) + error * float(random.normal())
        rare = random.random(self._rows)
        return Scored(
            Score(value, error, (value,), False, value),
            np.column_stack([1 - rare, rare]),
            trace=Trace(ended=like.ended, confirmed=asked.confirm),
            seconds=self._scale * like.seconds,
        )

    def _like(self, kind: str, strategy: Strategy, *, place: float) -> Measured:
        network = strategy.network.name
        found = self._known.get((kind, network)) or self._known[kind, ""]
        return found[int(place * len(found))]


class Spent(NamedTuple):
    """What a worker did.

    Attributes
    ----------
    began, seconds : float
        By the clock of the simulation, and how long it took.
    cut : bool
        Whether its deadline ended it.
    """

    began: float
    seconds: float
    cut: bool

    def within(self, begin: float, end: float) -> float:
        """Return how much of it lies between two moments, in seconds."""
        return max(min(self.began + self.seconds, end) - max(self.began, begin), 0.0)


class Costs(NamedTuple):
    """Seconds of the driver, while which no other trial begins.

    Attributes
    ----------
    trial : float
        For each trial: to plan and begin it, and to write down its end.
    draw : float
        More, where the sampler draws its strategy.
    """

    trial: float = 0.0
    draw: float = 0.0


class Simulated:
    """A backend of simulated workers, and its runner.

    Parameters
    ----------
    trials : Trials
    clock : Passing
    costs : Costs
        Added to what the scheduler takes by the clock.

    Attributes
    ----------
    spent : list of Spent
        A trial each, in the order in which they began.
    driver : float
        The seconds of `costs` so far.
    """

    name = "simulated"

    def __init__(self, trials: Trials, clock: Passing, costs: Costs) -> None:
        self._trials, self._clock, self._costs = trials, clock, costs
        self._size = 0
        self._ends: dict[int, tuple[float, Outcome]] = {}
        self._seen: set[Strategy] = set()
        self.states = Store()  # where nothing is trained nothing waits
        self.spent: list[Spent] = []
        self.driver = 0.0

    def workers(self, n_jobs: int | None) -> int:
        """Return how many workers `n_jobs` is."""
        return n_jobs or 1

    def runner(self, work: Work, resources: Resources) -> Self:
        """Return itself, with so many workers."""
        self._work, self._size = work, resources.n_jobs
        return self

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of the trials that run."""
        return tuple(self._ends)

    @property
    def idle(self) -> int:
        """How many workers have none."""
        return self._size - len(self._ends)

    def submit(self, number: int, assignment: Assignment) -> None:
        """Begin a trial."""
        drawn = assignment.duel or assignment.strategy not in self._seen
        self._seen.add(assignment.strategy)
        self._take(self._costs.trial + drawn * self._costs.draw)
        outcome: Outcome = self._trials.outcome(assignment)
        now = self._clock.now()
        most = max(assignment.deadline.at - now, 0.0)
        if cut := outcome.seconds > most:
            outcome = Cut("the deadline passed", seconds=most)
        self.spent.append(Spent(now, outcome.seconds, cut))
        self._ends[number] = now + outcome.seconds, outcome

    def collect(self, seconds: float) -> list[tuple[int, Outcome]]:
        """Wait for the next end; return all trials that have ended."""
        if not self._ends:
            return []
        first = min(end for end, _ in self._ends.values())
        self._clock.wait(first - self._clock.now(), seconds)
        now = self._clock.now()
        ended = sorted((end, number) for number, (end, _) in self._ends.items() if end <= now)
        return [(number, self._ends.pop(number)[1]) for _, number in ended]

    def _take(self, seconds: float) -> None:
        self.driver += seconds
        self._clock.wait(seconds)

    def encoded(self) -> Parts:
        """Return folds of which nothing was encoded."""
        study = self._work.study
        return Parts(study.dataset, study.plan.folds, seed=study.plan.seed)

    def close(self) -> None:
        """Stop."""
        self._ends.clear()
