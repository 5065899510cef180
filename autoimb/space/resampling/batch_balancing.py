"""Balancing of classes within batches, without a change of the rows."""

from __future__ import annotations

from functools import partial

import numpy as np

from autoimb.space.option import Float, Int
from autoimb.space.resampling.component import RESAMPLING, Resampled, Rows

__all__ = ["batch_balancing", "batch_shares"]


@RESAMPLING.option(strength=Float(0.3, 1.0), floor=Int(1, 8, log=True))
def batch_balancing(part: Rows, *, strength: float, floor: int, random_state: int) -> Resampled:  # noqa: ARG001  component's signature
    """Give every batch its share of each class, with a floor, and leave the rows as they are."""
    shares = partial(batch_shares, strength=strength, floor=floor)
    return Resampled(np.arange(len(part.y)), shares=shares)


def batch_shares(counts: np.ndarray, batch: int, *, strength: float, floor: int) -> np.ndarray:
    """Return each class's share of every batch.

    Shares are proportional to n_c^(1-s), the component's scale. A class that would have fewer than
    `floor` rows in a batch gets `floor` rows, and the other classes share the rest proportionally.

    Parameters
    ----------
    counts : array of shape (C,)
        Number of rows of each class; a class without rows has share 0.
    batch : int
        Batch size. If a batch is too small for `floor` rows of every class, shares are equal.
    strength : float
        The exponent s, from 0 (class frequencies) to 1 (equal shares).
    floor : int
        Minimum number of rows of a class in a batch.

    Returns
    -------
    float64 array of shape (C,)
        Class shares, with sum 1.
    """
    has_rows = np.asarray(counts) > 0
    proportions = np.where(has_rows, np.maximum(counts, 1e-12) ** (1.0 - strength), 0.0)
    min_share = min(floor / batch, 1.0 / has_rows.sum())
    lifted = np.zeros(len(has_rows), dtype=bool)
    # Lifting a class to the minimum reduces the other shares, so that further classes may fall
    # below the minimum.
    while True:
        rest = np.where(lifted, 0.0, proportions)
        shares = np.where(lifted, min_share, (1.0 - min_share * lifted.sum()) * rest / rest.sum())
        short = has_rows & (shares < min_share - 1e-12)
        if not short.any():
            return np.asarray(shares)
        lifted |= short
