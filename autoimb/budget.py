"""The wall clock: when a trial, the search and everything must end."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from autoimb.errors import BudgetError, DeadlineExceeded
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.text import shown

__all__ = [
    "DEFAULT_BUDGET",
    "FOREVER",
    "LEAST_BUDGET",
    "Budget",
    "Deadline",
    "check_budget",
    "processor_turns",
]

# Smallest reserve for what follows the search, in seconds.
_MIN_RESERVE = 3.0
# Largest reserve that is a share of the budget, in seconds.
_MAX_RESERVE = 60.0
# Largest share of the budget reserved for scored rows and classes, also on a busy machine
# (reports/design/planning-and-budgets.md).
_MAX_CELL_SHARE = 0.5
# Largest factor of the reserve on a machine where other programs compute
# (reports/design/planning-and-budgets.md).
_MAX_PACE = 5.0
# Largest share of the budget that the smallest reserve may take on a busy machine
# (reports/design/planning-and-budgets.md).
_MAX_PACED_SHARE = 0.25

DEFAULT_BUDGET = 300.0  # seconds
LEAST_BUDGET = 5.0  # seconds: below, starting the workers alone takes longer


@dataclass(frozen=True)
class Deadline:
    """A moment that work must not outlive.

    It holds a reading of ``time.monotonic()``. That clock counts from the boot of the machine
    on Linux, macOS and Windows, so a deadline means the same in every process of one machine;
    it means nothing on another machine.

    Parameters
    ----------
    at : float
        Reading of ``time.monotonic()`` in seconds; infinite for no deadline.
    """

    at: float = math.inf

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """Return the deadline so many seconds from now; None for no deadline."""
        return cls() if seconds is None else cls(time.monotonic() + seconds)

    @property
    def finite(self) -> bool:
        """Whether there is a deadline at all."""
        return math.isfinite(self.at)

    @property
    def expired(self) -> bool:
        """Whether it has passed."""
        return self.left() <= 0.0

    def left(self) -> float:
        """Return the seconds left: negative once it has passed, infinite for no deadline."""
        return self.at - time.monotonic()

    def check(self) -> None:
        """Raise `DeadlineExceeded` once it has passed."""
        if self.expired:
            raise DeadlineExceeded(f"the deadline passed {-self.left():.1f} seconds ago")

    def sooner(self, seconds: float) -> Deadline:
        """Return the deadline that lies so many seconds before this one."""
        return Deadline(self.at - seconds)

    def fraction(self, share: float) -> Deadline:
        """Return the deadline after this share (0 to 1) of the time that is left now."""
        return Deadline.after(share * self.left()) if self.finite else self

    def shared(self, parts: int) -> Iterator[Deadline]:
        """Yield a deadline for each of so many parts, in turn: of what is left then, its share."""
        for number in range(parts):
            yield self.fraction(1.0 / (parts - number))

    def within(self, seconds: float | None) -> Deadline:
        """Return this deadline, or the one so many seconds from now where that is earlier."""
        return self if seconds is None else min(self, Deadline.after(seconds), key=lambda d: d.at)


FOREVER = Deadline()


@dataclass(frozen=True)
class Budget:
    """How long a whole search may take, and the part of it that finishing needs.

    Parameters
    ----------
    total : float or None
        Wall-clock seconds for everything; None for no limit.
    started : float
        Reading of ``time.monotonic()`` at the start.
    policy : SearchPolicy
        How much of it is kept.
    cells : int
        Scored rows times classes, once they are known.
    pace : float
        How many times as long as alone the program takes, where others compute too; once known.
    turns : tuple of two int
        What `processor_turns` gave at the start.
    """

    total: float | None
    started: float
    policy: SearchPolicy = DEFAULT_POLICY
    cells: int = 0
    pace: float = 1.0
    turns: tuple[int, int] = (0, 0)

    @classmethod
    def start(
        cls,
        total: float | None,
        *,
        started: float | None = None,
        policy: SearchPolicy = DEFAULT_POLICY,
    ) -> Budget:
        """Start the clock.

        Parameters
        ----------
        total : float or None
            Wall-clock seconds for everything; None for no limit.
        started : float or None
            Reading of ``time.monotonic()`` at the start; None is now.
        policy : SearchPolicy, optional

        Returns
        -------
        Budget
            Running.

        Raises
        ------
        BudgetError
            Where `total` is not a number of at least `LEAST_BUDGET` seconds.
        """
        check_budget(total, None if total is not None else 1)
        now = time.monotonic() if started is None else started
        return cls(total, now, policy, turns=processor_turns())

    def at_its_pace(self) -> Budget:
        """Return the budget with what its end takes on a machine as busy as since the start.

        To be asked while this thread alone computes for the search.
        """
        ran, waited = (now - then for now, then in zip(processor_turns(), self.turns))
        pace = (ran + waited) / ran if ran > 0 else 1.0
        return replace(self, pace=min(pace, _MAX_PACE))

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def reserve(self) -> float:
        """Seconds kept for what follows the search: blend, export, report."""
        if self.total is None:
            return 0.0
        share = self.policy.reserves.share * self.total
        usual = min(max(_MIN_RESERVE, share), _MAX_RESERVE)
        paced = self.pace * _MIN_RESERVE
        cells = self.pace * self.policy.reserves.cell_seconds * self.cells
        paced = min(paced, _MAX_PACED_SHARE * self.total)
        return max(usual, paced, min(cells, _MAX_CELL_SHARE * self.total))

    @property
    def deadline(self) -> Deadline:
        """The end of everything."""
        return Deadline() if self.total is None else Deadline(self.started + self.total)

    def check(self, before: str) -> None:
        """Raise BudgetError where it ended before something began."""
        if self.deadline.expired:
            raise BudgetError(
                f"The {self.total:g} seconds ended before {before}: give more time, fewer rows or "
                "fewer columns."
            )

    @property
    def search_deadline(self) -> Deadline:
        """The end of the search: what is left then is the reserve."""
        return self.deadline.sooner(self.reserve)


def processor_turns() -> tuple[int, int]:
    """Return how long this thread ran, and how long it waited for a processor to run on.

    Returns
    -------
    tuple of int
        In nanoseconds, by Linux; zeros where nothing counts them.
    """
    try:
        ran, waited, _ = Path("/proc/thread-self/schedstat").read_text().split()
    except OSError:
        return 0, 0
    return int(ran), int(waited)


def check_budget(time_budget: float | None, n_trials: int | None) -> None:
    """Refuse limits that no search can keep.

    Parameters
    ----------
    time_budget : float or None
        Wall-clock seconds for everything.
    n_trials : int or None
        How many strategies to try.

    Raises
    ------
    BudgetError
        Naming the limit, the least sensible value and the one given.
    """
    if time_budget is None and n_trials is None:
        raise BudgetError("time_budget and n_trials are both None: one must end the search.")
    if n_trials is not None and not (n_trials >= 1 and n_trials % 1 == 0):
        raise BudgetError(f"n_trials must be a whole number of at least 1, got {shown(n_trials)}.")
    if time_budget is not None and not LEAST_BUDGET <= time_budget <= sys.float_info.max:
        raise BudgetError(
            f"time_budget must be at least {LEAST_BUDGET:g} seconds, got {shown(time_budget)}; "
            "for a quick try give n_trials and time_budget=None."
        )
