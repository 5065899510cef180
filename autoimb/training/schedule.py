"""Training schedules: number of steps and learning rates, frozen before the first step."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, cos, log2, pi, sqrt

from autoimb.errors import InfeasibleError
from autoimb.space.network import Anneal, Hyperparameters
from autoimb.training.plan import Plan, batch_for

__all__ = ["Schedule", "max_member_rows", "plan_schedule"]

# Rows that an ensemble member sees, however short its time.
_MIN_MEMBER_ROWS = 2_000
# Smallest number of steps between two checkpoints.
_MIN_STEPS = 10
# Largest multiple of a trial's planned work that its networks may cost.
_MAX_TIMES_PLANNED = 2.0


@dataclass(frozen=True)
class Schedule:
    """The plan of one training run.

    Attributes
    ----------
    checkpoints : int
        Largest number of points at which the pack is evaluated and may stop.
    steps : int
        Gradient steps between two checkpoints; the same for every member of the pack.
    batch_size : int
        Rows of each member in a step.
    learning_rate, weight_decay : float
        Parameters of AdamW.
    kind : {"constant", "cosine", "coslog4"}
        Shape of the learning rate after the warm-up: constant, with averaged weights; a cosine that
        falls to zero at the last step; or four cycles from zero to the learning rate and back, each
        twice as long as the previous one (Holzmüller et al., 2024).
    patience : int
        Number of checkpoints without an improvement after which the pack stops.
    beta2 : float
        Decay rate of AdamW's mean of squared gradients.
    """

    checkpoints: int
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    kind: Anneal = "constant"
    patience: int = 8
    beta2: float = 0.99

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        total = self.checkpoints * self.steps
        if self.kind == "coslog4":
            cycles = log2(1 + 15 * (step + 0.5) / total)
            return self.learning_rate * 0.5 * (1.0 - cos(2 * pi * cycles))
        warm = min(50, max(total // 20, 1))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        if self.kind == "constant":
            return self.learning_rate
        return self.learning_rate * 0.5 * (1.0 + cos(pi * (step - warm) / max(total - warm, 1)))


def max_member_rows(plan: Plan, *, row_operations: float) -> int:
    """Return the maximum number of rows of a member, so that it trains for several epochs.

    Parameters
    ----------
    plan : Plan
    row_operations : float
        Operations of a forward pass in which each network reads one row.
    """
    draws = plan.operations / (3 * row_operations)
    return max(int(draws / plan.policy.training.min_epochs), _MIN_MEMBER_ROWS)


def plan_schedule(
    hyper: Hyperparameters,
    plan: Plan,
    *,
    rows: int,
    row_operations: float,
    evaluated: int,
) -> Schedule:
    """Plan batch size, steps and checkpoints from the planned work.

    The schedule stays near the planned work: if the minimum number of checkpoints would exceed it,
    there are fewer steps between them, down to a minimum. No clock is read.

    Parameters
    ----------
    hyper : Hyperparameters
    plan : Plan
    rows : int
        Number of rows of a member.
    row_operations : float
        Operations of a forward pass in which each network reads one row.
    evaluated : int
        Number of evaluation rows of the longest fold.

    Returns
    -------
    Schedule

    Raises
    ------
    InfeasibleError
        If the smallest possible schedule would be far more work than planned.
    """
    batch = int(min(max(batch_for(rows) * hyper.batch_factor, 16), rows))
    # Evaluation takes about a fifth of the arithmetic. On small training parts checkpoints are at
    # most four epochs apart, and they are never fewer than 20 steps apart.
    epoch = -(-rows // batch)
    steps = max(epoch, min(-(-4 * evaluated // (3 * batch)), 4 * epoch), 20)
    training, table_rows = plan.policy.training, sum(plan.outline.class_counts)
    max_checkpoints, patience = next(
        (m, p) for below, m, p in training.checkpoints_by_rows if table_rows < below
    )
    affordable = plan.operations / (row_operations * (3 * steps * batch + evaluated))
    checkpoints = min(max(int(affordable), training.min_checkpoints), max_checkpoints)
    if affordable < checkpoints:
        # The minimum number of checkpoints exceeds the planned work, so they are closer together.
        steps = max(int(steps * affordable / checkpoints), _MIN_STEPS)
        min_operations = row_operations * (3 * steps * batch + evaluated) * checkpoints
        if min_operations > _MAX_TIMES_PLANNED * plan.operations:
            raise InfeasibleError(
                f"Its networks would need at least {min_operations / plan.operations:.1f} times "
                "the work that is planned for a trial."
            )
    checkpoints = ceil(checkpoints * plan.work)
    return Schedule(
        checkpoints=checkpoints,
        steps=steps,
        batch_size=batch,
        learning_rate=hyper.learning_rate * sqrt(batch / 256),
        weight_decay=hyper.weight_decay,
        kind=hyper.schedule,
        # Scores within a cycle are not comparable, so patience must not end training there.
        patience=checkpoints if hyper.schedule == "coslog4" else patience,
        beta2=hyper.beta2,
    )
