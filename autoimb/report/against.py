"""Comparison of a result with references on its folds, and the checks of the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autoimb.arrays import Floats
from autoimb.assessment.checks import REFERENCE_ERRORS, Finding, run_checks
from autoimb.assessment.evidence import ResultEvidence, label_changes
from autoimb.assessment.judge import Judge, Prediction
from autoimb.assessment.references import REFERENCES, Size, cross_validate, prior_reference
from autoimb.assessment.uncertainty import Reported
from autoimb.budget import Deadline
from autoimb.policy import SearchPolicy
from autoimb.report.build import Row
from autoimb.search.search import SearchResult

__all__ = [
    "Standing",
    "check_result",
    "compare_references",
    "cross_validate_references",
    "standings",
]

# Largest share of the remaining time for one reference.
_REFERENCE_SHARE = 0.4

# Seconds for each row and class to tune labels of several classes.
LABEL_SECONDS = 1e-5
# Name of the contender for partners.
TREES = "trees"
# Contenders that checks do not use: a part of the result, and the best network without a method.
UNCHECKED = ("networks", "none")
# Contenders that were chosen among many on the rows that score them.
CHOSEN = (*UNCHECKED, TREES)


def cross_validate_references(result: SearchResult, deadline: Deadline) -> dict[str, Floats]:
    """Cross-validate the references, cheapest first, as long as time permits.

    Sees: the study's rows, fold by fold.

    Parameters
    ----------
    result : SearchResult
    deadline : Deadline
        Deadline of all computations for the report.

    Returns
    -------
    dict of str to float64 ndarray of shape (n, C)
        Probabilities of the scored rows by reference, first those of the class rates alone.
        References without time are omitted.
    """
    task = result.preparation.task
    dataset, plan, judge = task.dataset, task.plan, task.judge
    encoders = task.parts.encoders
    size = Size.of(dataset, plan.folds, encoders)
    label_seconds = 0.0
    if judge.metric.kind == "label" and dataset.n_classes > 2:
        label_seconds = LABEL_SECONDS * len(dataset.y) * dataset.n_classes
    probabilities = {"prior": prior_reference(judge.y, judge.weight, dataset.n_classes)}
    # Each reference may use a share of the remaining time.
    for reference in REFERENCES:
        seconds = _REFERENCE_SHARE * deadline.left() - label_seconds
        steps = reference.affordable(size, len(encoders), seconds)
        if steps:
            probabilities[reference.name] = cross_validate(
                reference, dataset, plan.folds, encoders, steps=steps, random_state=plan.seed
            )
    return probabilities


@dataclass(frozen=True)
class Standing:
    """A contender's score, comparable with the reported score of the winner.

    Attributes
    ----------
    value, low, high : float
        Score with the sign of the metric, and the ends of its 95 % interval.
    difference, error : float
        Utility minus that of the winner, and the standard error of the paired comparison.
    """

    value: float
    low: float
    high: float
    difference: float
    error: float

    def in_words(self) -> str:
        """Return the standing of a contender that is better than the winner, else an empty text."""
        if not self.difference > 0:
            return ""
        within = self.difference <= REFERENCE_ERRORS * self.error
        return "within error" if within else "ahead"


def standings(
    judge: Judge,
    contenders: Mapping[str, Prediction],
    reported: Reported,
    policy: SearchPolicy,
    deadline: Deadline,
) -> dict[str, Standing]:
    """Score all contenders by the requested metric, on the scale of the reported score.

    Contenders that were chosen among many get the winner's correction for the choice, so that their
    difference from the winner is unchanged; references were not chosen and are not corrected.

    Parameters
    ----------
    judge : Judge
        Judge of the scored rows.
    contenders : mapping of str to tuple of ndarray
        Probabilities and labels by contender, the ``"winner"`` first.
    reported : Reported
        Reported score of the winner.
    policy : SearchPolicy
    deadline : Deadline
        Deadline after which only the winner and the contenders that checks need are scored.

    Returns
    -------
    dict of str to Standing
    """
    winner = contenders["winner"]
    rare_rows = policy.result.rare_rows_per_group
    raw = judge.reported_score(winner, rare_rows)
    standing_by_name = {"winner": Standing(reported.value, reported.low, reported.high, 0.0, 0.0)}
    sign = 1.0 if judge.metric.greater_is_better else -1.0
    for name, prediction in contenders.items():
        if name == "winner" or (name in UNCHECKED and deadline.expired):
            continue
        score = judge.reported_score(prediction, rare_rows)
        value, difference = score.value, sign * (score.value - reported.value)
        # The correction of the winner applies to every contender that was chosen among many.
        if name in CHOSEN:
            value, difference = value + reported.value - raw.value, score.utility - raw.utility
        error = judge.with_training(score.error, policy)
        value, low, high = judge.interval(value, error)
        paired = judge.compare(prediction, winner)[1]
        standing_by_name[name] = Standing(value, low, high, difference, paired)
    return standing_by_name


def compare_references(standing_by_name: Mapping[str, Standing]) -> list[Row]:
    """Return the rows that compare references with the reported score.

    Parameters
    ----------
    standing_by_name : mapping of str to Standing
        Standings by contender; trees are the best partner, which is not refitted.

    Returns
    -------
    list of dict
    """
    rows: list[Row] = []
    for name in ("prior", TREES, *(reference.name for reference in REFERENCES)):
        standing = standing_by_name.get(name)
        if standing is None:
            reason = "no partner was grown" if name == TREES else "there was no time left for it"
            rows.append({"name": name, "difference": None, "error": None, "reason": reason})
        else:
            gap = {"difference": standing.difference, "error": standing.error}
            rows.append({"name": name, **gap, "reason": ""})
    return rows


def check_result(
    result: SearchResult,
    winner: Prediction,
    standing_by_name: Mapping[str, Standing],
    deadline: Deadline,
) -> tuple[Finding, ...]:
    """Run the checks of a search result.

    Parameters
    ----------
    result : SearchResult
    winner : tuple of ndarray
        Out-of-fold probabilities and labels of the result for the rows that count in scores.
    standing_by_name : mapping of str to Standing
        Standings of all contenders.
    deadline : Deadline
        Deadline after which the decision rule is not checked.

    Returns
    -------
    tuple of Finding
    """
    task = result.preparation.task
    judge, policy = task.judge.counted.deployment.until(deadline), task.plan.policy
    references = {TREES, *(reference.name for reference in REFERENCES)}
    evidence = ResultEvidence(
        metric=judge.metric.name,
        reported=result.selection.reported,
        prior=standing_by_name["prior"].value,
        references={
            name: (standing.difference, standing.error)
            for name, standing in standing_by_name.items()
            if name in references
        },
        label_changes=label_changes(
            judge,
            winner[0],
            result.pipeline.rule,
            replicates=policy.result.rule_replicates,
            deadline=deadline,
        ),
    )
    return run_checks(evidence)
