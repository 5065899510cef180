"""Formatting of numbers and JSON values for the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autoimb.assessment.uncertainty import digits_of, with_interval

if TYPE_CHECKING:
    from autoimb.assessment.decision.rule import DecisionRule
    from autoimb.report.rows import TestFacts

__all__ = [
    "FILTERS",
    "allowed",
    "as_text",
    "count",
    "decimals",
    "deployed_in_words",
    "duration",
    "percent",
    "plain",
    "rate_in_words",
    "rule_in_words",
    "scored",
    "signed",
    "test_in_words",
]


def decimals(value: float | None, digits: int = 4) -> str:
    """Format a score: ``0.4123``, or a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def scored(value: float | None, error: float | None) -> str:
    """Format a score or its error, to two digits of the error."""
    return decimals(value, digits_of(error))


def signed(value: float | None, digits: int = 4) -> str:
    """Format a difference with its sign."""
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


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


def duration(seconds: float | None) -> str:
    """Format a duration in seconds as readable text: ``4 min 12 s``."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def test_in_words(test: TestFacts, positive: str) -> str:
    """Return the score on the test rows in words, the last line of the report and the CLI."""
    asked = test["scores"][0]
    part = "" if test["rows"] == test["given"] else f" (some of {count(test['given'])})"
    score = with_interval(asked["value"], asked["low"], asked["high"])
    return (
        f"Test: {asked['metric'].replace('_', ' ')} {score} on {count(test['rows'])} rows{part} "
        f"that nothing else saw, {count(test['counts'][positive])} of class {positive}."
    )


def rate_in_words(rate: Mapping[str, Any], positive: str) -> str:
    """Return the expected rate of the positive class on later rows in words."""
    rules = {
        "all": "all blocks of time",
        "decaying": "a mean in which later blocks of time weigh more",
        "newest": "the newest block of time",
    }
    return (
        f"Expected rate of {positive} on later rows: {percent(rate['value'], 2)} (95 % interval "
        f"{percent(rate['low'], 2)} to {percent(rate['high'], 2)}), by {rules[rate['rule']]}; "
        "probabilities are at this rate."
    )


def deployed_in_words(deployed: Mapping[str, float | None]) -> str:
    """Return the size and prediction time of the result in words, with the user's limits."""

    def limit_text(name: str, unit: float) -> str:
        limit, counted = deployed[f"max_{name}"], deployed[f"counted_{name}"]
        if limit is None or counted is None:
            return ""
        return f" (counted {counted / unit:.3g}, at most {limit / unit:.3g})"

    size, seconds = (deployed["bytes"] or 0.0) / 1e6, deployed["seconds"] or 0.0
    return (
        f"The file has {size:.3g} MB{limit_text('bytes', 1e6)}; {deployed['rows']:,} rows take "
        f"{seconds:.3g} s on one thread of this machine{limit_text('seconds', 1.0)}."
    )


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


def allowed(components: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Format the options that the user allowed, by component."""
    return "; ".join(f"{component}: {as_text(list(options))}" for component, options in components)


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
    for function in (allowed, count, decimals, duration, percent, scored, signed, as_text)
}
