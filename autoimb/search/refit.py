"""The same strategies on newer data: no search."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autoimb.assessment.decision import cross_fit_labels, fit_rule
from autoimb.assessment.uncertainty import score
from autoimb.errors import RunError, TargetError
from autoimb.pipeline.fitted import FittedPipeline
from autoimb.search.budget import Deadline
from autoimb.search.evaluate import evaluate
from autoimb.search.prepare import Table, prepare
from autoimb.search.request import Request
from autoimb.search.search import encoders_read, fit_encoders, planned
from autoimb.space.strategy import Strategy
from autoimb.training.parts import Parts

__all__ = ["refit"]


def refit(
    pipeline: FittedPipeline,
    request: Request,
    frame: pd.DataFrame,
    y: pd.Series | NDArray[Any],
) -> FittedPipeline:
    """Train a pipeline's strategies again.

    Parameters
    ----------
    pipeline : FittedPipeline
        Gives the schema, the strategies and their weights; nothing fitted in it is used.
    request : Request
        Of the search that found it.
    frame : DataFrame of shape (n, p)
        The newer rows.
    y : Series or ndarray of shape (n,)
        Their labels: the classes must be those of the pipeline.

    Returns
    -------
    FittedPipeline
        With the same blend weights, and a decision rule fitted on the new out-of-fold rows.

    Raises
    ------
    TargetError
        Where the classes are others.
    RunError
        Where a strategy can't be trained on these rows; the message says why.
    """
    positive = pipeline.classes[pipeline.positive]
    prepared = prepare(
        Table(frame, y), replace(request, pos_label=positive), schema=pipeline.schema
    )
    if list(prepared.target.classes) != list(pipeline.classes):
        raise TargetError(
            f"The pipeline knows the classes {_listed(pipeline.classes)}; the table has "
            f"{_listed(prepared.target.classes)}."
        )
    prepared, plan = planned(prepared, time_budget=request.time_budget)
    parts = Parts(prepared.dataset, plan.folds, seed=plan.seed)
    outcomes = []
    for old in pipeline.strategies:
        outcome = evaluate(
            Strategy.from_json(old.strategy),
            prepared.dataset,
            plan.times(old.work),
            metric=prepared.metric,
            deadline=Deadline(),
            cache=parts,
        )
        if outcome.fitted is None or outcome.oof is None:
            raise RunError(f"{old.description} can't be trained on this table: {outcome.reason}")
        outcomes.append(outcome)
    rows = plan.folds.scored
    codes, group = prepared.dataset.y[rows], plan.folds.group[rows]
    weight = plan.folds.scored_weight(prepared.dataset.weight)
    metric, costs = prepared.metric, plan.cost_matrix

    def mixed(part: int | None) -> NDArray[np.float64]:
        """Mix the strategies' probabilities; of all rows, as no label of a part has touched."""
        own = [np.asarray(o.oof if part is None else o.view(part)) for o in outcomes]
        return np.tensordot(np.array(pipeline.weights), np.stack(own), axes=1)

    proba = mixed(None)
    labels = cross_fit_labels(metric, codes, mixed, group, weight=weight, costs=costs)
    result = score(metric, codes, proba, labels, group, weight=weight)
    fitted = tuple(outcome.fitted for outcome in outcomes if outcome.fitted is not None)
    return FittedPipeline(
        schema=prepared.schema,
        classes=prepared.target.classes,
        positive=prepared.target.positive,
        encoders=fit_encoders(prepared.dataset, plan.folds.every[: encoders_read(fitted)]),
        strategies=fitted,
        weights=pipeline.weights,
        rule=fit_rule(metric, codes, proba, weight=weight, costs=costs),
        oof=(codes, proba, weight),
        info={
            "metric": metric.name,
            "score": result.value,
            "error": result.error,
            "rows": prepared.profile.n_rows,
        },
    )


def _listed(labels: NDArray[Any]) -> str:
    return ", ".join(str(label) for label in labels)
