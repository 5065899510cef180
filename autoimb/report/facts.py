"""The facts of a finished search: what the report says, computed once from out-of-fold rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.decision.rule import DecisionRule
from autoimb.assessment.judge import Judge, Prediction
from autoimb.assessment.metrics import get_metric
from autoimb.assessment.references import logistic_reference
from autoimb.budget import Deadline
from autoimb.data.profile import Profile
from autoimb.evaluation.blend import Blend
from autoimb.evaluation.trial import Scored, ranked
from autoimb.report import curves
from autoimb.report.build import Facts
from autoimb.report.formats import rule_in_words
from autoimb.report.rows import (
    ComponentRow,
    FailureRow,
    LeaderboardRow,
    ScoreRow,
    WinnerFacts,
    WinnerStrategy,
)
from autoimb.runs.record import TrialRecord
from autoimb.runtime.worker import one_thread
from autoimb.search.search import SearchResult, versions
from autoimb.search.study import StudyResult
from autoimb.space.components import COMPONENTS, CONTROL
from autoimb.space.strategy import option_of
from autoimb.training.plan import Plan

__all__ = ["STANDARD_METRICS", "build_facts", "leaderboard"]

Floats = NDArray[np.float64]

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
NO_SCORE = ("failed", "infeasible", "timeout", "killed")
REFERENCE_RATE = 4e9  # operations a second of a logistic regression, counted low
REFERENCE_STEPS = 200
LABEL_SECONDS = 1e-5  # a row and class, of labels that are tuned for several classes


def build_facts(result: SearchResult, *, deadline: Deadline | None = None) -> Facts:
    """Gather what the report says.

    Sees: the scored rows, by out-of-fold probabilities and cross-fitted labels only.

    Parameters
    ----------
    result : SearchResult
    deadline : Deadline, optional
        Of everything. A reference that would take too much of what is left is left out, and past
        its share so are scores but the winner's, and the components' paired differences that are
        missing yet.

    Returns
    -------
    Facts
    """
    deadline = deadline or Deadline()
    with one_thread():
        references = _references(result, deadline)
        share = result.planned.plan.policy.facts_share
        return _facts(result, references, deadline.fraction(share))


def _facts(result: SearchResult, references: Mapping[str, Floats], deadline: Deadline) -> Facts:
    planned, study, winner = result.planned, result.study, result.winner
    prepared, judge = planned.prepared, planned.judge.until(deadline.fraction(0.5))
    contenders = _contenders(judge, result, references)
    proba, labels = contenders["winner"]
    names, positive = list(prepared.profile.class_names), prepared.dataset.positive
    hit = judge.y == positive
    weight = np.ones(len(hit)) if judge.weight is None else judge.weight
    return Facts(
        request=prepared.request.to_json(),
        profile=_profile(prepared.profile),
        plan=_plan(planned.plan),
        winner=_winner(study, winner.blend, winner.rule, names, positive),
        scores=_scores(judge, contenders, deadline),
        curves={
            name: curves.precision_recall(hit, own[:, positive], weight)
            for name, (own, _) in contenders.items()
        },
        confusion=curves.confusion(judge.y, labels, names),
        leaderboard=leaderboard(study.records),
        components=_components(judge, study, deadline),
        verdict=winner.sentence,
        failures=_failures(study.records),
        timing={stage: float(seconds) for stage, seconds in result.timing.items()},
        versions=versions(),
        notices=_notices(result, references),
        reliability=curves.reliability(hit, proba[:, positive], weight),
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


def _references(result: SearchResult, deadline: Deadline) -> dict[str, Floats]:
    """Cross-validate a logistic regression, where there is time: it never costs the budget."""
    dataset, plan = result.planned.prepared.dataset, result.planned.plan
    encoders = result.pipeline.encoders[: len(plan.folds.folds)]
    width = max(encoder.width(ple=False) for encoder in encoders)
    cells = len(dataset.y) * dataset.n_classes
    seconds = 4.0 * cells * width * REFERENCE_STEPS * len(encoders) / REFERENCE_RATE
    if result.planned.judge.metric.kind == "label" and dataset.n_classes > 2:
        seconds += LABEL_SECONDS * cells
    if seconds >= plan.policy.reference_share * deadline.left():
        return {}
    found = logistic_reference(dataset, plan.folds, encoders, random_state=plan.seed)
    return {"logistic regression": found}


def leaderboard(records: Iterable[TrialRecord]) -> list[LeaderboardRow]:
    """Write all strategies as rows: complete ones first, best first, those without a score last.

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
            "rung": record.rung,
            "strategy": record.strategy.describe(),
            "resampling": str(record.strategy.resampling),
            "class_weight": str(record.strategy.class_weight),
            "loss": str(record.strategy.loss),
            "ensemble": str(record.strategy.ensemble),
            "network": str(record.strategy.network),
            "reason": record.reason,
        }
        for record in sorted(records, key=lambda record: record.rank)
    ]


def _contenders(
    judge: Judge, result: SearchResult, references: Mapping[str, Floats]
) -> dict[str, Prediction]:
    """Gather the winner, its two sides apart, the best control and the references, in order."""
    study, blend = result.study, result.winner.blend
    contenders: dict[str, Prediction] = {"winner": (blend.proba, blend.labels)}
    if not blend.kept:
        contenders["winner"] = _of_trial(judge, study.results[blend.numbers[0]])
    if blend.networks is not None:
        contenders["networks"] = (blend.networks.proba, blend.networks.labels)
    partners = {r.number for r in study.records if r.stage == "partner"}
    trees = ranked({number: study.results[number] for number in partners & study.results.keys()})
    if trees:
        contenders["trees"] = _of_trial(judge, study.results[trees[0]])
    control = _best(study, [r for r in study.records if r.strategy.is_control])
    if control is not None:
        contenders["none"] = _of_trial(judge, control[1])
    costs = np.asarray(result.planned.plan.class_costs or (1.0,))
    for name, proba in references.items():
        # labelled as trials are: the rule of costs is for probabilities that carry them
        carrying = proba * costs
        contenders[name] = proba, judge.labels(carrying / carrying.sum(axis=1, keepdims=True))
    return contenders


def _of_trial(judge: Judge, result: Scored) -> Prediction:
    return result.oof, judge.labels(result.view) if result.labels is None else result.labels


def _best(study: StudyResult, records: Iterable[TrialRecord]) -> tuple[TrialRecord, Scored] | None:
    """Find the best trial whose out-of-fold probabilities were kept."""
    for record in sorted(records, key=lambda record: record.rank):
        if record.number in study.results:
            return record, study.results[record.number]
    return None


def _scores(
    judge: Judge, contenders: Mapping[str, Prediction], deadline: Deadline
) -> list[ScoreRow]:
    """Score the winner by the metric that was asked for, and all else while there is time."""
    asked = judge.metric
    metrics = [asked] + [
        get_metric(name, n_classes=asked.n_classes, positive=asked.positive)
        for name in STANDARD_METRICS
        if name != asked.name
    ]
    rows: list[ScoreRow] = []
    for metric in metrics:
        own = judge.with_metric(metric)
        for name, prediction in contenders.items():
            if rows and deadline.expired:
                return rows
            score = own.score(*prediction)
            rows.append(
                {
                    "name": name,
                    "metric": metric.name,
                    "value": score.value,
                    "error": score.error,
                    "greater_is_better": metric.greater_is_better,
                }
            )
    return rows


def _components(judge: Judge, study: StudyResult, deadline: Deadline) -> list[ComponentRow]:
    """Show each option that was tried by its best trial, against the best with the control's."""

    @cache
    def difference(one: int, other: int) -> tuple[float, float]:
        pair = study.results[one], study.results[other]
        a, b = ((result.oof, result.likeliest) for result in pair)
        return judge.compare(a, b)

    networks = [record for record in study.records if record.stage != "partner"]
    rows: list[ComponentRow] = []
    for component in COMPONENTS.values():
        control = CONTROL.get(component.name, component.names[0])
        tried: dict[str, list[TrialRecord]] = {control: []}
        for record in networks:
            tried.setdefault(getattr(record.strategy, component.name).name, []).append(record)
        reference = _best(study, tried[control])
        for option in sorted(
            tried, key=lambda name: (name != control, component.names.index(name))
        ):
            best = _best(study, tried[option])
            own = None if best is None else best[0].score
            gap: tuple[float | None, float | None] = (None, None)
            if best and reference and option != control and not deadline.expired:
                gap = difference(best[0].number, reference[0].number)
            rows.append(
                {
                    "component": component.name,
                    "option": option,
                    "summary": component[option].summary,
                    "trials": sum(record.status == "complete" for record in tried[option]),
                    "best": None if own is None else own.value,
                    "error": None if own is None else own.error,
                    "difference_to_none": gap[0],
                    "difference_error": gap[1],
                }
            )
    return rows


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


def _winner(
    study: StudyResult, blend: Blend, rule: DecisionRule, names: Sequence[str], positive: int
) -> WinnerFacts:
    by_number = {record.number: record.strategy for record in study.records}
    partners = {record.number for record in study.records if record.stage == "partner"}
    strategies: list[WinnerStrategy] = []
    for number, weight in zip(blend.numbers, blend.weights):
        strategy = by_number[number]
        strategies.append(
            {
                "trial": number,
                "weight": weight,
                "description": strategy.describe(),
                "strategy": strategy.to_json(),
                "summaries": {
                    name: option_of(name, getattr(strategy, name)).summary for name in COMPONENTS
                },
            }
        )
    description = strategies[0]["description"]
    if len(strategies) > 1:
        models = f"{len(strategies)} strategies"
        if blend.networks is not None:
            description = next(s["description"] for s in strategies if s["trial"] not in partners)
            models = f"networks and boosted trees ({blend.partner_share:.0%} of the weight)"
        description = f"A blend of {models}, led by {description}"
    return {
        "description": description,
        "strategies": strategies,
        "blend": blend.kept,
        "rule": rule_in_words(rule, names, positive),
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
    folds, confirming = plan.folds.folds, plan.folds.confirming
    counted: int | str = len(folds)
    if plan.folds.further:
        own = len(plan.folds.repeat(confirming[-1]).folds)
        times = f"{len(confirming)} × " if len(confirming) > 1 else ""
        counted = f"{len(folds)}; {times}{own} to confirm"
    return {
        "folds": "one hold-out" if len(folds) == 1 else counted,
        "rows_scored": len(plan.folds.scored),
        "rows_training_a_fold": int(np.mean([len(fold.train) for fold in folds])),
        "device": plan.device,
    }


def _notices(result: SearchResult, references: Mapping[str, Floats]) -> list[str]:
    prepared = result.planned.prepared
    notices = list(dict.fromkeys([*prepared.notices, *prepared.profile.notices]))
    if not references:
        notices.append("There was no time left for a logistic regression to compare with.")
    if result.planned.plan.class_costs is not None:
        notices.append("The strategies' probabilities are weighted by the costs that were given.")
    if result.interrupted:
        notices.append("The search was interrupted; the report is of what was finished by then.")
    return notices
