"""SMOTE: new rows of the smaller classes, between near ones."""

from __future__ import annotations

from functools import partial, reduce
from typing import Any

import numpy as np

from autoimb.data.encoding.rows import Encoded
from autoimb.errors import InfeasibleError
from autoimb.space.option import Float, Int, minority_at_least
from autoimb.space.resampling.component import (
    MAKES,
    MOST_NEIGHBOURS,
    RESAMPLING,
    Resampled,
    Rows,
    over_counts,
    present,
)
from autoimb.space.resampling.nearest import nearest

__all__ = ["smote"]


@RESAMPLING.option(
    minority_at_least(6),
    MAKES,
    strength=Float(0.3, 1.0),
    k_neighbors=Int(2, MOST_NEIGHBOURS, log=True),
    exact=False,
    sizes=over_counts,
)
def smote(part: Rows, *, strength: float, k_neighbors: int, random_state: int) -> Resampled:
    """Interpolate new rows between near neighbours: SMOTE, SMOTENC or SMOTEN by column kinds.

    Chawla et al., 2002. The neighbours are searched within each class of the training rows, with
    at most as many as the smallest sampled class has others.
    """
    wanted = _targets(part.y, strength)
    if not wanted:
        return Resampled(np.arange(len(part.y)))
    k = _allowed_neighbours(part, k_neighbors, wanted)
    make = _interpolated if part.encoded.numbers.shape[1] else _of_categories
    return make(part, wanted, k, random_state)


def _targets(y: np.ndarray, strength: float) -> dict[int, int]:
    """Return the sizes of the classes that grow."""
    classes, counts = present(y)
    sizes = over_counts(counts, strength)
    return {int(c): int(n) for c, n, had in zip(classes, sizes, counts) if n != had}


def _allowed_neighbours(part: Rows, k_neighbors: int, wanted: dict[int, int]) -> int:
    rarest = min(int((part.y == c).sum()) for c in wanted)
    if rarest < 2:
        raise InfeasibleError("smote needs at least 2 training rows of a class to add to, got 1.")
    return min(k_neighbors, rarest - 1)


def _of_categories(part: Rows, wanted: dict[int, int], k: int, random_state: int) -> Resampled:
    from imblearn.over_sampling import SMOTEN
    from sklearn.utils import check_random_state

    sampler = SMOTEN(k_neighbors=k, sampling_strategy=wanted, random_state=random_state)
    n = len(part.y)
    codes, classes = (np.asarray(a)[n:] for a in sampler.fit_resample(part.encoded.codes, part.y))
    no_numbers = np.empty((len(codes), 0), dtype=np.float32)
    synthetic = Encoded(no_numbers, codes.astype(np.int32), part.encoded.cardinalities)
    bases = []
    # SMOTEN draws the row whose neighbours vote from the same random_state
    for c, size in wanted.items():
        own = np.flatnonzero(part.y == c)
        bases.append(own[check_random_state(random_state).choice(len(own), size - len(own))])
    base = np.concatenate(bases)
    return Resampled(
        np.arange(n), synthetic, classes.astype(np.int64), np.stack([base, base], axis=1)
    )


def _interpolated(part: Rows, wanted: dict[int, int], k: int, random_state: int) -> Resampled:
    """Grow every smaller class by rows between a drawn one and one of its neighbours."""
    made, classes, parents = [], [], []
    for c, size in wanted.items():
        rows = np.flatnonzero(part.y == c)
        own = part.encoded.take(rows)
        find = partial(_neighbours, own, min(MOST_NEIGHBOURS, own.n_rows - 1))
        near = part.once(("smote", c), find)[:, :k]
        new, pair = _new_rows(own, size - own.n_rows, near=near, random_state=random_state)
        made.append(new)
        classes.append(np.full(new.n_rows, c, dtype=np.int64))
        parents.append(rows[pair])
    return Resampled(
        np.arange(len(part.y)),
        reduce(Encoded.concat, made),
        np.concatenate(classes),
        np.concatenate(parents),
    )


def _neighbours(own: Encoded, k: int) -> np.ndarray:
    """Find the nearest others of each row of a class.

    Two different codes are as far apart as the median standard deviation of the class's numbers
    (SMOTE-NC; Chawla et al., 2002, section 6.1), or 1 where there are no numbers.

    Parameters
    ----------
    own : Encoded
        The rows of one class: n of them.
    k : int
        How many, fewer than n.

    Returns
    -------
    int64 array of shape (n, k)
        Nearest first.
    """
    far, p = own.matrix(), own.numbers.shape[1]
    if p:
        far[:, p:] *= np.median(own.numbers.std(axis=0))
    return nearest(far, k)


def _new_rows(
    own: Encoded, count: int, *, near: np.ndarray, random_state: int
) -> tuple[Encoded, np.ndarray]:
    """Make rows of a class: numbers between two neighbours, codes that most neighbours have.

    With numbers alone it is SMOTE. With both, imbalanced-learn's SMOTENC gives the same rows but
    for codes that are equally frequent, of which one is drawn, and takes a vote for each new row
    and column in Python.

    Parameters
    ----------
    own : Encoded
        The rows of one class: n of them.
    count : int
        How many to make.
    near : int64 array of shape (n, k)
        The nearest others of each row.
    random_state : int

    Returns
    -------
    Encoded
        The new rows.
    int64 array of shape (count, 2)
        The parents of each, as positions in `own`.
    """
    from sklearn.utils import check_random_state

    random, k = check_random_state(random_state), near.shape[1]
    drawn = random.randint(0, near.size, size=count)
    base, which = drawn // k, drawn % k
    step = random.uniform(size=count)[:, None]
    other = near[base, which]
    between = own.numbers[base] + step * (own.numbers[other] - own.numbers[base])
    made = Encoded(
        numbers=between.astype(np.float32),
        codes=_most_frequent(own.codes[near[base]], own.cardinalities, random),
        cardinalities=own.cardinalities,
    )
    return made, np.stack([base, other], axis=1)


def _most_frequent(codes: np.ndarray, cardinalities: tuple[int, ...], random: Any) -> np.ndarray:
    """Return the most frequent code of each column: (n, k, q) -> (n, q)."""
    n, k, q = codes.shape
    chosen = np.empty((n, q), dtype=np.int32)
    for j, levels in enumerate(cardinalities):
        votes = random.uniform(0.0, 0.5, size=(n, levels))  # decides between equals
        np.add.at(votes, (np.repeat(np.arange(n), k), codes[:, :, j].reshape(-1)), 1.0)
        chosen[:, j] = votes.argmax(axis=1)
    return chosen
