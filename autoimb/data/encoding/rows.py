"""Encoded rows, the representation that resampling works on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Encoded"]


@dataclass(frozen=True, eq=False)
class Encoded:
    """Rows encoded as scaled numbers and codes, which can be resampled.

    Attributes
    ----------
    numbers : ndarray of shape (n, p + s), float32
        Scaled numbers in (-3, 3), where 0 is the median and represents missing values, followed by
        s statistics of levels, which are interpolated like numbers.
    codes : ndarray of shape (n, q + f), int32
        Codes of the q categorical columns (0 for other, 1 for missing, 2 and up for the training
        levels), followed by f indicators that are 1 where numbers are missing.
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
        """Memory of the arrays in bytes."""
        return self.numbers.nbytes + self.codes.nbytes

    def take(self, rows: NDArray[np.int64]) -> Encoded:
        """Return the rows at some positions."""
        return Encoded(self.numbers[rows], self.codes[rows], self.cardinalities)

    def concat(self, further: Encoded) -> Encoded:
        """Return these rows followed by further ones."""
        return Encoded(
            np.concatenate([self.numbers, further.numbers]),
            np.concatenate([self.codes, further.codes]),
            self.cardinalities,
        )

    def matrix(self) -> NDArray[np.float32]:
        """Return the vectors by which nearest neighbours are searched.

        Returns
        -------
        ndarray of shape (n, p + s + sum(cardinalities)), float32
            Numbers, followed by one-hot codes that are scaled so that the distance between two
            different codes is 1.
        """
        width = self.numbers.shape[1]
        starts = width + np.cumsum([0, *self.cardinalities], dtype=np.int64)
        matrix = np.zeros((self.n_rows, int(starts[-1])), dtype=np.float32)
        matrix[:, :width] = self.numbers
        rows = np.arange(self.n_rows)
        # Two rows that differ in a code differ in two cells by sqrt(0.5), a distance of 1.
        for j, start in enumerate(starts[:-1]):
            matrix[rows, start + self.codes[:, j]] = np.float32(np.sqrt(0.5))
        return matrix
