"""Costs: what the user says errors cost, checked once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.errors import OptionError, choices
from autoimb.text import shown

__all__ = ["Costs", "GivenCosts", "Matrix", "read_matrix", "read_weights"]

Matrix = tuple[tuple[float, ...], ...]
GivenCosts = tuple[float, ...] | Matrix
LEAST_SHARE = 0.01  # of the heaviest class: what any weighs in the loss by a matrix
HIGHEST_COST = 1e12  # beside costs of 1, what it leaves of the others is less than a rounding


@dataclass(frozen=True)
class Costs:
    """Costs as the parts of a search take them.

    Weights of classes (`class_weight=`) stay in the probabilities. Trained with a weight w on each
    class, a network gives probabilities p that carry it, and the expected cost of answering j,
    sum_i p_i C_ij, is then sum_i (p_i / w_i) C_ij up to a factor. A matrix (`cost_matrix=`) never
    moves probabilities: it decides labels and, on request, weighs the loss, which is corrected.

    Attributes
    ----------
    class_costs : tuple of C floats, or None
        Mean 1: weights of the classes in the loss, where it has any.
    matrix : tuple of C tuples of C floats
        Cost of each (true, predicted) pair for the search's probabilities: what labels minimise.
    in_probabilities : bool
        Whether the probabilities carry `class_costs`; else they are corrected.
    """

    class_costs: tuple[float, ...] | None
    matrix: Matrix
    in_probabilities: bool = True

    @classmethod
    def of(cls, given: GivenCosts, *, in_loss: bool = False) -> Costs:
        """Split what `read_weights` or `read_matrix` gave.

        Parameters
        ----------
        given : tuple
            C costs, or C × C.
        in_loss : bool
            Whether a matrix weighs the loss, each class by the sum of its row.
        """
        costs = np.asarray(given, dtype=np.float64)
        if costs.ndim == 2:
            # the probability of a class without weight could not be corrected
            weights = np.maximum(costs.sum(axis=1), LEAST_SHARE * costs.sum(axis=1).max())
            return cls(_mean_one(weights) if in_loss else None, _tuples(costs), False)
        weights = np.maximum(costs, 1e-12)
        matrix = costs[:, None] * (1.0 - np.eye(len(costs)))
        class_costs = _mean_one(weights)
        return cls(class_costs, _tuples(matrix / np.array(class_costs)[:, None]))


def _mean_one(weights: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(map(float, weights / weights.mean()))


def _tuples(matrix: NDArray[np.float64]) -> Matrix:
    return tuple(tuple(map(float, row)) for row in matrix)


def read_matrix(given: Any, labels: list[object]) -> Matrix:
    """Check what each (true, predicted) pair of classes costs, in the order of the labels.

    Raises
    ------
    OptionError
        Another shape, a cost that is not finite or below 0, or nothing but zeros.
    """
    wanted = (
        f"cost_matrix must have the shape ({len(labels)}, {len(labels)}), true × predicted class "
        f"in the order {', '.join(map(str, labels))}"
    )
    try:
        matrix = np.asarray(given, dtype=object)
    except ValueError:
        matrix = np.empty(0, dtype=object)
    if matrix.shape != (len(labels), len(labels)):
        raise OptionError(f"{wanted}; got {shown(given)}.")
    costs = tuple(tuple(_cost(value, "cost_matrix") for value in row) for row in matrix)
    if not any(map(any, costs)):
        raise OptionError(f"{wanted}, and one cost must be above 0; got nothing but zeros.")
    return costs


def read_weights(weights: Mapping[Any, Any], labels: list[object]) -> tuple[float, ...]:
    """Check what an error on a row of each class costs: 1 where nothing is said.

    Raises
    ------
    OptionError
        Naming the unknown class, or the value that can't be a cost.
    """
    by_text = {str(label): label for label in labels}
    known: dict[object, float] = {}
    for label, weight in weights.items():
        if str(label) not in by_text:
            raise OptionError(choices("class in class_weight", label, labels))
        known[by_text[str(label)]] = _cost(weight, "class_weight")
    if not any(known.get(label, 1.0) > 0 for label in labels):
        raise OptionError("class_weight gives every class the weight 0: one must be above 0.")
    return tuple(known.get(label, 1.0) for label in labels)


def _cost(value: Any, where: str) -> float:
    try:
        cost = float(value)
    except (TypeError, ValueError, OverflowError):
        cost = math.nan
    if not math.isfinite(cost) or cost < 0:
        raise OptionError(f"A cost in {where} must be a finite number >= 0, got {shown(value)}.")
    if cost > HIGHEST_COST:
        raise OptionError(f"A cost in {where} must be at most {HIGHEST_COST:g}, got {cost:g}.")
    return cost
