"""Loader of the compiled training steps; torch trains networks without them."""

from __future__ import annotations

import warnings
from functools import cache
from types import ModuleType

import torch

__all__ = ["training_code"]


def training_code(device: torch.device, dtype: torch.dtype = torch.float32) -> ModuleType | None:
    """Return `autoimb.nn.compiled` for single precision on a CPU, if it can be compiled.

    Otherwise networks are trained by torch: on a GPU, in double precision, or without numba.
    """
    return _compiled() if device.type == "cpu" and dtype == torch.float32 else None


@cache
def _compiled() -> ModuleType | None:
    """Compile the code, or load what was compiled before; warn once if that fails."""
    try:
        from autoimb.nn import compiled
    except Exception as error:
        warnings.warn(
            f"Networks are trained by torch's own operations, which takes longer: numba cannot "
            f"compile the training steps ({type(error).__name__}: {error}).",
            RuntimeWarning,
            stacklevel=3,
        )
        return None
    return compiled
