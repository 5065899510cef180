"""Coordinates of rows, and exact search for the nearest rows by a matrix product per block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from autoimb.data.encoding.rows import Encoded

if TYPE_CHECKING:
    import torch

__all__ = ["MAX_DIMENSIONS", "nearest", "neighbour_space"]

MAX_DIMENSIONS = 32

# Rows of a matrix product, whose distances are then still in the cache when they are compared.
_BLOCK = 128
_GROUPS = 32


def neighbour_space(encoded: Encoded) -> np.ndarray:
    """Return the coordinates of rows for neighbour searches.

    They are the encoded columns or, if there are more than 32, their 32 principal components, which
    preserve most of the distances at a fraction of the cost. Sees: the given rows, no labels.

    Returns
    -------
    float32 array of shape (n, at most 32)
    """
    from sklearn.decomposition import PCA

    matrix = encoded.matrix()
    if min(matrix.shape) <= MAX_DIMENSIONS:
        return matrix
    reduced = PCA(MAX_DIMENSIONS, svd_solver="covariance_eigh").fit_transform(matrix)
    return np.ascontiguousarray(reduced, dtype=np.float32)


def nearest(space: np.ndarray, k: int) -> np.ndarray:
    """Return the nearest other rows of each row, by Euclidean distance.

    All distances are computed. The k nearest rows are in the k groups with the nearest rows, so
    only the rows of these groups are ranked. Distances are computed by float32 products, so the
    order of rows whose distances differ by some 1e-6 of the rows' length may vary.

    Parameters
    ----------
    space : float32 array of shape (n, d)
    k : int
        Number of neighbours, fewer than n.

    Returns
    -------
    int64 array of shape (n, k)
        Row numbers, nearest first, never the row itself.
    """
    # The import is local because listing the options must not import torch.
    import torch

    x = torch.from_numpy(space - space.mean(axis=0, dtype=np.float64).astype(np.float32))
    n, padding = len(x), -len(x) % _GROUPS
    columns = (n + padding) // _GROUPS
    minus_twice = torch.nn.functional.pad(-2.0 * x.T, (0, padding))
    square = torch.nn.functional.pad((x * x).sum(1), (0, padding), value=torch.inf)
    distance_buffer = torch.empty(_BLOCK, n + padding)
    neighbours = torch.empty(n, k, dtype=torch.int64)
    for start in range(0, n, _BLOCK):
        rows = x[start : start + _BLOCK]
        # This is |a - b|^2 without |a|^2, which does not influence the order.
        distance = torch.addmm(square, rows, minus_twice, out=distance_buffer[: len(rows)])
        distance.diagonal(start).fill_(torch.inf)
        grouped = distance.view(len(rows), _GROUPS, columns)
        groups = _smallest(grouped.amin(1), min(k, columns))  # (B, G, n/G) -> (B, k)
        group_count = groups.shape[1]
        inside = grouped.gather(2, groups[:, None].expand(-1, _GROUPS, -1))  # (B, G, k)
        positions = _smallest(inside.reshape(len(rows), -1), k)
        column_of_group = groups.gather(1, positions % group_count)
        neighbours[start : start + _BLOCK] = positions // group_count * columns + column_of_group
    return neighbours.numpy()


def _smallest(values: torch.Tensor, k: int) -> torch.Tensor:
    """Return the columns of each row's k smallest values, the smallest first: (B, n) -> (B, k)."""
    if k == 1:
        return values.argmin(1, keepdim=True)
    return values.topk(k, dim=1, largest=False).indices
