"""Thresholds that users name: a probability, a recall or a precision to reach."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.calibration import log_proba
from autoimb.assessment.decision.rule import DecisionRule
from autoimb.errors import OptionError
from autoimb.text import BriefRepr

__all__ = ["ThresholdCounts", "threshold_for"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TIE = 1e-9  # a probability that near to the threshold has reached it
_NEAR = 1e-12  # counts that near are equal
_EXPRESSION = re.compile(r"\s*(recall|precision)\s*>=\s*([0-9.eE+-]+)\s*(%?)\s*")

# reports/design/artifact-and-threats.md
_MOST_CUTS = 1_000
_LEAST_ROWS = 3  # between two cuts, as of a level that is known by its name
_FARTHEST = 40.0  # no logarithm of a ratio of probabilities is as far from 0


@dataclass(frozen=True, eq=False, repr=False)
class ThresholdCounts(BriefRepr):
    """How many out-of-fold rows of each class lie between thresholds.

    It stands for the rows themselves: no row's label or probability can be read off it.

    Attributes
    ----------
    cuts : float64 ndarray of shape (T,)
        Offsets of the positive class, rising: the strictest threshold first. At most 1,000, with at
        least 3 rows between two. None unless there are two classes.
    counts : float64 ndarray of shape (T + 1, C)
        Weight of the rows of each class that become positive from one cut to the next; the last
        ones never do.
    """

    cuts: Floats
    counts: Floats

    @classmethod
    def of(
        cls, y: Ints, proba: Floats, positive: int, *, weight: Floats | None = None
    ) -> ThresholdCounts:
        """Count rows.

        Parameters
        ----------
        y : ndarray of int64, shape (n,)
            Class codes of out-of-fold rows.
        proba : ndarray of float, shape (n, C)
            Their out-of-fold probabilities.
        positive : int
            Code of the positive class.
        weight : ndarray of float64, shape (n,), optional
            Row weights.
        """
        weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
        n_classes = proba.shape[1]
        if n_classes == 2:
            logs = log_proba(proba)
            margin = logs[:, 1 - positive] - logs[:, positive]
            cuts = _cuts(margin, y)
            place = np.searchsorted(cuts, margin, side="right")
        else:
            cuts, place = np.empty(0), np.zeros(len(y), dtype=np.int64)
        size = (len(cuts) + 1) * n_classes
        counts = np.bincount(place * n_classes + y, weight, size).astype(np.float64)
        return cls(cuts, counts.reshape(len(cuts) + 1, n_classes))


def _cuts(margin: Floats, y: Ints) -> Floats:
    """Offsets between rows: as many of them between rows of either class, and few rows in none.

    Parameters
    ----------
    margin : float64 ndarray of shape (n,)
        The offset above which each row becomes positive.
    y : int64 ndarray of shape (n,)
    """
    distinct, place = np.unique(margin, return_inverse=True)
    rows = np.cumsum(np.bincount(place))
    # each class weighs as much as the other, so that a rare one gets as many cuts
    share = np.cumsum(np.bincount(place, 1 / (2 * np.bincount(y)[y])))
    last, found = -1, []
    while True:
        rows_before, share_before = (rows[last], share[last]) if last >= 0 else (0, 0.0)
        enough = np.searchsorted(rows, rows_before + _LEAST_ROWS)
        last = max(int(enough), int(np.searchsorted(share, share_before + 1 / _MOST_CUTS)))
        if last >= len(distinct) or rows[-1] - rows[last] < _LEAST_ROWS:
            break
        found.append((distinct[last] + distinct[last + 1]) / 2)
    return np.unique([-_FARTHEST, *found, _FARTHEST])


def threshold_for(expression: str | float, counts: ThresholdCounts, positive: int) -> DecisionRule:
    """Make the rule that a user names.

    Parameters
    ----------
    expression : str or float
        ``"recall>=0.8"``: the highest threshold that reaches this recall. ``"precision>=0.5"``:
        the lowest threshold that reaches this precision. A number in (0, 1): the threshold itself.
    counts : ThresholdCounts
        Of out-of-fold rows; a recall or a precision is met by one of its thresholds.
    positive : int
        Code of the positive class.

    Returns
    -------
    DecisionRule
        Two offsets.

    Raises
    ------
    OptionError
        More than two classes, another expression, or a value that no threshold reaches.
    """
    n_classes = counts.counts.shape[1]
    if n_classes != 2:
        raise OptionError(f"A threshold needs two classes; this pipeline has {n_classes}.")
    if isinstance(expression, str) and (match := _EXPRESSION.fullmatch(expression)):
        what, wanted = match[1], _number(match[2]) / (100 if match[3] else 1)
        if 0 < wanted <= 1:
            offset = _reaching(what, wanted, counts, positive)
            return _on_positive(offset, positive, f"{what}>={wanted:g}")
    threshold = _number(expression)
    if not 0 < threshold < 1:
        raise OptionError(
            "The threshold must be a number between 0 and 1, 'recall>=X' or 'precision>=X' with "
            f"X in (0, 1]. Got {expression!r}."
        )
    offset = float(np.log1p(-threshold) - np.log(threshold)) + _TIE
    return _on_positive(offset, positive, f"threshold {threshold:g}")


def _reaching(what: str, wanted: float, counts: ThresholdCounts, positive: int) -> float:
    """Return the offset of the positive class that reaches a recall or a precision."""
    called = np.cumsum(counts.counts, axis=0)[:-1]  # (T, 2), what each cut makes positive
    hits = called[:, positive]
    whole = counts.counts[:, positive].sum() if what == "recall" else called.sum(axis=1)
    value = np.where(hits > 0, hits / np.where(whole > 0, whole, 1.0), 0.0)
    reached = np.flatnonzero(value >= wanted - _NEAR)
    if not len(reached):
        raise OptionError(
            f"No threshold reaches {what}>={wanted:g} on the out-of-fold rows; the best reachable "
            f"{what} is {value.max():.3g}."
        )
    return float(counts.cuts[reached[0] if what == "recall" else reached[-1]])


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # whatever it refuses is no number
    except (TypeError, ValueError):
        return float("nan")


def _on_positive(offset: float, positive: int, name: str) -> DecisionRule:
    offsets = (0.0, offset) if positive == 1 else (offset, 0.0)
    return DecisionRule("offsets", offsets, name=name)
