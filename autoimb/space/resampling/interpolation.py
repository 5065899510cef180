"""New rows between near ones, for tables with numbers and categories, by array operations."""

from __future__ import annotations

from typing import Any

import numpy as np

from autoimb.data.encoding.rows import Encoded
from autoimb.space.resampling.nearest import nearest

__all__ = ["neighbours", "new_rows"]


def neighbours(own: Encoded, k: int) -> np.ndarray:
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


def new_rows(
    own: Encoded,
    count: int,
    *,
    near: np.ndarray,
    random_state: int,
    chance: np.ndarray | None = None,
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
    chance : float64 array of shape (n,), optional
        How likely each row is to be the first parent; by default all are equally.

    Returns
    -------
    Encoded
        The new rows.
    int64 array of shape (count, 2)
        The parents of each, as positions in `own`.
    """
    from sklearn.utils import check_random_state

    random, k = check_random_state(random_state), near.shape[1]
    if chance is None:
        drawn = random.randint(0, near.size, size=count)
        base, which = drawn // k, drawn % k
    else:
        base = random.choice(len(near), size=count, p=chance)
        which = random.randint(0, k, size=count)
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
