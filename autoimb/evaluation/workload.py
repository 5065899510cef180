"""How much of a table a study works on, and how much work a trial is: counted, never timed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autoimb.data.dataset import Dataset
from autoimb.data.encoding.encoder import most_bins
from autoimb.data.encoding.layout import MOST_ONE_HOT
from autoimb.data.encoding.screening import Screen
from autoimb.data.folds import FoldPlan, Rows
from autoimb.data.profile import Profile
from autoimb.data.schema import Columns
from autoimb.data.subsample import subsample
from autoimb.errors import InfeasibleError
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.randomness import Purpose, stream
from autoimb.space.partner import Bagged, Trees
from autoimb.training.plan import Effort, Outline, Plan

__all__ = [
    "fewer_rows",
    "forest_trees",
    "input_bytes",
    "make_plan",
    "partner_plan",
    "seen",
    "subsampled",
    "tree_iterations",
    "trial_operations",
]

_BYTES = 4  # of an input, in float32
_LEAST_TREES, _MOST_CLASSES = 20, 20  # of a forest


def make_plan(
    dataset: Dataset,
    folds: FoldPlan,
    *,
    random_state: int,
    operations: float,
    class_costs: tuple[float, ...] | None = None,
    costs_in_probabilities: bool = True,
    policy: SearchPolicy = DEFAULT_POLICY,
) -> Plan:
    """Plan a study from counts; no clock is read.

    Parameters
    ----------
    dataset : Dataset
    folds : FoldPlan
    random_state : int
    operations : float
        Of a trial; see `trial_operations`.
    class_costs : tuple of C floats, or None
    costs_in_probabilities : bool
        See `autoimb.assessment.costs.Costs`.
    policy : SearchPolicy, optional

    Returns
    -------
    Plan
    """
    rows = len(dataset.y)
    most, patience = next((m, p) for below, m, p in policy.checkpoints_by_rows if rows < below)
    effort = Effort(
        operations=operations,
        most_checkpoints=most,
        least_checkpoints=policy.least_checkpoints,
        patience=patience,
        outline=Outline.of(dataset),
    )
    return Plan(
        folds=folds,
        effort=effort,
        seed=random_state,
        class_costs=class_costs,
        costs_in_probabilities=costs_in_probabilities,
        device=_device(),
        policy=policy,
    )


def trial_operations(time_budget: float | None, policy: SearchPolicy = DEFAULT_POLICY) -> float:
    """Return the floating-point operations of a trial.

    More workers complete more trials, and not larger ones.

    Parameters
    ----------
    time_budget : float or None
        Seconds; None plans as for 300.
    policy : SearchPolicy, optional
    """
    seconds = policy.unlimited_seconds if time_budget is None else time_budget
    rate = policy.operations_a_second * policy.search_share
    return rate * seconds / policy.trials_a_worker


def subsampled(
    dataset: Dataset,
    folds: FoldPlan,
    *,
    random_state: int,
    time_budget: float | None,
    policy: SearchPolicy = DEFAULT_POLICY,
) -> tuple[Dataset, FoldPlan, Rows]:
    """Take as many rows and columns as a trial has time and memory for; no clock is read.

    The rarer classes stay whole as far as possible, and the rows that are kept of the others
    weigh more. Beyond 40,000 rows, and fewer of many classes, in the same way only some are scored:
    more would sharpen the scores of the common classes alone, and what follows the search would
    not end in its share of the time. Where the fewest rows of all columns
    are still too much, each fold keeps as many columns as are affordable; see `Screen`.

    Parameters
    ----------
    dataset : Dataset
    folds : FoldPlan
    random_state : int
    time_budget : float or None
        Seconds; None plans as for 300, and scores as many rows as a policy allows at most.
    policy : SearchPolicy, optional

    Returns
    -------
    tuple of Dataset, FoldPlan and ndarray of int64
        The same folds of fewer rows, and which they are; what was given where all rows fit.
    """
    operations = trial_operations(time_budget, policy)
    n_folds, inputs, width = len(folds.folds), _inputs(dataset.columns), policy.planned_width
    # of an input, and of a row that has as many as the network is wide
    an_input = 6.0 * max(n_folds - 1, 1) * width * policy.least_epochs
    affordable = operations / (an_input * (inputs + width))
    fitting = policy.most_input_bytes / (_BYTES * n_folds * inputs)
    most = max(int(min(affordable, fitting)), policy.least_training_rows)
    kept = min(len(dataset.y), most)
    fitting = policy.most_input_bytes / (_BYTES * n_folds * kept)
    most_inputs = min(operations / (an_input * kept) - width, fitting)
    if inputs > most_inputs:
        dataset = _fewer_columns(dataset, most_inputs / inputs, policy)
    seen = np.arange(len(dataset.y))
    if len(seen) > most:
        dataset, seen = fewer_rows(dataset, seen, most=most, random_state=random_state)
        folds = folds.take(seen)
    scored = folds.scored
    most = min(policy.most_scored_rows, _scored_cells(time_budget, policy) // dataset.n_classes)
    if len(scored) > most:
        random = stream(Purpose.SCORED_ROWS, random_state)
        rows, scale = subsample(dataset.y, scored, most, random)
        folds = folds.scoring(rows, scale)
    return dataset, folds, seen


def _scored_cells(time_budget: float | None, policy: SearchPolicy) -> int:
    """Return how many rows times classes may be scored."""
    if time_budget is None:
        return policy.most_scored_cells
    in_time = policy.reserve_share * time_budget / policy.cell_reserve
    return min(policy.most_scored_cells, int(in_time))


def fewer_rows(
    dataset: Dataset, rows: Rows, *, most: int, random_state: int
) -> tuple[Dataset, Rows]:
    """Draw some rows of a table, the rarer classes whole as far as possible.

    Parameters
    ----------
    dataset : Dataset
    rows : ndarray of int64, sorted
        To draw from.
    most : int
    random_state : int

    Returns
    -------
    tuple of Dataset and ndarray of int64
        Those that are kept, weighing as much more as their class has lost, and their numbers.
    """
    random = stream(Purpose.TRAINING_ROWS, random_state)
    kept, scale = subsample(dataset.y, rows, most, random)
    weight = dataset.weight[kept] * scale
    had, have = (np.bincount(dataset.y[own], minlength=dataset.n_classes) for own in (rows, kept))
    before = 1.0 if dataset.kept is None else dataset.kept
    few = replace(
        dataset.take(kept),
        weight=weight / weight.mean(),
        kept=before * have / np.maximum(had, 1),
    )
    return few, kept


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


def partner_plan(dataset: Dataset, plan: Plan, made: Trees | Bagged) -> Plan:
    """Return the plan of a partner: on the folds that confirm, where the same work is enough there.

    No fold has chosen a partner, so all are fresh to it. But those that confirm are more and leave
    each more rows, and the best networks, which it is weighed against, were trained on them.

    Parameters
    ----------
    dataset : Dataset
    plan : Plan
    made : Trees or Bagged

    Returns
    -------
    Plan
        With the folds to grow on.
    """
    first = plan.folds.confirming[0]
    fresh = replace(plan, folds=plan.folds.repeat(first))
    if isinstance(made, Bagged):
        enough = _affordable_trees(dataset, fresh, made) >= _most_trees(dataset, made)
    else:
        enough = _affordable_iterations(dataset, fresh, made) >= plan.policy.fresh_iterations
    return fresh if enough else plan


def tree_iterations(dataset: Dataset, plan: Plan, trees: Trees) -> int:
    """Return how many iterations boosted trees have time for; counted, no clock is read.

    Parameters
    ----------
    dataset : Dataset
    plan : Plan
        A partner may be several times the work of a trial.
    trees : Trees

    Returns
    -------
    int
        Between the policy's bounds.
    """
    affordable, policy = _affordable_iterations(dataset, plan, trees), plan.policy
    return int(np.clip(affordable, policy.least_iterations, policy.most_iterations))


def _affordable_iterations(dataset: Dataset, plan: Plan, trees: Trees) -> float:
    rows, width = _grown(dataset, plan)
    # for each row and column, for each leaf and column, for each leaf, and for each tree
    a_tree = trees.leaves * (800 * width + 45_000) + 400_000
    nanoseconds = 4.0 * rows * width + len(plan.folds.folds) * a_tree
    outputs = 1 if dataset.n_classes == 2 else dataset.n_classes
    return _partner_seconds(plan) / (1e-9 * nanoseconds * outputs)


def forest_trees(dataset: Dataset, plan: Plan, bagged: Bagged) -> int:
    """Return how many trees of a forest a fold has time for; counted, no clock is read.

    Parameters
    ----------
    dataset : Dataset
    plan : Plan
        A partner may be several times the work of a trial.
    bagged : Bagged
        Has the most of them. Of C classes each leaf has C - 1 answers, so there are as many fewer.

    Returns
    -------
    int
        At least twenty, however large the table.

    Raises
    ------
    InfeasibleError
        Where so many classes would make of twenty trees too many.
    """
    if dataset.n_classes > _MOST_CLASSES:
        raise InfeasibleError(
            f"a forest has an answer for each class in every leaf: at most {_MOST_CLASSES} "
            f"classes, got {dataset.n_classes}"
        )
    affordable = int(_affordable_trees(dataset, plan, bagged))
    return int(np.clip(affordable, _LEAST_TREES, _most_trees(dataset, bagged)))


def _most_trees(dataset: Dataset, bagged: Bagged) -> int:
    return max(bagged.trees // (dataset.n_classes - 1), _LEAST_TREES)


def _affordable_trees(dataset: Dataset, plan: Plan, bagged: Bagged) -> float:
    rows, width = _grown(dataset, plan)
    tried = np.sqrt(width) if bagged.features is None else bagged.features * width
    # for each tree, and for each row and column that a split may choose
    nanoseconds = len(plan.folds.folds) * 700_000 + 40.0 * rows * tried
    return float(_partner_seconds(plan) / (1e-9 * nanoseconds))


def _grown(dataset: Dataset, plan: Plan) -> tuple[int, int]:
    """Count the training rows of all folds, and the columns."""
    columns = dataset.columns
    rows = sum(len(fold.train) for fold in plan.folds.folds)
    return rows, columns.numbers.shape[1] + columns.codes.shape[1]


def _partner_seconds(plan: Plan) -> float:
    policy = plan.policy
    return policy.partner_work * plan.effort.operations / policy.operations_a_second


def _fewer_columns(dataset: Dataset, share: float, policy: SearchPolicy) -> Dataset:
    """Let each fold keep about such a share of the columns, but never fewer than the least."""
    layout = dataset.layout
    columns = max(dataset.columns.numbers.shape[1], len(layout.onehot))
    most = max(int(share * columns), policy.least_columns)
    if layout.screened is not None:
        most = min(most, layout.screened)
    return replace(dataset, layout=replace(layout, screened=most))


def input_bytes(dataset: Dataset, folds: FoldPlan) -> int:
    """Return the bytes of a network's inputs on all folds, about, which each worker may hold."""
    one = dataset.columns.take(np.arange(min(len(dataset.y), 1)))  # how many, not which
    read = Screen.fit(one, None, layout=dataset.layout).columns(dataset.columns)
    return _BYTES * len(folds.folds) * _inputs(read) * len(dataset.y)


def _inputs(columns: Columns) -> int:
    """Count the inputs of a network, about: bins of numbers, and levels."""
    numbers = columns.numbers.shape[1]
    levels = (len(vocabulary) for vocabulary in columns.vocabularies)
    written = sum(n + 2 if n <= MOST_ONE_HOT else 8 for n in levels)
    return int(numbers * most_bins(numbers) + written + 1)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
