"""The facts of a finished search: what the report says, computed once from out-of-fold rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.checks import AHEAD
from autoimb.assessment.decision.rule import DecisionRule
from autoimb.assessment.duels import Gain
from autoimb.assessment.judge import Judge, Prediction
from autoimb.assessment.metrics import Metric, get_metric
from autoimb.assessment.uncertainty import spread
from autoimb.assessment.verdict import Verdict
from autoimb.budget import Deadline
from autoimb.evaluation.blend import Blend
from autoimb.evaluation.limits import limits_beyond
from autoimb.evaluation.outcome import Scored, ranked
from autoimb.policy import SearchPolicy
from autoimb.report import curves
from autoimb.report.against import (
    Standing,
    check_result,
    compare_references,
    cross_validate_references,
    standings,
)
from autoimb.report.build import Facts
from autoimb.report.formats import rule_in_words
from autoimb.report.planned import plan_facts, profile_facts
from autoimb.report.rows import (
    BlockRow,
    FailureRow,
    LeaderboardRow,
    MethodRow,
    ScoreRow,
    TestFacts,
    TestRow,
    TimeFacts,
    WinnerFacts,
    WinnerStrategy,
)
from autoimb.runs.record import TrialRecord
from autoimb.runtime.worker import one_thread
from autoimb.search.search import SearchResult, versions
from autoimb.search.study import StudyResult
from autoimb.search.untouched import Tested
from autoimb.space.components import COMPONENTS
from autoimb.space.strategy import option_of

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
LABELS_SHARE = 0.5  # of the time for scores, for labels


def build_facts(result: SearchResult, *, deadline: Deadline | None = None) -> Facts:
    """Gather what the report says.

    Sees: the scored rows, by out-of-fold probabilities and cross-fitted labels only.

    Parameters
    ----------
    result : SearchResult
    deadline : Deadline, optional
        Of everything. A reference that would take too much of what is left is left out, and past
        its share so are scores by other metrics, and the decision rule's check.

    Returns
    -------
    Facts
    """
    deadline = deadline or Deadline()
    with one_thread():
        references, left_out = cross_validate_references(result, deadline)
        share = result.planned.plan.policy.facts_share
        return _facts(result, references, left_out, deadline.fraction(share))


def _facts(
    result: SearchResult,
    references: Mapping[str, Floats],
    left_out: Mapping[str, str],
    deadline: Deadline,
) -> Facts:
    planned, study, winner = result.planned, result.study, result.winner
    prepared, judge = planned.prepared, planned.judge.until(deadline.fraction(LABELS_SHARE))
    contenders = _contenders(judge, result, references)
    by_time = _by_time(result, judge, contenders["winner"])
    contenders = {name: judge.of_counted(own) for name, own in contenders.items()}
    judge = judge.counted
    proba, labels = contenders["winner"]
    names, positive = list(prepared.profile.class_names), prepared.dataset.positive
    hit = judge.y == positive
    weight = np.ones(len(hit)) if judge.weight is None else judge.weight
    policy = planned.plan.policy
    found = standings(judge, contenders, winner.reported, policy, deadline)
    checks = (*result.findings, *check_result(result, contenders["winner"], found, deadline))
    ahead = [finding.evidence for finding in checks if finding.code == AHEAD]
    return Facts(
        request=prepared.request.to_json(),
        profile=profile_facts(prepared.profile),
        plan=plan_facts(planned.plan),
        winner=_winner(study, winner.blend, winner.rule, names, positive),
        scores=_scores(judge, contenders, found, policy, deadline),
        curves={
            name: curves.precision_recall(hit, own[:, positive], weight)
            for name, (own, _) in contenders.items()
            if name != "prior"
        },
        confusion=curves.confusion(judge.y, labels, names),
        leaderboard=leaderboard(
            study.records, reported=dict.fromkeys(winner.blend.numbers, winner.reported.value)
        ),
        methods=_methods(result.verdict),
        verdict=" ".join([result.verdict.sentence, winner.sentence, *ahead]),
        failures=_failures(study.records),
        timing={stage: float(seconds) for stage, seconds in result.timing.items()},
        versions=versions(),
        notices=_notices(result),
        reliability=curves.reliability(hit, proba[:, positive], weight),
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        references=compare_references(found, left_out),
        checks=[finding.to_json() for finding in checks],
        test=None if result.tested is None else _test(result.tested, names),
        reported={**winner.reported.to_json(), "averaging": _averaging(result)},
        deployed=dict(result.deployed),
        time=by_time,
    )


def _by_time(result: SearchResult, judge: Judge, winner: Prediction) -> TimeFacts | None:
    """Gather the scored rows by block of time, the first of which is not in the score."""
    dataset = result.planned.prepared.dataset
    if dataset.times is None or judge.period is None:
        return None
    positive, times = dataset.positive, dataset.times.take(result.planned.plan.folds.scored)
    weight = np.ones(len(judge.y)) if judge.weight is None else judge.weight
    rows: list[BlockRow] = []
    for block in np.unique(judge.period):
        own = judge.period == block
        part, value = judge.take(own), None
        proba, labels = (each[own] for each in winner)
        if block > 0:
            value = judge.metric(part.y, proba, labels, weight=part.weight)
        rows.append(
            {
                "first": times.text(times.values[own].min()),
                "last": times.text(times.values[own].max()),
                "rows": int(own.sum()),
                "positives": int((part.y == positive).sum()),
                "rate": float(np.average(part.y == positive, weights=weight[own])),
                "mean_probability": float(np.average(proba[:, positive], weights=weight[own])),
                "score": value,
            }
        )
    return {"rate": result.pipeline.info["rate"], "blocks": rows}


def _averaging(result: SearchResult) -> str:
    """Say what the mean of several networks has to do with the reported score."""
    more = result.winner.reported.gain_of_mean
    said = "is not known and not included" if more is None else f"({more:+.4f}) is included"
    gain = result.study.results[result.winner.single].score.gain_of_mean
    if result.planned.plan.folds.deploys_last:
        return (
            "New rows are predicted by networks that were trained on all rows, through the newest; "
            "each scored row by ones of earlier rows."
        )
    if gain is None:
        return (
            "New rows are predicted by the mean of the networks of all folds, out-of-fold rows by "
            f"one network each; what the mean is estimated to gain {said}."
        )
    number = len(result.planned.plan.folds.confirming)
    return (
        "New rows are predicted by the mean of the networks of all folds, out-of-fold rows by the "
        f"mean of {number} networks, which gains {gain:+.4f} over one of them in the best "
        f"strategy; what the mean of all is estimated to gain in addition {said}."
    )


def leaderboard(
    records: Iterable[TrialRecord], *, reported: Mapping[int, float] | None = None
) -> list[LeaderboardRow]:
    """Write all strategies as rows: complete ones first, best first, those without a score last.

    Parameters
    ----------
    records : iterable of TrialRecord
        In any order.
    reported : mapping of int to float, optional
        The score of the result on new data, by each trial that it is of.

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
            "reported": (reported or {}).get(record.number),
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
    if blend.networks is not None:
        contenders["networks"] = (blend.networks.proba, blend.networks.labels)
    partners = {r.number for r in study.records if r.stage == "partner"}
    trees = ranked({number: study.results[number] for number in partners & study.results.keys()})
    if trees:
        contenders["trees"] = _of_trial(judge, study.results[trees[0]])
    control = _best(study, [r for r in study.records if r.strategy.is_control])
    if control is not None:
        contenders["none"] = _of_trial(judge, control[1])
    costs = np.asarray(result.planned.plan.carried_costs or (1.0,))
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


def _metrics(asked: Metric) -> list[Metric]:
    """Return the asked metric and the usual others."""
    return [asked] + [
        get_metric(name, n_classes=asked.n_classes, positive=asked.positive)
        for name in STANDARD_METRICS
        if name != asked.name
    ]


def _test(tested: Tested, names: Sequence[str]) -> TestFacts:
    """Score the rows that nothing else saw."""
    codes = tested.judge.y
    rows: list[TestRow] = []
    for metric in _metrics(tested.judge.metric):
        judge = tested.judge.with_metric(metric)
        score = judge.score(*tested.prediction)
        _, low, high = judge.interval(score.value, score.error)
        rows.append(
            {
                "metric": metric.name,
                "value": score.value,
                "error": spread(low, high),
                "low": low,
                "high": high,
                "greater_is_better": metric.greater_is_better,
            }
        )
    return {
        "given": tested.n_given,
        "rows": len(codes),
        "counts": dict(zip(names, np.bincount(codes, minlength=len(names)).tolist())),
        "scores": rows,
    }


def _scores(
    judge: Judge,
    contenders: Mapping[str, Prediction],
    found: Mapping[str, Standing],
    policy: SearchPolicy,
    deadline: Deadline,
) -> list[ScoreRow]:
    """Score all by the metric that was asked for, and by others while there is time."""
    rows = [
        _score_row(name, judge.metric, (own.value, own.low, own.high), own.in_words(policy))
        for name, own in found.items()
    ]
    for metric in _metrics(judge.metric)[1:]:
        own = judge.with_metric(metric)
        for name, prediction in contenders.items():
            if deadline.expired:
                return rows
            score = own.reported_score(prediction, policy.rare_rows_a_reported_group)
            error = own.with_training(score.error, policy)
            rows.append(_score_row(name, metric, own.interval(score.value, error)))
    return rows


def _score_row(
    name: str, metric: Metric, values: tuple[float, float, float], standing: str = ""
) -> ScoreRow:
    value, low, high = values
    return {
        "name": name,
        "metric": metric.name,
        "value": value,
        "error": spread(low, high),
        "low": low,
        "high": high,
        "greater_is_better": metric.greater_is_better,
        "standing": standing,
    }


def _methods(verdict: Verdict) -> list[MethodRow]:
    """Write the findings as rows, by component."""
    rows: list[MethodRow] = []
    for finding in verdict.findings:
        duel = finding.duel
        value, low, high = _shown(duel.gain)
        log_loss, log_low, log_high = _shown(duel.log_loss)
        rows.append(
            {
                "component": duel.component,
                "option": duel.option,
                "method": duel.method,
                "word": finding.word,
                "gain": value,
                "low": low,
                "high": high,
                "log_loss_gain": log_loss,
                "log_loss_low": log_low,
                "log_loss_high": log_high,
                "p_value": None if duel.gain is None else finding.p_value,
                "sentence": finding.sentence,
            }
        )
    return rows


def _shown(gain: Gain | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if gain is None else (gain.value, *gain.interval)


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
            models = f"networks and trees ({blend.partner_share:.0%} of the weight)"
        description = f"A blend of {models}, led by {description}"
    return {
        "description": description,
        "strategies": strategies,
        "blend": blend.is_blend,
        "rule": rule_in_words(rule, names, positive),
    }


def _notices(result: SearchResult) -> list[str]:
    prepared = result.planned.prepared
    notices = list(dict.fromkeys([*prepared.notices, *prepared.profile.notices]))
    if result.planned.plan.carried_costs is not None:
        notices.append("The strategies' probabilities are weighted by the costs that were given.")
    beyond = limits_beyond(result.deployed)
    if beyond is not None:
        notices.append(
            f"Measured on this machine the result takes {beyond}. Limits are kept as they are "
            "counted: ask for less where this machine is the one that predicts."
        )
    if result.interrupted:
        notices.append(
            f"The search was interrupted by {result.interrupted}; the report is of what was "
            "finished by then."
        )
    return notices
