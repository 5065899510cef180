"""Thresholds that users request: a probability, or a minimum recall or precision."""

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

_TIE = 1e-9  # a log-ratio of probabilities this close to the threshold has reached it
_NEAR = 1e-12  # tolerance of a requested recall or precision
_EXPRESSION = re.compile(r"\s*(recall|precision)\s*>=\s*([0-9.eE+-]+)\s*(%?)\s*")

# Limits that protect training rows, see reports/design/artifact-and-threats.md.
_MAX_CUTS = 1_000
_MIN_ROWS = 3  # between two cuts, as for a category level that is stored by name
_FARTHEST = 40.0  # larger than the logarithm of any ratio of probabilities


@dataclass(frozen=True, eq=False, repr=False)
class ThresholdCounts(BriefRepr):
    """Counts of out-of-fold rows of each class between thresholds.

    They replace the rows: no label or probability of a single row can be recovered from them.

    Attributes
    ----------
    cuts : float64 ndarray of shape (T,)
        Offsets of the positive class in increasing order, the strictest threshold first. At most
        1,000, with at least 3 rows between two; empty unless there are two classes.
    counts : float64 ndarray of shape (T + 1, C)
        Weight of the rows of each class that become positive from one cut to the next; the last
        entry is that of rows that no cut makes positive.
    """

    cuts: Floats
    counts: Floats

    @classmethod
    def of(
        cls, y: Ints, proba: Floats, positive: int, *, weight: Floats | None = None
    ) -> ThresholdCounts:
        """Count out-of-fold rows between thresholds.

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
            # A row is positive at offsets above its margin, and is counted at the first such cut.
            margin = logs[:, 1 - positive] - logs[:, positive]
            cuts = _cuts(margin, y)
            place = np.searchsorted(cuts, margin, side="right")
        else:
            cuts, place = np.empty(0), np.zeros(len(y), dtype=np.int64)
        size = (len(cuts) + 1) * n_classes
        counts = np.bincount(place * n_classes + y, weight, size).astype(np.float64)
        return cls(cuts, counts.reshape(len(cuts) + 1, n_classes))


def _cuts(margin: Floats, y: Ints) -> Floats:
    """Return offsets between rows, denser where either class has more rows.

    Parameters
    ----------
    margin : float64 ndarray of shape (n,)
        Offset above which each row becomes positive.
    y : int64 ndarray of shape (n,)
    """
    distinct, place = np.unique(margin, return_inverse=True)
    rows = np.cumsum(np.bincount(place))
    # Both classes have the same total weight, so that the rare class gets as many cuts.
    share = np.cumsum(np.bincount(place, 1 / (2 * np.bincount(y)[y])))
    # Between two cuts there are at least a minimum of rows and a minimum share of the weight.
    last, offsets = -1, []
    while True:
        rows_before, share_before = (rows[last], share[last]) if last >= 0 else (0, 0.0)
        enough_rows = np.searchsorted(rows, rows_before + _MIN_ROWS)
        last = max(int(enough_rows), int(np.searchsorted(share, share_before + 1 / _MAX_CUTS)))
        if last >= len(distinct) or rows[-1] - rows[last] < _MIN_ROWS:
            break
        offsets.append((distinct[last] + distinct[last + 1]) / 2)
    return np.unique([-_FARTHEST, *offsets, _FARTHEST])


def threshold_for(expression: str | float, counts: ThresholdCounts, positive: int) -> DecisionRule:
    """Return the decision rule of a threshold that a user requests.

    Parameters
    ----------
    expression : str or float
        ``"recall>=0.8"``: the highest threshold that reaches this recall. ``"precision>=0.5"``:
        the lowest threshold that reaches this precision. A number in (0, 1): the threshold itself.
    counts : ThresholdCounts
        Counts of out-of-fold rows; the threshold of a recall or a precision is one of its cuts.
    positive : int
        Code of the positive class.

    Returns
    -------
    DecisionRule
        Rule with two offsets.

    Raises
    ------
    OptionError
        If there are more than two classes, the expression is invalid, or no threshold reaches the
        value.
    """
    n_classes = counts.counts.shape[1]
    if n_classes != 2:
        raise OptionError(f"A threshold needs two classes; this pipeline has {n_classes}.")
    if isinstance(expression, str) and (match := _EXPRESSION.fullmatch(expression)):
        name, target = match[1], _number(match[2]) / (100 if match[3] else 1)
        if 0 < target <= 1:
            offset = _reaching(name, target, counts, positive)
            return _on_positive(offset, positive, f"{name}>={target:g}")
    threshold = _number(expression)
    if not 0 < threshold < 1:
        raise OptionError(
            "The threshold must be a number between 0 and 1, 'recall>=X' or 'precision>=X' with "
            f"X in (0, 1]. Got {expression!r}."
        )
    offset = float(np.log1p(-threshold) - np.log(threshold)) + _TIE
    return _on_positive(offset, positive, f"threshold {threshold:g}")


def _reaching(name: str, target: float, counts: ThresholdCounts, positive: int) -> float:
    """Return the offset of the positive class that reaches a recall or a precision."""
    called = np.cumsum(counts.counts, axis=0)[:-1]  # (T, 2), positive at each cut
    hits = called[:, positive]
    total = counts.counts[:, positive].sum() if name == "recall" else called.sum(axis=1)
    value = np.where(hits > 0, hits / np.where(total > 0, total, 1.0), 0.0)
    # Recall increases with the cut: the strictest one that reaches it is the first. Precision need
    # not be monotone; the last cut that reaches it has the highest recall.
    reached = np.flatnonzero(value >= target - _NEAR)
    if not len(reached):
        raise OptionError(
            f"No threshold reaches {name}>={target:g} on the out-of-fold rows; the best reachable "
            f"{name} is {value.max():.3g}."
        )
    return float(counts.cuts[reached[0] if name == "recall" else reached[-1]])


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # rejected values are not numbers
    except (TypeError, ValueError):
        return float("nan")


def _on_positive(offset: float, positive: int, name: str) -> DecisionRule:
    offsets = (0.0, offset) if positive == 1 else (offset, 0.0)
    return DecisionRule("offsets", offsets, name=name)
