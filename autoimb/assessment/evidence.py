"""What the checks look at: counts and measures of a table, of its folds and of a result.

Nothing here is fitted for the result or reaches it: the checks only say what was seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from autoimb.assessment.crossfit import stratified_groups
from autoimb.assessment.decision.rule import DecisionRule
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import Metric
from autoimb.assessment.structure import NO_STRUCTURE, Structure
from autoimb.assessment.uncertainty import Reported
from autoimb.budget import Deadline
from autoimb.data.dataset import Dataset
from autoimb.data.encoding.levels import row_hashes
from autoimb.data.folds import FoldPlan
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.randomness import Purpose, stream

__all__ = ["Repeats", "ResultEvidence", "TableEvidence", "label_changes"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ROWS_A_CLASS = (500, 5_000)  # that columns are looked at with: fewer where they are many
_CELLS_A_CLASS = 4_000_000
_FEW_VALUES = 64  # of a column of numbers, which then are levels too
_FAR_FROM_PERFECT = 0.9  # a pair of classes below it ends the look at a column


@dataclass(frozen=True)
class Repeats:
    """Rows that are equal in all columns that are learned from.

    Attributes
    ----------
    scored : int
        Rows that some fold scores.
    copied : int
        Of them, those with an equal row among the training rows of the fold that scores them.
    rarer : int
        Scored rows outside the most frequent class.
    given_away : int
        Of those, the ones whose class more than half of their equal training rows have.
    contradicted : int
        Of those, the ones of which as many equal rows are of another class, or more.
    largest : int
        Rows of the largest set of equal ones.
    most_in_a_fold : int
        Rows of the largest fold.
    """

    scored: int
    copied: int
    rarer: int
    given_away: int
    contradicted: int
    largest: int
    most_in_a_fold: int

    @classmethod
    def of(cls, dataset: Dataset, folds: FoldPlan) -> Repeats:
        """Count them. Sees: all rows of the study, on its own folds."""
        y, n_classes = dataset.y, dataset.n_classes
        hashes = row_hashes(dataset.columns.numbers, dataset.columns.codes)
        _, which, sizes = np.unique(hashes, return_inverse=True, return_counts=True)

        def by_class(rows: Ints) -> Ints:
            """Count the rows of each class in each set of equal rows, (sets, C)."""
            cells = np.bincount(which[rows] * n_classes + y[rows], minlength=len(sizes) * n_classes)
            return cells.reshape(len(sizes), n_classes)

        copied, given_away = np.zeros(len(y), dtype=bool), np.zeros(len(y), dtype=bool)
        for fold in folds.folds:
            equal = by_class(fold.train)[which[fold.score]]
            own = equal[np.arange(len(fold.score)), y[fold.score]]
            copied[fold.score] = equal.any(axis=1)
            given_away[fold.score] = 2 * own > equal.sum(axis=1)
        scored = folds.scored
        rarer = scored[y[scored] != np.bincount(y).argmax()]
        equal = by_class(np.arange(len(y)))[which[rarer]]
        own = equal[np.arange(len(rarer)), y[rarer]]
        return cls(
            scored=len(scored),
            copied=int(copied[scored].sum()),
            rarer=len(rarer),
            given_away=int(given_away[rarer].sum()),
            contradicted=int((2 * own <= equal.sum(axis=1)).sum()),
            largest=int(sizes.max()),
            most_in_a_fold=max(len(fold.score) for fold in folds.folds),
        )


@dataclass(frozen=True)
class TableEvidence:
    """What is known before the first trial.

    Attributes
    ----------
    metric : Metric
        The one that was asked for.
    counts : tuple of int, of length C
        Scored rows of each class.
    names : tuple of str, of length C
        The labels as text.
    separating : mapping of str to float
        Columns that part every pair of classes nearly or wholly by themselves, each with the
        ROC AUC of its worst pair.
    repeats : Repeats
    structure : Structure
        Signs that rows are not independent.
    """

    metric: Metric
    counts: tuple[int, ...]
    names: tuple[str, ...]
    separating: Mapping[str, float]
    repeats: Repeats
    structure: Structure

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        folds: FoldPlan,
        *,
        metric: Metric,
        names: tuple[str, ...],
        structure: Structure = NO_STRUCTURE,
        policy: SearchPolicy = DEFAULT_POLICY,
    ) -> TableEvidence:
        """Gather it.

        Parameters
        ----------
        dataset, folds : Dataset, FoldPlan
            Of the study. Sees: all its rows and labels; of a class at most 5,000 rows for the
            columns.
        metric : Metric
        names : tuple of str
            The labels as text, by code.
        structure : Structure, optional
            None by default.
        policy : SearchPolicy, optional
            From which AUC on a column is named, and how many rows a class needs for it.

        Returns
        -------
        TableEvidence
        """
        counts = np.bincount(dataset.y[folds.scored], minlength=dataset.n_classes)
        return cls(
            metric=metric,
            counts=tuple(int(count) for count in counts),
            names=names,
            separating=_separating(dataset, policy),
            repeats=Repeats.of(dataset, folds),
            structure=structure,
        )


@dataclass(frozen=True)
class ResultEvidence:
    """What is known when the search has ended.

    Attributes
    ----------
    metric : str
    reported : Reported
        The result's score, without the optimism of its choice.
    prior : float
        What the class rates alone reach, in the metric's own sign.
    references : mapping of str to (float, float)
        By reference its utility less that of the result, on the same rows, and the standard error
        of that.
    label_changes : float or None
        See the function of that name.
    """

    metric: str
    reported: Reported
    prior: float
    references: Mapping[str, tuple[float, float]]
    label_changes: float | None


def label_changes(
    judge: Judge, proba: Floats, rule: DecisionRule, *, replicates: int, deadline: Deadline
) -> float | None:
    """Tell how many labels another sample of the same size would change, by its decision rule.

    The rule is fitted anew on bootstrap samples of the rows, drawn within each class (Efron 1979).

    Parameters
    ----------
    judge : Judge
        Of the scored rows.
    proba : ndarray of float64, shape (n, C)
        The result's out-of-fold probabilities.
    rule : DecisionRule
        The result's, fitted on all rows.
    replicates : int
        Bootstrap samples.
    deadline : Deadline
        Past it there is no answer.

    Returns
    -------
    float or None
        Mean number of labels that change, for each label that is not the most frequent class;
        None where the rule is not fitted to rows, or there was no time.
    """
    if rule.kind != "offsets":
        return None
    labels = rule.apply(proba)
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
    """Draw as many rows of each class as there are, with replacement; count each, (n,)."""
    times = np.zeros(len(y), dtype=np.int64)
    for code in np.unique(y):
        own = np.flatnonzero(y == code)
        times[own] = random.multinomial(len(own), np.full(len(own), 1 / len(own)))
    return times


# --- columns that part the classes ----------------------------------------------------------------


def _separating(dataset: Dataset, policy: SearchPolicy) -> dict[str, float]:
    """Find the columns that tell every class from every other one."""
    columns = len(dataset.columns.number_names) + len(dataset.columns.category_names)
    most = int(np.clip(_CELLS_A_CLASS // max(columns, 1), *_ROWS_A_CLASS))
    rows = [np.flatnonzero(dataset.y == code) for code in range(dataset.n_classes)]
    rows = [own[:: -(-len(own) // most)] for own in rows if len(own)]
    rows = [own for own in rows if len(own) >= policy.least_separated_rows]
    if len(rows) < 2:
        return {}
    ends = np.cumsum([0, *map(len, rows)])
    places = [np.arange(start, end) for start, end in pairwise(ends)]  # of each class
    found = {}
    for name, numbers, levels in _columns(dataset, np.concatenate(rows)):
        worst = 1.0
        for one, other in combinations(places, 2):
            worst = min(worst, _separation(numbers, levels, one, other))
            if worst < _FAR_FROM_PERFECT:
                break
        if worst >= policy.perfect_separation:
            found[name] = worst
    return found


def _columns(dataset: Dataset, rows: Ints) -> Iterator[tuple[str, Floats | None, Ints | None]]:
    """Give each column's name, its numbers and its levels in some rows, as far as it has them."""
    columns = dataset.columns
    for name, numbers in zip(columns.number_names, columns.numbers[rows].T):
        values, levels = np.unique(numbers, return_inverse=True)  # all gaps are one value
        yield name, numbers, levels if len(values) <= _FEW_VALUES else None
    for name, codes in zip(columns.category_names, columns.codes[rows].T):
        yield name, None, codes.astype(np.int64) + 1


def _separation(numbers: Floats | None, levels: Ints | None, one: Ints, other: Ints) -> float:
    """Return the best ROC AUC of a column for two classes: by its order, or by its levels."""
    rows = np.concatenate([one, other])
    hit = np.arange(len(rows)) < len(one)
    areas = [0.0]
    if numbers is not None:
        values = numbers[rows]
        missing = np.isnan(values)
        for gap in (-np.inf, np.inf)[: 1 + int(missing.any())]:  # they stand at either end
            area = _rank_area(np.where(missing, gap, values), hit)
            areas += [area, 1 - area]
    if levels is not None:
        areas.append(_rank_area(_shares(levels[rows], hit), hit))
    return max(areas)


def _rank_area(values: Floats, hit: NDArray[np.bool_]) -> float:
    """Return the ROC AUC of values, from the sum of their ranks (Mann & Whitney 1947)."""
    hits, misses = int(hit.sum()), int((~hit).sum())
    ranks = rankdata(values)[hit].sum()
    return float((ranks - hits * (hits + 1) / 2) / (hits * misses))


def _shares(levels: Ints, hit: NDArray[np.bool_]) -> Floats:
    """Return each row's share of hits in its level, learned on the other half of the rows, (n,)."""
    half = stratified_groups(hit.astype(np.int64), 2)
    shares = np.empty(len(levels))
    for own in (0, 1):
        learn = half != own
        total = np.bincount(levels[learn], minlength=levels.max() + 1)
        hits = np.bincount(levels[learn & hit], minlength=len(total))
        shares[half == own] = ((hits + 0.5) / (total + 1.0))[levels[half == own]]
    return shares
