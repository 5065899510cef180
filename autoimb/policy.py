"""Settings of a search that differ between searches, tests and benchmarks.

Settings that never differ are constants of the modules that use them. The comment at a setting says
what it is and, if it was measured, which page of ``reports/`` supports the value. Shares are
fractions of 1, seconds are wall-clock seconds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = [
    "DEFAULT_POLICY",
    "Comparisons",
    "FirstNetwork",
    "Folds",
    "Reserves",
    "Result",
    "SearchPolicy",
    "Sizes",
    "Suggestions",
    "Training",
]

FirstNetwork = tuple[str, dict[str, Any]]  # the network option and its parameters


@cache
def _learned_networks() -> tuple[FirstNetwork, ...]:
    entries = json.loads(files("autoimb").joinpath("first_networks.json").read_text("utf-8"))
    return tuple((entry["name"], entry["params"]) for entry in entries)


@dataclass(frozen=True)
class Suggestions:
    """Strategies that are tried first, and those that follow."""

    # Networks without an imbalance method, tried first, in this order
    # (reports/design/networks.md).
    first_networks: tuple[FirstNetwork, ...] = field(default_factory=_learned_networks)
    # Strategies that the sampler learns from: the newest, and the best of those before them
    # (reports/design/long-searches.md).
    sampler_newest: int = 975
    sampler_best: int = 25
    # Number of consecutive draws without a new strategy after which the space counts as exhausted.
    max_repeated_draws: int = 50
    # Tree models that are tried by default, in this order (reports/design/trees.md).
    partners: tuple[str, ...] = (
        "medium_trees",
        "deep_extra_trees",
        "forest",
        "small_trees",
        "large_trees",
    )
    # Number of strategies that precede each tree model; one more with a single worker.
    strategies_before_partners: tuple[int, ...] = (0, 4, 8, 12, 16)
    # Shorter searches, in seconds, try no tree models.
    min_partner_seconds: float = 4.0


@dataclass(frozen=True)
class Training:
    """Work of a trial, and the checkpoints at which it may end."""

    # Seconds that are planned for if there is no budget.
    unlimited_seconds: float = 300.0
    # Floating-point operations per second that the plan assumes
    # (reports/design/planning-and-budgets.md).
    operations_per_second: float = 40e9
    # Number of strategies that each worker should complete within the budget
    # (reports/design/planning-and-budgets.md).
    trials_per_worker: int = 20
    # Smallest number of epochs that an ensemble member can make over its rows; a member without
    # the time sees fewer rows (reports/design/planning-and-budgets.md).
    min_epochs: float = 1.5
    # Upper limit of rows, largest number of checkpoints, and patience; the last entry is for all
    # larger tables (reports/design/patience.md).
    checkpoints_by_rows: tuple[tuple[float, int, int], ...] = (
        (3_000, 60, 4),
        (15_000, 40, 5),
        (60_000, 10, 2),
        (float("inf"), 10, 3),
    )
    # Smallest number of checkpoints.
    min_checkpoints: int = 5
    # With fewer rare rows the log loss chooses the checkpoint, as the metric is too noisy.
    rare_rows_for_metric: int = 50


@dataclass(frozen=True)
class Sizes:
    """Numbers of rows, columns and classes."""

    # With fewer rows of the rarer classes (`minority_count`), blend weights and the ranks of many
    # columns depend mostly on chance: partners then have half of a blend (reports/design/blend.md),
    # and networks read fewer columns (reports/design/encoding.md).
    few_rare_rows: int = 100
    # Rows that a study keeps, however short its time (reports/design/planning-and-budgets.md).
    min_training_rows: int = 20_000
    # Numbers, and as many one-hot columns, that networks read however wide the table is
    # (reports/design/planning-and-budgets.md).
    min_columns: int = 256
    # Largest size of a network's inputs on all folds in bytes, in each worker.
    max_input_bytes: int = 2**29
    # Largest number of classes of a table that is read in parts.
    max_classes: int = 10_000
    # Scored rows, and scored rows times classes: more would sharpen only the scores of the common
    # classes, and with very many classes take longer than the search
    # (reports/design/planning-and-budgets.md).
    max_scored_rows: int = 40_000
    max_scored_cells: int = 2_000_000


@dataclass(frozen=True)
class Folds:
    """Splits into folds."""

    # From this number of rows on, three folds are used instead of five.
    rows_for_three_folds: int = 15_000
    # Rows of the rarer classes that each block of forward folds needs.
    rare_rows_per_block: int = 5


@dataclass(frozen=True)
class Comparisons:
    """Matched comparisons (duels) of imbalance methods with the best network."""

    # Share of the time of all trials so far (reports/design/paired-comparisons.md).
    share: float = 0.2
    # Number of duels per strategy that was tried, if no deadline limits the search.
    per_strategy: float = 0.5
    # Share of a strategy's planned work, for all folds of a duel together
    # (reports/design/paired-comparisons.md).
    work: float = 1 / 2
    # Multiple of the seconds expected for a duel that must be left.
    margin: float = 1.25
    # Largest number of folds (reports/design/paired-comparisons.md).
    folds: int = 20
    # Largest number of rows of the table (reports/design/paired-comparisons.md).
    max_rows: int = 8_000


@dataclass(frozen=True)
class Result:
    """Choice of the result, and its reported score."""

    # Largest number of strategies in a blend.
    max_blended: int = 10
    # Smallest number of trials that are candidates, however many rows are scored.
    min_candidates: int = 4
    # Number of strategies drawn for each bag of a blend.
    blend_steps: int = 8
    # Rows scored in one fit of a blend, about a second; counted, so that no clock decides.
    blend_work: int = 10_000_000
    # Number of bootstrap samples on which the choice is repeated
    # (reports/design/reported-score.md).
    replays: int = 200
    # Rows times candidates times samples between two checks of the deadline, times two if the
    # reported value is not the one that chose; counted, so that no clock decides how many rows a
    # sample has.
    replay_work: int = 20_000_000
    # Variance of a reported score due to training, as a share of the variance due to the scored
    # rows, if the rows are independent (reports/design/reported-score.md).
    trained_variance: float = 0.75
    # With fewer rare rows in a group, the reported value is computed on all rows together
    # (reports/design/reported-score.md).
    rare_rows_per_group: int = 50
    # Number of bootstrap samples that show how many labels another sample would change.
    rule_replicates: int = 20


@dataclass(frozen=True)
class Reserves:
    """Time and memory set aside."""

    # Share of the budget for what follows the search.
    share: float = 0.12
    # Seconds per scored row and class, if that is more (reports/design/planning-and-budgets.md).
    cell_seconds: float = 3.5e-5
    # Seconds per scored row and class in which a trial calibrates and scores its predictions; its
    # training ends earlier by them (reports/design/planning-and-budgets.md).
    scoring_cell_seconds: float = 2e-5
    # Seconds that predicting a test row is assumed to take.
    test_row_seconds: float = 2.5e-4
    # Share of the budget that predicting unseen rows may take.
    unseen_share: float = 0.1
    # Share of the memory that is free at the start that all workers may use, in equal parts.
    workers_memory: float = 0.8
    # Bytes that each worker may use in any case, as no trial can run with less
    # (reports/design/workers.md).
    min_worker_bytes: int = 2**29


@dataclass(frozen=True)
class SearchPolicy:
    """Settings of a search, by what they govern."""

    suggestions: Suggestions = field(default_factory=Suggestions)
    training: Training = field(default_factory=Training)
    sizes: Sizes = field(default_factory=Sizes)
    folds: Folds = field(default_factory=Folds)
    comparisons: Comparisons = field(default_factory=Comparisons)
    result: Result = field(default_factory=Result)
    reserves: Reserves = field(default_factory=Reserves)


DEFAULT_POLICY = SearchPolicy()
