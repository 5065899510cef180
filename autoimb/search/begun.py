"""A trial between its start and its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from autoimb.runs.record import Stage
from autoimb.runtime.worker import Assignment
from autoimb.space.draw import Space, draw
from autoimb.space.strategy import Strategy, partner

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from autoimb.budget import Deadline
    from autoimb.training.pruning import Bar

__all__ = ["Begun"]


@dataclass(frozen=True)
class Begun:
    """A trial that was asked for and isn't finished.

    Attributes
    ----------
    number : int
    stage : Stage
    strategy : Strategy
    params : dict
        What the study drew, by Optuna's names.
    rung : float
    follows : int or None
        The trial of the same strategy at the rung below.
    """

    number: int
    stage: Stage
    strategy: Strategy
    params: dict[str, Any]
    rung: float = 1.0
    follows: int | None = None

    @classmethod
    def of(cls, trial: FrozenTrial, space: Space) -> Self:
        """Read what Optuna holds; it raises where no strategy can be drawn from that."""
        said = trial.user_attrs
        if "partner" in said:
            strategy = partner(str(said["partner"]), costs=space.costs)
            return cls(trial.number, "partner", strategy, {})
        return cls(
            trial.number,
            said["stage"],
            draw(trial, space),
            dict(trial.params),
            rung=said["rung"],
            follows=said.get("follows"),
        )

    def assignment(self, deadline: Deadline, *, limit: float | None, bar: Bar | None) -> Assignment:
        """Return what a worker is asked to do.

        Parameters
        ----------
        deadline : Deadline
            Of the search.
        limit : float or None
            Most seconds for a trial.
        bar : Bar or None
            What a trial must reach to go on.
        """
        confirms = self.stage == "confirm"
        return Assignment(
            self.strategy,
            deadline.within(None if confirms else limit),
            # planned trials and duels are never given up: choice, verdict and report compare them
            bar=bar if self.stage == "search" else None,
            rung=self.rung,
            confirm=confirms,
            duel=self.stage == "duel",
        )
