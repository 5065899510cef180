"""Wall-clock budget of a search, and deadlines of its parts."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from autoimb.errors import BudgetError, DeadlineExceeded
from autoimb.policy import DEFAULT_POLICY
from autoimb.text import shown

__all__ = [
    "DEFAULT_BUDGET",
    "FOREVER",
    "MIN_BUDGET",
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
MIN_BUDGET = 5.0  # seconds: below, starting the workers alone takes longer


@dataclass(frozen=True)
class Deadline:
    """Point in time by which work must end.

    It is a reading of ``time.monotonic()``. On Linux, macOS and Windows that clock counts from the
    boot of the machine, so a deadline is valid in every process of the same machine, but not on
    another one.

    Parameters
    ----------
    at : float
        Reading of ``time.monotonic()`` in seconds; infinite for no deadline.
    """

    at: float = math.inf

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """Return the deadline ``seconds`` from now, or none if ``seconds`` is None."""
        return cls() if seconds is None else cls(time.monotonic() + seconds)

    @property
    def finite(self) -> bool:
        """True unless the deadline is infinite."""
        return math.isfinite(self.at)

    @property
    def expired(self) -> bool:
        """True if the deadline has passed."""
        return self.left() <= 0.0

    def left(self) -> float:
        """Return the remaining seconds: negative after the deadline, infinite without one."""
        return self.at - time.monotonic()

    def check(self) -> None:
        """Raise `DeadlineExceeded` if the deadline has passed."""
        if self.expired:
            raise DeadlineExceeded(f"the deadline passed {-self.left():.1f} seconds ago")

    def sooner(self, seconds: float) -> Deadline:
        """Return the deadline ``seconds`` before this one."""
        return Deadline(self.at - seconds)

    def fraction(self, share: float) -> Deadline:
        """Return the deadline after a share (0 to 1) of the remaining time."""
        return Deadline.after(share * self.left()) if self.finite else self

    def shared(self, parts: int) -> Iterator[Deadline]:
        """Yield a deadline for each part in turn: an equal share of the time that remains then."""
        for number in range(parts):
            yield self.fraction(1.0 / (parts - number))

    def within(self, seconds: float | None) -> Deadline:
        """Return the earlier of this deadline and the one ``seconds`` from now."""
        return self if seconds is None else min(self, Deadline.after(seconds), key=lambda d: d.at)


FOREVER = Deadline()


@dataclass(frozen=True)
class Budget:
    """Duration of a whole search, with a reserve for its end.

    Parameters
    ----------
    total : float or None
        Wall-clock seconds for everything; None for no limit.
    started : float
        Reading of ``time.monotonic()`` at the start.
    cells : int
        Number of scored rows times classes, once known.
    pace : float
        Factor by which other programs on the machine slow this one down, once known.
    turns : tuple of two int
        Result of `processor_turns` at the start.
    """

    total: float | None
    started: float
    cells: int = 0
    pace: float = 1.0
    turns: tuple[int, int] = (0, 0)

    @classmethod
    def start(cls, total: float | None, *, started: float | None = None) -> Budget:
        """Start the clock.

        Parameters
        ----------
        total : float or None
            Wall-clock seconds for everything; None for no limit.
        started : float or None
            Reading of ``time.monotonic()`` at the start; None is now.

        Returns
        -------
        Budget
            The running budget.

        Raises
        ------
        BudgetError
            If `total` is not a number of at least `MIN_BUDGET` seconds.
        """
        check_budget(total, None if total is not None else 1)
        now = time.monotonic() if started is None else started
        return cls(total, now, turns=processor_turns())

    def at_its_pace(self) -> Budget:
        """Return the budget with a reserve for a machine as busy as since the start.

        It must be called while no other thread computes for the search.
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
        reserves = DEFAULT_POLICY.reserves
        usual = min(max(_MIN_RESERVE, reserves.share * self.total), _MAX_RESERVE)
        # On a busy machine the minimum grows, and a large table needs time for its cells; both have
        # a maximum share of the total.
        paced = self.pace * _MIN_RESERVE
        max_paced = _MAX_PACED_SHARE * self.total
        for_cells = self.pace * reserves.cell_seconds * self.cells
        max_for_cells = _MAX_CELL_SHARE * self.total
        return max(usual, min(paced, max_paced), min(for_cells, max_for_cells))

    @property
    def deadline(self) -> Deadline:
        """Deadline of the whole search."""
        return Deadline() if self.total is None else Deadline(self.started + self.total)

    def check(self, step: str) -> None:
        """Raise `BudgetError` if the budget ended before a step, which is named in the message."""
        if self.deadline.expired:
            raise BudgetError(
                f"The {self.total:g} seconds ended before {step}: give more time, fewer rows or "
                "fewer columns."
            )


def processor_turns() -> tuple[int, int]:
    """Return how long this thread has run, and how long it has waited for a processor.

    Returns
    -------
    tuple of int
        Nanoseconds, as counted by Linux; zeros on other systems.
    """
    try:
        ran, waited, _ = Path("/proc/thread-self/schedstat").read_text().split()
    except OSError:
        return 0, 0
    return int(ran), int(waited)


def check_budget(time_budget: float | None, n_trials: int | None) -> None:
    """Check the limits of a search.

    Parameters
    ----------
    time_budget : float or None
        Wall-clock seconds for everything.
    n_trials : int or None
        Number of strategies to try.

    Raises
    ------
    BudgetError
        If no search can keep a limit; the message names it, its minimum and the value.
    """
    if time_budget is None and n_trials is None:
        raise BudgetError("time_budget and n_trials are both None: one must end the search.")
    if n_trials is not None and not (n_trials >= 1 and n_trials % 1 == 0):
        raise BudgetError(f"n_trials must be a whole number of at least 1, got {shown(n_trials)}.")
    if time_budget is not None and not MIN_BUDGET <= time_budget <= sys.float_info.max:
        raise BudgetError(
            f"time_budget must be at least {MIN_BUDGET:g} seconds, got {shown(time_budget)}; "
            "for a quick try give n_trials and time_budget=None."
        )
