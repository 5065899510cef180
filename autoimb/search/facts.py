"""The facts of a finished search: what the report says, computed once from out-of-fold rows."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.decision import DecisionRule, cross_fit_labels
from autoimb.assessment.metrics import Metric, get_metric
from autoimb.assessment.uncertainty import Prediction, paired_difference, score
from autoimb.report import curves
from autoimb.report.build import Facts
from autoimb.report.rows import (
    FailureRow,
    LeaderboardRow,
    RoomRow,
    ScoreRow,
    WinnerFacts,
    WinnerStrategy,
)
from autoimb.report.words import rule_in_words
from autoimb.search.budget import Deadline
from autoimb.search.choose import is_plain
from autoimb.space.rooms import PLAIN, ROOMS

if TYPE_CHECKING:
    from autoimb.data.profile import Profile
    from autoimb.search.blend import Blend
    from autoimb.search.evaluate import Outcome
    from autoimb.search.planning import Plan
    from autoimb.search.prepare import Prepared
    from autoimb.search.record import TrialRecord
    from autoimb.search.study import StudyResult

__all__ = ["STANDARD_METRICS", "Found", "build_facts", "leaderboard", "versions"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STANDARD_METRICS = (
    "average_precision",
    "roc_auc",
    "balanced_accuracy",
    "geometric_mean",
    "f1",
    "mcc",
    "log_loss",
    "brier",
)
PACKAGES = ("autoimb", "torch", "optuna", "imbalanced-learn", "scikit-learn", "numpy", "pandas")
NO_SCORE = ("failed", "infeasible", "timeout", "killed")


@dataclass(frozen=True, eq=False)
class Found:
    """What came of a study, beyond its trials.

    Attributes
    ----------
    blend : Blend
        What is handed over; also where it is a single strategy.
    rule : DecisionRule
        The exported pipeline's.
    verdict : str
        One sentence: does any lever beat none?
    references : mapping of str to ndarray of float64, shape (n, C)
        Out-of-fold probabilities of what is no trial: ``"logistic regression"``.
    timing : mapping of str to float
        Seconds by stage.
    """

    blend: Blend
    rule: DecisionRule
    verdict: str
    references: Mapping[str, Floats] = field(default_factory=dict)
    timing: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Judged:
    """The scored rows and the metric: what every contender is held against."""

    metric: Metric
    y: Ints
    group: Ints
    weight: Floats
    plan: Plan

    def labels(self, proba: Floats | Callable[[int], Floats]) -> Ints:
        return cross_fit_labels(
            self.metric,
            self.y,
            proba,
            self.group,
            weight=self.weight,
            costs=self.plan.cost_matrix,
        )

    def of_trial(self, outcome: Outcome) -> Prediction:
        proba = np.asarray(outcome.oof)
        return proba, self.labels(outcome.view) if outcome.labels is None else outcome.labels

    def of_reference(self, proba: Floats) -> Prediction:
        """Label as trials are labelled: the rule of costs is for probabilities that they tilt."""
        tilted = proba * np.asarray(self.plan.cost_weights or (1.0,))
        return proba, self.labels(tilted / tilted.sum(axis=1, keepdims=True))


def build_facts(
    prepared: Prepared,
    plan: Plan,
    result: StudyResult,
    found: Found,
    *,
    deadline: Deadline | None = None,
) -> Facts:
    """Gather what the report says.

    Sees: the scored rows, by out-of-fold probabilities and cross-fitted labels only.

    Parameters
    ----------
    prepared : Prepared
        The request, the table's profile, the dataset, the metric.
    plan : Plan
        The folds and costs of the study.
    result : StudyResult
        All trials.
    found : Found
        The winner, the verdict and the references.
    deadline : Deadline, optional
        Past it the rooms' paired differences that are missing yet stay unknown.

    Returns
    -------
    Facts
    """
    dataset, scored = prepared.dataset, plan.folds.scored
    judged = _Judged(
        metric=prepared.metric,
        y=dataset.y[scored],
        group=plan.folds.group[scored],
        weight=plan.folds.scored_weight(dataset.weight),
        plan=plan,
    )
    contenders = _contenders(judged, result, found)
    proba, labels = contenders["winner"]
    names = list(prepared.profile.class_names)
    hit = judged.y == dataset.positive
    return Facts(
        request=prepared.request.to_json(),
        profile=_profile(prepared.profile),
        plan=_plan(plan),
        winner=_winner(result, found, names, dataset.positive),
        scores=_scores(judged, contenders),
        curves={
            name: curves.precision_recall(hit, own[:, dataset.positive], judged.weight)
            for name, (own, _) in contenders.items()
        },
        confusion=curves.confusion(judged.y, labels, names),
        leaderboard=leaderboard(result.records),
        rooms=_rooms(judged, result, deadline or Deadline()),
        verdict=found.verdict,
        failures=_failures(result.records),
        timing={stage: float(seconds) for stage, seconds in found.timing.items()},
        versions=versions(),
        notices=_notices(prepared, plan, result, found),
        reliability=curves.reliability(hit, proba[:, dataset.positive], judged.weight),
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


def leaderboard(records: Iterable[TrialRecord]) -> list[LeaderboardRow]:
    """Write all trials as rows, best first, those without a score last.

    Parameters
    ----------
    records : iterable of TrialRecord
        In any order.

    Returns
    -------
    list of LeaderboardRow
        The columns of ``leaderboard.csv``.
    """
    return [
        {
            "trial": record.number,
            "status": record.status,
            "score": None if record.score is None else record.score.value,
            "error": None if record.score is None else record.score.error,
            "seconds": record.seconds,
            "stage": record.stage,
            "strategy": record.strategy.describe(),
            "resampling": str(record.strategy.resampling),
            "class_weight": str(record.strategy.class_weight),
            "loss": str(record.strategy.loss),
            "ensemble": str(record.strategy.ensemble),
            "network": str(record.strategy.network),
            "reason": record.reason,
        }
        for record in sorted(records, key=_rank)
    ]


def versions() -> dict[str, str]:
    """Return the versions of what made the result, by package."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout
            continue
    return found


def _rank(record: TrialRecord) -> tuple[bool, bool, float, int]:
    """Complete trials first, by score."""
    utility = -np.inf if record.score is None else record.score.utility
    return record.status != "complete", record.score is None, -utility, record.number


def _contenders(judged: _Judged, result: StudyResult, found: Found) -> dict[str, Prediction]:
    """Gather the winner, the best strategy without a lever, and the references, in that order."""
    blend = found.blend
    contenders: dict[str, Prediction] = {"winner": (blend.proba, blend.labels)}
    if not blend.kept:
        contenders["winner"] = judged.of_trial(result.outcomes[blend.numbers[0]])
    plain = _best(result, filter(is_plain, result.records))
    if plain is not None:
        contenders["none"] = judged.of_trial(plain[1])
    return contenders | {n: judged.of_reference(p) for n, p in found.references.items()}


def _best(
    result: StudyResult, records: Iterable[TrialRecord]
) -> tuple[TrialRecord, Outcome] | None:
    """Find the best trial whose out-of-fold probabilities were kept."""
    for record in sorted(records, key=_rank):
        outcome = result.outcomes.get(record.number)
        if outcome is not None and outcome.oof is not None:
            return record, outcome
    return None


def _scores(judged: _Judged, contenders: Mapping[str, Prediction]) -> list[ScoreRow]:
    asked = judged.metric
    metrics = [asked] + [
        get_metric(name, n_classes=asked.n_classes, positive=asked.positive)
        for name in STANDARD_METRICS
        if name != asked.name
    ]
    rows: list[ScoreRow] = []
    for metric in metrics:
        for name, (proba, labels) in contenders.items():
            own = score(metric, judged.y, proba, labels, judged.group, weight=judged.weight)
            rows.append(
                {
                    "name": name,
                    "metric": metric.name,
                    "value": own.value,
                    "error": own.error,
                    "greater_is_better": metric.greater_is_better,
                }
            )
    return rows


def _rooms(judged: _Judged, result: StudyResult, deadline: Deadline) -> list[RoomRow]:
    """Show each option that was tried by its best trial, against the best with the plain one."""

    @cache
    def difference(one: int, other: int) -> tuple[float, float]:
        pair = _rough(result.outcomes[one]), _rough(result.outcomes[other])
        return paired_difference(judged.metric, judged.y, *pair, judged.group, weight=judged.weight)

    rows: list[RoomRow] = []
    for room in ROOMS.values():
        plain = PLAIN.get(room.name, room.names[0])
        tried: dict[str, list[TrialRecord]] = {plain: []}
        for record in result.records:
            tried.setdefault(getattr(record.strategy, room.name).name, []).append(record)
        reference = _best(result, tried[plain])
        for option in sorted(tried, key=lambda name: (name != plain, room.names.index(name))):
            best = _best(result, tried[option])
            own = None if best is None else best[0].score
            gap: tuple[float | None, float | None] = (None, None)
            if best and reference and option != plain and not deadline.expired:
                gap = difference(best[0].number, reference[0].number)
            rows.append(
                {
                    "room": room.name,
                    "option": option,
                    "summary": room[option].summary,
                    "trials": sum(record.status == "complete" for record in tried[option]),
                    "best": None if own is None else own.value,
                    "error": None if own is None else own.error,
                    "difference_to_none": gap[0],
                    "difference_error": gap[1],
                }
            )
    return rows


def _rough(outcome: Outcome) -> Prediction:
    """Take the likeliest class for label: where labels count, the outcome has better ones."""
    proba = np.asarray(outcome.oof)
    return proba, proba.argmax(axis=1) if outcome.labels is None else outcome.labels


def _failures(records: Iterable[TrialRecord]) -> list[FailureRow]:
    return [
        {
            "trial": record.number,
            "strategy": record.strategy.describe(),
            "status": record.status,
            "reason": record.reason,
        }
        for record in sorted(records, key=lambda record: record.number)
        if record.status in NO_SCORE
    ]


def _winner(result: StudyResult, found: Found, names: Sequence[str], positive: int) -> WinnerFacts:
    by_number = {record.number: record.strategy for record in result.records}
    strategies: list[WinnerStrategy] = []
    for number, weight in zip(found.blend.numbers, found.blend.weights):
        strategy = by_number[number]
        strategies.append(
            {
                "trial": number,
                "weight": weight,
                "description": strategy.describe(),
                "strategy": strategy.to_json(),
                "summaries": {
                    room.name: room[getattr(strategy, room.name).name].summary
                    for room in ROOMS.values()
                },
            }
        )
    description = strategies[0]["description"]
    if len(strategies) > 1:
        description = f"A blend of {len(strategies)} strategies, led by {description}"
    return {
        "description": description,
        "strategies": strategies,
        "blend": found.blend.kept,
        "rule": rule_in_words(found.rule, names, positive),
    }


def _profile(profile: Profile) -> dict[str, Any]:
    counts = profile.class_counts
    return {
        "rows": profile.n_rows,
        "columns": dict(profile.kinds),
        "classes": [
            {"label": name, "count": count, "share": count / sum(counts)}
            for name, count in zip(profile.class_names, counts)
        ],
        "positive": profile.class_names[profile.positive],
        "missing": dict(profile.missing),
        "cardinality": dict(profile.cardinality),
    }


def _plan(plan: Plan) -> dict[str, Any]:
    folds, deals = plan.folds.folds, 1 + len(plan.folds.further)
    counted = f"{len(folds)}; {deals} × {len(folds)} to confirm" if deals > 1 else len(folds)
    return {
        "folds": "one hold-out" if len(folds) == 1 else counted,
        "rows_scored": len(plan.folds.scored),
        "rows_training_a_fold": int(np.mean([len(fold.train) for fold in folds])),
        "device": plan.device,
    }


def _notices(prepared: Prepared, plan: Plan, result: StudyResult, found: Found) -> list[str]:
    notices = list(dict.fromkeys([*prepared.notices, *prepared.profile.notices]))
    if not found.references:
        notices.append("There was no time left for a logistic regression to compare with.")
    if plan.cost_weights is not None:
        notices.append("The strategies' probabilities are tilted by the costs that were given.")
    if result.interrupted:
        notices.append("The search was interrupted; the report is of what was finished by then.")
    return notices
