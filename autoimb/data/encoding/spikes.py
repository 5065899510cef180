"""Spikes: values of a number whose classes differ from those of neighbouring values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoimb.data.subsample import subsample
from autoimb.randomness import Purpose, stream

__all__ = ["spikes_of"]

Numbers = NDArray[np.float32]

_ERROR = 0.01  # probability that a column without spikes gets one
_MIN_ROWS = 5  # with a value, for it to be tested
_AROUND = 100  # minimum rows of each neighbourhood, and at least those of the value
MAX_ROWS = 50_000  # on which the tests are based


def spikes_of(scaled: Numbers, max_spikes: int, y: NDArray[np.int64] | None = None) -> Numbers:
    """Return values whose classes differ from those of their neighbours on both sides.

    A gain of exactly 7,298 or an amount of exactly 0.99 may identify a class although 7,200 and
    7,400 do not, and no bin of a smooth embedding is as narrow. A step is not a spike, since a
    value next to the step resembles one of its sides. The value is compared with each side by the
    likelihood ratio test of two samples (G test), with the Bonferroni correction for the number of
    values.

    Parameters
    ----------
    scaled : ndarray of float32, shape (n,)
        Values of the training rows, without missing ones.
    max_spikes : int
        Maximum number of spikes; those with the largest test statistics are returned.
    y : ndarray of int64, shape (n,), optional
        Class codes of the rows; without them there are no spikes.

    Returns
    -------
    ndarray of float32
        At most `max_spikes` rising values, often none.
    """
    if y is None:
        return np.empty(0, dtype=np.float32)
    rows, _ = subsample(y, np.arange(len(y)), MAX_ROWS, stream(Purpose.SPIKE_ROWS, 0))
    values, counts = np.unique(scaled[rows], return_counts=True)
    tested = np.flatnonzero(counts >= _MIN_ROWS)
    # The smallest and the largest value have no neighbours on one side.
    tested = tested[(tested > 0) & (tested < len(values) - 1)]
    if not len(tested):
        return np.empty(0, dtype=np.float32)
    classes, codes = np.unique(y[rows], return_inverse=True)
    if len(classes) < 2:
        return np.empty(0, dtype=np.float32)
    from scipy.stats import chi2  # slow import that prediction does not need

    shape, place = (len(values), len(classes)), np.searchsorted(values, scaled[rows])
    # Class counts of each value, and of all values below each value.
    of_value = np.bincount(place * shape[1] + codes, minlength=shape[0] * shape[1]).reshape(shape)
    upto = np.concatenate([np.zeros((1, shape[1]), dtype=np.int64), of_value.cumsum(0)])
    ends, n_neighbours = upto.sum(1), np.maximum(counts[tested], _AROUND)
    # Each side is extended by all rows of further values until it has enough rows.
    first = np.searchsorted(ends, np.maximum(ends[tested] - n_neighbours, 0), side="right") - 1
    last = np.searchsorted(ends, np.minimum(ends[tested + 1] + n_neighbours, ends[-1]))
    below, above = upto[tested] - upto[first], upto[last] - upto[tested + 1]
    # A spike differs from both sides, so that its statistic is that of the more similar side.
    statistic = np.minimum(_g(of_value[tested], below), _g(of_value[tested], above))
    significant = np.flatnonzero(statistic > chi2.isf(_ERROR / len(tested), df=len(classes) - 1))
    order = np.argsort(-statistic[significant], kind="stable")
    strongest = significant[order[:max_spikes]]
    return np.sort(values[tested[strongest]])


def _g(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the G statistics of pairs of samples with class counts of shape (n, C)."""

    def log_likelihood(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        total = counts.sum(1, keepdims=True)
        return np.asarray((counts * np.log(np.maximum(counts, 1) / np.maximum(total, 1))).sum(1))

    separate = log_likelihood(first) + log_likelihood(second)
    return 2 * (separate - log_likelihood(first + second))
