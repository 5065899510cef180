"""Outcomes of trials: scores, or the reason why there is no score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    "Scored",
    "ranked",
    "reason_of",
    "usable",
]


@dataclass(frozen=True, eq=False)
class Scored:
    """A completed trial.

    Attributes
    ----------
    score : Score
    oof : float64 array of shape (n_scored, C)
        Out-of-fold probabilities of ``plan.folds.scored``, calibrated across folds.
    finishing : Finishing or None
        Calibration and cost weighting of the probabilities; None where neither was applied.
    labels : int64 array of shape (n_scored,), or None
        Cross-fitted labels of the decision rule where the metric is one of labels; None where the
        most probable class is the label.
    fitted : FittedStrategy or None
        Fitted networks or trees; None where they were not stored.
    seconds : float
    """

    score: Score
    oof: np.ndarray
    finishing: Finishing | None = None
    labels: np.ndarray | None = None
    fitted: FittedStrategy | None = None
    seconds: float = 0.0

    @property
    def class_costs(self) -> tuple[float, ...] | None:
        """The user's class costs, where the probabilities include them."""
        return None if self.finishing is None else self.finishing.class_costs

    def view(self, part: int) -> np.ndarray:
        """Return the probabilities of all rows, (n_scored, C), fitted without the labels of a part.

        The parts are those of the judge. In the rows of the part itself the view equals `oof`.
        """
        return self.oof if self.finishing is None else self.finishing.view(part)

    @property
    def likeliest(self) -> np.ndarray:
        """The labels, or the most probable class where there are none."""
        return self.oof.argmax(axis=1) if self.labels is None else self.labels


@dataclass(frozen=True, eq=False)
class Cut:
    """A trial that was ended by its deadline; `best` is the result at its best checkpoint."""

    reason: str
    best: Scored | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Infeasible:
    """A trial whose strategy cannot be trained on these rows."""

    reason: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Failed:
    """A trial that raised an exception or diverged."""

    reason: str
    seconds: float = 0.0


Outcome = Scored | Cut | Infeasible | Failed


def usable(outcome: Outcome) -> Scored | None:
    """Return the result of a trial, also if its deadline ended it; None where there is none."""
    if isinstance(outcome, Cut):
        return outcome.best
    return outcome if isinstance(outcome, Scored) else None


def ranked(results: Mapping[int, Scored]) -> list[int]:
    """Return the numbers of trials, best first; ties are in order of the numbers."""
    return sorted(results, key=lambda number: (-results[number].score.utility, number))


def reason_of(error: BaseException) -> str:
    """Format an exception as one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
