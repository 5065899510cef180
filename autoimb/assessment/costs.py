"""Costs: what the user says errors cost; checked once, and never corrected away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoimb.errors import OptionError

__all__ = ["Costs", "Matrix"]

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Costs:
    """Costs as the two parts of a search take them.

    Trained with a weight w on each class, a network gives probabilities p that carry it. The
    expected cost of answering j, sum_i p_i C_ij, is then sum_i (p_i / w_i) C_ij up to a factor.

    Attributes
    ----------
    class_costs : tuple of C floats
        Mean 1: weights of the classes in the loss, which the probabilities keep.
    matrix : tuple of C tuples of C floats
        Cost of each (true, predicted) pair for such probabilities: what the labels minimise.
    """

    class_costs: tuple[float, ...]
    matrix: Matrix

    @classmethod
    def of(cls, given: Sequence[float] | Sequence[Sequence[float]], n_classes: int) -> Costs:
        """Check what the user gave.

        Parameters
        ----------
        given : C floats, or C sequences of C floats
            What an error on a row of each class costs; or what each (true, predicted) pair costs.
        n_classes : int
            Number of classes, C.

        Returns
        -------
        Costs

        Raises
        ------
        OptionError
            Another shape, a cost that is not finite or below 0, or nothing but zeros.
        """
        try:
            costs = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError):
            costs = np.full(1, np.nan)
        if costs.shape not in ((n_classes,), (n_classes, n_classes)) or not (
            np.isfinite(costs).all() and (costs >= 0).all() and costs.any()
        ):
            raise OptionError(
                f"The costs must be {n_classes} finite numbers from 0 on, one a class, or "
                f"{n_classes} rows of {n_classes}: true classes times predicted ones; and not all "
                f"of them 0. Got {given!r}."
            )
        matrix = costs if costs.ndim == 2 else costs[:, None] * (1.0 - np.eye(n_classes))
        weights = np.maximum(costs.sum(1) if costs.ndim == 2 else costs, 1e-12)
        weights = weights / weights.mean()
        carried = matrix / weights[:, None]
        return cls(tuple(map(float, weights)), tuple(tuple(map(float, row)) for row in carried))
