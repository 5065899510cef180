"""Edges of the bins of piecewise-linear embeddings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoimb.data.subsample import subsample
from autoimb.randomness import Purpose, stream

__all__ = ["edges_of"]

Numbers = NDArray[np.float32]

NARROWEST = 1e-6  # minimum width of a bin in scaled numbers, so that its slope fits float32
_MIN_BINS_FOR_CUTS = 8  # below, cuts of a tree would take too many bins from the quantiles
_MAX_STEPS = 20  # of the fixed-point iteration for the number of rows in a bin
_MAX_ROWS = 20_000  # on which a tree is grown
_MIN_SHARE, _MIN_ROWS = 0.02, 5  # of rows between two cuts of a tree


def edges_of(scaled: Numbers, max_bins: int, y: NDArray[np.int64] | None = None) -> Numbers:
    """Return the edges of the bins of a column; a constant column gets one bin that is always 0.

    Edges are quantiles, which follow the rows and thus mostly the common classes. With labels and
    at least 8 bins, up to half of the edges are cuts of a decision tree on this column alone, which
    follow the classes (Gorishniy et al., 2022, have bins of either kind).

    Parameters
    ----------
    scaled : ndarray of float32, shape (n,)
        Values of the training rows, without missing ones.
    max_bins : int
        Maximum number of bins.
    y : ndarray of int64, shape (n,), optional
        Class codes of the rows.

    Returns
    -------
    ndarray of float32
        At least two rising edges.
    """
    if not len(scaled):
        return np.array([0, 1], dtype=np.float32)
    values, counts = np.unique(scaled, return_counts=True)
    edges = _quantiles(values, counts, max_bins)
    # If each value has its own edge, cuts add nothing.
    if y is not None and max_bins >= _MIN_BINS_FOR_CUTS and len(edges) < len(values):
        cuts = _cuts(scaled, y, max_bins // 2)
        edges = np.union1d(_quantiles(values, counts, max(max_bins - len(cuts), 1)), cuts)
    edges = edges[np.diff(edges, prepend=-np.inf) >= NARROWEST]
    return edges if len(edges) > 1 else np.array([0, 1], dtype=np.float32)


def _quantiles(values: Numbers, counts: NDArray[np.int64], n_bins: int) -> Numbers:
    """Return rising values between which there are about equally many rows.

    A value that would fill several bins counts as the rows of one bin, so that the other values
    share the remaining bins. With 95 % zeros and a long tail, most bins are in the tail.
    """
    # Capping counts at the rows of a bin lowers the rows of a bin, so that this is iterated.
    previous, bin_rows = np.inf, float(counts.sum()) / n_bins
    for _ in range(_MAX_STEPS):
        if bin_rows == previous:
            break
        previous, bin_rows = bin_rows, float(np.minimum(counts, bin_rows).sum()) / n_bins
    upto = np.cumsum(np.minimum(counts, bin_rows))
    shares = np.linspace(0, upto[-1], n_bins + 1)[:-1]
    # Edges are values that occur, so that 0 and 1 bound one bin rather than two halves of it.
    edges = np.unique(values[np.searchsorted(upto, shares, side="right")])
    return np.append(edges[edges < values[-1]], values[-1])


def _cuts(scaled: Numbers, y: NDArray[np.int64], leaves: int) -> Numbers:
    """Return the thresholds of a decision tree with a maximum number of leaves."""
    from sklearn import config_context
    from sklearn.tree import DecisionTreeClassifier  # slow import that prediction does not need

    rows, scale = subsample(y, np.arange(len(y)), _MAX_ROWS, stream(Purpose.BIN_ROWS, 0))
    if 2 * len(np.unique(y[rows])) > len(rows):  # classes of one row cannot be separated
        return np.empty(0, dtype=np.float32)
    min_rows = max(int(_MIN_SHARE * len(rows)), _MIN_ROWS)
    tree = DecisionTreeClassifier(max_leaf_nodes=leaves, min_samples_leaf=min_rows, random_state=0)
    # Validation of the parameters takes longer than the tree of a small table.
    with config_context(skip_parameter_validation=True):
        tree.fit(scaled[rows, None], y[rows], sample_weight=scale, check_input=False)
    nodes = tree.tree_
    return np.unique(nodes.threshold[nodes.feature >= 0]).astype(np.float32)
