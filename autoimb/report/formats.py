"""Formatting of numbers and JSON values for the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autoimb.assessment.uncertainty import digits_of

if TYPE_CHECKING:
    from autoimb.assessment.decision import DecisionRule

__all__ = [
    "FILTERS",
    "as_text",
    "count",
    "decimals",
    "duration",
    "percent",
    "plain",
    "rule_in_words",
    "scored",
    "signed",
]


def decimals(value: float | None, digits: int = 4) -> str:
    """Format a score: ``0.4123``, or a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def scored(value: float | None, error: float | None) -> str:
    """Format a score or its error, to two digits of the error."""
    return decimals(value, digits_of(error))


def signed(value: float | None) -> str:
    """Format a difference with its sign."""
    return "–" if value is None else f"{value:+.4f}".replace("-", "−")


def count(value: int | None) -> str:
    """Format a count with thousands separators."""
    return "–" if value is None else f"{value:,}"


def percent(share: float | None, digits: int = 1) -> str:
    """Format a share of 1 in percent; a positive share that rounds to zero is ``< 0.1 %``."""
    if share is None:
        return "–"
    smallest: float = 10.0**-digits
    if 0 < 100 * share < smallest:
        return f"< {smallest:.{digits}f} %"
    return f"{100 * share:.{digits}f} %"


def duration(seconds: float) -> str:
    """Format a duration in seconds as readable text: ``4 min 12 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def plain(value: Any) -> Any:
    """Return a value as strict JSON: NumPy values converted, NaN and infinity as None."""
    # The attribute identifies NumPy arrays and numbers.
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, type(None))) else str(value)


def as_text(value: object) -> str:
    """Format any JSON value in one line."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {as_text(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(as_text(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def rule_in_words(rule: DecisionRule, names: Sequence[str], positive: int) -> str:
    """Describe a decision rule in words.

    Parameters
    ----------
    rule : DecisionRule
        Decision rule of the pipeline.
    names : sequence of str
        Labels of the classes, in the order of the codes.
    positive : int
        Code of the positive class.

    Returns
    -------
    str
        One sentence.
    """
    threshold = rule.threshold(positive) if len(names) == 2 else None
    if threshold is not None:
        negative = names[1 - positive]
        return (
            f"A row is labelled {names[positive]} where its probability is at least "
            f"{threshold:.3g}, otherwise {negative} ({rule.name})."
        )
    if rule.kind == "offsets":
        factors = ", ".join(f"{n} × {math.exp(o):.3g}" for n, o in zip(names, rule.offsets))
        return f"The highest of the weighted probabilities wins: {factors} ({rule.name})."
    return f"{rule.name[:1].upper()}{rule.name[1:]}."


FILTERS: dict[str, Callable[..., str]] = {
    function.__name__: function
    for function in (count, decimals, duration, percent, scored, signed, as_text)
}
