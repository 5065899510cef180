"""Types of arrays, and descriptions by which arrays of unknown origin are checked."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.errors import ArtifactError

__all__ = ["MAX_LOGIT", "Array", "Arrays", "Floats", "Ints", "Mask", "check_arrays", "mean_where"]

_LARGEST = sys.float_info.max  # the largest finite number
MAX_LOGIT = 1e4  # of logarithms of probabilities and of their ratios

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Array:
    """Type, shape and range of an array.

    Attributes
    ----------
    dtype : str
        Name of a NumPy type, or of several: ``"float32 or float64"``.
    axes : str or None
        One character for each axis: a letter stands for the same length in all arrays of a table,
        a dot for any length. None accepts any shape.
    low, high : float
        Range of every number, ends included; NaN is refused.
    """

    dtype: str
    axes: str | None = "."
    low: float = -_LARGEST
    high: float = _LARGEST

    def check(self, values: NDArray[Any], name: str, lengths: dict[str, int]) -> None:
        """Check an array, and add the lengths of new letters to `lengths`."""
        if values.dtype not in map(np.dtype, self.dtype.split(" or ")):
            raise ArtifactError(f"{name} must be of {self.dtype}, got {values.dtype.name}.")
        if self.axes is not None:
            fits = len(self.axes) == values.ndim and all(
                axis == "." or lengths.setdefault(axis, length) == length
                for axis, length in zip(self.axes, values.shape)
            )
            if not fits:
                axes = ", ".join(f"{lengths.get(axis, 'any')}" for axis in self.axes)
                raise ArtifactError(f"{name} must have shape ({axes}), got {values.shape}.")
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not (low >= self.low and high <= self.high):
            raise ArtifactError(
                f"{name} must be from {self.low:g} to {self.high:g}, got {low:g} to {high:g}."
            )


def check_arrays(
    table: Mapping[str, Array], arrays: Mapping[str, NDArray[Any]], name: str, **lengths: int
) -> None:
    """Check that arrays are those of a table and no others.

    Parameters
    ----------
    table : mapping of str to Array
        Arrays by name; ``state.*`` stands for any number of arrays with names in ``state.``.
    arrays : mapping of str to ndarray
    name : str
        Name, in errors, of the part that the arrays belong to.
    **lengths : int
        Lengths of axes, by letter.

    Raises
    ------
    ArtifactError
        If an array is missing, unknown, or of another type, shape or range.
    """
    missing = [key for key in table if key not in arrays and not key.endswith(".*")]
    if missing:
        raise ArtifactError(f"{name} lacks the arrays {', '.join(missing)}.")
    for key, values in arrays.items():
        description = table.get(key) or table.get(re.sub(r"\..*", ".*", key))
        if description is None:
            raise ArtifactError(f"{name} has no array {key!r}.")
        description.check(values, f"{name}.{key}", lengths)


def mean_where(values: Floats, mask: Mask, axis: int = -1) -> Floats:
    """Return the mean of the values under a mask along an axis; NaN where there is none."""
    count = mask.sum(axis=axis)
    total = np.where(mask, values, 0.0).sum(axis=axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))
