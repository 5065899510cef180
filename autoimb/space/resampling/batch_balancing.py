"""Classes balanced where batches are drawn, and the rows left as they are."""

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

    Shares are proportional to n_c^(1-s), the component's scale. A class that would get fewer than
    `floor` rows of a batch gets these, and the others divide the rest as before.

    Parameters
    ----------
    counts : array of shape (C,)
        Rows of each class; one without any gets no share.
    batch : int
        Rows of a batch. Where it can't hold `floor` rows of every class, all get equal shares.
    strength : float
        s, from 0 (as the rows are) to 1 (equal).
    floor : int

    Returns
    -------
    float64 array of shape (C,)
        Sums to 1.
    """
    has = np.asarray(counts) > 0
    wanted = np.where(has, np.maximum(counts, 1e-12) ** (1.0 - strength), 0.0)
    least = min(floor / batch, 1.0 / has.sum())
    lifted = np.zeros(len(has), dtype=bool)
    while True:
        rest = np.where(lifted, 0.0, wanted)
        shares = np.where(lifted, least, (1.0 - least * lifted.sum()) * rest / rest.sum())
        short = has & (shares < least - 1e-12)
        if not short.any():
            return np.asarray(shares)
        lifted |= short
