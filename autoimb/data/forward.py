"""Forward folds, in which training rows are earlier than the rows that they score.

The rows are cut into blocks of time with about equally many rows outside the most frequent class.
The first block trains, the second one chooses the epoch, and each later block is scored by
networks that were trained on all earlier rows (rolling-origin evaluation: Tashman, "Out-of-sample
tests of forecasting accuracy", 2000). The last fold trains on all rows, scores none, and is the one
that is deployed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autoimb.data.folds import (
    Fold,
    FoldPlan,
    Rows,
    check_split,
    groups_of_a_class,
    stratified,
)
from autoimb.data.times import Times, chunks
from autoimb.errors import OptionError
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.randomness import Purpose, stream

__all__ = [
    "FIRST_BLOCK",
    "forward_duel_folds",
    "forward_hold_out",
    "plan_forward",
    "rate_blocks",
    "time_chunks",
]

# Largest number of blocks of forward folds.
_MAX_BLOCKS = 6
# Largest number of parts into which groups are divided if rows also have times.
_MAX_PARTS = 3

Floats = NDArray[np.float64]

FIRST_BLOCK = -2  # in `FoldPlan.period`: rows that only train
_MIN_BLOCKS = 4  # one trains, one chooses, two are scored: the first of them only calibrates
_RATE_BLOCKS = 8
_CHUNKS = 10  # per block; the rows of a chunk are drawn together


def plan_forward(
    y: Rows,
    times: Times,
    *,
    random_state: int,
    cluster: Rows | None = None,
    policy: SearchPolicy = DEFAULT_POLICY,
) -> FoldPlan:
    """Plan forward folds.

    Groups are distributed to parts. The rows of a block and part are scored by networks that were
    trained on the earlier rows of the other parts.

    Parameters
    ----------
    y : ndarray of shape (n,), int64
        Class codes.
    times : Times
        Times of the n rows; rows of one time are never separated.
    random_state : int
        Seed of the distribution of groups to parts.
    cluster : ndarray of shape (n,), int64, optional
        Group of each row as defined by the user.
    policy : SearchPolicy, optional
        Maximum number of blocks, and the number of rows of the rarer classes that each needs.

    Returns
    -------
    FoldPlan

    Raises
    ------
    OptionError
        If there are too few rows of the rarer classes, or too few times at which they occur.
    """
    starts = _required_blocks(y, times, policy, "the table")
    part = _parts(y, cluster, stream(Purpose.FOLDS, random_state))
    plan = _forward(times, starts, part, final=True)
    _check_training(plan.folds, y)
    return plan


def forward_duel_folds(
    y: Rows,
    times: Times,
    *,
    random_state: int,
    cluster: Rows | None,
    policy: SearchPolicy,
) -> FoldPlan | None:
    """Plan the folds of matched duels, whose blocks begin a quarter of a block later.

    None of these folds is deployed. The parameters are those of `plan_forward`; the result is None
    if `plan_forward` would refuse the rows.
    """
    starts = _blocks(y, times, policy)
    if starts is None:
        return None
    part = _parts(y, cluster, stream(Purpose.FOLDS, random_state))
    return _forward(times, starts, part, final=False)


def forward_hold_out(
    y: Rows, times: Times, eval_rows: Rows, *, random_state: int, cluster: Rows | None = None
) -> FoldPlan:
    """Plan a hold-out of later rows: the earlier half chooses, the later half is scored in blocks.

    With groups, the earlier rows of one half of the groups choose the epoch, and the later rows of
    the other half are scored.

    Parameters
    ----------
    y : ndarray of shape (n,), int64
        Class codes.
    times : Times
        Times of the n rows.
    eval_rows : ndarray of int64
        Rows of the evaluation set, which are later than all other rows. Only the others train.
    random_state : int
        Seed of the distribution of groups to halves.
    cluster : ndarray of shape (n,), int64, optional
        Group of each row as defined by the user.

    Returns
    -------
    FoldPlan

    Raises
    ------
    OptionError
        If the evaluation set has too few rows of the rarer classes or too few times, or shares a
        group with the training rows.
    """
    eval_times = times.take(eval_rows)
    starts = _required_blocks(y[eval_rows], eval_times, DEFAULT_POLICY, "the eval_set")
    block = np.searchsorted(starts[::4], eval_times.values, side="right") - 1
    # The earlier half of the blocks chooses (period -1); the later half is numbered from 0.
    period = np.full(len(y), FIRST_BLOCK, dtype=np.int64)
    period[eval_rows] = np.maximum(block - len(starts) // 8, -1)
    train = np.setdiff1d(np.arange(len(y)), eval_rows)
    check_split(train, eval_rows, name="the evaluation set", cluster=cluster)
    scoring = np.ones(len(eval_rows), dtype=bool)
    choosing = scoring
    if cluster is not None:
        random = stream(Purpose.HOLD_OUT, random_state)
        choosing = stratified(y[eval_rows], 2, random, cluster[eval_rows]) == 0
        scoring = ~choosing
    # With groups, rows of the choosing groups in late blocks, and of the others in early ones, are
    # not used.
    late = period[eval_rows] >= 0
    train = train[times.values[train] < eval_times.values.min() - times.gap]
    fold = Fold(train, eval_rows[late & scoring], eval_rows[~late & choosing])
    _check_training([fold], y)
    group = np.full(len(y), -1, dtype=np.int64)
    group[fold.score] = period[fold.score]
    return FoldPlan((fold,), group, period=period)


def time_chunks(times: Times, period: Rows) -> Rows:
    """Divide the rows of each block into chunks of time, whose rows are drawn together.

    Parameters
    ----------
    times : Times
        Times of the n rows.
    period : ndarray of shape (n,), int64
        Block of each row.

    Returns
    -------
    ndarray of shape (n,), int64
        Chunk of each row. A block has about ten chunks with about equally many rows; rows of one
        time are in one chunk.
    """
    chunk = np.zeros(len(period), dtype=np.int64)
    for number, block in enumerate(np.unique(period)):
        rows = np.flatnonzero(period == block)
        chunk[rows] = number * _CHUNKS + chunks(times.values[rows], _CHUNKS)
    return chunk


def rate_blocks(times: Times) -> Rows:
    """Return the block of each row, (n,), for blocks of time with about equally many rows.

    Blocks with equally many rare rows would be shorter where the rate is higher, so that a short
    time with a high rate would become a block by itself.
    """
    return chunks(times.values, _RATE_BLOCKS)


def _blocks(y: Rows, times: Times, policy: SearchPolicy) -> Floats | None:
    """Return the start times of the quarters of all blocks; None if there are too few rare rows."""
    blocks = int(min(_MAX_BLOCKS, _is_rare(y).sum() // policy.folds.rare_rows_per_block))
    # Use as many blocks as possible, provided that all of them begin at different times.
    for number in range(blocks, _MIN_BLOCKS - 1, -1):
        starts = _block_starts(y, times.values, number)
        if len(np.unique(starts[::4])) == number and np.isfinite(starts).all():
            return starts
    return None


def _required_blocks(y: Rows, times: Times, policy: SearchPolicy, of: str) -> Floats:
    """Return the start times of the quarters of all blocks, which must have enough rare rows."""
    starts = _blocks(y, times, policy)
    if starts is not None:
        return starts
    rare, min_rows = _is_rare(y), policy.folds.rare_rows_per_block
    raise OptionError(
        f"time: {of} has {int(rare.sum())} rows outside its most frequent class, at "
        f"{len(np.unique(times.values[rare]))} different times; at least "
        f"{_MIN_BLOCKS * min_rows} are needed, in {_MIN_BLOCKS} blocks of time with about "
        f"{min_rows} or more each: one to train on, one that ends training, and two to score."
    )


def _parts(y: Rows, cluster: Rows | None, random: np.random.Generator) -> Rows:
    """Return the part of each row, where each part has a group of each class; 0 without groups."""
    if cluster is None:
        return np.zeros(len(y), dtype=np.int64)
    max_parts = groups_of_a_class(y, cluster)
    return stratified(y, min(_MAX_PARTS, max_parts), random, cluster)


def _is_rare(y: Rows) -> NDArray[np.bool_]:
    return np.asarray(y != np.bincount(y).argmax())


def _block_starts(y: Rows, values: Floats, blocks: int) -> Floats:
    """Return the start times of the quarters, (4 * blocks,); infinity for one without rows."""
    times, place = np.unique(values, return_inverse=True)
    counts = np.bincount(place.reshape(-1), weights=_is_rare(y))
    earlier_share = (np.cumsum(counts) - counts) / counts.sum()
    # The tolerance keeps rounding errors from moving a start to the following time.
    at = np.searchsorted(earlier_share, np.arange(4 * blocks) / (4 * blocks) - 1e-9)
    return np.append(times, np.inf)[at]


def _forward(times: Times, quarters: Floats, part: Rows, *, final: bool) -> FoldPlan:
    """Return one fold for each block and part, given the start times of the quarters of all blocks.

    Parameters
    ----------
    times : Times
        Times of the n rows.
    quarters : ndarray of float64
        Start times. The rows of the second block choose the epoch of the first scored block's
        folds.
    part : ndarray of shape (n,), int64
        Part of each row. Rows of one group are in one part.
    final : bool
        Whether the last fold trains on all rows and scores none, to be deployed. Otherwise the
        scored blocks begin a quarter later.

    Returns
    -------
    FoldPlan
        The folds of the first block have `choose` rows. The epoch of a later fold is chosen by rows
        of earlier blocks that are outside the fold's part.
    """
    values, gap, n_parts = times.values, times.gap, int(part.max()) + 1
    choosing, scored_from = quarters[4], quarters[8 if final else 9 :: 4]
    starts = np.unique(scored_from[np.isfinite(scored_from)])
    period = np.searchsorted(starts, values, side="right") - 1
    folds: list[Fold] = []
    places: list[tuple[int, int]] = []
    group = np.full(len(values), -1, dtype=np.int64)
    no_rows = np.empty(0, dtype=np.int64)
    for block, start in enumerate(starts):
        for fold_part in range(n_parts):
            # Without groups there is one part, whose earlier rows train as well.
            trainable = part != fold_part if n_parts > 1 else np.ones(len(part), dtype=bool)
            scored = np.flatnonzero((period == block) & (part == fold_part))
            if block > 0 and not len(scored):
                continue
            earlier = trainable & (values < start - gap)
            choose: Rows = no_rows
            choosers: tuple[int, ...] = ()
            if block == 0:
                choose = np.flatnonzero(earlier & (values >= choosing))
                earlier &= values < choosing - gap
            else:
                choosers = tuple(
                    number
                    for number, (chooser_block, chooser_part) in enumerate(places)
                    # A fold of the first block chooses by rows of the parts other than its own, so
                    # that the one with the same part is taken. A later fold chooses by its scored
                    # rows, so that those with other parts are taken.
                    if chooser_block < block
                    and (n_parts == 1 or (chooser_part == fold_part) == (chooser_block == 0))
                )
            group[scored] = len(folds)
            places.append((block, fold_part))
            folds.append(Fold(np.flatnonzero(earlier), scored, choose, choosers))
    if final:
        folds.append(Fold(np.arange(len(values)), no_rows, no_rows, tuple(range(len(folds)))))
    period[values < choosing] = FIRST_BLOCK
    return FoldPlan(tuple(folds), group, period=period)


def _check_training(folds: Sequence[Fold], y: Rows) -> None:
    """Check that the training rows and the choosing rows of each fold have two classes."""
    for fold in folds:
        chosen = bool(fold.choosers) or len(np.unique(y[fold.choose])) > 1
        if len(np.unique(y[fold.train])) < 2 or not chosen:
            raise OptionError(
                f"time: for the {len(fold.score)} rows that are scored first, {len(fold.train)} "
                f"earlier rows are left to train and {len(fold.choose)} to end training; both need "
                "rows of 2 classes. Give a shorter gap=, or more rows."
            )
