"""Values of a number that stand out from those on both sides of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoimb.data.subsample import subsample
from autoimb.randomness import Purpose, stream

__all__ = ["spikes_of"]

Numbers = NDArray[np.float32]

_ERROR = 0.01  # chance that a column without any gets one
_LEAST_ROWS = 5  # of a value
_AROUND = 100  # rows on either side, at least as many as the value has
MOST_ROWS = 50_000  # that are looked at


def spikes_of(scaled: Numbers, most: int, y: NDArray[np.int64] | None = None) -> Numbers:
    """Find values whose classes are not those of their neighbours, below as well as above.

    A gain of exactly 7,298 or an amount of exactly 0.99 may tell a class where 7,200 and 7,400
    don't: no bin of a smooth embedding is as narrow. A step is no spike, since a value beside it is
    like one of its sides. Both sides are held against the value by the likelihood ratio test of two
    samples (G test), with Bonferroni's correction for the number of values.

    Parameters
    ----------
    scaled : ndarray of float32, shape (n,)
        Training rows, none of them missing.
    most : int
        Values at most, those that stand out most.
    y : ndarray of int64, shape (n,), optional
        Their class codes; without them nothing stands out.

    Returns
    -------
    ndarray of float32
        At most `most`, rising; often none.
    """
    if y is None:
        return np.empty(0, dtype=np.float32)
    rows, _ = subsample(y, np.arange(len(y)), MOST_ROWS, stream(Purpose.SPIKE_ROWS, 0))
    values, counts = np.unique(scaled[rows], return_counts=True)
    tested = np.flatnonzero(counts >= _LEAST_ROWS)
    tested = tested[(tested > 0) & (tested < len(values) - 1)]  # those with two sides
    if not len(tested):
        return np.empty(0, dtype=np.float32)
    classes, codes = np.unique(y[rows], return_inverse=True)
    if len(classes) < 2:
        return np.empty(0, dtype=np.float32)
    from scipy.stats import chi2  # slow to import, and loading needs no test

    shape, place = (len(values), len(classes)), np.searchsorted(values, scaled[rows])
    own = np.bincount(place * shape[1] + codes, minlength=shape[0] * shape[1]).reshape(shape)
    upto = np.concatenate([np.zeros((1, shape[1]), dtype=np.int64), own.cumsum(0)])
    ends, wanted = upto.sum(1), np.maximum(counts[tested], _AROUND)
    # whole values, until there are enough rows
    first = np.searchsorted(ends, np.maximum(ends[tested] - wanted, 0), side="right") - 1
    last = np.searchsorted(ends, np.minimum(ends[tested + 1] + wanted, ends[-1]))
    below, above = upto[tested] - upto[first], upto[last] - upto[tested + 1]
    apart = np.minimum(_g(own[tested], below), _g(own[tested], above))
    stands = np.flatnonzero(apart > chi2.isf(_ERROR / len(tested), df=len(classes) - 1))
    strongest = stands[np.argsort(-apart[stands], kind="stable")[:most]]
    return np.sort(values[tested[strongest]])


def _g(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    """Twice the log of the likelihood ratio of two samples' class counts, each (n, C)."""

    def fit(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        total = counts.sum(1, keepdims=True)
        return np.asarray((counts * np.log(np.maximum(counts, 1) / np.maximum(total, 1))).sum(1))

    return 2 * (fit(one) + fit(other) - fit(one + other))
