"""The nearest rows of all rows: one matrix product a block, and the smallest of its columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["nearest"]

_BLOCK = 128  # rows a product: its distances are still in the cache when they are compared
_GROUPS = 32


def nearest(space: np.ndarray, k: int) -> np.ndarray:
    """Find the nearest others of each row, by Euclidean distance.

    All distances are taken. The k nearest are in the k groups of rows that come nearest, so only
    the rows of these groups are ranked. Distances come from float32 products, so rows that are
    equally far but for some 1e-6 of their length may change places.

    Parameters
    ----------
    space : float32 array of shape (n, d)
    k : int
        How many, fewer than n.

    Returns
    -------
    int64 array of shape (n, k)
        Nearest first, never the row itself.
    """
    import torch  # here, as a list of options has no use for it

    x = torch.from_numpy(space - space.mean(axis=0, dtype=np.float64).astype(np.float32))
    n, padding = len(x), -len(x) % _GROUPS
    columns = (n + padding) // _GROUPS
    minus_twice = torch.nn.functional.pad(-2.0 * x.T, (0, padding))
    square = torch.nn.functional.pad((x * x).sum(1), (0, padding), value=torch.inf)
    held = torch.empty(_BLOCK, n + padding)
    found = torch.empty(n, k, dtype=torch.int64)
    for start in range(0, n, _BLOCK):
        rows = x[start : start + _BLOCK]
        # |a - b|^2 without |a|^2, which changes no order
        distance = torch.addmm(square, rows, minus_twice, out=held[: len(rows)])
        distance.diagonal(start).fill_(torch.inf)
        grouped = distance.view(len(rows), _GROUPS, columns)
        groups = _smallest(grouped.amin(1), min(k, columns))  # (B, G, n/G) -> (B, k)
        some = groups.shape[1]
        inside = grouped.gather(2, groups[:, None].expand(-1, _GROUPS, -1))  # (B, G, k)
        at = _smallest(inside.reshape(len(rows), -1), k)
        found[start : start + _BLOCK] = at // some * columns + groups.gather(1, at % some)
    return found.numpy()


def _smallest(values: torch.Tensor, k: int) -> torch.Tensor:
    """Return the columns of each row's k smallest values, the smallest first: (B, n) -> (B, k)."""
    if k == 1:
        return values.argmin(1, keepdim=True)
    return values.topk(k, dim=1, largest=False).indices
