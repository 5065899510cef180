"""Where layers write, and what they compute with."""

from __future__ import annotations

import torch
from torch import Tensor

from autoimb.nn.kernels import Kernels

__all__ = ["Buffers"]

_SHAPES_HELD = 3  # a training batch, a chunk of rows to predict, and the last, shorter chunk


class Buffers:
    """Arrays that are allocated once for each shape and used again at every step.

    Parameters
    ----------
    kernels : Kernels
        What fills them.
    dtype, device
        Of all arrays.
    """

    def __init__(self, kernels: Kernels, dtype: torch.dtype, device: torch.device) -> None:
        self.kernels = kernels
        self._dtype, self._device = dtype, device
        self._held: dict[str, dict[tuple[int, ...], Tensor]] = {}

    def get(self, owner: str, *shape: int) -> Tensor:
        """Return the array that belongs to this owner and shape; its content is undefined."""
        own = self._held.setdefault(owner, {})
        if shape not in own:
            if len(own) == _SHAPES_HELD:
                del own[next(iter(own))]
            own[shape] = torch.empty(shape, dtype=self._dtype, device=self._device)
        return own[shape]
