"""Fold plans: rows that train, choose the epoch and are scored. Rows are never copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autoimb.data.rarity import minority_count
from autoimb.errors import OptionError
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.randomness import Purpose, stream
from autoimb.text import shown

__all__ = [
    "Fold",
    "FoldPlan",
    "Rows",
    "check_split",
    "choosing_folds",
    "deal_groups",
    "duel_folds",
    "groups_of_a_class",
    "plan_folds",
    "stratified",
]

# Smallest number of folds of a duel; there are no duels with too few rare rows for it.
_MIN_DUEL_FOLDS = 5
# Rows of the rarer classes that each fold of a duel needs.
_RARE_ROWS_PER_DUEL_FOLD = 2
# With fewer rare rows, three folds would train on too few of them.
_RARE_ROWS_FOR_THREE_FOLDS = 150

Rows = NDArray[np.int64]

HOLD_OUT_GROUPS = 5


@dataclass(frozen=True, eq=False)
class Fold:
    """One split of the rows into training, epoch choice and scoring.

    Attributes
    ----------
    train, score, choose : ndarray of int64, sorted
        Rows that train, rows that are scored, and rows that choose the epoch. If `choose` is empty,
        the rows of other folds choose.
    choosers : tuple of int or None
        Numbers of the folds whose rows choose the epoch if `choose` is empty; None is all others.
    """

    train: Rows
    score: Rows
    choose: Rows
    choosers: tuple[int, ...] | None = None


def choosing_folds(folds: Sequence[Fold]) -> list[tuple[int, ...]]:
    """Return for each fold the numbers of the folds whose rows choose its epoch.

    A fold contributes its `choose` rows, or its scored rows if it has no `choose` rows.
    """
    return [
        (number,) if len(fold.choose) else _choosers(number, len(folds), fold.choosers)
        for number, fold in enumerate(folds)
    ]


def _choosers(number: int, n_folds: int, choosers: tuple[int, ...] | None) -> tuple[int, ...]:
    if choosers is not None:
        return choosers
    # The rows of the fold itself may not choose, as they are scored at the chosen checkpoint.
    return tuple(chooser for chooser in range(n_folds) if chooser != number)


@dataclass(frozen=True, eq=False)
class FoldPlan:
    """Folds of a study, which all trials share.

    Attributes
    ----------
    folds : tuple of Fold
    group : ndarray of shape (n,), int64
        Cross-fitting group of each scored row: thresholds and calibration of a group are fitted on
        the other groups. -1 marks rows that are never scored. With several folds the group is the
        number of the fold.
    scale : ndarray of shape (n,), float64, or None
        Number of rows that each scored row represents, if not all rows are scored.
    predefined : bool
        Whether the user defined the splits. Random splits could then mix rows that the user's
        splits separate.
    period : ndarray of shape (n,), int64, or None
        Time block of each row in forward folds: 0 and up for scored blocks, -1 for the block that
        chooses the epoch of the first scored one, and -2 for the earliest block. Thresholds and
        calibration of a block are fitted on earlier blocks.
    """

    folds: tuple[Fold, ...]
    group: Rows
    scale: NDArray[np.float64] | None = None
    predefined: bool = False
    period: Rows | None = None

    @property
    def deploys_last(self) -> bool:
        """Return whether only the last fold is deployed, since it scores no row."""
        return not len(self.folds[-1].score)

    @property
    def training(self) -> Rows:
        """Sorted rows on which at least one fold trains."""
        return np.unique(np.concatenate([fold.train for fold in self.folds]))

    @property
    def test_share(self) -> float:
        """Ratio of scored rows to training rows, averaged over the folds."""
        return float(np.mean([len(fold.score) / len(fold.train) for fold in self.folds]))

    @property
    def scored(self) -> Rows:
        """Sorted rows that are scored by a fold."""
        return np.flatnonzero(self.group >= 0).astype(np.int64)

    def take(self, rows: Rows) -> FoldPlan:
        """Return the plan restricted to some sorted rows, which are renumbered from 0."""

        def renumbered(fold_rows: Rows) -> Rows:
            return np.searchsorted(rows, fold_rows[np.isin(fold_rows, rows)])

        folds = tuple(
            replace(
                fold,
                train=renumbered(fold.train),
                score=renumbered(fold.score),
                choose=renumbered(fold.choose),
            )
            for fold in self.folds
        )
        return replace(
            self,
            folds=folds,
            group=self.group[rows],
            period=None if self.period is None else self.period[rows],
            scale=None if self.scale is None else self.scale[rows],
        )

    def scoring(self, rows: Rows, scale: NDArray[np.float64]) -> FoldPlan:
        """Return the plan with fewer scored rows, each of which represents `scale` rows."""
        # Only scoring changes: a row that is no longer scored still trains in the other folds. Rows
        # that remain scored represent those that were left out, in all sums over scored rows.
        group = np.full_like(self.group, -1)
        group[rows] = self.group[rows]
        multiplicity = np.ones(len(group))
        multiplicity[rows] = scale
        folds = tuple(
            replace(fold, score=fold.score[group[fold.score] >= 0]) for fold in self.folds
        )
        return replace(self, folds=folds, group=group, scale=multiplicity)

    def scored_weight(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the weights of the scored rows, given those of all rows."""
        rows = self.scored
        return weight[rows] if self.scale is None else weight[rows] * self.scale[rows]


def plan_folds(
    y: NDArray[np.int64],
    *,
    cv: object = None,
    random_state: int,
    eval_rows: Rows | None = None,
    cluster: Rows | None = None,
    retained: NDArray[np.bool_] | None = None,
    policy: SearchPolicy = DEFAULT_POLICY,
) -> FoldPlan:
    """Plan the folds of a study.

    The default is 5 stratified, shuffled folds below 15,000 rows and 3 folds from there on, unless
    the rarer classes have fewer than 150 rows (`minority_count`). **A class with fewer rows than
    folds** has each of its rows in a different fold. The remaining folds score none of its rows,
    and it trains in every fold that does not score it. A single split, or an evaluation set, is a
    hold-out: a stratified half of its rows chooses the epoch, and the other half is scored in up to
    5 stratified groups.

    With groups, each fold holds out whole groups, which are distributed so that each class is split
    as evenly as possible. The number of folds is then limited by the number of groups in which the
    scarcest class occurs.

    Parameters
    ----------
    y : ndarray of shape (n,), int64
        Class codes.
    cv : int, splitter or iterable of (train, test), optional
        Number of stratified folds, a scikit-learn splitter, or pairs of training and test rows as
        row numbers or masks. Test sets must not overlap. Rows in none of them are never scored.
    random_state : int
        Seed of the shuffle.
    eval_rows : ndarray of int64, optional
        Rows of the user's evaluation set; all other rows train.
    cluster : ndarray of shape (n,), int64, optional
        Group of each row as defined by the user.
    retained : ndarray of bool, optional
        Mask of the n rows among those of the user's table, to which pairs of rows in `cv` refer;
        by default these are the same rows.
    policy : SearchPolicy, optional
        Number of rows from which there are fewer folds.

    Returns
    -------
    FoldPlan

    Raises
    ------
    OptionError
        If `cv` is neither of these, refers to missing rows, lets a row train and score in one fold,
        scores a row twice, or is combined with `eval_rows`; if a split divides a group, or if all
        rows of a class belong to one group.
    """
    n_rows, max_folds = len(y), groups_of_a_class(y, cluster)
    if eval_rows is not None:
        if cv is not None:
            raise OptionError("cv and an evaluation set exclude each other; give one of them.")
        test = np.unique(np.asarray(eval_rows, dtype=np.int64))
        train = np.setdiff1d(np.arange(n_rows), test)
        check_split(train, test, name="the evaluation set", cluster=cluster)
        return _hold_out(y, train, test, random_state, cluster)
    if cv is None:
        cv = min(_default_folds(y, policy), max_folds)
    if isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        if not 2 <= cv <= max_folds:
            of = "rows" if cluster is None else "groups that hold the scarcest class"
            raise OptionError(
                f"cv={cv} folds: must be between 2 and the number of {of}, {max_folds}."
            )
        return _plan(_stratified_splits(y, int(cv), random_state, cluster), n_rows)
    splits = _read_splits(cv, y, cluster, retained)
    if len(splits) == 1:
        return _hold_out(y, *splits[0], random_state, cluster)
    return replace(_plan(splits, n_rows), predefined=True)


def groups_of_a_class(y: NDArray[np.int64], cluster: Rows | None) -> int:
    """Count the groups in which the scarcest class occurs; without groups, count all rows.

    Raises
    ------
    OptionError
        If a class occurs in one group only, so that no fold could both train on it and score it.
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
    """Plan the folds of matched duels, which took no part in the choice of what they compare.

    Parameters
    ----------
    y : ndarray of shape (n,), int64
        Class codes.
    folds : FoldPlan
        Folds of the study. Splits that the user defined are reused. Of a hold-out, the training
        rows are split and the other rows are not used in duels.
    random_state : int
        Seed, which must differ from the seed of the study.
    policy : SearchPolicy
        Number of folds, and the number of rows of the rarer classes that each of them needs.
    cluster : ndarray of shape (n,), int64, optional
        Group of each row as defined by the user.

    Returns
    -------
    FoldPlan or None
        None if the rarer classes have too few rows or groups for the minimum number of folds.
    """
    # Only rows that train in the study take part, so that hold-out rows remain untouched.
    rows = folds.training
    counts = np.bincount(y[rows])
    row_groups = None if cluster is None else cluster[rows]
    max_folds = minority_count(counts[counts > 0]) // _RARE_ROWS_PER_DUEL_FOLD
    max_folds = min(max_folds, groups_of_a_class(y[rows], row_groups))
    if max_folds < _MIN_DUEL_FOLDS:
        return None
    # Folds of the user stay, since random ones could mix rows that they separate.
    if folds.predefined and len(folds.folds) > 1:
        return folds
    n_folds = min(policy.comparisons.folds, max_folds)
    splits = _stratified_splits(y[rows], n_folds, random_state, row_groups)
    return _plan([(rows[train], rows[test]) for train, test in splits], len(y))


def _default_folds(y: NDArray[np.int64], policy: SearchPolicy) -> int:
    # Three folds save time on large tables. Where the rarer classes have few rows, five folds are
    # kept, each of which trains on more of these rows.
    counts = np.bincount(y)
    enough = minority_count(counts[counts > 0]) >= _RARE_ROWS_FOR_THREE_FOLDS
    return 3 if len(y) >= policy.folds.rows_for_three_folds and enough else 5


def _stratified_parts(
    y: Rows, n_parts: int, random: np.random.Generator, cluster: Rows | None
) -> Rows:
    """Assign rows to parts at random, stratified by class and without dividing groups."""
    parts = stratified(y, n_parts, random, cluster)
    # The parts that get one more row of a class are random as well.
    return np.asarray(random.permutation(n_parts)[parts])


def _stratified_splits(
    y: Rows, n_folds: int, random_state: int, cluster: Rows | None
) -> list[tuple[Rows, Rows]]:
    """Split rows into stratified folds; return the training and the scored rows of each."""
    part = _stratified_parts(y, n_folds, stream(Purpose.FOLDS, random_state), cluster)
    return [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in range(n_folds)]


def _plan(splits: list[tuple[Rows, Rows]], n_rows: int) -> FoldPlan:
    group = np.full(n_rows, -1, dtype=np.int64)
    no_rows = np.empty(0, dtype=np.int64)
    for number, (_, test) in enumerate(splits):
        # A row in two test sets would have two out-of-fold predictions, and all that follows has
        # one for each row.
        twice = test[group[test] >= 0]
        if len(twice):
            raise OptionError(
                f"cv scores {len(twice)} rows twice: row {twice[0]} in splits {group[twice[0]]} "
                f"and {number}. Test sets must not overlap; repeated splitters are not supported."
            )
        group[test] = number
    return FoldPlan(tuple(Fold(train, test, no_rows) for train, test in splits), group)


def _hold_out(
    y: Rows, train: Rows, test: Rows, random_state: int, cluster: Rows | None
) -> FoldPlan:
    unit = np.arange(len(y)) if cluster is None else cluster
    if len(np.unique(unit[test])) < 2:
        units = "rows" if cluster is None else "groups"
        raise OptionError(
            f"A hold-out needs 2 {units}, one that chooses and one that scores; got 1."
        )

    def groups_of(rows: Rows) -> Rows | None:
        return None if cluster is None else cluster[rows]

    # One half chooses the epoch. The other half is scored in groups, for cross-fitted thresholds.
    generator = stream(Purpose.HOLD_OUT, random_state)
    half = _stratified_parts(y[test], 2, generator, groups_of(test))
    score = test[half == 0]
    group = np.full(len(y), -1, dtype=np.int64)
    n_groups = min(HOLD_OUT_GROUPS, len(np.unique(unit[score])))
    group[score] = _stratified_parts(y[score], n_groups, generator, groups_of(score))
    return FoldPlan((Fold(train, score, test[half == 1]),), group)


def _read_splits(
    cv: object, y: Rows, cluster: Rows | None, retained: NDArray[np.bool_] | None
) -> list[tuple[Rows, Rows]]:
    """Return the splits of a splitter, or those of an iterable without the dropped rows."""
    from sklearn.model_selection import check_cv

    # An iterable refers to the table of the user, and a splitter splits the remaining rows.
    if retained is None or hasattr(cv, "split"):
        retained = np.ones(len(y), dtype=bool)
    try:
        pairs = list(check_cv(cv).split(np.zeros((len(y), 1)), y, cluster))
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"cv={shown(cv)} can't split this table: {error} A splitter that needs groups takes "
            "those of groups=."
        ) from error
    if not pairs:
        raise OptionError("cv holds no splits; it must hold at least one (train, test).")
    # New number of each row that was not dropped.
    place = np.cumsum(retained) - 1
    splits = []
    for number, pair in enumerate(pairs):
        train, test = (_read_rows(part, len(retained), number) for part in pair)
        train, test = (place[rows[retained[rows]]] for rows in (train, test))
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
    """Check that both sides of a split have rows and share neither a row nor a group."""
    if not len(train) or not len(test):
        raise OptionError(f"{name}: both sides need rows; {len(train)} train, {len(test)} score.")
    shared = np.intersect1d(train, test)
    if len(shared):
        raise OptionError(
            f"{name}: {len(shared)} rows train and score, the first is row {shared[0]}."
        )
    if cluster is not None:
        parted = np.intersect1d(cluster[train], cluster[test])
        if len(parted):
            row = test[cluster[test] == parted[0]][0]
            raise OptionError(
                f"{name} parts {len(parted)} groups into rows that train and rows that score; row "
                f"{row} is of such a group."
            )


def stratified(
    y: Rows, n_parts: int, random: np.random.Generator, cluster: Rows | None = None
) -> Rows:
    """Split rows into parts, each class as evenly as possible.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
        Class codes.
    n_parts : int
        Number of parts.
    random : Generator
        Generator of the order within a class and of the order of equal groups.
    cluster : ndarray of int64, shape (n,), or None
        Group of each row. The rows of a group are assigned to one part; see `deal_groups`.

    Returns
    -------
    ndarray of int64, shape (n,)
        Part of each row, from 0. Without groups, the sizes of the parts and of each class in them
        differ by at most one. With fewer groups than parts, some parts are empty.
    """
    if cluster is not None:
        return deal_groups(y, cluster, np.full(n_parts, 1.0 / n_parts), random)
    # Sort the rows by class, in random order within each class.
    shuffled = random.permutation(len(y))
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    part = np.empty(len(y), dtype=np.int64)
    # The rows of a class are consecutive here, so that the parts take turns within each class.
    part[by_class] = np.arange(len(y)) % n_parts
    return part


def deal_groups(
    y: Rows, cluster: Rows, shares: NDArray[np.float64], random: np.random.Generator
) -> Rows:
    """Assign whole groups of rows to parts, so that each part gets about its share of each class.

    The algorithm is greedy. Groups are assigned in the order of their share of the classes, the
    largest first, each to the part that has the least of the group's classes so far. scikit-learn's
    ``StratifiedGroupKFold`` splits into equal parts as evenly but takes some fifty times as long,
    which matters from 10,000 groups on.

    Parameters
    ----------
    y, cluster : ndarrays of int64, shape (n,)
        Class codes and groups.
    shares : ndarray of float64, shape (K,)
        Share of the rows that each part should have.
    random : Generator
        Generator of the order of equal groups.

    Returns
    -------
    ndarray of int64, shape (n,)
        Part of each row, from 0.
    """
    _, group = np.unique(cluster, return_inverse=True)
    # Shares, in place of counts, let a rare class weigh as much as a frequent one.
    class_shares = np.zeros((group.max() + 1, y.max() + 1))  # of each class's rows, by group
    np.add.at(class_shares, (group, y), 1.0 / np.bincount(y)[y])
    # The stable sort keeps the random order of groups with equal shares.
    order = random.permutation(len(class_shares))
    part, load = np.empty(len(class_shares), dtype=np.int64), np.zeros((len(shares), y.max() + 1))
    for number in order[np.argsort(-class_shares[order].sum(axis=1), kind="stable")]:
        # The product sums the loads of a part over the classes, by how much of each the group has.
        # A load is relative to the part's share, so that a larger part is filled as evenly.
        part[number] = (load @ class_shares[number]).argmin()
        load[part[number]] += class_shares[number] / shares[part[number]]
    return np.asarray(part[group])
