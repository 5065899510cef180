"""Forward folds: what trains is earlier than what it scores.

The rows are cut into blocks of time with about equally many rows outside the most frequent class.
The first block trains, the second chooses when training ends, and each later one is scored by
networks of all rows before it (rolling-origin evaluation: Tashman, "Out-of-sample tests of
forecasting accuracy", 2000). The last fold trains on all rows, through the newest, and scores none:
it is what is deployed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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

Floats = NDArray[np.float64]

FIRST_BLOCK = -2  # in `FoldPlan.period`: rows that train alone
_LEAST_BLOCKS = 4  # to begin with, to choose, and two to score: the first of them only calibrates
_RATE_BLOCKS = 8
_CHUNKS = 10  # of a block, that are drawn together


def plan_forward(
    y: Rows,
    times: Times,
    *,
    random_state: int,
    cluster: Rows | None = None,
    policy: SearchPolicy = DEFAULT_POLICY,
) -> FoldPlan:
    """Plan forward folds, and as a repeat others whose blocks begin half a block later.

    With groups, these are dealt to parts. Rows of a block and part are scored by networks of
    earlier rows of the other parts.

    Parameters
    ----------
    y : ndarray of shape (n,), int64
        Class codes.
    times : Times
        Of n rows; rows of one time are never parted.
    random_state : int
        Seed by which groups are dealt.
    cluster : ndarray of shape (n,), int64, optional
        The user's group of each row.
    policy : SearchPolicy, optional
        How many blocks there are, and how many rows of the rarer classes each needs.

    Returns
    -------
    FoldPlan

    Raises
    ------
    OptionError
        Where there are too few rows of the rarer classes, or too few times that have some.
    """
    starts = _blocks(y, times, policy)
    if starts is None:
        raise _too_few(y, times, policy, "the table")
    whole = range(8, len(starts), 4)  # quarters of blocks
    plans = []
    for number, quarters in enumerate((whole, (8, *(quarter + 2 for quarter in whole)))):
        random = stream(Purpose.FOLDS, random_state, repeat=number)
        part = _parts(y, cluster, random, policy)
        at = [starts[quarter] for quarter in quarters]
        plans.append(_forward(times, starts[4], at, part, final=True))
    _check_training(plans[0].folds, y)
    return replace(plans[0], further=(plans[1].folds,))


def forward_duel_folds(
    y: Rows,
    times: Times,
    *,
    random_state: int,
    cluster: Rows | None,
    policy: SearchPolicy,
) -> FoldPlan | None:
    """Plan the folds of matched duels: a quarter of a block later, and none that is deployed.

    The arguments are those of `plan_forward`. There are none where it would refuse the rows.
    """
    starts = _blocks(y, times, policy)
    if starts is None:
        return None
    part = _parts(y, cluster, stream(Purpose.FOLDS, random_state), policy)
    at = [starts[quarter + 1] for quarter in range(8, len(starts), 4)]
    return _forward(times, starts[4], at, part, final=False)


def forward_hold_out(
    y: Rows, times: Times, eval_rows: Rows, *, random_state: int, cluster: Rows | None = None
) -> FoldPlan:
    """Plan a hold-out of later rows: the earlier half chooses, the later one scores in blocks.

    With groups, half of them choose, by their earlier rows, and the other half scores.

    Parameters
    ----------
    y : ndarray of shape (n,), int64
        Class codes.
    times : Times
        Of n rows.
    eval_rows : ndarray of int64
        The rows of the evaluation set, which are later than all others; only the others train.
    random_state : int
        Seed by which groups are dealt.
    cluster : ndarray of shape (n,), int64, optional
        The user's group of each row.

    Returns
    -------
    FoldPlan

    Raises
    ------
    OptionError
        Where the evaluation set has too few rows of the rarer classes, or too few times, or shares
        a group with the rows that train.
    """
    own = times.take(eval_rows)
    starts = _blocks(y[eval_rows], own, DEFAULT_POLICY)
    if starts is None:
        raise _too_few(y[eval_rows], own, DEFAULT_POLICY, "the eval_set")
    block = np.searchsorted(starts[::4], own.values, side="right") - 1
    period = np.full(len(y), FIRST_BLOCK, dtype=np.int64)
    period[eval_rows] = np.maximum(block - len(starts) // 8, -1)
    train = np.setdiff1d(np.arange(len(y)), eval_rows)
    check_split(train, eval_rows, name="the evaluation set", cluster=cluster)
    scores = np.ones(len(eval_rows), dtype=bool)
    chooses = scores
    if cluster is not None:
        random = stream(Purpose.HOLD_OUT, random_state)
        chooses = stratified(y[eval_rows], 2, random, cluster[eval_rows]) == 0
        scores = ~chooses
    late = period[eval_rows] >= 0
    train = train[times.values[train] < own.values.min() - times.gap]
    fold = Fold(train, eval_rows[late & scores], eval_rows[~late & chooses])
    _check_training([fold], y)
    group = np.full(len(y), -1, dtype=np.int64)
    group[fold.score] = period[fold.score]
    return FoldPlan((fold,), group, period=period)


def time_chunks(times: Times, period: Rows) -> Rows:
    """Cut the rows of each block into chunks of time, which are alike: what is drawn together.

    Parameters
    ----------
    times : Times
        Of n rows.
    period : ndarray of shape (n,), int64
        The block of each row.

    Returns
    -------
    ndarray of shape (n,), int64
        About ten chunks of a block, each of whole times and of about as many rows.
    """
    chunk = np.zeros(len(period), dtype=np.int64)
    for number, block in enumerate(np.unique(period)):
        own = np.flatnonzero(period == block)
        chunk[own] = number * _CHUNKS + chunks(times.values[own], _CHUNKS)
    return chunk


def rate_blocks(times: Times) -> Rows:
    """Cut rows into blocks of time of about as many rows, (n,) numbers from 0 in their order.

    Blocks of as many rare rows would be the shorter the higher the rate is, so that each short time
    of a high rate would be a block.
    """
    return chunks(times.values, _RATE_BLOCKS)


def _blocks(y: Rows, times: Times, policy: SearchPolicy) -> Floats | None:
    """Return when each quarter of each block begins; None where there are too few rare rows."""
    blocks = int(min(policy.time_blocks, _is_rare(y).sum() // policy.rare_rows_a_block))
    for number in range(blocks, _LEAST_BLOCKS - 1, -1):
        starts = _block_starts(y, times.values, number)
        if len(np.unique(starts[::4])) == number and np.isfinite(starts).all():
            return starts
    return None


def _too_few(y: Rows, times: Times, policy: SearchPolicy, of: str) -> OptionError:
    rare, least = _is_rare(y), policy.rare_rows_a_block
    return OptionError(
        f"time: {of} has {int(rare.sum())} rows outside its most frequent class, at "
        f"{len(np.unique(times.values[rare]))} different times; at least "
        f"{_LEAST_BLOCKS * least} are needed, in {_LEAST_BLOCKS} blocks of time with about "
        f"{least} or more each: one to train on, one that ends training, and two to score."
    )


def _parts(
    y: Rows, cluster: Rows | None, random: np.random.Generator, policy: SearchPolicy
) -> Rows:
    """Deal groups to parts, of which each has a group of each class; one without groups."""
    if cluster is None:
        return np.zeros(len(y), dtype=np.int64)
    fewest = groups_of_a_class(y, cluster)
    return stratified(y, min(policy.time_parts, fewest), random, cluster)


def _is_rare(y: Rows) -> NDArray[np.bool_]:
    return np.asarray(y != np.bincount(y).argmax())


def _block_starts(y: Rows, values: Floats, blocks: int) -> Floats:
    """Return when each quarter of a block begins, (4 * blocks,); infinity for one without rows."""
    times, place = np.unique(values, return_inverse=True)
    counts = np.bincount(place.reshape(-1), weights=_is_rare(y))
    before = (np.cumsum(counts) - counts) / counts.sum()
    at = np.searchsorted(before, np.arange(4 * blocks) / (4 * blocks) - 1e-9)
    return np.append(times, np.inf)[at]


def _forward(
    times: Times,
    choosing: float,
    starts: Sequence[float],
    part: Rows,
    *,
    final: bool,
) -> FoldPlan:
    """Make the folds of blocks that begin at such times, of each part of the groups.

    The first block's folds have rows of their own that choose. Later ones look at what chose for
    them, and at the scored rows of earlier blocks and other parts, which their part has no share
    in.
    """
    values, gap, n_parts = times.values, times.gap, int(part.max()) + 1
    starts = sorted({start for start in starts if np.isfinite(start)})
    period = np.searchsorted(starts, values, side="right") - 1
    folds: list[Fold] = []
    places: list[tuple[int, int]] = []
    group = np.full(len(values), -1, dtype=np.int64)
    nobody = np.empty(0, dtype=np.int64)
    for block, start in enumerate(starts):
        for own in range(n_parts):
            others = part != own if n_parts > 1 else np.ones(len(part), dtype=bool)
            scored = np.flatnonzero((period == block) & (part == own))
            if block > 0 and not len(scored):
                continue
            earlier = others & (values < start - gap)
            choose: Rows = nobody
            choosers: tuple[int, ...] = ()
            if block == 0:
                choose = np.flatnonzero(earlier & (values >= choosing))
                earlier &= values < choosing - gap
            else:
                choosers = tuple(
                    number
                    for number, (before, other) in enumerate(places)
                    # those of the first block choose by rows of the other parts
                    if before < block and (n_parts == 1 or (other == own) == (before == 0))
                )
            group[scored] = len(folds)
            places.append((block, own))
            folds.append(Fold(np.flatnonzero(earlier), scored, choose, choosers))
    if final:
        folds.append(Fold(np.arange(len(values)), nobody, nobody, tuple(range(len(folds)))))
    period[values < choosing] = FIRST_BLOCK
    return FoldPlan(tuple(folds), group, period=period)


def _check_training(folds: Sequence[Fold], y: Rows) -> None:
    """Refuse folds that would learn from one class alone."""
    for fold in folds:
        chosen = bool(fold.choosers) or len(np.unique(y[fold.choose])) > 1
        if len(np.unique(y[fold.train])) < 2 or not chosen:
            raise OptionError(
                f"time: for the {len(fold.score)} rows that are scored first, {len(fold.train)} "
                f"earlier rows are left to train and {len(fold.choose)} to end training; both need "
                "rows of 2 classes. Give a shorter gap=, or more rows."
            )
