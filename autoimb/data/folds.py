"""Fold plans: which rows train, choose the epoch and score. Rows are split, never copied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autoimb.data.rarity import minority_count
from autoimb.errors import OptionError
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.randomness import Purpose, stream

__all__ = [
    "Fold",
    "FoldPlan",
    "Rows",
    "check_split",
    "choosing_folds",
    "deal_groups",
    "duel_folds",
    "groups_of_a_class",
    "kept_splits",
    "plan_folds",
    "stratified",
]

Rows = NDArray[np.int64]

HOLD_OUT_GROUPS = 5


@dataclass(frozen=True, eq=False)
class Fold:
    """One split of the rows.

    Attributes
    ----------
    train, score, choose : ndarray of int64, sorted
        Rows that train, that are scored, and that choose the epoch. An empty `choose` means that
        the rows of other folds choose.
    choosers : tuple of int or None
        Those folds; None is all others.
    """

    train: Rows
    score: Rows
    choose: Rows
    choosers: tuple[int, ...] | None = None


def choosing_folds(folds: Sequence[Fold]) -> list[tuple[int, ...]]:
    """Return for each fold the folds whose own rows choose its epoch.

    The own rows of a fold are those that choose, where it has any, else those that it scores.
    """
    return [
        (number,) if len(fold.choose) else _others(number, len(folds), fold.choosers)
        for number, fold in enumerate(folds)
    ]


def _others(number: int, n_folds: int, choosers: tuple[int, ...] | None) -> tuple[int, ...]:
    if choosers is not None:
        return choosers
    return tuple(other for other in range(n_folds) if other != number)


@dataclass(frozen=True, eq=False)
class FoldPlan:
    """The folds of a study, the same for every trial.

    Attributes
    ----------
    folds : tuple of Fold
    group : ndarray of shape (n,), int64
        Cross-fitting group of each scored row: what labels or calibrates a group is fitted on the
        other groups. -1 marks rows that are never scored. With several folds it is the fold.
    scale : ndarray of shape (n,), float64, or None
        How many rows each scored row stands for, where not all are scored.
    further : tuple of tuple of Fold
        Further repeats, to confirm what the plan's own folds chose: other random splits of all
        rows, that score each row once. Several into as many folds, or one into more folds.
    given : bool
        Whether the user split the rows: other splits would not know what theirs hold apart.
    period : ndarray of shape (n,), int64, or None
        Of forward folds, the block of time of each row, from 0 for the first that is scored; -1
        for the block that chooses for it, and -2 for the first of all. What labels or calibrates a
        block is fitted on earlier ones.
    """

    folds: tuple[Fold, ...]
    group: Rows
    scale: NDArray[np.float64] | None = None
    further: tuple[tuple[Fold, ...], ...] = ()
    given: bool = False
    period: Rows | None = None

    @property
    def deploys_last(self) -> bool:
        """Whether the last fold of each repeat scores no row: it alone is deployed."""
        return not len(self.folds[-1].score)

    @property
    def training(self) -> Rows:
        """The rows that some fold trains on, sorted."""
        return np.unique(np.concatenate([fold.train for fold in self.folds]))

    @property
    def test_share(self) -> float:
        """Scored rows of a fold for each row that it trains on, in the mean of the folds."""
        return float(np.mean([len(fold.score) / len(fold.train) for fold in self.folds]))

    def repeat(self, number: int) -> FoldPlan:
        """Give the folds of a repeat, 0 being the plan's own; groups stay those of the plan."""
        return self if number == 0 else replace(self, folds=self.further[number - 1], further=())

    @property
    def confirming(self) -> tuple[int, ...]:
        """The repeats that a confirmation trains on, 0 being the plan's own.

        Repeats of as many folds join the own ones; one of more folds stands alone, so that
        nothing in it has chosen what it confirms.
        """
        alone = any(len(folds) > len(self.folds) for folds in self.further)
        return tuple(range(int(alone), 1 + len(self.further)))

    @property
    def confirming_work(self) -> float:
        """How many times the rows of the own folds' training parts a confirmation trains on."""
        own = sum(len(fold.train) for fold in self.folds)
        folds = (fold for number in self.confirming for fold in self.repeat(number).folds)
        return sum(len(fold.train) for fold in folds) / own

    def offset(self, number: int) -> int:
        """Give the place of a repeat's first fold among `every`."""
        return sum(len(folds) for folds in (self.folds, *self.further)[:number])

    @property
    def every(self) -> tuple[Fold, ...]:
        """The folds of all repeats, one after the other."""
        return sum(self.further, self.folds)

    @property
    def scored(self) -> Rows:
        """The rows that some fold scores, sorted."""
        return np.flatnonzero(self.group >= 0).astype(np.int64)

    def take(self, rows: Rows) -> FoldPlan:
        """Give the same folds of these rows (sorted), by their new numbers."""
        place = np.full(len(self.group), -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))

        def renumbered(own: Rows) -> Rows:
            numbers: Rows = place[own]
            return numbers[numbers >= 0]

        def renumbered_folds(folds: tuple[Fold, ...]) -> tuple[Fold, ...]:
            return tuple(
                replace(
                    f,
                    train=renumbered(f.train),
                    score=renumbered(f.score),
                    choose=renumbered(f.choose),
                )
                for f in folds
            )

        return replace(
            self,
            folds=renumbered_folds(self.folds),
            group=self.group[rows],
            period=None if self.period is None else self.period[rows],
            scale=None if self.scale is None else self.scale[rows],
            further=tuple(renumbered_folds(folds) for folds in self.further),
        )

    def scoring(self, rows: Rows, scale: NDArray[np.float64]) -> FoldPlan:
        """Give the same folds, but score these rows only, each standing for so many."""
        group = np.full_like(self.group, -1)
        group[rows] = self.group[rows]
        stands_for = np.ones(len(group))
        stands_for[rows] = scale

        def fewer(folds: tuple[Fold, ...]) -> tuple[Fold, ...]:
            return tuple(replace(f, score=f.score[group[f.score] >= 0]) for f in folds)

        further = tuple(fewer(folds) for folds in self.further)
        return replace(
            self, folds=fewer(self.folds), group=group, scale=stands_for, further=further
        )

    def scored_weight(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the weights of the scored rows, from those of all rows."""
        rows = self.scored
        return weight[rows] if self.scale is None else weight[rows] * self.scale[rows]


def plan_folds(
    y: NDArray[np.int64],
    *,
    cv: object = None,
    random_state: int,
    eval_rows: Rows | None = None,
    cluster: Rows | None = None,
    policy: SearchPolicy = DEFAULT_POLICY,
) -> FoldPlan:
    """Plan the folds.

    By default 5 stratified, shuffled folds below 15,000 rows, and 3 from there on unless the rarer
    classes have fewer than 150 rows (`minority_count`). **A class with fewer rows than folds** has
    its rows in different folds, one each: the remaining folds score none of it, and it trains in
    every fold but those that score it. A single split (or an evaluation set) is a hold-out: a
    stratified half of its rows chooses the epoch, the other half scores in up to 5 stratified
    groups. Below 3,000 rows the plan holds three more repeats: other random splits of the rows into
    as many folds; from there on one more, of 8 folds, where each of them gets 10 rows of the rarer
    classes.

    With groups each fold holds whole groups out, each class as evenly as they allow, and there are
    at most as many folds as groups that hold a class.

    Parameters
    ----------
    y : ndarray of shape (n,), int64
        Class codes.
    cv : int, splitter or iterable of (train, test), optional
        Number of stratified folds; a scikit-learn splitter; or rows (or masks) that train and
        score. Test sets must not overlap; rows in none of them are never scored.
    random_state : int
        Seed of the shuffle.
    eval_rows : ndarray of int64, optional
        Rows of the user's evaluation set; all others train.
    cluster : ndarray of shape (n,), int64, optional
        The user's group of each row.
    policy : SearchPolicy, optional
        From which counts on there are fewer folds and no repeats.

    Returns
    -------
    FoldPlan

    Raises
    ------
    OptionError
        A `cv` that is no number of folds, splits rows that don't exist, lets rows train and score
        in one fold, or scores a row twice; `cv` together with `eval_rows`; a split that parts a
        group; a class that one group alone holds.
    """
    n_rows, most = len(y), groups_of_a_class(y, cluster)
    if eval_rows is not None:
        if cv is not None:
            raise OptionError("cv and an evaluation set exclude each other; give one of them.")
        test = np.unique(np.asarray(eval_rows, dtype=np.int64))
        train = np.setdiff1d(np.arange(n_rows), test)
        check_split(train, test, name="the evaluation set", cluster=cluster)
        return _hold_out(y, train, test, random_state, cluster)
    if cv is None or _is_whole_number(cv):
        if cv is None:
            n_folds = min(_count_folds(y, policy), most)
        else:
            n_folds = _check_count(cast(int, cv), min(n_rows, most), grouped=cluster is not None)
        further = (min(number, most) for number in _further_folds(y, n_folds, policy))
        repeats = [
            _plan(
                _stratified_splits(
                    y, own, stream(Purpose.FOLDS, random_state, repeat=number), cluster
                ),
                n_rows,
            )
            for number, own in enumerate([n_folds, *further])
        ]
        return replace(repeats[0], further=tuple(plan.folds for plan in repeats[1:]))
    splits = _read_splits(cv, y, cluster)
    if len(splits) == 1:
        return _hold_out(y, *splits[0], random_state, cluster)
    return replace(_plan(splits, n_rows), given=True)


def groups_of_a_class(y: NDArray[np.int64], cluster: Rows | None) -> int:
    """Count the groups that hold the class which the fewest hold; the rows where there are none.

    Raises
    ------
    OptionError
        Where one group alone holds a class, so that no fold could train on it and score it.
    """
    if cluster is None:
        return len(y)
    classes = np.unique(y)
    counts = [len(np.unique(cluster[y == code])) for code in classes]
    fewest = int(np.argmin(counts))
    if counts[fewest] < 2:
        raise OptionError(
            f"groups: class number {classes[fewest]} occurs in {counts[fewest]} group of the "
            f"{len(np.unique(cluster))}; each class must occur in at least 2, so that a fold can "
            "train on one and score another."
        )
    return counts[fewest]


def duel_folds(
    y: NDArray[np.int64],
    folds: FoldPlan,
    *,
    random_state: int,
    policy: SearchPolicy,
    cluster: Rows | None = None,
) -> FoldPlan | None:
    """Plan the folds of matched duels: fresh ones, which chose nothing that they compare.

    Parameters
    ----------
    y : ndarray of shape (n,), int64
        Class codes.
    folds : FoldPlan
        Of the study. Splits of the user's stay as they are; of a hold-out the training rows are
        split, and its other rows have no part in duels.
    random_state : int
        Another one than the study's.
    policy : SearchPolicy
        How many folds, and how many rows of the rarer classes each of them needs.
    cluster : ndarray of shape (n,), int64, optional
        The user's group of each row.

    Returns
    -------
    FoldPlan or None
        None where the rarer classes have too few rows, or groups, for the least number of folds.
    """
    rows = folds.training
    counts = np.bincount(y[rows])
    of_rows = None if cluster is None else cluster[rows]
    most = minority_count(counts[counts > 0]) // policy.rare_rows_a_duel_fold
    most = min(most, groups_of_a_class(y[rows], of_rows))
    if most < policy.least_duel_folds:
        return None
    if folds.given and len(folds.folds) > 1:
        return replace(folds, further=())
    n_folds, generator = min(policy.duel_folds, most), stream(Purpose.FOLDS, random_state)
    splits = _stratified_splits(y[rows], n_folds, generator, of_rows)
    return _plan([(rows[train], rows[test]) for train, test in splits], len(y))


def _is_whole_number(cv: object) -> bool:
    return isinstance(cv, int | np.integer) and not isinstance(cv, bool)


def _count_folds(y: NDArray[np.int64], policy: SearchPolicy) -> int:
    counts = np.bincount(y)
    enough = minority_count(counts[counts > 0]) >= policy.rare_rows_for_three_folds
    many = len(y) >= policy.rows_for_three_folds and enough
    wanted = 3 if many else 5
    return min(wanted, len(y))


def _further_folds(y: NDArray[np.int64], n_folds: int, policy: SearchPolicy) -> list[int]:
    """Return the number of folds of each further repeat."""
    if len(y) < policy.rows_for_one_repeat:
        return [n_folds] * (policy.repeats - 1)
    counts, more = np.bincount(y), policy.confirming_folds
    enough = minority_count(counts[counts > 0]) >= policy.rare_rows_a_confirming_fold * more
    return [more] if enough and more > n_folds else []


def _check_count(cv: int, most: int, *, grouped: bool) -> int:
    if not 2 <= cv <= most:
        of = "groups that hold the scarcest class" if grouped else "rows"
        raise OptionError(f"cv={cv} folds: must be between 2 and the number of {of}, {most}.")
    return int(cv)


def _stratified_parts(
    y: NDArray[np.int64],
    n_parts: int,
    generator: np.random.Generator,
    cluster: Rows | None = None,
) -> Rows:
    """Assign rows to parts, each class as evenly as it goes, and no group to several."""
    parts = stratified(y, n_parts, generator, cluster)
    return np.asarray(generator.permutation(n_parts)[parts])


def _stratified_splits(
    y: NDArray[np.int64],
    n_folds: int,
    generator: np.random.Generator,
    cluster: Rows | None = None,
) -> list[tuple[Rows, Rows]]:
    """Split rows into folds; return the rows that train and that are scored in each."""
    part = _stratified_parts(y, n_folds, generator, cluster)
    return [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in range(n_folds)]


def _plan(splits: list[tuple[Rows, Rows]], n_rows: int) -> FoldPlan:
    group = np.full(n_rows, -1, dtype=np.int64)
    nobody = np.empty(0, dtype=np.int64)
    for number, (_, test) in enumerate(splits):
        twice = test[group[test] >= 0]
        if len(twice):
            raise OptionError(
                f"cv scores {len(twice)} rows twice: row {twice[0]} in splits {group[twice[0]]} "
                f"and {number}. Test sets must not overlap; repeated splitters are not supported."
            )
        group[test] = number
    return FoldPlan(tuple(Fold(train, test, nobody) for train, test in splits), group)


def _hold_out(
    y: NDArray[np.int64],
    train: Rows,
    test: Rows,
    random_state: int,
    cluster: Rows | None = None,
) -> FoldPlan:
    units = test if cluster is None else np.unique(cluster[test])
    if len(units) < 2:
        what = "row" if cluster is None else "group"
        raise OptionError(
            f"A hold-out needs 2 {what}s, one that chooses and one that scores; got 1."
        )

    def of(rows: Rows) -> Rows | None:
        return None if cluster is None else cluster[rows]

    generator = stream(Purpose.HOLD_OUT, random_state)
    half = _stratified_parts(y[test], 2, generator, of(test))
    score = test[half == 0]
    units = score if cluster is None else np.unique(cluster[score])
    group = np.full(len(y), -1, dtype=np.int64)
    n_groups = min(HOLD_OUT_GROUPS, len(units))
    group[score] = _stratified_parts(y[score], n_groups, generator, of(score))
    return FoldPlan((Fold(train, score, test[half == 1]),), group)


def _read_splits(
    cv: object, y: NDArray[np.int64], cluster: Rows | None = None
) -> list[tuple[Rows, Rows]]:
    if isinstance(cv, str) or not (hasattr(cv, "split") or isinstance(cv, Iterable)):
        raise OptionError(
            f"cv={cv!r}: must be a number of folds, a scikit-learn splitter, or an iterable of "
            "(train, test) rows."
        )
    pairs: list[Any]
    if hasattr(cv, "split"):
        try:
            pairs = list(cv.split(np.zeros((len(y), 1)), y, cluster))
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"cv={cv!r} can't split this table: {error} A splitter that needs groups takes "
                "those of groups=."
            ) from error
    else:
        pairs = list(cast(Iterable[Any], cv))
    if not pairs:
        raise OptionError("cv holds no splits; it must hold at least one (train, test).")
    splits = []
    for number, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise OptionError(f"cv: split {number} must be (train, test), got {pair!r:.80}.")
        train, test = (_read_rows(part, len(y), number) for part in pair)
        check_split(train, test, name=f"split {number} of cv", cluster=cluster)
        splits.append((train, test))
    return splits


def _read_rows(part: object, n_rows: int, number: int) -> Rows:
    rows = np.asarray(part)
    if rows.dtype == bool and rows.shape == (n_rows,):
        rows = np.flatnonzero(rows)
    if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
        raise OptionError(
            f"cv: split {number} must hold row numbers or a mask of {n_rows} rows, got "
            f"{rows.dtype} of shape {rows.shape}."
        )
    if len(rows) and not (rows.min() >= 0 and rows.max() < n_rows):
        raise OptionError(
            f"cv: split {number} names row {rows.max() if rows.min() >= 0 else rows.min()}; "
            f"the table has rows 0 to {n_rows - 1}."
        )
    unique = np.unique(rows).astype(np.int64)
    if len(unique) < len(rows):
        raise OptionError(f"cv: split {number} names a row twice; rows are never copied.")
    return unique


def check_split(train: Rows, test: Rows, *, name: str, cluster: Rows | None = None) -> None:
    """Refuse a split of no rows, of rows on both sides, and one that parts a group."""
    if not len(train) or not len(test):
        raise OptionError(f"{name}: both sides need rows; {len(train)} train, {len(test)} score.")
    both = np.intersect1d(train, test)
    if len(both):
        raise OptionError(f"{name}: {len(both)} rows train and score, the first is row {both[0]}.")
    if cluster is not None:
        parted = np.intersect1d(cluster[train], cluster[test])
        if len(parted):
            row = test[cluster[test] == parted[0]][0]
            raise OptionError(
                f"{name} parts {len(parted)} groups into rows that train and rows that score; row "
                f"{row} is of such a group."
            )


def kept_splits(cv: object, kept: NDArray[np.bool_]) -> object:
    """Renumber the rows of given splits, (train, test) of the user's table, after the dropping.

    Parameters
    ----------
    cv : object
        What is no iterable of splits is returned as it is.
    kept : bool array of shape (n,)
        Which rows are left.

    Raises
    ------
    OptionError
        Where a split names a row outside the table.
    """
    if kept.all() or not isinstance(cv, Iterable) or isinstance(cv, str) or hasattr(cv, "split"):
        return cv
    place = np.cumsum(kept) - 1

    def renumbered(rows: ArrayLike) -> Rows:
        numbers = np.asarray(rows)
        numbers = np.flatnonzero(numbers) if numbers.dtype == bool else numbers
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(kept):
            raise OptionError(f"cv names rows outside the table, which has {len(kept)} rows.")
        return np.asarray(place[numbers[kept[numbers]]], dtype=np.int64)

    return [(renumbered(train), renumbered(test)) for train, test in cv]


def stratified(
    y: Rows, n_parts: int, random: np.random.Generator, cluster: Rows | None = None
) -> Rows:
    """Split rows into parts, each class as evenly as it goes.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
        Class codes.
    n_parts : int
        Number of parts.
    random : Generator
        Of the order within a class, and among equal groups.
    cluster : ndarray of int64, shape (n,), or None
        Rows of one group get one part; see `deal_groups`.

    Returns
    -------
    ndarray of int64, shape (n,)
        Part of each row, from 0. Without groups the sizes of parts, and of their classes, differ
        by one at most; with fewer groups than parts some parts are empty.
    """
    if cluster is not None:
        return deal_groups(y, cluster, np.full(n_parts, 1.0 / n_parts), random)
    shuffled = random.permutation(len(y))
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    part = np.empty(len(y), dtype=np.int64)
    part[by_class] = np.arange(len(y)) % n_parts  # classes follow each other: each is split evenly
    return part


def deal_groups(
    y: Rows, cluster: Rows, shares: NDArray[np.float64], random: np.random.Generator
) -> Rows:
    """Deal whole groups of rows to parts, each with about its share of each class.

    Greedy: the groups with the largest shares of the classes come first, each goes to the part
    that has least of the group's classes so far. scikit-learn's ``StratifiedGroupKFold`` deals as
    evenly into equal parts, in some fifty times the time, which shows from 10,000 groups on.

    Parameters
    ----------
    y, cluster : ndarrays of int64, shape (n,)
        Class codes and groups.
    shares : ndarray of float64, shape (K,)
        Of the rows, that each part should have.
    random : Generator
        Of the order of equal groups.

    Returns
    -------
    ndarray of int64, shape (n,)
        Part of each row, from 0.
    """
    _, group = np.unique(cluster, return_inverse=True)
    of_class = np.zeros((group.max() + 1, y.max() + 1))  # share of each class's rows, by group
    np.add.at(of_class, (group, y), 1.0 / np.bincount(y)[y])
    order = random.permutation(len(of_class))
    part, load = np.empty(len(of_class), dtype=np.int64), np.zeros((len(shares), y.max() + 1))
    for number in order[np.argsort(-of_class[order].sum(axis=1), kind="stable")]:
        part[number] = (load @ of_class[number]).argmin()
        load[part[number]] += of_class[number] / shares[part[number]]
    return np.asarray(part[group])
