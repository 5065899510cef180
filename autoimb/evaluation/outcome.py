"""How a trial ended: what it scored, or why there is no score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from autoimb.assessment.calibration import Finishing
from autoimb.assessment.uncertainty import Score

if TYPE_CHECKING:
    from autoimb.pipeline.fitted import FittedStrategy

__all__ = [
    "Cut",
    "Failed",
    "Infeasible",
    "Outcome",
    "Pruned",
    "Scored",
    "Trace",
    "ranked",
    "reason_of",
]


@dataclass(frozen=True)
class Trace:
    """How a training went.

    Attributes
    ----------
    curve, floor : tuple of float
        The measure at each checkpoint: the mean over the folds, and the worst of them.
    planned : int
        Checkpoints of the planned work.
    ended : bool
        Whether its own patience ended it, so that more work would change nothing.
    confirmed : bool
        Whether it was on folds that had not chosen it.
    checkpoints : tuple of int
        The checkpoint that each fold kept, of every repeat.
    """

    curve: tuple[float, ...] = ()
    floor: tuple[float, ...] = ()
    planned: int = 0
    ended: bool = False
    confirmed: bool = False
    checkpoints: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Scored:
    """A trial that ended by itself.

    Attributes
    ----------
    score : Score
    oof : float64 array of shape (n_scored, C)
        Out-of-fold probabilities of ``plan.folds.scored``, calibrated across folds.
    finishing : Finishing or None
        How they were calibrated and weighted by the user's costs, where they were.
    labels : int64 array of shape (n_scored,), or None
        Cross-fitted by the decision rule where the metric is one of labels; None where the most
        probable class does.
    fitted : FittedStrategy or None
        None where its networks were not kept.
    trace : Trace
    seconds : float
    """

    score: Score
    oof: np.ndarray
    finishing: Finishing | None = None
    labels: np.ndarray | None = None
    fitted: FittedStrategy | None = None
    trace: Trace = field(default_factory=Trace)
    seconds: float = 0.0

    @property
    def class_costs(self) -> tuple[float, ...] | None:
        """The user's costs of the classes, where its probabilities carry them."""
        return None if self.finishing is None else self.finishing.class_costs

    def view(self, part: int) -> np.ndarray:
        """Return all rows' probabilities as what saw no label of a part gives them, (n_scored, C).

        The parts are those of the judge; its own rows are those of `oof`.
        """
        return self.oof if self.finishing is None else self.finishing.view(part)

    @property
    def likeliest(self) -> np.ndarray:
        """The labels, or the most probable class where there are none."""
        return self.oof.argmax(axis=1) if self.labels is None else self.labels


@dataclass(frozen=True, eq=False)
class Cut:
    """A trial that its deadline ended; `best` is what its best checkpoint gives, if any."""

    reason: str
    best: Scored | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Pruned:
    """A trial that was given up, being much worse than the best one."""

    reason: str
    trace: Trace = field(default_factory=Trace)
    seconds: float = 0.0


@dataclass(frozen=True)
class Infeasible:
    """A strategy that can't run on these rows."""

    reason: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Failed:
    """A trial that broke."""

    reason: str
    seconds: float = 0.0


Outcome = Scored | Cut | Pruned | Infeasible | Failed


def ranked(results: Mapping[int, Scored]) -> list[int]:
    """Return the numbers of trials, best first; of equals the earlier.

    Confirmed ones come before others, whatever their values: those of the others were chosen by.
    """

    def place(number: int) -> tuple[bool, float, int]:
        result = results[number]
        return not result.trace.confirmed, -result.score.utility, number

    return sorted(results, key=place)


def reason_of(error: BaseException) -> str:
    """Write an exception as one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
