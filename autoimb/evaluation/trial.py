"""Evaluation of one trial: training, calibration and scores of a strategy, out of fold."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from autoimb.assessment.calibration import (
    Calibrator,
    Finishing,
    calibrator_that_gains,
    finish,
    fit_calibrator,
    row_log_loss,
)
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import Metric, get_metric
from autoimb.data.rarity import minority_count
from autoimb.errors import DeadlineExceeded, InfeasibleError
from autoimb.evaluation.limits import Limits
from autoimb.evaluation.outcome import (
    Cut,
    Failed,
    Infeasible,
    Outcome,
    Pruned,
    Scored,
    Trace,
    reason_of,
)
from autoimb.evaluation.workload import forest_trees, partner_plan, tree_iterations
from autoimb.partners.fit import Growth, fit_trees
from autoimb.partners.trees import FittedTrees
from autoimb.pipeline.fitted import FittedMemberPack, FittedStrategy, fold_average
from autoimb.space.partner import PARTNER, Bagged
from autoimb.training.checkpoints import Measure, Until
from autoimb.training.fit import Job, Trained, fit_members
from autoimb.training.parts import Parts
from autoimb.training.plan import Plan

__all__ = ["evaluate", "within"]


def within(outcome: Outcome, limits: Limits) -> Outcome:
    """Return an outcome, or `Infeasible` where the fitted strategy breaks a limit."""
    best = outcome.best if isinstance(outcome, Cut) else outcome
    fitted = best.fitted if isinstance(best, Scored) else None
    reason = None if fitted is None else limits.broken_by_fitted(fitted)
    return outcome if reason is None else Infeasible(reason, outcome.seconds)


def evaluate(job: Job, judge: Judge) -> Outcome:
    """Evaluate a strategy out of fold; an exception becomes an outcome.

    Parameters
    ----------
    job : Job
    judge : Judge
        Judge of the rows that the plan scores, in their order.

    Returns
    -------
    Outcome
        Equal for equal arguments, except for the seconds.
    """
    started = time.monotonic()
    outcome: Outcome
    try:
        measure = _measure(judge.metric, job.plan)
        if job.strategy.is_partner:
            outcome = _partner(job, judge, measure)
        else:
            until = Until(measure, job.deadline, job.bar)
            trained = []
            for number in job.plan.repeats:
                trained.append(fit_members(job, job.data.repeat(number), until))
            outcome = _judged(job, judge, trained)
    except InfeasibleError as error:
        outcome = Infeasible(str(error))
    except DeadlineExceeded as error:
        outcome = Cut(str(error))
    except Exception as error:
        # Law 7: a failed trial never ends a search.
        outcome = Failed(reason_of(error))
    return replace(outcome, seconds=time.monotonic() - started)


def _judged(job: Job, judge: Judge, trained: Sequence[Trained]) -> Outcome:
    """Return the outcome of networks that were trained on one or more repeats of the folds."""
    first = trained[0]
    trace = Trace(
        curve=first.curve,
        floor=first.floor,
        planned=first.planned,
        ended=all(result.ended for result in trained),
        confirmed=job.plan.repeats != (0,),
        checkpoints=tuple(checkpoint for result in trained for checkpoint in result.checkpoints),
    )
    if first.pruned:
        done, planned = len(first.curve), first.planned
        return Pruned(f"Given up after {done} of {planned} planned checkpoints.", trace)
    # Each row is predicted by the networks of all repeats that were not trained on it.
    repeats = [job.data.repeat(number) for number in job.plan.repeats]
    by_repeat = [_out_of_fold(result, data) for result, data in zip(trained, repeats)]
    raw = np.mean(by_repeat, axis=0)
    if not np.isfinite(raw).all():
        return Failed("The training diverged: some probabilities are not finite.")
    packs = _packs(trained, job.plan)
    # A NaN weight may leave probabilities finite, where an activation ignores it.
    if not all(np.isfinite(values).all() for pack in packs for values in pack.state.values()):
        return Failed("The training diverged: some weights are not finite.")
    fitted = _fitted(job, packs=packs)
    judge = judge.until(job.deadline)
    scored = replace(_scored(judge, raw, fitted, needed=not job.strategy.exact), trace=trace)
    if not np.isfinite(scored.score.value):
        return Failed(f"its score is {scored.score.value}")
    if len(by_repeat) > 1:
        gain = _gain_of_mean(judge, [raw, *by_repeat], fitted.class_costs)
        score = replace(scored.score, gain_of_mean=gain)
        scored = replace(scored, score=score)
    if any(result.cut for result in trained):
        return Cut("The deadline ended it; its best epoch so far stands.", scored)
    return scored


def _gain_of_mean(
    judge: Judge, probabilities: Sequence[np.ndarray], class_costs: tuple[float, ...] | None
) -> float:
    """Return the gain in utility of the mean, which comes first, over single repeats."""
    of_labels = judge.metric.kind == "label"
    identity = Calibrator.identity(judge.metric.n_classes)
    mean, *singles = [
        judge.utility((proba, judge.labels(proba) if of_labels else proba.argmax(axis=1)))
        for proba in (finish(raw, identity, class_costs) for raw in probabilities)
    ]
    return mean - float(np.mean(singles))


def _partner(job: Job, judge: Judge, measure: Measure) -> Outcome:
    """Fit the trees of a partner, on the confirming folds where there is time for them."""
    dataset, partner = job.data.dataset, PARTNER.make(job.strategy.network)
    plan = partner_plan(dataset, job.plan, partner)
    if isinstance(partner, Bagged):
        iterations = forest_trees(dataset, plan, partner)
    else:
        iterations = tree_iterations(dataset, plan, partner)
    folds, growth = plan.folds.folds, Growth(iterations, measure, job.deadline)
    costs = plan.class_costs
    grown = fit_trees(dataset, folds, partner, growth, seed=plan.seed, class_costs=costs)
    raw = np.zeros((len(dataset.y), dataset.n_classes))
    for fold, posterior in zip(folds, grown.posteriors):
        raw[fold.score] = posterior
    fitted = _fitted(job, trees=grown.folds)
    trace = Trace(grown.curve, grown.floor, grown.planned, checkpoints=grown.iterations)
    judge = judge.until(job.deadline)
    scored = replace(_scored(judge, raw[plan.folds.scored], fitted, needed=False), trace=trace)
    if not np.isfinite(scored.score.value):
        return Failed(f"its score is {scored.score.value}")
    return Cut("The deadline ended it; what had grown stands.", scored) if grown.cut else scored


def _fitted(
    job: Job,
    *,
    packs: tuple[FittedMemberPack, ...] = (),
    trees: tuple[FittedTrees, ...] = (),
) -> FittedStrategy:
    """Return the fitted strategy of a job, without calibration."""
    strategy, plan = job.strategy, job.plan
    if plan.folds.deploys_last:
        trees = trees[-1:]
    return FittedStrategy(
        strategy=strategy.to_json(),
        description=strategy.describe(),
        packs=packs,
        calibrator=Calibrator.identity(job.data.dataset.n_classes),
        class_costs=plan.carried_costs if strategy.class_weight.name == "costs" else None,
        rung=plan.rung,
        confirmed=plan.repeats != (0,),
        trees=trees,
    )


def _scored(judge: Judge, raw: np.ndarray, fitted: FittedStrategy, *, needed: bool) -> Scored:
    """Calibrate, label and score out-of-fold probabilities."""
    fitted = replace(fitted, calibrator=_calibrator(judge, raw, needed=needed))
    # The probabilities of a part are calibrated on the other parts; those of new rows are
    # calibrated on all parts.
    calibrators = tuple(
        _calibrator(judge.take(learn), raw[learn], needed=needed) for learn, _ in judge.parts
    )
    finishing = Finishing(raw, calibrators, fitted.class_costs)
    proba = np.empty_like(raw)
    for number, (_, use) in enumerate(judge.parts):
        proba[use] = finishing.view(number)[use]
    labels = judge.labels(finishing.view) if judge.metric.kind == "label" else None
    # Without costs and calibration the views equal the probabilities and need not be stored.
    identity = Calibrator.identity(raw.shape[1])
    as_it_is = finishing.class_costs is None and set(calibrators) == {identity}
    return Scored(
        score=judge.score(proba, proba.argmax(axis=1) if labels is None else labels),
        oof=proba,
        finishing=None if as_it_is else finishing,
        labels=labels,
        fitted=fitted,
    )


def _packs(trained: Sequence[Trained], plan: Plan) -> tuple[FittedMemberPack, ...]:
    """Return the packs of all repeats, their folds numbered as the encoders of the pipeline.

    Where only the last fold is deployed, only its networks are returned.
    """
    packs = []
    for number, result in zip(plan.repeats, trained):
        last = len(plan.folds.repeat(number).folds) - 1
        for pack in result.packs:
            deployed = pack.of_folds({last}) if plan.folds.deploys_last else pack
            packs.append(replace(deployed, fold=deployed.fold + plan.folds.offset(number)))
    return tuple(packs)


def _out_of_fold(trained: Trained, data: Parts) -> np.ndarray:
    """Average members and rounds within each fold, for the scored rows in table order."""
    dataset, folds = data.dataset, data.folds
    out = np.zeros((len(dataset.y), dataset.n_classes))
    # The scored rows of a fold are predicted by the networks of that fold only.
    for number, fold in enumerate(folds.folds):
        posteriors, members, weights = [], [], []
        for pack, posterior in zip(trained.packs, trained.posteriors):
            networks = np.flatnonzero(pack.fold == number)
            posteriors.append(posterior[number])
            members.append(np.zeros(len(networks), dtype=np.int64))
            weights.append(pack.weight[networks])
        out[fold.score] = fold_average(posteriors, members, weights)
    return out[folds.scored]


def _calibrator(judge: Judge, raw: np.ndarray, *, needed: bool) -> Calibrator:
    """Fit a calibrator if it is needed to correct the prior, or if its gain is large enough."""
    fit = fit_calibrator if needed else calibrator_that_gains
    return fit(judge.y, raw, weight=judge.weight)


def _measure(metric: Metric, plan: Plan) -> Measure:
    """Return the measure that chooses the checkpoint.

    The measure is the log-loss where minority rows are few; the average precision where the metric
    is one of labels, which would need a decision rule at every checkpoint; and otherwise the metric
    itself. A hundredth of the log-loss is subtracted to break ties: on an easy table the ranking is
    perfect long before the probabilities are accurate.
    """
    chosen = metric
    named = partial(get_metric, n_classes=metric.n_classes, positive=metric.positive)
    if minority_count(plan.effort.outline.class_counts) < plan.policy.training.rare_rows_for_metric:
        chosen = named("log_loss")
    elif metric.kind == "label":
        chosen = named("average_precision")

    def measure(y: np.ndarray, proba: np.ndarray, weight: np.ndarray) -> float:
        """Return the utility of probabilities, minus a hundredth of their log-loss."""
        value = chosen(y, proba, None, weight=weight)
        merit = value if chosen.greater_is_better else -value
        return float(merit - 0.01 * (weight @ row_log_loss(y, proba)) / float(weight.sum()))

    return measure
