"""Numbers as places among cuts, which is all that histogram gradient boosting looks at.

scikit-learn bins by itself, anew whenever trees go on growing and, from 1.8 on, by quantiles of
weighted rows, which takes longer than the trees. Given whole numbers it has nothing to do, and
every release of it grows the same trees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["binned", "cuts_of", "thresholds_of"]

MOST_BINS = 255

Floats = NDArray[np.float64]


def cuts_of(values: Floats) -> Floats:
    """Cut numbers: between all of them where they are few, else at quantiles.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Training rows; NaN is missing.

    Returns
    -------
    float64 ndarray of at most 254 rising numbers
    """
    known = np.sort(values[~np.isnan(values)])
    distinct = np.unique(known)
    if len(distinct) <= MOST_BINS:
        return np.asarray(distinct[:-1] + (distinct[1:] - distinct[:-1]) / 2)
    at = np.linspace(0, 1, MOST_BINS + 1)[1:-1] * (len(known) - 1)
    low, high = known[np.floor(at).astype(int)], known[np.ceil(at).astype(int)]
    return np.unique(low + (high - low) / 2)


def binned(x: Floats, cuts: Sequence[Floats | None]) -> Floats:
    """Replace numbers by how many of their column's cuts lie below them.

    Parameters
    ----------
    x : ndarray of shape (n, F)
        NaN stays.
    cuts : sequence of F ndarrays, or None
        None for a column that stays.

    Returns
    -------
    float64 ndarray of shape (n, F)
    """
    out = x.copy()
    for j, own in enumerate(cuts):
        if own is not None:
            known = ~np.isnan(x[:, j])
            out[known, j] = np.searchsorted(own, x[known, j])
    return out


def thresholds_of(
    feature: NDArray[np.int64], place: Floats, cuts: Sequence[Floats | None]
) -> Floats:
    """Give thresholds on numbers from those on their places.

    Parameters
    ----------
    feature : ndarray of shape (k,)
        The column that each split is by.
    place : float64 ndarray of shape (k,)
        Between two places; infinite where missing values alone go right.
    cuts : sequence of F ndarrays, or None
        See `binned`.

    Returns
    -------
    float64 ndarray of shape (k,)
    """
    out = place.copy()
    for column in np.unique(feature):
        own, at = cuts[column], np.flatnonzero((feature == column) & np.isfinite(place))
        assert own is not None
        out[at] = own[np.floor(place[at]).astype(np.int64)]
    return out
