"""SMOTE: new rows of the smaller classes between neighbouring rows."""

from __future__ import annotations

from functools import partial, reduce
from typing import Any

import numpy as np

from autoimb.data.encoding.rows import Encoded
from autoimb.errors import InfeasibleError
from autoimb.space.option import Float, Int, minority_at_least
from autoimb.space.resampling.component import (
    MAKES,
    MAX_NEIGHBOURS,
    RESAMPLING,
    Resampled,
    Rows,
    over_counts,
)
from autoimb.space.resampling.neighbours import nearest

__all__ = ["OVER_SAMPLING", "smote"]

# The settings of SMOTE, alone or followed by cleaning.
OVER_SAMPLING: dict[str, Any] = {
    "strength": Float(0.3, 1.0),
    "k_neighbors": Int(2, MAX_NEIGHBOURS, log=True),
    "exact": False,
    "sizes": over_counts,
}


@RESAMPLING.option(minority_at_least(6), MAKES, **OVER_SAMPLING)
def smote(part: Rows, *, strength: float, k_neighbors: int, random_state: int) -> Resampled:
    """Interpolate new rows between near neighbours: SMOTE, SMOTENC or SMOTEN by column kinds.

    Chawla et al., 2002. Neighbours are searched within each class of the training rows. Their
    number is limited by the size of the smallest class that is over-sampled.
    """
    classes, counts = np.unique(part.y, return_counts=True)
    sizes = over_counts(counts, strength)
    grows = sizes > counts
    if not grows.any():
        return Resampled(np.arange(len(part.y)))
    rarest = int(counts[grows].min())
    if rarest < 2:
        raise InfeasibleError("smote needs at least 2 training rows of a class to add to, got 1.")
    target_sizes = dict(zip(classes[grows].tolist(), sizes[grows].tolist()))
    make = _interpolated if part.encoded.numbers.shape[1] else _of_categories
    return make(part, target_sizes, min(k_neighbors, rarest - 1), random_state)


def _of_categories(
    part: Rows, target_sizes: dict[int, int], k: int, random_state: int
) -> Resampled:
    from imblearn.over_sampling import SMOTEN
    from sklearn.utils import check_random_state

    sampler = SMOTEN(k_neighbors=k, sampling_strategy=target_sizes, random_state=random_state)
    n = len(part.y)
    codes, classes = (np.asarray(a)[n:] for a in sampler.fit_resample(part.encoded.codes, part.y))
    no_numbers = np.empty((len(codes), 0), dtype=np.float32)
    synthetic = Encoded(no_numbers, codes.astype(np.int32), part.encoded.cardinalities)
    bases = []
    # SMOTEN draws the rows whose neighbours vote from the same random_state, which identifies them.
    for c, size in target_sizes.items():
        class_rows = np.flatnonzero(part.y == c)
        count, random = len(class_rows), check_random_state(random_state)
        bases.append(class_rows[random.choice(count, size - count)])
    base = np.concatenate(bases)
    return Resampled(
        np.arange(n), synthetic, classes.astype(np.int64), np.stack([base, base], axis=1)
    )


def _interpolated(part: Rows, target_sizes: dict[int, int], k: int, random_state: int) -> Resampled:
    """Over-sample the smaller classes by rows between a drawn row and one of its neighbours."""
    new_parts, classes, parents = [], [], []
    for c, size in target_sizes.items():
        rows = np.flatnonzero(part.y == c)
        class_part = part.encoded.take(rows)
        find = partial(_neighbours, class_part, min(MAX_NEIGHBOURS, class_part.n_rows - 1))
        near = part.once(("smote", c), find)[:, :k]
        new, pair = _new_rows(
            class_part, size - class_part.n_rows, near=near, random_state=random_state
        )
        new_parts.append(new)
        classes.append(np.full(new.n_rows, c, dtype=np.int64))
        parents.append(rows[pair])
    return Resampled(
        np.arange(len(part.y)),
        reduce(Encoded.concat, new_parts),
        np.concatenate(classes),
        np.concatenate(parents),
    )


def _neighbours(class_part: Encoded, k: int) -> np.ndarray:
    """Return the nearest other rows of each row of a class.

    The distance of two different codes is the median standard deviation of the class's numbers
    (SMOTE-NC; Chawla et al., 2002, section 6.1), or 1 without numbers.

    Parameters
    ----------
    class_part : Encoded
        The n rows of one class.
    k : int
        Number of neighbours, fewer than n.

    Returns
    -------
    int64 array of shape (n, k)
        Positions of the neighbours, nearest first.
    """
    far, p = class_part.matrix(), class_part.numbers.shape[1]
    if p:
        far[:, p:] *= np.median(class_part.numbers.std(axis=0))
    return nearest(far, k)


def _new_rows(
    class_part: Encoded, count: int, *, near: np.ndarray, random_state: int
) -> tuple[Encoded, np.ndarray]:
    """Compute new rows of a class: numbers between two neighbours, and most frequent codes.

    With numbers alone this is SMOTE. With numbers and codes the rows are those of SMOTENC of
    imbalanced-learn, except that ties between codes are resolved at random; SMOTENC is slower,
    since it counts the votes for each new row and column in Python.

    Parameters
    ----------
    class_part : Encoded
        The n rows of one class.
    count : int
        Number of new rows.
    near : int64 array of shape (n, k)
        The nearest other rows of each row.
    random_state : int

    Returns
    -------
    Encoded
        The new rows.
    int64 array of shape (count, 2)
        The parents of each new row, as positions in `class_part`.
    """
    from sklearn.utils import check_random_state

    random, k = check_random_state(random_state), near.shape[1]
    # One random number selects both the base row and one of its neighbours, as in imbalanced-learn.
    drawn = random.randint(0, near.size, size=count)
    base, neighbour_rank = drawn // k, drawn % k
    step = random.uniform(size=count)[:, None]
    neighbour = near[base, neighbour_rank]
    between = class_part.numbers[base] + step * (
        class_part.numbers[neighbour] - class_part.numbers[base]
    )
    new_rows = Encoded(
        numbers=between.astype(np.float32),
        codes=_most_frequent(class_part.codes[near[base]], class_part.cardinalities, random),
        cardinalities=class_part.cardinalities,
    )
    return new_rows, np.stack([base, neighbour], axis=1)


def _most_frequent(codes: np.ndarray, cardinalities: tuple[int, ...], random: Any) -> np.ndarray:
    """Return the most frequent code of each column: (n, k, q) -> (n, q)."""
    n, k, q = codes.shape
    chosen = np.empty((n, q), dtype=np.int32)
    for j, levels in enumerate(cardinalities):
        # Random numbers below 1/2 decide ties between codes.
        votes = random.uniform(0.0, 0.5, size=(n, levels))
        np.add.at(votes, (np.repeat(np.arange(n), k), codes[:, :, j].reshape(-1)), 1.0)
        chosen[:, j] = votes.argmax(axis=1)
    return chosen
