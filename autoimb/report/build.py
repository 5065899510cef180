"""The report: facts of a finished search, and one page of HTML that a risk officer can read.

`Facts` has plain JSON values, so that ``autoimb report RUN`` can write the page again from
``run.json`` alone. `render` adds only text, order and figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from autoimb.assessment.checks import REFERENCE_ERRORS, Finding
from autoimb.assessment.uncertainty import expected_in_words
from autoimb.report.formats import (
    FILTERS,
    deployed_in_words,
    plain,
    rate_in_words,
    test_in_words,
)
from autoimb.report.rows import (
    ConfusionFacts,
    CurveFacts,
    FailureRow,
    LeaderboardRow,
    MethodRow,
    ReferenceRow,
    ReliabilityBin,
    ScoreRow,
    TestFacts,
    TimeFacts,
    WinnerFacts,
)

if TYPE_CHECKING:
    import jinja2

__all__ = [
    "Facts",
    "render",
]

LEADERBOARD_ROWS = 20
FAILURE_ROWS = 30
MISSING_ROWS = 12
RECALL_TARGETS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
NAMES = {
    "winner": "Winner",
    "networks": "Networks alone",
    "trees": "Trees alone",
    "none": "No imbalance method",
    "prior": "Class rates alone",
    "logistic regression": "Logistic regression",
    "balanced random forest": "Balanced random forest",
}
MEANINGS = {
    "average_precision": "how pure the alarms stay as more of the class is found",
    "roc_auc": "how often a row of the class ranks above one outside it; chance gives 0.5",
    "recall@precision": "highest recall of the thresholds at which half of the alarms are right",
    "balanced_accuracy": "mean of the classes' recalls",
    "geometric_mean": "geometric mean of the classes' recalls; 0 when a class is never found",
    "f1": "harmonic mean of precision and recall",
    "fbeta": "mean of precision and recall that weighs recall more",
    "mcc": "correlation of labels and truth; 0 for chance",
    "log_loss": "mean surprise at the truth, given the probabilities",
    "brier": "mean squared error of the probabilities",
    "expected_cost": "mean cost of a row by the cost matrix",
}


@dataclass(frozen=True)
class Facts:
    """Content of the report as JSON values.

    Parameters
    ----------
    request : dict
        Parameters of the search: data, target, metric, time_budget, n_trials, cv, random_state,
        components, costs.
    profile : dict
        Counts of the table: rows, columns (kind -> number), classes (list of label, count, share),
        positive (label), missing (column -> rows), cardinality (column -> levels).
    plan : dict
        Evaluation of the study: folds, scored_rows and further settings.
    winner : WinnerFacts
        The chosen strategy or blend.
    scores : list of ScoreRow
        Scores on out-of-fold rows, first by the requested metric, with the winner's reported score.
    curves : dict of str to CurveFacts
        Precision-recall curves of the positive class by contender.
    confusion : ConfusionFacts
        The winner's out-of-fold labels, by decision rules that were fitted without the fold.
    leaderboard : list of LeaderboardRow
        All trials, best first.
    verdict : str
        Text: whether the rare class needs special treatment on this table, what the result is, and
        which references are better.
    failures : list of FailureRow
        Infeasible, failed and timed-out trials.
    timing : dict of str to float
        Seconds by stage of the search.
    versions : dict of str to str
        Versions of the packages that computed the result.
    notices : list of str
        Notices about the data or the search.
    reliability : list of ReliabilityBin
        The winner's out-of-fold probabilities of the positive class and the observed shares.
    created : str
        Time at which the search ended.
    methods : list of MethodRow
        Results of matched duels for each imbalance method.
    references : list of ReferenceRow
        Comparison of reference models with the winner on the same rows.
    checks : list of dict
        Findings of the checks, as `autoimb.assessment.checks.Finding.to_json` writes them.
    test : TestFacts or None
        Scores on test rows, which had no influence on the search.
    reported : dict
        The winner's score without the optimism of the choice, in the form of
        `autoimb.assessment.uncertainty.Reported`, and `averaging`, the effect of averaging several
        networks.
    time : TimeFacts or None
        Expected rate of the positive class on later rows, and results by block of time; None if
        rows have no times.
    deployed : dict of str to float or None
        Resources and limits of the winner, as `autoimb.evaluation.limits.Limits.deployed` writes
        them, and ``bytes``, the size of its file.
    """

    request: dict[str, Any]
    profile: dict[str, Any]
    plan: dict[str, Any]
    winner: WinnerFacts
    scores: list[ScoreRow]
    curves: dict[str, CurveFacts]
    confusion: ConfusionFacts
    leaderboard: list[LeaderboardRow]
    verdict: str
    failures: list[FailureRow]
    timing: dict[str, float]
    versions: dict[str, str]
    notices: list[str]
    reliability: list[ReliabilityBin]
    created: str
    methods: list[MethodRow]
    references: list[ReferenceRow]
    checks: list[dict[str, Any]]
    test: TestFacts | None
    reported: dict[str, Any]
    deployed: dict[str, float | None]
    time: TimeFacts | None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of the checks."""
        return tuple(Finding(**row) for row in self.checks)

    @property
    def result_lines(self) -> tuple[str, ...]:
        """Lines for the result, the expected score, the expected rate and the verdict."""
        reported = self.reported
        expected = expected_in_words(
            self.request["metric"],
            *(reported[name] for name in ("value", "low", "high")),
            estimate=reported["estimate"],
        )
        rate = (self.rate_sentence,) if self.time else ()
        return (self.winner["description"], expected, *rate, self.verdict)

    @property
    def rate_sentence(self) -> str:
        """The expected rate on later rows in words; empty if rows have no times."""
        return rate_in_words(self.time["rate"], str(self.profile["positive"])) if self.time else ""

    @property
    def test_sentence(self) -> str:
        """The score on the test rows in words; empty without test rows."""
        return test_in_words(self.test, str(self.profile["positive"])) if self.test else ""

    @property
    def deployed_sentence(self) -> str:
        """The resources of the deployed winner in words."""
        return deployed_in_words(self.deployed)

    def to_json(self) -> dict[str, Any]:
        """Return the facts as strict JSON values (numpy numbers unpacked, NaN as None)."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Facts:
        """Build the facts from the result of `to_json`."""
        return cls(**data)


def render(facts: Facts) -> str:
    """Return the report as HTML.

    Parameters
    ----------
    facts : Facts
        Content of the report.

    Returns
    -------
    str
        One HTML page without scripts or external resources; every name from the data is escaped.
    """
    from autoimb.report import figures

    content = Facts.from_json(facts.to_json())
    asked = content.scores[0]["metric"] if content.scores else str(content.request.get("metric"))
    positive = str(content.profile["positive"])
    base_rate = next(
        (c["share"] for c in content.profile["classes"] if c["label"] == positive), 0.0
    )
    members = {strategy["trial"] for strategy in content.winner["strategies"]}
    decided = _decision_counts(content.confusion, positive)
    return _template().render(
        facts=content,
        asked=asked,
        positive=positive,
        base_rate=base_rate,
        decided=decided,
        headline=_with_whiskers([r for r in content.scores if r["metric"] == asked]),
        table=_score_table(content.scores),
        names=NAMES,
        meanings=MEANINGS,
        errors=REFERENCE_ERRORS,
        operating_points=_operating_points(content.curves.get("winner"), base_rate),
        methods=_method_groups(content.methods),
        complete=[
            {**row, "methods": row["strategy"].partition(" on ")[0]}
            for row in content.leaderboard
            if row["status"] == "complete"
        ],
        statuses=Counter(row["status"] for row in content.leaderboard),
        members=members,
        shown=LEADERBOARD_ROWS,
        failures=_grouped_failures(content.failures),
        failures_shown=FAILURE_ROWS,
        missing=sorted(content.profile["missing"].items(), key=lambda item: -item[1]),
        missing_shown=MISSING_ROWS,
        pr_figure=figures.precision_recall(
            {NAMES.get(name, name): curve for name, curve in content.curves.items()},
            base_rate=base_rate,
            point=None if decided is None else decided["point"],
        ),
        reliability_figure=figures.reliability(content.reliability),
        progress_figure=figures.progress(content.leaderboard, members=members),
    )


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= FILTERS
    source = files("autoimb.report").joinpath("template.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source)


# -- facts in the form of the template ---------------------------------------------------------


def _score_table(scores: Sequence[ScoreRow]) -> dict[str, Any]:
    names = list(dict.fromkeys(row["name"] for row in scores))
    metrics: dict[str, dict[str, ScoreRow]] = {}
    for row in scores:
        metrics.setdefault(row["metric"], {})[row["name"]] = row
    return {"names": names, "metrics": metrics}


def _whisker(value: float, low: float, high: float, scale: tuple[float, float]) -> dict[str, float]:
    first, last = scale

    def x(v: float) -> float:
        return round(4 + 152 * (v - first) / ((last - first) or 1.0), 1)

    return {"low": x(low), "x": x(value), "high": x(high), "zero": x(0.0)}


def _with_whiskers(rows: Sequence[ScoreRow]) -> list[dict[str, Any]]:
    """Return each score with the positions of its 95 % interval on a common scale."""
    ends = [end for row in rows for end in (row["low"], row["high"]) if end is not None]
    scale = min(ends, default=0.0), max(ends, default=1.0)
    views: list[dict[str, Any]] = []
    for row in rows:
        view: dict[str, Any] = {**row, "whisker": None}
        if row["value"] is not None and row["low"] is not None and row["high"] is not None:
            view["whisker"] = _whisker(row["value"], row["low"], row["high"], scale)
        views.append(view)
    return views


def _method_groups(rows: Sequence[MethodRow]) -> list[dict[str, Any]]:
    """Group the methods by component, with gains and intervals on a common scale."""
    ends = [end for row in rows for end in (row["low"], row["high"]) if end is not None]
    low, high = min(ends, default=0.0), max(ends, default=0.0)
    low, high = min(low, 0.0), max(high, 0.0)
    tones = {"helps": "up", "hurts": "down"}
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        view: dict[str, Any] = {**row, "whisker": None, "tone": tones.get(row["word"], "even")}
        if row["gain"] is not None and row["low"] is not None and row["high"] is not None:
            view["whisker"] = _whisker(row["gain"], row["low"], row["high"], (low, high))
        groups.setdefault(row["component"], []).append(view)
    return [{"component": component, "methods": methods} for component, methods in groups.items()]


def _decision_counts(confusion: ConfusionFacts, positive: str) -> dict[str, Any] | None:
    """Count the positive class's hits, misses and false alarms."""
    labels, matrix = confusion["labels"], confusion["matrix"]
    if positive not in labels:
        return None
    index = labels.index(positive)
    actual, hits = sum(matrix[index]), matrix[index][index]
    alarms = sum(row[index] for row in matrix)
    return {
        "actual": actual,
        "hits": hits,
        "alarms": alarms,
        "rows": sum(map(sum, matrix)),
        "recall": hits / actual if actual else None,
        "precision": hits / alarms if alarms else None,
        "point": (hits / actual, hits / alarms) if actual and alarms else None,
    }


def _operating_points(curve: CurveFacts | None, base_rate: float) -> list[dict[str, float]]:
    """Return the precision and the alarms by which the winner reaches each target recall."""
    points: list[dict[str, float]] = []
    if curve is None:
        return points
    for target in RECALL_TARGETS:
        # The best point is the most precise one that reaches the target recall.
        reached = [
            (p, r) for p, r in zip(curve["precision"], curve["recall"]) if r >= target and p > 0
        ]
        if reached:
            precision, recall = max(reached)
            points.append(
                {
                    "target": target,
                    "recall": recall,
                    "precision": precision,
                    "alarms": 1000 * recall * base_rate / precision,
                }
            )
    return points


def _grouped_failures(failures: Sequence[FailureRow]) -> list[dict[str, Any]]:
    """Group trials without a score by status and reason, the most frequent first."""
    groups: dict[tuple[str, str], list[FailureRow]] = {}
    for row in failures:
        groups.setdefault((row["status"], row["reason"]), []).append(row)
    return [
        {"status": status, "reason": reason, "count": len(rows), "example": rows[0]}
        for (status, reason), rows in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]
