"""How long a pack trains and at which rate: frozen before the first step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, cos, log2, pi, sqrt

from autoimb.errors import InfeasibleError
from autoimb.space.network.component import Anneal, Hyperparameters
from autoimb.training.plan import Plan, batch_for

__all__ = ["Schedule", "most_rows", "plan_schedule", "rung_ends"]


@dataclass(frozen=True)
class Schedule:
    """The plan of one training run.

    Attributes
    ----------
    ends : tuple of int
        At which checkpoint each of its rungs ends, rising; where the last one does, so does the
        training. A training that goes on from one rung to the next draws from new streams there.
    unit : int
        Checkpoints of the planned work.
    steps : int
        Gradient steps between two checkpoints; the same for every member of the pack.
    batch_size : int
        Rows of each member in a step.
    learning_rate, weight_decay : float
        Of AdamW.
    kind : {"constant", "cosine", "coslog4"}
        After the warm-up: constant with averaged weights, or a cosine to zero at the last step.
        Or four cycles from zero to the rate and back, each twice as long as the one before
        (Holzmüller et al., 2024).
    patience : int
        Evaluations without a better one after which the pack stops.
    beta2 : float
        Of AdamW.
    """

    ends: tuple[int, ...]
    unit: int
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    kind: Anneal = "constant"
    patience: int = 8
    beta2: float = 0.99

    @property
    def checkpoints(self) -> int:
        """Points of the training at which the pack is evaluated and may stop, at most."""
        return self.ends[-1]

    @property
    def at_once(self) -> Schedule:
        """The schedule of a training that begins anew at every rung."""
        return replace(self, ends=self.ends[-1:])

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        # a constant rate must not know how far the training may go on
        total = (self.unit if self.kind == "constant" else self.checkpoints) * self.steps
        if self.kind == "coslog4":
            cycles = log2(1 + 15 * (step + 0.5) / total)
            return self.learning_rate * 0.5 * (1.0 - cos(2 * pi * cycles))
        warm = min(50, max(total // 20, 1))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        if self.kind == "constant":
            return self.learning_rate
        return self.learning_rate * 0.5 * (1.0 + cos(pi * (step - warm) / max(total - warm, 1)))


def most_rows(plan: Plan, *, row_operations: float) -> int:
    """Return how many rows a member may see, so that it goes over them more than once.

    Parameters
    ----------
    plan : Plan
    row_operations : float
        Of a forward pass of all networks on a row each.
    """
    draws = plan.effort.operations / (3 * row_operations)
    return max(int(draws / plan.policy.least_epochs), plan.policy.least_member_rows)


def rung_ends(unit: int, plan: Plan) -> tuple[int, ...]:
    """Return at which checkpoints the rungs of a training end, up to the plan's.

    A rung that adds no checkpoint is left out.

    Parameters
    ----------
    unit : int
        Checkpoints of the planned work.
    plan : Plan
    """
    most = max(unit, 2 * plan.effort.most_checkpoints)
    rungs = [rung for rung in plan.policy.rungs if rung < plan.rung]
    return tuple(sorted({min(ceil(unit * rung), most) for rung in [*rungs, plan.rung]}))


def plan_schedule(
    hyper: Hyperparameters,
    plan: Plan,
    *,
    rows: int,
    row_operations: float,
    evaluated: int,
) -> Schedule:
    """Plan batch, steps, checkpoints and rungs from the planned sizes, in arithmetic alone.

    The work stays near what was planned: where the fewest checkpoints that there must be would be
    more, they are closer together, down to a few steps.

    Parameters
    ----------
    hyper : Hyperparameters
    plan : Plan
    rows : int
        That a member sees.
    row_operations : float
        Of a forward pass of all networks on a row each.
    evaluated : int
        Rows of the longest fold, at each checkpoint.

    Returns
    -------
    Schedule

    Raises
    ------
    InfeasibleError
        Where the least of it would be far more work than was planned.
    """
    batch = int(min(max(batch_for(rows) * hyper.batch_factor, 16), rows))
    # evaluation takes about a fifth of the arithmetic, but checkpoints are within four epochs
    # of each other on a small part, and never very close
    epoch = -(-rows // batch)
    steps = max(epoch, min(-(-4 * evaluated // (3 * batch)), 4 * epoch), 20)
    effort, policy = plan.effort, plan.policy
    affordable = effort.operations / (row_operations * (3 * steps * batch + evaluated))
    checkpoints = min(max(int(affordable), effort.least_checkpoints), effort.most_checkpoints)
    if affordable < checkpoints:
        steps = max(int(steps * affordable / checkpoints), policy.least_steps)
        least = row_operations * (3 * steps * batch + evaluated) * checkpoints
        if least > policy.most_times_planned * effort.operations:
            raise InfeasibleError(
                f"Its networks would need at least {least / effort.operations:.1f} times the work "
                "that is planned for a trial."
            )
    ends = rung_ends(checkpoints, plan)
    return Schedule(
        ends=ends,
        unit=checkpoints,
        steps=steps,
        batch_size=batch,
        learning_rate=hyper.learning_rate * sqrt(batch / 256),
        weight_decay=hyper.weight_decay,
        kind=hyper.schedule,
        # a cycle is judged where it ends
        patience=ends[-1] if hyper.schedule == "coslog4" else effort.patience,
        beta2=hyper.beta2,
    )
