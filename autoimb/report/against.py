"""What a result is held against: references on its folds, and the checks of what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.checks import CHECKS, Finding
from autoimb.assessment.evidence import ResultEvidence, label_changes
from autoimb.assessment.judge import Judge, Prediction
from autoimb.assessment.references import REFERENCES, Size, cross_validate, prior_reference
from autoimb.assessment.uncertainty import Reported
from autoimb.budget import Deadline
from autoimb.policy import SearchPolicy
from autoimb.report.rows import ReferenceRow
from autoimb.search.search import SearchResult

__all__ = [
    "Standing",
    "check_result",
    "compare_references",
    "cross_validate_references",
    "standings",
]

Floats = NDArray[np.float64]

LABEL_SECONDS = 1e-5  # a row and class, of labels that are tuned for several classes
TREES = "trees"  # the contender that partners are
UNCHECKED = ("networks", "none")  # parts of the result, and the best network without a method
CHOSEN = (*UNCHECKED, TREES)  # among many, on the rows that score them


def cross_validate_references(
    result: SearchResult, deadline: Deadline
) -> tuple[dict[str, Floats], dict[str, str]]:
    """Cross-validate the references, the cheapest first, as far as there is time.

    Sees: the study's rows, fold by fold of its first repeat.

    Parameters
    ----------
    result : SearchResult
    deadline : Deadline
        Of everything.

    Returns
    -------
    dict of str to float64 ndarray of shape (n, C)
        By reference the probabilities of the scored rows; the class rates alone are the first.
    dict of str to str
        By reference that was left out, why.
    """
    planned = result.planned
    dataset, plan, judge = planned.prepared.dataset, planned.plan, planned.judge
    encoders = result.study.parts.encoders(len(plan.folds.folds))
    size = Size.of(dataset, plan.folds, encoders)
    labelling = 0.0
    if judge.metric.kind == "label" and dataset.n_classes > 2:
        labelling = LABEL_SECONDS * len(dataset.y) * dataset.n_classes
    found = {"prior": prior_reference(judge.y, judge.weight, dataset.n_classes)}
    left_out = {}
    for reference in REFERENCES:
        seconds = plan.policy.reference_share * deadline.left() - labelling
        steps = reference.affordable(size, len(encoders), seconds)
        if steps:
            found[reference.name] = cross_validate(
                reference, dataset, plan.folds, encoders, steps=steps, random_state=plan.seed
            )
        else:
            left_out[reference.name] = "there was no time left for it"
    return found, left_out


@dataclass(frozen=True)
class Standing:
    """A contender's score, on one scale with the reported score of the winner.

    Attributes
    ----------
    value, low, high : float
        In the metric's own sign, with the ends of the 95 % interval.
    difference, error : float
        Utility less that of the winner, and the standard error of their paired comparison.
    """

    value: float
    low: float
    high: float
    difference: float
    error: float

    def in_words(self, policy: SearchPolicy) -> str:
        """Say how a contender that is better than the winner stands; nothing of the others."""
        if not self.difference > 0:
            return ""
        within = self.difference <= policy.reference_errors * self.error
        return "within error" if within else "ahead"


def standings(
    judge: Judge,
    contenders: Mapping[str, Prediction],
    reported: Reported,
    policy: SearchPolicy,
    deadline: Deadline,
) -> dict[str, Standing]:
    """Score all contenders by the asked metric as the result is reported.

    What was chosen among many is corrected by as much as the winner, so that it keeps its
    difference from it; references were not chosen and stay as they are.

    Parameters
    ----------
    judge : Judge
        Of the scored rows.
    contenders : mapping of str to tuple of ndarray
        Probabilities and labels, the ``"winner"`` first.
    reported : Reported
        The winner's score.
    policy : SearchPolicy
    deadline : Deadline
        Past it there are the winner and what the checks look at.

    Returns
    -------
    dict of str to Standing
    """
    winner = contenders["winner"]
    rare_rows = policy.rare_rows_a_reported_group
    raw = judge.reported_score(winner, rare_rows)
    found = {"winner": Standing(reported.value, reported.low, reported.high, 0.0, 0.0)}
    sign = 1.0 if judge.metric.greater_is_better else -1.0
    for name, prediction in contenders.items():
        if name == "winner" or (name in UNCHECKED and deadline.expired):
            continue
        score = judge.reported_score(prediction, rare_rows)
        value, difference = score.value, sign * (score.value - reported.value)
        if name in CHOSEN:
            value, difference = value + reported.value - raw.value, score.utility - raw.utility
        error = judge.with_training(score.error, policy)
        value, low, high = judge.interval(value, error)
        paired = judge.compare(prediction, winner)[1]
        found[name] = Standing(value, low, high, difference, paired)
    return found


def compare_references(
    found: Mapping[str, Standing], left_out: Mapping[str, str]
) -> list[ReferenceRow]:
    """Write how references stand against the reported score.

    Parameters
    ----------
    found : mapping of str to Standing
        Trees are the best of the partners, which nothing fits once more.
    left_out : mapping of str to str
        By reference, why it is not among the contenders.

    Returns
    -------
    list of ReferenceRow
    """
    rows: list[ReferenceRow] = []
    for name in ("prior", TREES, *(reference.name for reference in REFERENCES)):
        standing = found.get(name)
        rows.append(
            {
                "name": name,
                "difference": None if standing is None else standing.difference,
                "error": None if standing is None else standing.error,
                "reason": left_out.get(name, "" if standing else "no partner was grown"),
            }
        )
    return rows


def check_result(
    result: SearchResult,
    winner: Prediction,
    found: Mapping[str, Standing],
    deadline: Deadline,
) -> tuple[Finding, ...]:
    """Check what came out of a search.

    Parameters
    ----------
    result : SearchResult
    winner : tuple of ndarray
        The result's out-of-fold probabilities and labels, of the rows that scores rest on.
    found : mapping of str to Standing
        Of all contenders.
    deadline : Deadline
        Past it the decision rule is not looked at.

    Returns
    -------
    tuple of Finding
    """
    judge, policy = result.planned.judge.counted.deployment, result.planned.plan.policy
    judge = judge.until(deadline)
    references = {TREES, *(reference.name for reference in REFERENCES)}
    evidence = ResultEvidence(
        metric=judge.metric.name,
        reported=result.winner.reported,
        prior=found["prior"].value,
        references={
            name: (standing.difference, standing.error)
            for name, standing in found.items()
            if name in references
        },
        label_changes=label_changes(
            judge,
            winner[0],
            result.winner.rule,
            replicates=policy.rule_replicates,
            deadline=deadline,
        ),
    )
    return CHECKS.run(evidence, policy)
