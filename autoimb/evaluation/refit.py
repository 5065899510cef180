"""Refitting: training the strategies of a pipeline on newer data, without a search."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoimb.errors import RunError
from autoimb.evaluation.assemble import Decided, assemble
from autoimb.evaluation.calibrated import calibrated
from autoimb.evaluation.outcome import Scored
from autoimb.evaluation.rates import Unseen, at_counted_rates
from autoimb.evaluation.task import Task
from autoimb.evaluation.trial import evaluate
from autoimb.pipeline.fitted import FittedPipeline
from autoimb.space.strategy import Strategy
from autoimb.training.fit import Job
from autoimb.training.parts import Parts

__all__ = ["refit"]


def refit(pipeline: FittedPipeline, study: Task, *, unseen: Unseen | None = None) -> FittedPipeline:
    """Train the strategies of a pipeline on newer rows.

    Parameters
    ----------
    pipeline : FittedPipeline
        Source of the schema, the strategies and their weights; its fitted networks are not used.
    study : Task
        The newer rows, with the classes of the pipeline, and their plan and judge.
    unseen : Unseen or None
        Rows of a larger table outside the study, on which the mean probabilities are calibrated.

    Returns
    -------
    FittedPipeline
        Pipeline with the same blend weights, and a decision rule fitted on the new out-of-fold
        predictions.

    Raises
    ------
    RunError
        Where a strategy cannot be trained on these rows; the message has the reason.
    """
    dataset, plan, judge = study.dataset, study.plan, study.judge
    data = Parts(dataset, plan.folds, seed=plan.seed)
    results: list[Scored] = []
    for old in pipeline.strategies:
        job = Job(Strategy.from_json(old.strategy), plan, data)
        outcome = evaluate(job, judge)
        if not isinstance(outcome, Scored):
            raise RunError(f"{old.description} can't be trained on this table: {outcome.reason}")
        results.append(outcome)

    def mixed(part: int | None) -> NDArray[np.float64]:
        """Mix out-of-fold probabilities, or those fitted without the labels of a part."""
        views = [
            np.asarray(result.oof if part is None else result.view(part)) for result in results
        ]
        return np.tensordot(np.array(pipeline.weights), np.stack(views), axes=1)

    proba = mixed(None)
    calibration = calibrated(judge, proba, mixed, class_costs=results[0].class_costs)
    rule = judge.deployment.fit_rule(calibration.deployed)
    fitted = assemble(
        data,
        plan,
        judge,
        schema=pipeline.schema,
        classes=pipeline.classes,
        strategies=[result.fitted for result in results if result.fitted is not None],
        weights=pipeline.weights,
        decided=Decided(
            calibration.deployed, calibration.proba, calibration.score, calibration.calibrator, rule
        ),
    ).pipeline
    if unseen is None:
        return fitted
    return at_counted_rates(fitted, unseen, judge, calibration.deployed)
