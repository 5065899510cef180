"""Evidence for the checks: counts and measures of a table, of its folds and of a result.

The evidence is only reported; it does not influence the search or its result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, pairwise

import numpy as np

from autoimb.arrays import Floats, Ints, Mask
from autoimb.assessment.crossfit import stratified_groups
from autoimb.assessment.decision import DecisionRule
from autoimb.assessment.formulas import curve, roc_area
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import Metric
from autoimb.assessment.structure import Structure
from autoimb.assessment.uncertainty import Reported
from autoimb.budget import Deadline
from autoimb.data.dataset import Dataset
from autoimb.data.encoding.levels import row_hashes
from autoimb.data.folds import FoldPlan
from autoimb.randomness import Purpose, stream

__all__ = ["Repeats", "ResultEvidence", "TableEvidence", "label_changes"]

# ROC AUC of a single column from which on the column is suspicious (reports/design/checks.md).
_PERFECT_SEPARATION = 0.9999
# Rows that a class needs for the search for separating columns.
_MIN_SEPARATED_ROWS = 5

# Rows of each class with which columns are examined, at least and at most, and their cells.
_ROWS_A_CLASS = (500, 5_000)
_CELLS_A_CLASS = 4_000_000
_MAX_LEVELS = 64  # numbers with at most this many distinct values are also examined as levels
_FAR_FROM_PERFECT = 0.9  # a pair of classes below it ends the examination of a column


@dataclass(frozen=True)
class Repeats:
    """Counts of rows that are equal in all feature columns.

    Attributes
    ----------
    scored : int
        Rows that are scored by a fold.
    copied : int
        Scored rows with an equal row among the training rows of the fold that scores them.
    rarer : int
        Scored rows outside the most frequent class.
    given_away : int
        Rows of `rarer` whose class is that of more than half of their equal training rows.
    contradicted : int
        Rows of `rarer` for which at least half of the equal rows are of other classes.
    largest : int
        Rows of the largest set of equal rows.
    max_fold_rows : int
        Scored rows of the largest fold.
    """

    scored: int
    copied: int
    rarer: int
    given_away: int
    contradicted: int
    largest: int
    max_fold_rows: int

    @classmethod
    def of(cls, dataset: Dataset, folds: FoldPlan) -> Repeats:
        """Count equal rows. Sees: all rows of the study, on its folds."""
        y, n_classes = dataset.y, dataset.n_classes
        hashes = row_hashes(dataset.columns.numbers, dataset.columns.codes)
        _, row_set, sizes = np.unique(hashes, return_inverse=True, return_counts=True)

        def by_class(rows: Ints) -> Ints:
            """Count the rows of each class in each set of equal rows, (sets, C)."""
            cells = np.bincount(
                row_set[rows] * n_classes + y[rows], minlength=len(sizes) * n_classes
            )
            return cells.reshape(len(sizes), n_classes)

        # Training rows differ by fold, so each scored row is compared with those of its fold.
        copied, given_away = np.zeros(len(y), dtype=bool), np.zeros(len(y), dtype=bool)
        for fold in folds.folds:
            equal = by_class(fold.train)[row_set[fold.score]]
            same_class = equal[np.arange(len(fold.score)), y[fold.score]]
            copied[fold.score] = equal.any(axis=1)
            given_away[fold.score] = 2 * same_class > equal.sum(axis=1)
        scored = folds.scored
        rarer = scored[y[scored] != np.bincount(y).argmax()]
        equal = by_class(np.arange(len(y)))[row_set[rarer]]
        same_class = equal[np.arange(len(rarer)), y[rarer]]
        return cls(
            scored=len(scored),
            copied=int(copied[scored].sum()),
            rarer=len(rarer),
            given_away=int(given_away[rarer].sum()),
            contradicted=int((2 * same_class <= equal.sum(axis=1)).sum()),
            largest=int(sizes.max()),
            max_fold_rows=max(len(fold.score) for fold in folds.folds),
        )


@dataclass(frozen=True, eq=False)
class TableEvidence:
    """Evidence that is available before the first trial.

    Sees: all rows and labels; columns are examined with at most 5,000 rows of each class.

    Attributes
    ----------
    dataset, folds : Dataset, FoldPlan
        Rows and folds of the study.
    metric : Metric
        Metric of the search.
    names : tuple of str, of length C
        The labels as text, by code.
    structure : Structure
        Signs that rows are not independent.
    """

    dataset: Dataset
    folds: FoldPlan
    metric: Metric
    names: tuple[str, ...]
    structure: Structure

    @cached_property
    def counts(self) -> Ints:
        """Number of scored rows of each class, shape (C,)."""
        return np.bincount(self.dataset.y[self.folds.scored], minlength=self.dataset.n_classes)

    @cached_property
    def separating(self) -> dict[str, float]:
        """Columns that separate every pair of classes, with the ROC AUC of the worst pair."""
        dataset = self.dataset
        columns = len(dataset.columns.number_names) + len(dataset.columns.category_names)
        max_rows = int(np.clip(_CELLS_A_CLASS // max(columns, 1), *_ROWS_A_CLASS))
        rows = [np.flatnonzero(dataset.y == code) for code in range(dataset.n_classes)]
        rows = [
            class_rows[:: -(-len(class_rows) // max_rows)]  # at most `max_rows`, evenly spaced
            for class_rows in rows
            if len(class_rows) >= _MIN_SEPARATED_ROWS
        ]
        if len(rows) < 2:
            return {}
        # The rows of each class are contiguous in the columns that `_columns` yields.
        ends = np.cumsum([0, *map(len, rows)])
        places = [np.arange(start, end) for start, end in pairwise(ends)]
        separating = {}
        for name, numbers, levels in _columns(dataset, np.concatenate(rows)):
            worst = 1.0
            for first, second in combinations(places, 2):
                worst = min(worst, _separation(numbers, levels, first, second))
                if worst < _FAR_FROM_PERFECT:
                    break
            if worst >= _PERFECT_SEPARATION:
                separating[name] = worst
        return separating

    @cached_property
    def repeats(self) -> Repeats:
        """Counts of rows that are equal in all feature columns."""
        return Repeats.of(self.dataset, self.folds)


@dataclass(frozen=True)
class ResultEvidence:
    """Evidence that is available after the search.

    Attributes
    ----------
    metric : str
    reported : Reported
        Score of the result, corrected for the optimism of selection.
    prior : float
        Score of predicting the class rates, in the metric's own sign.
    references : mapping of str to (float, float)
        Utility of each reference minus that of the result, on the same rows, and the standard
        error of the difference.
    label_changes : float or None
        See the function `label_changes`.
    """

    metric: str
    reported: Reported
    prior: float
    references: Mapping[str, tuple[float, float]]
    label_changes: float | None


def label_changes(
    judge: Judge, proba: Floats, rule: DecisionRule, *, replicates: int, deadline: Deadline
) -> float | None:
    """Estimate the share of labels that change when the decision rule is fitted on another sample.

    The rule is refitted on bootstrap samples of the rows, drawn within each class (Efron 1979).

    Parameters
    ----------
    judge : Judge
        Judge of the scored rows.
    proba : ndarray of float64, shape (n, C)
        Out-of-fold probabilities of the result.
    rule : DecisionRule
        Decision rule of the result, fitted on all rows.
    replicates : int
        Number of bootstrap samples.
    deadline : Deadline
        Time limit, after which None is returned.

    Returns
    -------
    float or None
        Mean number of changed labels, divided by the number of labels other than the most frequent
        class; None if the rule is not fitted to rows or the time is not sufficient.
    """
    if rule.kind != "offsets":
        return None
    labels = rule.apply(proba)
    # Labels of the most frequent class dominate; changes are related to the other labels.
    alarms = int((labels != np.bincount(judge.y).argmax()).sum())
    weight = np.ones(len(judge.y)) if judge.weight is None else judge.weight
    changed = []
    for replicate in range(replicates):
        random = stream(Purpose.CHECK_ROWS, 0, index=replicate)
        sample = replace(judge, weight=weight * _times_drawn(judge.y, random))
        changed.append(int((sample.fit_rule(proba).apply(proba) != labels).sum()))
        if deadline.expired:
            return None
    return float(np.mean(changed)) / max(alarms, 1)


def _times_drawn(y: Ints, random: np.random.Generator) -> Ints:
    """Return how often a bootstrap sample within the classes contains each row, (n,)."""
    times = np.zeros(len(y), dtype=np.int64)
    for code in np.unique(y):
        class_rows = np.flatnonzero(y == code)
        times[class_rows] = random.multinomial(
            len(class_rows), np.full(len(class_rows), 1 / len(class_rows))
        )
    return times


# --- columns that separate the classes ------------------------------------------------------------


def _columns(dataset: Dataset, rows: Ints) -> Iterator[tuple[str, Floats | None, Ints | None]]:
    """Yield name, numbers and levels of each column for some rows; None for what it lacks."""
    columns = dataset.columns
    for name, numbers in zip(columns.number_names, columns.numbers[rows].T):
        values, levels = np.unique(numbers, return_inverse=True)  # missing values are one level
        yield name, numbers, levels if len(values) <= _MAX_LEVELS else None
    for name, codes in zip(columns.category_names, columns.codes[rows].T):
        yield name, None, codes.astype(np.int64) + 1


def _separation(numbers: Floats | None, levels: Ints | None, first: Ints, second: Ints) -> float:
    """Return the best ROC AUC of a column for two classes, by its order or by its levels."""
    rows = np.concatenate([first, second])
    hit = np.arange(len(rows)) < len(first)
    areas: list[Floats] = []
    if numbers is not None:
        values = numbers[rows]
        missing = np.isnan(values)
        # Missing values are ranked below all numbers, and then above them.
        for gap in (-np.inf, np.inf)[: 1 + int(missing.any())]:
            area = roc_area(*curve(hit, np.where(missing, gap, values), None))
            areas += [area, 1 - area]
    if levels is not None:
        areas.append(roc_area(*curve(hit, _shares(levels[rows], hit), None)))
    return float(max(areas))


def _shares(levels: Ints, hit: Mask) -> Floats:
    """Return the share of hits (n,) in each row's level, estimated on the other half of rows."""
    half = stratified_groups(hit.astype(np.int64), 2)
    shares = np.empty(len(levels))
    for part in (0, 1):
        learn = half != part
        total = np.bincount(levels[learn], minlength=levels.max() + 1)
        hits = np.bincount(levels[learn & hit], minlength=len(total))
        shares[half == part] = ((hits + 0.5) / (total + 1.0))[levels[half == part]]
    return shares
