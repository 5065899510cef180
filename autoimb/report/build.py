"""The report: the facts of a finished search, and one page of HTML that a risk officer can read.

`Facts` holds plain JSON values, so that ``autoimb report RUN`` can write the page again from
``run.json`` alone. `render` adds nothing to them but words, order and figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from autoimb.assessment.checks import Finding
from autoimb.assessment.uncertainty import expected_in_words
from autoimb.policy import DEFAULT_POLICY
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
    """All that the report says, as JSON values.

    Parameters
    ----------
    request : dict
        What was asked: data, target, metric, time_budget, n_trials, cv, random_state, components,
        costs.
    profile : dict
        The table: rows, columns (kind -> number), classes (list of label, count, share), positive
        (label), missing (column -> rows), cardinality (column -> levels).
    plan : dict
        How it was judged: folds, scored_rows, and the other settings of the study.
    winner : WinnerFacts
        The chosen strategy or blend.
    scores : list of ScoreRow
        The asked metric first, there the winner with its reported score; out-of-fold rows only.
    curves : dict of str to CurveFacts
        Precision-recall curves of the positive class by contender.
    confusion : ConfusionFacts
        The winner's out-of-fold labels, each given by a rule fitted without that fold.
    leaderboard : list of LeaderboardRow
        All trials, best first.
    verdict : str
        Whether the rare class needs special treatment on this table, in the first sentence; then
        what the result is, and which references are ahead of it.
    failures : list of FailureRow
        Infeasible, failed and timed-out trials.
    timing : dict of str to float
        Seconds by stage of the search.
    versions : dict of str to str
        Versions of the packages that made the result.
    notices : list of str
        What the reader should know about the data or the search.
    reliability : list of ReliabilityBin
        The winner's out-of-fold probabilities of the positive class against what happened.
    created : str
        When the search ended, ISO 8601.
    methods : list of MethodRow
        What matched duels say of each imbalance method.
    references : list of ReferenceRow
        Plain models on the same rows, each against the winner.
    checks : list of dict
        What the checks saw: `autoimb.assessment.checks.Finding.to_json` of each.
    test : TestFacts or None
        What rows gave that nothing else saw.
    reported : dict
        The winner's score without the optimism of the choice, as
        `autoimb.assessment.uncertainty.Reported` writes it, and `averaging`: what the mean of
        several networks has to do with it.
    time : TimeFacts or None
        The rate that is expected of later rows, and what each block of time gave; None where rows
        have no times.
    deployed : dict of str to float or None
        What the winner takes and may take, as `autoimb.evaluation.limits.Limits.deployed` writes
        it, and ``bytes``, of its file.
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
        """What the checks saw."""
        return tuple(Finding(**row) for row in self.checks)

    @property
    def result_lines(self) -> tuple[str, ...]:
        """What the result is, what is expected of new rows, and the verdict: a line each."""
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
        """The rate that is expected of later rows; nothing where rows have no times."""
        return rate_in_words(self.time["rate"], str(self.profile["positive"])) if self.time else ""

    @property
    def test_sentence(self) -> str:
        """What the test rows gave; nothing where there are none."""
        return test_in_words(self.test, str(self.profile["positive"])) if self.test else ""

    @property
    def deployed_sentence(self) -> str:
        """What the winner takes where it is deployed."""
        return deployed_in_words(self.deployed)

    def to_json(self) -> dict[str, Any]:
        """Return the facts as strict JSON values (numpy numbers unpacked, NaN as None)."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Facts:
        """Read what `to_json` wrote."""
        return cls(**data)


def render(facts: Facts) -> str:
    """Write the report.

    Parameters
    ----------
    facts : Facts
        What to say.

    Returns
    -------
    str
        One HTML page without scripts or external resources; every name from the data is escaped.
    """
    from autoimb.report import figures

    said = Facts.from_json(facts.to_json())
    asked = said.scores[0]["metric"] if said.scores else str(said.request.get("metric"))
    positive = str(said.profile["positive"])
    base_rate = next((c["share"] for c in said.profile["classes"] if c["label"] == positive), 0.0)
    members = {strategy["trial"] for strategy in said.winner["strategies"]}
    decided = _decided(said.confusion, positive)
    return _template().render(
        facts=said,
        asked=asked,
        positive=positive,
        base_rate=base_rate,
        decided=decided,
        headline=_with_whiskers([r for r in said.scores if r["metric"] == asked]),
        table=_score_table(said.scores),
        names=NAMES,
        meanings=MEANINGS,
        errors=DEFAULT_POLICY.reference_errors,
        operating_points=_operating_points(said.curves.get("winner"), base_rate),
        methods=_method_groups(said.methods),
        complete=[
            {**row, "methods": row["strategy"].partition(" on ")[0]}
            for row in said.leaderboard
            if row["status"] == "complete"
        ],
        statuses=Counter(row["status"] for row in said.leaderboard),
        members=members,
        shown=LEADERBOARD_ROWS,
        failures=_grouped_failures(said.failures),
        failures_shown=FAILURE_ROWS,
        missing=sorted(said.profile["missing"].items(), key=lambda item: -item[1]),
        missing_shown=MISSING_ROWS,
        pr_figure=figures.precision_recall(
            {NAMES.get(name, name): curve for name, curve in said.curves.items()},
            base_rate=base_rate,
            point=None if decided is None else decided["point"],
        ),
        reliability_figure=figures.reliability(said.reliability),
        progress_figure=figures.progress(said.leaderboard, members=members),
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


# -- facts as the template wants them ---------------------------------------------------------


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
    """Draw each score with its 95 % interval on one scale."""
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
    """Gather the methods by component, each gain with its interval drawn on one scale."""
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


def _decided(confusion: ConfusionFacts, positive: str) -> dict[str, Any] | None:
    """Count the positive class's hits, misses and false alarms."""
    labels, matrix = confusion["labels"], confusion["matrix"]
    if positive not in labels:
        return None
    at = labels.index(positive)
    actual, hits = sum(matrix[at]), matrix[at][at]
    alarms = sum(row[at] for row in matrix)
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
    """Read from the winner's curve what finding a share of the positive class costs."""
    points: list[dict[str, float]] = []
    if curve is None:
        return points
    for target in RECALL_TARGETS:
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
    """Gather trials that ended with the same words, the most frequent first."""
    groups: dict[tuple[str, str], list[FailureRow]] = {}
    for row in failures:
        groups.setdefault((row["status"], row["reason"]), []).append(row)
    return [
        {"status": status, "reason": reason, "count": len(rows), "example": rows[0]}
        for (status, reason), rows in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]
