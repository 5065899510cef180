"""Inexpensive dropout masks: windows of a pool that is drawn once per epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from autoimb.randomness import Key, Purpose

__all__ = ["MaskPool"]


class MaskPool:
    """Factors of the units of every member, 0 or 1/(1-p), cut at random offsets.

    A member's pool is drawn from its own stream, and the offsets from one that all members of a
    round share, so a member's masks do not depend on its pack. Rates are rounded to 1/256, which
    lets one random byte decide one unit.

    Parameters
    ----------
    keys : sequence of Key, of length M
    rate : float
        Share p of zeros.
    size : int
        Number of values in the largest window.

    Attributes
    ----------
    values : Tensor of shape (M, P)
        P is 0 where nothing is dropped.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        rate: float,
        *,
        size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._streams = [key.stream(Purpose.DROPOUT) for key in keys]
        self._offsets = keys[0].of_pack.stream(Purpose.DROPOUT_OFFSETS)
        # Shares of the largest offset; they are drawn in batches, as single draws are slow.
        self._drawn: list[float] = []
        self._zeros = round(rate * 256)
        self._size = 2 * size if self._zeros else 0
        self.values = torch.empty((len(keys), self._size), dtype=dtype, device=device)
        self.refresh()

    def refresh(self) -> None:
        """Draw new pools; the trainer calls this at every epoch."""
        if self._zeros == 0:
            return
        for row, stream in zip(self.values, self._streams):
            draws = stream.integers(0, 256, self._size, dtype=np.uint8)
            row.copy_(torch.from_numpy(draws >= self._zeros))
        self.values.mul_(256 / (256 - self._zeros))

    def start(self, count: int) -> int:
        """Return the offset of the next window of so many values."""
        if self._zeros == 0:
            return 0
        if not self._drawn:
            self._drawn = self._offsets.random(256).tolist()
        return int(self._drawn.pop() * (self._size - count + 1))

    def mask(self, rows: int, width: int) -> Tensor | None:
        """Return the next window, ``(M, rows, width)``, or None where nothing is dropped."""
        if self._zeros == 0:
            return None
        start = self.start(rows * width)
        return self.values[:, start : start + rows * width].view(-1, rows, width)
