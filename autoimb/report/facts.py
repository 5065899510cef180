"""Facts of a finished search for the report, computed once from out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from autoimb.arrays import Floats
from autoimb.assessment.checks import AHEAD
from autoimb.assessment.duels import Gain, Verdict
from autoimb.assessment.judge import Judge, Prediction
from autoimb.assessment.metrics import Metric, confusion_counts, get_metric
from autoimb.assessment.uncertainty import spread
from autoimb.budget import FOREVER, Deadline
from autoimb.evaluation.limits import limits_beyond
from autoimb.policy import SearchPolicy
from autoimb.report import against, curves
from autoimb.report.build import Facts, Row
from autoimb.report.formats import rule_in_words
from autoimb.report.planned import plan_facts, profile_facts
from autoimb.runs.record import TrialRecord
from autoimb.runtime.worker import one_thread
from autoimb.search.search import SearchResult, versions
from autoimb.search.untouched import Tested
from autoimb.space.strategy import option_of

__all__ = ["METHOD_COLUMNS", "STANDARD_METRICS", "build_facts", "leaderboard"]

# Share of the remaining time for the scores of the report.
_FACTS_SHARE = 0.5

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
METHOD_COLUMNS = (
    *("component", "option", "method", "word", "gain", "low", "high"),
    *("log_loss_gain", "log_loss_low", "log_loss_high", "p_value", "sentence"),
)
LABELS_SHARE = 0.5  # share of the time for scores that labels may use


@one_thread()
def build_facts(result: SearchResult, *, deadline: Deadline = FOREVER) -> Facts:
    """Compute the facts of the report.

    Sees: the scored rows, with out-of-fold probabilities and cross-fitted labels only.

    Parameters
    ----------
    result : SearchResult
    deadline : Deadline, optional
        Deadline of all computations. References that would take too much of the remaining time are
        omitted; once a share of it has passed, so are scores by other metrics and the check of the
        decision rule.

    Returns
    -------
    Facts
    """
    references = against.cross_validate_references(result, deadline)
    deadline = deadline.fraction(_FACTS_SHARE)
    preparation, study, selection = result.preparation, result.study, result.selection
    task = preparation.task
    judge = task.judge.until(deadline.fraction(LABELS_SHARE))
    contenders = _contenders(judge, result, references)
    by_time = _by_time(result, judge, contenders["winner"])
    contenders = {name: judge.of_counted(prediction) for name, prediction in contenders.items()}
    judge = judge.counted
    proba, labels = contenders["winner"]
    matrix = confusion_counts(judge.y, labels, n_classes=judge.metric.n_classes)
    names, positive = list(preparation.profile.class_names), task.dataset.positive
    hit = judge.y == positive
    weight = np.ones(len(hit)) if judge.weight is None else judge.weight
    policy = task.plan.policy
    standing_by_name = against.standings(judge, contenders, selection.reported, policy, deadline)
    checks = (
        *result.findings,
        *against.check_result(result, contenders["winner"], standing_by_name, deadline),
    )
    ahead = [finding.evidence for finding in checks if finding.code == AHEAD]
    return Facts(
        request=preparation.request.to_json(),
        profile=profile_facts(preparation.profile),
        plan=plan_facts(task.plan),
        winner=_winner(result, names),
        scores=_scores(judge, contenders, standing_by_name, policy, deadline),
        curves={
            name: curves.precision_recall(hit, contender_proba[:, positive], weight)
            for name, (contender_proba, _) in contenders.items()
            if name != "prior"
        },
        confusion={"labels": names, "matrix": matrix.astype(int).tolist()},
        leaderboard=leaderboard(
            study.records, reported=dict.fromkeys(selection.weights, selection.reported.value)
        ),
        methods=_methods(result.verdict),
        verdict=" ".join([result.verdict.sentence, selection.sentence, *ahead]),
        timing={stage: float(seconds) for stage, seconds in result.timing.items()},
        versions=versions(),
        notices=_notices(result),
        reliability=curves.reliability(hit, proba[:, positive], weight),
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        references=against.compare_references(standing_by_name),
        checks=[finding.to_json() for finding in checks],
        test=None if result.tested is None else _test(result.tested, names),
        reported={**selection.reported.to_json(), "averaging": _averaging(result)},
        deployed=dict(result.deployed),
        time=by_time,
    )


def _by_time(result: SearchResult, judge: Judge, winner: Prediction) -> Row | None:
    """Return a row for each block of time; the first block does not count in the score."""
    task = result.preparation.task
    dataset = task.dataset
    if dataset.times is None or judge.period is None:
        return None
    positive, times = dataset.positive, dataset.times.take(task.plan.folds.scored)
    weight = np.ones(len(judge.y)) if judge.weight is None else judge.weight
    rows = []
    for block in np.unique(judge.period):
        in_block = judge.period == block
        y, block_weight, block_times = judge.y[in_block], weight[in_block], times.values[in_block]
        proba, labels = (values[in_block] for values in winner)
        value = judge.metric(y, proba, labels, weight=block_weight) if block > 0 else None
        rows.append(
            {
                "first": times.text(block_times.min()),
                "last": times.text(block_times.max()),
                "rows": len(y),
                "positives": int((y == positive).sum()),
                "rate": float(np.average(y == positive, weights=block_weight)),
                "mean_probability": float(np.average(proba[:, positive], weights=block_weight)),
                "score": value,
            }
        )
    return {"rate": result.pipeline.info["rate"], "blocks": rows}


def _averaging(result: SearchResult) -> str:
    """Describe the effect of averaging several networks on the reported score."""
    gain_of_all = result.selection.reported.gain_of_mean
    status = (
        "is not known and not included"
        if gain_of_all is None
        else f"({gain_of_all:+.4f}) is included"
    )
    if result.preparation.task.plan.folds.deploys_last:
        return (
            "New rows are predicted by networks that were trained on all rows, through the newest; "
            "each scored row by ones of earlier rows."
        )
    return (
        "New rows are predicted by the mean of the networks of all folds, out-of-fold rows by one "
        f"network each; what the mean is estimated to gain {status}."
    )


def leaderboard(
    records: Iterable[TrialRecord], *, reported: Mapping[int, float] | None = None
) -> list[Row]:
    """Return all strategies as rows: complete ones first, best first, those without score last.

    Parameters
    ----------
    records : iterable of TrialRecord
        Records in any order.
    reported : mapping of int to float, optional
        Expected score of the result on new data, by each of its trials.

    Returns
    -------
    list of dict
        Rows with the columns of ``leaderboard.csv``.
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
            "strategy": record.strategy.describe(),
            **{name: str(choice) for name, choice in record.strategy.choices.items()},
            "reason": record.reason,
        }
        for record in sorted(records, key=lambda record: record.rank)
    ]


def _contenders(
    judge: Judge, result: SearchResult, references: Mapping[str, Floats]
) -> dict[str, Prediction]:
    """Return the winner, its networks and trees, the best control and the references."""
    study, selection = result.study, result.selection
    contenders: dict[str, Prediction] = {"winner": (selection.proba, selection.labels)}
    if selection.networks is not None:
        contenders["networks"] = selection.networks
    # The best tree model and the best control, if their out-of-fold probabilities are available.
    records = sorted(study.records, key=lambda record: record.rank)
    available = [record for record in records if record.number in study.results]
    partners = [record for record in available if record.stage == "partner"]
    controls = [record for record in available if record.strategy.is_control]
    for name, candidates in (("trees", partners), ("none", controls)):
        # A result that is the best control itself is not compared with itself.
        if candidates and set(selection.weights) != {candidates[0].number}:
            trial = study.results[candidates[0].number]
            labels = judge.labels(trial.view) if trial.labels is None else trial.labels
            contenders[name] = trial.oof, labels
    costs = np.asarray(result.preparation.task.plan.carried_costs or (1.0,))
    for name, proba in references.items():
        # Labels are those of trials, whose decision rule expects probabilities that include costs.
        carrying = proba * costs
        contenders[name] = proba, judge.labels(carrying / carrying.sum(axis=1, keepdims=True))
    return contenders


def _judges(judge: Judge) -> list[Judge]:
    """Return the judges by the requested metric and by the standard ones."""
    asked = judge.metric
    return [judge] + [
        judge.with_metric(get_metric(name, n_classes=asked.n_classes, positive=asked.positive))
        for name in STANDARD_METRICS
        if name != asked.name
    ]


def _test(tested: Tested, names: Sequence[str]) -> Row:
    """Return the scores on the test rows, which had no influence on the search."""
    codes, scores = tested.judge.y, []
    for judge in _judges(tested.judge):
        score = judge.score(*tested.prediction)
        scores.append(_score_row(judge.metric, judge.interval(score.value, score.error)))
    return {
        "given": tested.n_given,
        "rows": len(codes),
        "counts": dict(zip(names, np.bincount(codes, minlength=len(names)).tolist())),
        "scores": scores,
    }


def _scores(
    judge: Judge,
    contenders: Mapping[str, Prediction],
    standing_by_name: Mapping[str, against.Standing],
    policy: SearchPolicy,
    deadline: Deadline,
) -> list[Row]:
    """Score all contenders by the requested metric, and by others as long as time permits."""
    rows = [
        {"name": name, "standing": standing.in_words()}
        | _score_row(judge.metric, (standing.value, standing.low, standing.high))
        for name, standing in standing_by_name.items()
    ]
    for metric_judge in _judges(judge)[1:]:
        for name, prediction in contenders.items():
            if deadline.expired:
                return rows
            score = metric_judge.reported_score(prediction, policy.result.rare_rows_per_group)
            error = metric_judge.with_training(score.error, policy)
            interval = metric_judge.interval(score.value, error)
            row = _score_row(metric_judge.metric, interval)
            rows.append({"name": name, "standing": ""} | row)
    return rows


def _score_row(metric: Metric, interval: tuple[float, float, float]) -> Row:
    value, low, high = interval
    return {
        "metric": metric.name,
        "value": value,
        "error": spread(low, high),
        "low": low,
        "high": high,
        "greater_is_better": metric.greater_is_better,
    }


def _methods(verdict: Verdict) -> list[Row]:
    """Return the findings as rows, by component."""
    rows = []
    for finding in verdict.findings:
        duel = finding.duel
        p_value = None if duel.gain is None else finding.p_value
        gains = (*_gain_values(duel.gain), *_gain_values(duel.log_loss))
        values = (duel.component, duel.option, duel.method, finding.word, *gains, p_value)
        rows.append(dict(zip(METHOD_COLUMNS, (*values, finding.sentence))))
    return rows


def _gain_values(gain: Gain | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if gain is None else (gain.value, *gain.interval)


def _winner(result: SearchResult, names: Sequence[str]) -> Row:
    selection, pipeline = result.selection, result.pipeline
    by_number = {record.number: record.strategy for record in result.records}
    strategies: list[Row] = []
    for number, weight in selection.weights.items():
        strategy = by_number[number]
        options = {name: option_of(name, choice) for name, choice in strategy.choices.items()}
        strategies.append(
            {
                "trial": number,
                "weight": weight,
                "description": strategy.describe(),
                "strategy": strategy.to_json(),
                "summaries": {name: option.summary for name, option in options.items()},
            }
        )
    description = strategies[0]["description"]
    if len(strategies) > 1:
        models = f"{len(strategies)} strategies"
        if selection.networks is not None:
            networks = (by_number[n] for n in selection.weights if not by_number[n].is_partner)
            description = next(networks).describe()
            models = f"networks and trees ({selection.partner_share:.0%} of the weight)"
        description = f"A blend of {models}, led by {description}"
    return {
        "description": description,
        "strategies": strategies,
        "blend": selection.is_blend,
        "rule": rule_in_words(pipeline.rule, names, pipeline.positive),
    }


def _notices(result: SearchResult) -> list[str]:
    notices = list(result.preparation.notices)
    if result.preparation.task.plan.carried_costs is not None:
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
