"""How a number is cut into the bins of its piecewise-linear embedding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoimb.data.subsample import subsample
from autoimb.randomness import Purpose, stream

__all__ = ["edges_of"]

Numbers = NDArray[np.float32]

NARROWEST = 1e-6  # width of a bin, on scaled numbers: its slope stays a float32
_FEW_BINS = 8  # below, quantiles keep them all: a cut takes too much of the rest away
_FIXED_POINT = 20  # steps until a bin's rows no longer change
_MOST_ROWS = 20_000  # that a tree is grown on
_LEAST_SHARE, _LEAST_ROWS = 0.02, 5  # of the rows, between two cuts of a tree


def edges_of(scaled: Numbers, most: int, y: NDArray[np.int64] | None = None) -> Numbers:
    """Edges of the bins of a column; one without spread gets one bin that is always 0.

    Edges are quantiles: they follow the rows, nearly all of which are of the common classes. Where
    labels and at least 8 bins are given, up to half of them end at the cuts of a decision tree on
    this column alone, which follow the classes (Gorishniy et al., 2022, have bins of either kind).

    Parameters
    ----------
    scaled : ndarray of float32, shape (n,)
        Training rows, none of them missing.
    most : int
        Bins at most.
    y : ndarray of int64, shape (n,), optional
        Their class codes.

    Returns
    -------
    ndarray of float32
        At least two, rising.
    """
    if not len(scaled):
        return np.array([0, 1], dtype=np.float32)
    values, counts = np.unique(scaled, return_counts=True)
    edges = _quantiles(values, counts, most)
    # where each value has an edge of its own there is nothing to cut
    if y is not None and most >= _FEW_BINS and len(edges) < len(values):
        cuts = _cuts(scaled, y, most // 2)
        edges = np.union1d(_quantiles(values, counts, max(most - len(cuts), 1)), cuts)
    edges = edges[np.diff(edges, prepend=-np.inf) >= NARROWEST]
    return edges if len(edges) > 1 else np.array([0, 1], dtype=np.float32)


def _quantiles(values: Numbers, counts: NDArray[np.int64], most: int) -> Numbers:
    """Values, rising, between which there are about equally many rows.

    A value that fills several bins by itself counts as one bin's worth of rows, so that the others
    share the rest: of 95 % zeros and a long tail most bins are in the tail.
    """
    before, bin_rows = np.inf, float(counts.sum()) / most
    for _ in range(_FIXED_POINT):
        if bin_rows == before:
            break
        before, bin_rows = bin_rows, float(np.minimum(counts, bin_rows).sum()) / most
    upto = np.cumsum(np.minimum(counts, bin_rows))
    shares = np.linspace(0, upto[-1], most + 1)[:-1]
    # values that occur: 0 and 1 are one bin, not halves of it
    edges = np.unique(values[np.searchsorted(upto, shares, side="right")])
    return np.append(edges[edges < values[-1]], values[-1])


def _cuts(scaled: Numbers, y: NDArray[np.int64], leaves: int) -> Numbers:
    """Thresholds of a decision tree with so many leaves."""
    from sklearn import config_context
    from sklearn.tree import DecisionTreeClassifier  # slow to import, and loading needs no tree

    rows, scale = subsample(y, np.arange(len(y)), _MOST_ROWS, stream(Purpose.BIN_ROWS, 0))
    if 2 * len(np.unique(y[rows])) > len(rows):  # classes of a row: nothing parts them
        return np.empty(0, dtype=np.float32)
    least = max(int(_LEAST_SHARE * len(rows)), _LEAST_ROWS)
    tree = DecisionTreeClassifier(max_leaf_nodes=leaves, min_samples_leaf=least, random_state=0)
    # what is checked here takes longer than the tree of a small table
    with config_context(skip_parameter_validation=True):
        tree.fit(scaled[rows, None], y[rows], sample_weight=scale, check_input=False)
    grown = tree.tree_
    return np.unique(grown.threshold[grown.feature >= 0]).astype(np.float32)
