"""Fitted trees of one fold with their reader, which predict probabilities of typed columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.calibration import correct_prior
from autoimb.data.schema import Columns
from autoimb.partners.forest import Forest
from autoimb.partners.reader import Reader
from autoimb.text import BriefRepr

__all__ = ["FittedTrees"]

Floats = NDArray[np.float64]

_MIN_PROBA = 1e-12  # keeps the logarithm finite


@dataclass(frozen=True, eq=False, repr=False)
class FittedTrees(BriefRepr):
    """Fitted trees of one fold.

    Attributes
    ----------
    reader : Reader
    forest : Forest
    log_prior : float64 ndarray of shape (C,)
        Added to log-probabilities: log of (real prior / prior in training).
    bagged : bool
        True if scores are probabilities, of which one class has the remainder to 1; False if they
        are log-probabilities up to a constant.
    """

    reader: Reader
    forest: Forest
    log_prior: Floats
    bagged: bool = False

    def posterior(self, scores: Floats) -> Floats:
        """Return probabilities under the real prior, (n, C), from scores (n, C)."""
        if self.bagged:
            proba, rest = scores.copy(), int(np.argmax(self.forest.baseline))
            proba[:, rest] = 1.0 + scores[:, rest] - scores.sum(axis=1)
            scores = np.log(np.maximum(proba, _MIN_PROBA))
        return np.exp(correct_prior(scores, -self.log_prior))

    def predictor(self) -> Callable[[Columns], Floats]:
        """Prepare the trees for many chunks of rows; the callable returns probabilities (n, C)."""
        scores, reader = self.forest.scorer(), self.reader

        def predict(columns: Columns) -> Floats:
            x, copied = reader.read(columns)
            return reader.average(self.posterior(scores(x)), copied)

        return predict

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name."""
        arrays = self.reader.to_arrays() | self.forest.to_arrays()
        return arrays | {"log_prior": self.log_prior}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], *, numbers: int, bagged: bool
    ) -> FittedTrees:
        """Build trees from the arrays of `to_arrays`.

        Parameters
        ----------
        arrays : mapping of str to ndarray
        numbers : int
            Numeric columns that they read.
        bagged : bool

        Raises
        ------
        ArtifactError
            If the arrays do not describe trees, or the trees do not fit the levels.
        """
        reader, log_prior = Reader.from_arrays(arrays, numbers), arrays["log_prior"]
        forest = Forest.from_arrays(
            arrays, codes=reader.codes, width=reader.width, n_classes=len(log_prior)
        )
        return cls(reader, forest, log_prior, bagged)
