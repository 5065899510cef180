"""Thresholds that users name: a probability, a recall or a precision to reach."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.decision.offsets import Evidence, reaching_offset
from autoimb.assessment.decision.rule import DecisionRule
from autoimb.errors import OptionError

__all__ = ["threshold_for"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TIE = 1e-9  # a probability that near to the threshold has reached it
_EXPRESSION = re.compile(r"\s*(recall|precision)\s*>=\s*([0-9.eE+-]+)\s*(%?)\s*")


def threshold_for(
    expression: str | float,
    y: Ints,
    proba: Floats,
    positive: int,
    *,
    weight: Floats | None = None,
) -> DecisionRule:
    """Make the rule that a user names.

    Parameters
    ----------
    expression : str or float
        ``"recall>=0.8"``: the highest threshold that reaches this recall. ``"precision>=0.5"``:
        the lowest threshold that reaches this precision. A number in (0, 1): the threshold itself.
    y : ndarray of int64, shape (n,)
        Class codes of out-of-fold rows.
    proba : ndarray of float, shape (n, 2)
        Their out-of-fold probabilities.
    positive : int
        Code of the positive class.
    weight : ndarray of float64, shape (n,), optional
        Row weights.

    Returns
    -------
    DecisionRule
        Two offsets.

    Raises
    ------
    OptionError
        More than two classes, another expression, or a value that no threshold reaches.
    """
    if proba.shape[1] != 2:
        raise OptionError(f"A threshold needs two classes; this pipeline has {proba.shape[1]}.")
    if isinstance(expression, str) and (match := _EXPRESSION.fullmatch(expression)):
        what, wanted = match[1], _number(match[2]) / (100 if match[3] else 1)
        if 0 < wanted <= 1:
            offset = reaching_offset(what, wanted, Evidence.of(y, proba, weight), positive)
            return _on_positive(offset, positive, f"{what}>={wanted:g}")
    threshold = _number(expression)
    if not 0 < threshold < 1:
        raise OptionError(
            "The threshold must be a number between 0 and 1, 'recall>=X' or 'precision>=X' with "
            f"X in (0, 1]. Got {expression!r}."
        )
    offset = float(np.log1p(-threshold) - np.log(threshold)) + _TIE
    return _on_positive(offset, positive, f"threshold {threshold:g}")


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # whatever it refuses is no number
    except (TypeError, ValueError):
        return float("nan")


def _on_positive(offset: float, positive: int, name: str) -> DecisionRule:
    offsets = (0.0, offset) if positive == 1 else (offset, 0.0)
    return DecisionRule("offsets", offsets, name=name)
