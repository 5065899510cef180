"""Progress of a search: one live line on a terminal, plain lines on other streams."""

from __future__ import annotations

import contextlib
import math
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, TextIO

from autoimb.budget import Budget
from autoimb.runs.record import RAN, TrialRecord
from autoimb.text import clock, harmless

__all__ = ["Event", "Progress"]

# Seconds between two plain lines without a new best trial.
LINE_EVERY = 2.0


@dataclass(frozen=True)
class Event:
    """State of a search, reported several times a second and at the end of each trial.

    Parameters
    ----------
    finished : TrialRecord or None
        The trial that has just ended; None if no trial has ended.
    best : TrialRecord or None
        The best trial so far.
    counts : mapping of str to int
        Number of trials by status.
    running : int
        Number of running trials.
    n_trials : int or None
        Maximum number of trials.
    """

    finished: TrialRecord | None
    best: TrialRecord | None
    counts: Mapping[str, int]
    running: int
    n_trials: int | None


class Progress:
    """Context manager that displays events; call it with each event.

    Parameters
    ----------
    budget : Budget
        Budget whose elapsed and remaining time is displayed.
    metric : str
        Name that is displayed before a score.
    verbose : int
        Level of output; 0 displays nothing.
    stream : text file or None
        Output stream; None is stderr.
    """

    def __init__(
        self, budget: Budget, *, metric: str, verbose: int = 1, stream: TextIO | None = None
    ) -> None:
        self._budget = budget
        self._metric = metric
        self._silent = verbose < 1
        self._stream = sys.stderr if stream is None else stream
        self._live = not self._silent and self._stream.isatty()
        self._last_line_at = -math.inf
        self._best: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._write(self._live_line(""))

    def __call__(self, event: Event) -> None:
        """Display an event."""
        if self._live:
            line = " | ".join([*self._clock(), _tally(event), *self._standing(event)])
            self._write(self._live_line(line))
        elif not self._silent:
            self._show(event)

    def tell(self, *lines: str) -> None:
        """Write permanent lines."""
        if not self._silent:
            self._write(self._live_line("") + "".join(f"{harmless(line)}\n" for line in lines))

    def _live_line(self, line: str) -> str:
        """Return what replaces the live line and leaves the cursor at its start."""
        width = shutil.get_terminal_size().columns - 1
        return f"\r{harmless(line)[:width]:<{width}}\r" if self._live else ""

    def _write(self, text: str) -> None:
        # The reader of a pipe may have ended, or the stream may be closed.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()

    def _show(self, event: Event) -> None:
        """Write a line for a new best trial, and for other trials if the last line is old."""
        if event.finished is None:
            return
        best = event.best.number if event.best is not None else None
        now = time.monotonic()
        if best == self._best and now - self._last_line_at < LINE_EVERY:
            return
        self._best, self._last_line_at = best, now
        record = event.finished
        result = record.reason if record.score is None else f"{record.score.value:.4f}"
        trial = f"trial {record.number} {record.status}: {result} {record.strategy.describe()}"
        self.tell(" | ".join([*self._clock(), trial, _tally(event), *self._standing(event)]))

    def _clock(self) -> list[str]:
        seconds_left = self._budget.deadline.left()
        remaining = [f"{clock(max(0.0, seconds_left))} left"] if math.isfinite(seconds_left) else []
        return [clock(self._budget.elapsed), *remaining]

    def _standing(self, event: Event) -> list[str]:
        if event.best is None or event.best.score is None:
            return []
        score = event.best.score
        error = f" ± {score.error:.4f}" if math.isfinite(score.error) else ""
        value = f"{score.value:.4f}{error}"
        return [
            f"best {self._metric} {value} (trial {event.best.number})",
            event.best.strategy.describe(),
        ]


def _tally(event: Event) -> str:
    done = sum(event.counts.get(status, 0) for status in RAN)
    goal = f" of {event.n_trials}" if event.n_trials is not None else ""
    other_statuses = [
        f"{n} {status}" for status, n in event.counts.items() if status != "complete" and n
    ]
    inside = f" ({', '.join(other_statuses)})" if other_statuses else ""
    return f"{done} trials{goal}{inside}"
