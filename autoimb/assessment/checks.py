"""Checks for possible problems of a table, its folds or a result, each with a code.

A check is an entry of `CHECKS`: code, severity, advice, and a pure function of the evidence, whose
docstring is the title. Checks do not influence the search.
"""

from __future__ import annotations

import inspect
import json
import math
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar, get_args

from autoimb.assessment.evidence import ResultEvidence, TableEvidence
from autoimb.assessment.uncertainty import with_interval

__all__ = [
    "AHEAD",
    "CHANGED_LABELS",
    "CHECKS",
    "REFERENCE_ERRORS",
    "SEVERITIES",
    "STRUCTURE_ERRORS",
    "Check",
    "Finding",
    "Severity",
    "run_checks",
]

# Standard error of a share of a class's rows above which the class has too few rows
# (reports/design/checks.md).
_MAX_SHARE_ERROR = 0.05
# Share of the rows outside the most frequent class that equal training rows may give away
# (reports/design/checks.md).
_COPIED_SHARE = 0.05
# Share of the rows outside the most frequent class whose equal rows may have other labels
# (reports/design/checks.md).
_CONTRADICTED_SHARE = 0.05
# Standard errors of a difference beyond which a reference is better than the result.
REFERENCE_ERRORS = 2.0
# Standard errors by which random folds must score higher than whole days or values
# (reports/design/undeclared-structure.md).
STRUCTURE_ERRORS = 3.0
# Labels that another sample may change, per label other than the most frequent class
# (reports/design/checks.md).
CHANGED_LABELS = 0.25

Severity = Literal["info", "warning", "error"]
CheckFunction = TypeVar("CheckFunction", bound=Callable[..., str | None])
SEVERITIES: tuple[Severity, ...] = get_args(Severity)  # in increasing order
AHEAD = "AIMB007"


@dataclass(frozen=True)
class Finding:
    """Problem that a check reports.

    Attributes
    ----------
    code : str
    severity : {"info", "warning", "error"}
    title : str
        Code, severity and title of the check.
    evidence : str
        The problem in numbers.
    advice : str
        Recommended action.
    """

    code: str
    severity: Severity
    title: str
    evidence: str
    advice: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    def is_at_least(self, severity: Severity) -> bool:
        """Return whether the severity is at least the one passed."""
        return SEVERITIES.index(self.severity) >= SEVERITIES.index(severity)

    def __str__(self) -> str:
        """Format the finding as a line."""
        return f"{self.severity} {self.code}: {self.evidence} {self.advice}"


@dataclass(frozen=True)
class Check:
    """Check of one kind of evidence.

    Attributes
    ----------
    code : str
        Code such as ``AIMB001``; codes are never reused for other checks.
    severity : {"info", "warning", "error"}
    of : type
        Type of the evidence.
    function : callable
        ``(evidence)`` -> the problem in numbers, or None.
    advice : str
        Recommended action.
    """

    code: str
    severity: Severity
    of: type
    function: Callable[[Any], str | None]
    advice: str

    @property
    def title(self) -> str:
        """First line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


CHECKS: list[Check] = []


def _check(
    code: str, severity: Severity, of: type, *, advice: str
) -> Callable[[CheckFunction], CheckFunction]:
    """Register the decorated function as a check."""

    def register(function: CheckFunction) -> CheckFunction:
        CHECKS.append(Check(code, severity, of, function, advice))
        return function

    return register


def run_checks(evidence: TableEvidence | ResultEvidence) -> tuple[Finding, ...]:
    """Return the findings of the checks of this kind of evidence, in the order of `CHECKS`."""
    checks = [check for check in CHECKS if isinstance(evidence, check.of)]
    problems = [check.function(evidence) for check in checks]
    return tuple(
        Finding(check.code, check.severity, check.title, problem, check.advice)
        for check, problem in zip(checks, problems)
        if problem is not None
    )


_NAMES = {"trees": "the partners' trees"}
_OF_ALL_CLASSES = frozenset({"balanced_accuracy", "geometric_mean"})


# --- before the search ----------------------------------------------------------------------------


@_check(
    "AIMB001",
    "warning",
    TableEvidence,
    advice="Label more rows of the rare classes; until then read scores with their errors, and "
    "prefer what is simple among strategies that are close.",
)
def _few_rare_rows(evidence: TableEvidence) -> str | None:
    """Too few rare rows for the metric.

    The standard error of a share of n rows is at most ``1 / (2 √n)``. That of the mean of such
    shares over C classes is the root mean square of their errors, divided by √C.
    """
    metric = evidence.metric
    classes = range(metric.n_classes) if metric.name in _OF_ALL_CLASSES else metric.classes
    counts = {evidence.names[code]: evidence.counts[code] for code in classes}
    error = 0.5 * math.sqrt(sum(1 / max(count, 1) for count in counts.values())) / len(counts)
    if error <= _MAX_SHARE_ERROR:
        return None
    needed = math.ceil(0.25 / (len(counts) * _MAX_SHARE_ERROR**2))
    name = min(counts, key=counts.__getitem__)
    scope = f"class {name}" if len(counts) == 1 else "each class"
    return (
        f"{_in_words(metric.name)} rests on {counts[name]} scored rows of class {name}: such a "
        f"share has a standard error of up to {error:.3f}; {needed} rows of {scope} bring that "
        f"to {_MAX_SHARE_ERROR:g}."
    )


@_check(
    "AIMB002",
    "error",
    TableEvidence,
    advice="Find out when the column is filled in: where that is after the outcome, leave it out "
    "(--drop, or X without it).",
)
def _perfect_column(evidence: TableEvidence) -> str | None:
    """Suspiciously perfect column: alone it tells the classes apart."""
    if not evidence.separating:
        return None
    named = ", ".join(f"{name!r} ({area:.4f})" for name, area in evidence.separating.items())
    return f"ROC AUC of single columns, 1 being without error: {named}."


@_check(
    "AIMB003",
    "warning",
    TableEvidence,
    advice="Find out why rows are equal. Where one thing was entered twice, or rows were copied "
    "to balance the classes, drop the copies; where they belong together, say so (groups=, "
    "--groups).",
)
def _rows_in_several_folds(evidence: TableEvidence) -> str | None:
    """Rows that stand in several folds and give their class away."""
    repeats = evidence.repeats
    if repeats.given_away <= _COPIED_SHARE * repeats.rarer:
        return None
    change = "would change that"
    if repeats.largest > repeats.max_fold_rows:
        change = f"is not possible for all: one row is there {repeats.largest:,} times"
    return (
        f"{repeats.copied:,} of {repeats.scored:,} scored rows "
        f"({repeats.copied / repeats.scored:.1%}) equal a row that trains in their fold, and "
        f"{repeats.given_away:,} of the {repeats.rarer:,} outside the most frequent class "
        f"({repeats.given_away / repeats.rarer:.1%}) could be looked up there. "
        f"Keeping equal rows in one fold {change}."
    )


@_check(
    "AIMB004",
    "info",
    TableEvidence,
    advice="Look at some of them: a column may be missing that tells them apart, or labels may be "
    "wrong. No model can do better on such rows than their shares of the classes.",
)
def _contradicted_rows(evidence: TableEvidence) -> str | None:
    """Rows of the same features under different classes."""
    repeats = evidence.repeats
    if repeats.contradicted <= _CONTRADICTED_SHARE * repeats.rarer:
        return None
    return (
        f"{repeats.contradicted:,} of the {repeats.rarer:,} rows outside the most frequent class "
        f"({repeats.contradicted / repeats.rarer:.1%}) equal at least as many rows of other "
        "classes in every column."
    )


# --- after the search -----------------------------------------------------------------------------


@_check(
    "AIMB005",
    "error",
    ResultEvidence,
    advice="Don't use the result as it is: the columns may not say anything of the class, or there "
    "are too few rows to tell, or the metric is one that constant answers reach.",
)
def _explained_by_chance(evidence: ResultEvidence) -> str | None:
    """Score that chance explains."""
    reported, prior = evidence.reported, evidence.prior
    if reported.interval[0] > (prior if reported.greater_is_better else -prior):
        return None
    return (
        f"The expected {_in_words(evidence.metric)} on new data is "
        f"{with_interval(reported.value, reported.low, reported.high)}, and the class rates alone "
        f"reach {prior:.4f}: not all of the interval is better."
    )


@_check(
    "AIMB006",
    "warning",
    ResultEvidence,
    advice="Choose the threshold by what alarms and misses cost (cost_matrix=, with_threshold), "
    "not by this rule alone, or label more rows.",
)
def _unstable_threshold(evidence: ResultEvidence) -> str | None:
    """Unstable threshold: another sample of rows moves the decision rule."""
    changes = evidence.label_changes
    if changes is None or changes <= CHANGED_LABELS:
        return None
    return (
        f"Fitted on another sample of as many rows, the decision rule changes {100 * changes:.0f} "
        "labels for each 100 that are not the most frequent class."
    )


@_check(
    AHEAD,
    "warning",
    ResultEvidence,
    advice="Use it instead, or give the search more time and look at the table's other findings.",
)
def _reference_ahead(evidence: ResultEvidence) -> str | None:
    """Plain reference ahead of the result."""
    ahead = " and ".join(
        f"{_NAMES.get(name, name)} (by {difference:.4f} ± {error:.4f})"
        for name, (difference, error) in evidence.references.items()
        if difference > REFERENCE_ERRORS * error
    )
    if not ahead:
        return None
    return f"Better than the result in {_in_words(evidence.metric)}, on the same rows: {ahead}."


# --- before the search: rows that belong together -------------------------------------------------


@_check(
    "AIMB008",
    "error",
    TableEvidence,
    advice="Declare what new rows will differ in, so that no fold trains on a day or value that it "
    "scores; only where new rows share the days or values of these are random folds right.",
)
def _undeclared_structure(evidence: TableEvidence) -> str | None:
    """Undeclared structure: random folds give away days or values that rows share."""
    undeclared = evidence.structure.undeclared(STRUCTURE_ERRORS)
    if not undeclared:
        return None
    clearest = undeclared[0]
    unit, argument = ("days", "time") if clearest.is_date else ("values", "groups")
    also = ", ".join(
        f"{difference.column!r} ({difference.random:.3f} and {difference.grouped:.3f})"
        for difference in undeclared[1:]
    )
    return (
        f"The average precision of a quick model is {clearest.random:.3f} with random folds and "
        f"{clearest.grouped:.3f} (± {clearest.error:.3f} for the difference) with whole {unit} of "
        f"{clearest.column!r} held out together"
        + (f"; likewise with {also}" if also else "")
        + f". Add {argument}={json.dumps(clearest.column, ensure_ascii=False)} "
        f"(--{argument} {shlex.quote(clearest.column)})."
    )


@_check(
    "AIMB009",
    "info",
    TableEvidence,
    advice="Where the order is that of time and new rows come later, declare the date "
    "(time=, --time); where neighbours belong together, declare their groups (groups=, --groups).",
)
def _ordered_rows(evidence: TableEvidence) -> str | None:
    """Order of the rows that may carry time."""
    structure = evidence.structure
    if not structure.order or structure.undeclared(STRUCTURE_ERRORS):
        return None
    return structure.order


def _in_words(metric: str) -> str:
    return metric.replace("_", " ")
