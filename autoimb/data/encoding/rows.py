"""Encoded rows: what is resampled, before it is written as inputs of a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Encoded"]


@dataclass(frozen=True, eq=False)
class Encoded:
    """Encoded rows: the form in which rows are resampled.

    Attributes
    ----------
    numbers : ndarray of shape (n, p + s), float32
        Scaled numbers in (-3, 3); 0 is the median and stands for missing ones. Then s statistics
        of levels, which are interpolated as numbers are.
    codes : ndarray of shape (n, q + f), int32
        Codes of the q category columns (0 other, 1 missing, 2 and up the training levels), then f
        indicators that are 1 where numbers are missing.
    cardinalities : tuple of q + f int
        Number of codes of each column.
    """

    numbers: NDArray[np.float32]
    codes: NDArray[np.int32]
    cardinalities: tuple[int, ...]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.numbers)

    @property
    def size(self) -> int:
        """Bytes held."""
        return self.numbers.nbytes + self.codes.nbytes

    def take(self, rows: NDArray[np.int64]) -> Encoded:
        """Give these rows."""
        return Encoded(self.numbers[rows], self.codes[rows], self.cardinalities)

    def concat(self, other: Encoded) -> Encoded:
        """Give these rows and then the other ones."""
        return Encoded(
            np.concatenate([self.numbers, other.numbers]),
            np.concatenate([self.codes, other.codes]),
            self.cardinalities,
        )

    def matrix(self) -> NDArray[np.float32]:
        """Give the space in which neighbours are searched.

        Returns
        -------
        ndarray of shape (n, p + s + sum(cardinalities)), float32
            Numbers, then one-hot codes scaled so that two different codes are 1 apart.
        """
        width = self.numbers.shape[1]
        starts = width + np.cumsum([0, *self.cardinalities], dtype=np.int64)
        matrix = np.zeros((self.n_rows, int(starts[-1])), dtype=np.float32)
        matrix[:, :width] = self.numbers
        rows = np.arange(self.n_rows)
        for j, start in enumerate(starts[:-1]):
            matrix[rows, start + self.codes[:, j]] = np.float32(np.sqrt(0.5))
        return matrix
