"""What a result is held against: references on its folds, and the checks of what came out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.checks import CHECKS, Finding
from autoimb.assessment.evidence import ResultEvidence, label_changes
from autoimb.assessment.judge import Judge, Prediction
from autoimb.assessment.references import REFERENCES, Size, cross_validate, prior_reference
from autoimb.budget import Deadline
from autoimb.report.rows import ReferenceRow
from autoimb.search.search import SearchResult

__all__ = ["check_result", "compare_references", "cross_validate_references"]

Floats = NDArray[np.float64]

LABEL_SECONDS = 1e-5  # a row and class, of labels that are tuned for several classes
TREES = "trees"  # the contender that partners are


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
    encoders = result.pipeline.encoders[: len(plan.folds.folds)]
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


def compare_references(
    judge: Judge, contenders: Mapping[str, Prediction], left_out: Mapping[str, str]
) -> list[ReferenceRow]:
    """Compare what the result is held against with it, paired, on the same rows.

    Parameters
    ----------
    judge : Judge
        Of the scored rows.
    contenders : mapping of str to tuple of ndarray
        Probabilities and labels; the ``"winner"``, and of the others the references are compared.
        Trees are the best of the partners, which nothing fits once more.
    left_out : mapping of str to str
        By reference, why it is not among the contenders.

    Returns
    -------
    list of ReferenceRow
    """
    rows: list[ReferenceRow] = []
    for name in ("prior", TREES, *(reference.name for reference in REFERENCES)):
        difference = error = None
        if name in contenders:
            difference, error = judge.compare(contenders[name], contenders["winner"])
        reason = left_out.get(name, "" if name in contenders else "no partner was grown")
        rows.append({"name": name, "difference": difference, "error": error, "reason": reason})
    return rows


def check_result(
    result: SearchResult,
    contenders: Mapping[str, Prediction],
    rows: list[ReferenceRow],
    deadline: Deadline,
) -> tuple[Finding, ...]:
    """Check what came out of a search.

    Parameters
    ----------
    result : SearchResult
    contenders : mapping of str to tuple of ndarray
        Out-of-fold probabilities and labels; the ``"winner"`` and the ``"prior"`` are checked.
    rows : list of ReferenceRow
    deadline : Deadline
        Past it the decision rule is not looked at.

    Returns
    -------
    tuple of Finding
    """
    judge, policy = result.planned.judge.until(deadline), result.planned.plan.policy
    prior = judge.reported_score(contenders["prior"], policy.rare_rows_a_reported_group)
    evidence = ResultEvidence(
        metric=judge.metric.name,
        reported=result.winner.reported,
        prior=prior.value,
        references={
            row["name"]: (row["difference"], row["error"])
            for row in rows
            if row["name"] != "prior"
            if row["difference"] is not None and row["error"] is not None
        },
        label_changes=label_changes(
            judge,
            contenders["winner"][0],
            result.winner.rule,
            replicates=policy.rule_replicates,
            deadline=deadline,
        ),
    )
    return CHECKS.look(evidence, policy)
