"""Workload of a study: rows and columns of the table, and work of a trial, from counts alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from msgspec import structs

from autoimb.data.dataset import Dataset
from autoimb.data.encoding.encoder import max_bins
from autoimb.data.encoding.layout import MAX_ONE_HOT
from autoimb.data.encoding.screening import Screen
from autoimb.data.folds import FoldPlan, Rows
from autoimb.data.profile import Profile
from autoimb.data.schema import Columns
from autoimb.data.subsample import subsample
from autoimb.errors import InfeasibleError
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.randomness import Purpose, stream
from autoimb.space.partner import Forest, Trees
from autoimb.training.plan import Outline, Plan

__all__ = [
    "MIN_TREES",
    "fewer_rows",
    "forest_trees",
    "input_bytes",
    "make_plan",
    "study_profile",
    "subsampled",
    "tree_iterations",
    "trial_operations",
]

# Share of the budget that the plan assumes for trials.
_SEARCH_SHARE = 0.8
# Width of the network for which the size of a study is planned.
_PLANNED_WIDTH = 128
# Smallest number of boosting iterations of a partner.
_MIN_ITERATIONS = 100
# Largest number of boosting iterations of a partner (reports/design/trees.md).
_MAX_ITERATIONS = 800

# Smallest number of trees of a forest that predict a row.
MIN_TREES = 20

_BYTES = 4  # bytes of an input, in float32
_MAX_CLASSES = 20  # of a forest


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
        Floating-point operations of a trial; see `trial_operations`.
    class_costs : tuple of C floats, or None
    costs_in_probabilities : bool
        Whether the probabilities include the costs; see `autoimb.assessment.costs.Costs`.
    policy : SearchPolicy, optional

    Returns
    -------
    Plan
    """
    return Plan(
        folds=folds,
        outline=Outline.of(dataset),
        operations=operations,
        seed=random_state,
        class_costs=class_costs,
        costs_in_probabilities=costs_in_probabilities,
        device=_device(),
        policy=policy,
    )


def trial_operations(time_budget: float | None, policy: SearchPolicy = DEFAULT_POLICY) -> float:
    """Return the floating-point operations of a trial.

    The number does not depend on the workers: more workers complete more trials of the same size.

    Parameters
    ----------
    time_budget : float or None
        Seconds of the search; None plans as for 300.
    policy : SearchPolicy, optional
    """
    training = policy.training
    seconds = training.unlimited_seconds if time_budget is None else time_budget
    rate = training.operations_per_second * _SEARCH_SHARE
    return rate * seconds / training.trials_per_worker


def subsampled(
    dataset: Dataset,
    folds: FoldPlan,
    *,
    random_state: int,
    time_budget: float | None,
    policy: SearchPolicy = DEFAULT_POLICY,
) -> tuple[Dataset, FoldPlan, Rows]:
    """Reduce a table to the rows and columns that a trial has time and memory for.

    As many rows of the rarer classes as possible are used, and the rows of the other classes weigh
    more. The scored rows are limited in the same way, to 40,000 and fewer of many classes: more
    scored rows would only make the scores of the common classes more precise, and the steps after
    the search would not finish in their share of the time. Where all columns of the minimum number
    of rows are too many, each fold uses as many columns as are affordable; see `Screen`. No clock
    is read.

    Parameters
    ----------
    dataset : Dataset
    folds : FoldPlan
    random_state : int
    time_budget : float or None
        Seconds of the search; None plans as for 300, and scores as many rows as the policy allows.
    policy : SearchPolicy, optional

    Returns
    -------
    tuple of Dataset, FoldPlan and ndarray of int64
        The reduced table, the same folds of its rows, and the positions of these rows; the table
        and folds are unchanged where all rows fit.
    """
    operations = trial_operations(time_budget, policy)
    n_folds, inputs, width = len(folds.folds), _inputs(dataset.columns), _PLANNED_WIDTH
    # Operations for one input in all folds. A row counts as its inputs plus the width of the
    # network, since a hidden layer has as many inputs as the layer before it is wide.
    an_input = 6.0 * max(n_folds - 1, 1) * width * policy.training.min_epochs
    affordable = operations / (an_input * (inputs + width))
    fitting = policy.sizes.max_input_bytes / (_BYTES * n_folds * inputs)
    max_rows = max(int(min(affordable, fitting)), policy.sizes.min_training_rows)
    n_rows = min(len(dataset.y), max_rows)
    fitting = policy.sizes.max_input_bytes / (_BYTES * n_folds * n_rows)
    most_inputs = min(operations / (an_input * n_rows) - width, fitting)
    if inputs > most_inputs:
        dataset = _fewer_columns(dataset, most_inputs / inputs, policy)
    study_rows = np.arange(len(dataset.y))
    if len(study_rows) > max_rows:
        dataset, study_rows = fewer_rows(
            dataset, study_rows, max_rows=max_rows, random_state=random_state
        )
        folds = folds.take(study_rows)
    scored = folds.scored
    max_scored = min(
        policy.sizes.max_scored_rows, _scored_cells(time_budget, policy) // dataset.n_classes
    )
    if len(scored) > max_scored:
        random = stream(Purpose.SCORED_ROWS, random_state)
        rows, scale = subsample(dataset.y, scored, max_scored, random)
        folds = folds.scoring(rows, scale)
    return dataset, folds, study_rows


def _scored_cells(time_budget: float | None, policy: SearchPolicy) -> int:
    """Return the largest number of scored rows times classes."""
    if time_budget is None:
        return policy.sizes.max_scored_cells
    in_time = policy.reserves.share * time_budget / policy.reserves.cell_seconds
    return min(policy.sizes.max_scored_cells, int(in_time))


def fewer_rows(
    dataset: Dataset, rows: Rows, *, max_rows: int, random_state: int
) -> tuple[Dataset, Rows]:
    """Draw rows of a table, with as many rows of the rarer classes as possible.

    Parameters
    ----------
    dataset : Dataset
    rows : ndarray of int64, sorted
        Positions of the rows to draw from.
    max_rows : int
        Largest number of rows to draw.
    random_state : int

    Returns
    -------
    tuple of Dataset and ndarray of int64
        The drawn rows, whose weights also represent the other rows of their class, and their
        positions.
    """
    random = stream(Purpose.TRAINING_ROWS, random_state)
    chosen, scale = subsample(dataset.y, rows, max_rows, random)
    weight = dataset.weight[chosen] * scale
    had, have = (
        np.bincount(dataset.y[indices], minlength=dataset.n_classes) for indices in (rows, chosen)
    )
    sampled_share = 1.0 if dataset.sampled_shares is None else dataset.sampled_shares
    subset = replace(
        dataset.take(chosen),
        weight=weight / weight.mean(),
        sampled_shares=sampled_share * have / np.maximum(had, 1),
    )
    return subset, chosen


def study_profile(profile: Profile, dataset: Dataset, plan: Plan) -> Profile:
    """Return the profile of the rows that trials use, which decides whether options are feasible.

    Parameters
    ----------
    profile : Profile
        Profile of the whole table.
    dataset : Dataset
        Rows of the study.
    plan : Plan
    """
    counts = tuple(int(n) for n in np.bincount(dataset.y, minlength=dataset.n_classes))
    return replace(
        profile,
        n_rows=len(dataset.y),
        class_counts=counts,
        minority_count=min(counts),
        operations=plan.operations,
    )


def tree_iterations(dataset: Dataset, plan: Plan, trees: Trees) -> int:
    """Return the number of iterations that boosted trees have time for; no clock is read.

    Parameters
    ----------
    dataset : Dataset
    plan : Plan
    trees : Trees

    Returns
    -------
    int
        Number of iterations, between `_MIN_ITERATIONS` and `_MAX_ITERATIONS`.
    """
    rows, width = _grown(dataset, plan)
    # The cost model has terms for each leaf and column, for each leaf, for each tree, and for each
    # row and column.
    a_tree = trees.leaves * (800 * width + 45_000) + 400_000
    nanoseconds = 4.0 * rows * width + len(plan.folds.folds) * a_tree
    outputs = 1 if dataset.n_classes == 2 else dataset.n_classes
    affordable = _partner_seconds(plan) / (1e-9 * nanoseconds * outputs)
    return int(np.clip(affordable, _MIN_ITERATIONS, _MAX_ITERATIONS))


def forest_trees(dataset: Dataset, plan: Plan, forest: Forest) -> int:
    """Return the number of trees of a forest that a fold has time for; no clock is read.

    Parameters
    ----------
    dataset : Dataset
    plan : Plan
    forest : Forest
        Forest with its largest number of trees. For C classes each leaf has C - 1 answers, so the
        number is divided by C - 1.

    Returns
    -------
    int
        At least 8 deep trees, or 20 smaller ones.

    Raises
    ------
    InfeasibleError
        Where twenty trees for each of so many classes are too many for a pipeline, or there is no
        time for enough deep trees.
    """
    if dataset.n_classes > _MAX_CLASSES:
        raise InfeasibleError(
            f"a forest has an answer for each class in every leaf: at most {_MAX_CLASSES} "
            f"classes, got {dataset.n_classes}"
        )
    rows, width = _grown(dataset, plan)
    tried = np.sqrt(width)
    # The cost model has terms for each tree, and for each row and candidate column of a split. Rows
    # of a deep tree are split at every level.
    folds, is_deep = len(plan.folds.folds), forest.is_deep
    if is_deep:
        levels = np.log2(max(rows / folds, 2))
        nanoseconds = folds * 1_500_000 + 15.0 * rows * tried * levels
    else:
        nanoseconds = folds * 700_000 + 40.0 * rows * tried
    affordable = int(_partner_seconds(plan) / (1e-9 * nanoseconds))
    if is_deep and affordable < MIN_TREES:
        raise InfeasibleError(
            f"there is time for {affordable} deep trees on each fold, at least {MIN_TREES} are "
            "needed"
        )
    max_trees = max(forest.trees // (dataset.n_classes - 1), MIN_TREES)
    return int(np.clip(affordable, MIN_TREES, max_trees))


def _grown(dataset: Dataset, plan: Plan) -> tuple[int, int]:
    """Count the training rows of all folds, and the columns."""
    columns = dataset.columns
    rows = sum(len(fold.train) for fold in plan.folds.folds)
    return rows, columns.numbers.shape[1] + columns.codes.shape[1]


def _partner_seconds(plan: Plan) -> float:
    """Return the seconds that the planned work takes at the assumed speed."""
    return plan.operations / plan.policy.training.operations_per_second


def _fewer_columns(dataset: Dataset, share: float, policy: SearchPolicy) -> Dataset:
    """Limit the columns of each fold to about a share of them, but not below the minimum."""
    layout = dataset.layout
    columns = max(dataset.columns.numbers.shape[1], len(layout.onehot))
    max_columns = max(int(share * columns), policy.sizes.min_columns)
    if layout.screened is not None:
        max_columns = min(max_columns, layout.screened)
    return replace(dataset, layout=structs.replace(layout, screened=max_columns))


def input_bytes(dataset: Dataset, folds: FoldPlan) -> int:
    """Estimate the bytes of a network's inputs on all folds, which each worker may have in memory.

    Parameters
    ----------
    dataset : Dataset
    folds : FoldPlan
    """
    # A screen of one row selects as many columns as one of all rows, and only their number counts.
    sample = dataset.columns.take(np.arange(min(len(dataset.y), 1)))
    read = Screen.fit(sample, None, layout=dataset.layout).columns(dataset.columns)
    return _BYTES * len(folds.folds) * _inputs(read) * len(dataset.y)


def _inputs(columns: Columns) -> int:
    """Estimate the number of inputs of a network: bins of numbers, and levels of categories."""
    numbers = columns.numbers.shape[1]
    levels = (len(vocabulary) for vocabulary in columns.vocabularies)
    written = sum(n + 2 if n <= MAX_ONE_HOT else 8 for n in levels)
    return int(numbers * max_bins(numbers) + written + 1)


def _device() -> str:
    """Return the device that trains networks."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
