"""How much of a table a study works on, and how much work a trial is: counted, never timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autoimb.data.encoding import MOST_BINS, MOST_INPUTS, MOST_ONE_HOT
from autoimb.data.folds import FoldPlan
from autoimb.data.profile import Profile
from autoimb.data.schema import Columns
from autoimb.data.table import Dataset
from autoimb.data.thinning import thin
from autoimb.randomness import Purpose, stream
from autoimb.training.effort import Effort, Outline

__all__ = ["Plan", "make_plan", "seen", "thinned", "trial_operations"]

RATE = 40e9  # operations a second that the plan counts on
TRIALS = 20  # strategies that the plan would like each worker to complete in a budget
UNLIMITED = 300.0  # seconds that are planned for where there is no budget
WIDTH = 128  # of the network that the size of a study is planned for
EPOCHS = 1.5  # over its rows that such a network can at least make
LEAST_ROWS = 20_000
MOST_BYTES = 2**29  # of a network's inputs on all folds, in each worker
MOST_SCORED = 40_000
CONFIRMING = 4  # times the work of a trial, for a trial that confirms another


@dataclass(frozen=True)
class Plan:
    """What all trials of a study share; frozen before the first one.

    Attributes
    ----------
    folds : FoldPlan
    effort : Effort
    seed : int
    cost_weights : tuple of C floats, or None
        The user's cost of each class: weights the loss and tilts the probabilities.
    cost_matrix : tuple of C tuples of C floats, or None
        Cost of (true, predicted), for tilted probabilities: the labels minimise it.
    device : str
    work : int
        How many times the planned work a trial is given.
    deals : int
        How many deals of the rows to folds a trial is cross-validated on.
    """

    folds: FoldPlan
    effort: Effort
    seed: int
    cost_weights: tuple[float, ...] | None = None
    cost_matrix: tuple[tuple[float, ...], ...] | None = None
    device: str = "cpu"
    work: int = 1
    deals: int = 1

    def times(self, work: int) -> Plan:
        """Return the plan with so many times the work of a trial, on the same rows.

        Where the plan holds further deals of the rows to folds, the same networks are trained on
        so many of them; else networks are trained so much longer on the same folds.
        """
        if work == 1:
            return self
        if self.folds.further:
            deals = min(work, 1 + len(self.folds.further))
            return replace(self, deals=deals, work=deals)
        return replace(self, effort=self.effort.times(work), work=work * self.work)


def make_plan(
    dataset: Dataset,
    folds: FoldPlan,
    *,
    random_state: int,
    operations: float,
    costs: Sequence[float] | Sequence[Sequence[float]] | None = None,
) -> Plan:
    """Plan a study from counts; no clock is read.

    Parameters
    ----------
    dataset : Dataset
    folds : FoldPlan
    random_state : int
    operations : float
        Of a trial; see `trial_operations`.
    costs : C floats, or a C × C matrix (true × predicted), or None

    Returns
    -------
    Plan
    """
    rows = len(dataset.y)
    limits = ((3_000, 60, 4), (15_000, 40, 5), (60_000, 20, 4))
    most, patience = next(((t, p) for n, t, p in limits if rows < n), (10, 3))
    effort = Effort(
        operations=operations,
        most_ticks=most,
        least_ticks=5,
        patience=patience,
        outline=Outline.of(dataset),
    )
    weights, matrix = _costs(costs)
    return Plan(
        folds=folds,
        effort=effort,
        seed=random_state,
        cost_weights=weights,
        cost_matrix=matrix,
        device=_device(),
    )


def trial_operations(time_budget: float | None) -> float:
    """Return the floating-point operations of a trial.

    More workers complete more trials, and not larger ones.

    Parameters
    ----------
    time_budget : float or None
        Seconds; None plans as for 300.
    """
    seconds = UNLIMITED if time_budget is None else time_budget
    return RATE * 0.8 * seconds / TRIALS


def thinned(
    dataset: Dataset, folds: FoldPlan, *, random_state: int, operations: float
) -> tuple[Dataset, FoldPlan]:
    """Take as many rows as a trial has time and memory for; no clock is read.

    The rarer classes stay whole as far as possible, and the rows that are kept of the others
    weigh more. Beyond 40,000 rows in the same way only some are scored: more would sharpen the
    scores of the common classes alone.

    Parameters
    ----------
    dataset : Dataset
    folds : FoldPlan
    random_state : int
    operations : float
        Of a trial.

    Returns
    -------
    tuple of Dataset and FoldPlan
        The same folds of fewer rows; what was given where all rows fit.
    """
    n_folds, inputs = len(folds.folds), _inputs(dataset.columns)
    epoch = 6.0 * max(n_folds - 1, 1) * WIDTH * (inputs + WIDTH)  # operations for each row
    affordable = operations / (EPOCHS * epoch)
    fitting = MOST_BYTES / (4 * n_folds * inputs)
    most = max(int(min(affordable, fitting)), LEAST_ROWS)
    if len(dataset.y) > most:
        dataset, folds = _thinned(dataset, folds, most=most, random_state=random_state)
    scored = folds.scored
    if len(scored) > MOST_SCORED:
        random = stream(Purpose.SCORED_ROWS, random_state)
        rows, scale = thin(dataset.y, scored, MOST_SCORED, random)
        folds = folds.scoring(rows, scale)
    return dataset, folds


def _thinned(
    dataset: Dataset, folds: FoldPlan, *, most: int, random_state: int
) -> tuple[Dataset, FoldPlan]:
    random = stream(Purpose.TRAINING_ROWS, random_state)
    rows, scale = thin(dataset.y, np.arange(len(dataset.y)), most, random)
    weight = dataset.weight[rows] * scale
    had, have = (np.bincount(y, minlength=dataset.n_classes) for y in (dataset.y, dataset.y[rows]))
    few = replace(
        dataset,
        columns=dataset.columns.take(rows),
        y=dataset.y[rows],
        weight=weight / weight.mean(),
        kept=have / np.maximum(had, 1),
    )
    return few, folds.take(rows)


def seen(profile: Profile, dataset: Dataset, plan: Plan) -> Profile:
    """Return the profile of what a trial sees, which its feasibility is read from."""
    counts = tuple(int(n) for n in np.bincount(dataset.y, minlength=dataset.n_classes))
    return replace(
        profile,
        n_rows=len(dataset.y),
        class_counts=counts,
        minority_count=min(counts),
        operations=plan.effort.operations,
    )


def _inputs(columns: Columns) -> int:
    """Count the inputs of a network, about: bins of numbers, and levels."""
    bins = min(MOST_BINS * columns.numbers.shape[1], MOST_INPUTS)
    levels = [len(vocabulary) for vocabulary in columns.vocabularies]
    return int(bins) + sum(n + 2 if n <= MOST_ONE_HOT else 8 for n in levels) + 1


def _costs(
    costs: Sequence[float] | Sequence[Sequence[float]] | None,
) -> tuple[tuple[float, ...] | None, tuple[tuple[float, ...], ...] | None]:
    """Split costs into a weight for each class and what the decision minimises.

    Trained with a weight w on each class, a network gives probabilities tilted by w. The expected
    cost of answering j, sum_i p_i C_ij, is sum_i (tilted_i / w_i) C_ij up to a factor.
    """
    if costs is None:
        return None, None
    given = np.asarray(costs, dtype=np.float64)
    matrix = given if given.ndim == 2 else given[:, None] * (1.0 - np.eye(len(given)))
    weights = np.maximum(given.sum(1) if given.ndim == 2 else given, 1e-12)
    weights = weights / weights.mean()
    tilted = matrix / weights[:, None]
    return tuple(map(float, weights)), tuple(tuple(map(float, row)) for row in tilted)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
