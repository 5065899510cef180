"""Evaluation of one trial: training, calibration and scores of a strategy, out of fold."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import numpy as np

from autoimb.assessment.calibration import (
    Calibrator,
    Finishing,
    calibrator_that_gains,
    fit_calibrator,
    row_log_loss,
)
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import Metric, get_metric
from autoimb.budget import Deadline
from autoimb.data.rarity import minority_count
from autoimb.errors import DeadlineExceeded, InfeasibleError
from autoimb.evaluation.limits import Limits, deployable_trees
from autoimb.evaluation.outcome import (
    Cut,
    Failed,
    Infeasible,
    Outcome,
    Scored,
    reason_of,
    usable,
)
from autoimb.evaluation.task import Task, Trial
from autoimb.evaluation.workload import forest_trees, tree_iterations
from autoimb.partners.fit import Growth, fit_trees
from autoimb.partners.trees import FittedTrees
from autoimb.pipeline.fitted import FittedMemberPack, FittedStrategy, fold_average
from autoimb.space.partner import PARTNER, Trees
from autoimb.space.strategy import Strategy
from autoimb.training.checkpoints import Measure
from autoimb.training.fit import Trained, train_strategy
from autoimb.training.plan import Plan

__all__ = ["evaluate", "within"]

# Largest share of a trial's time reserved for calibration and scores.
_MAX_SCORING_SHARE = 1 / 3


def within(outcome: Outcome, limits: Limits) -> Outcome:
    """Return an outcome, or `Infeasible` where the fitted strategy breaks a limit."""
    result = usable(outcome)
    fitted = None if result is None else result.fitted
    reason = None if fitted is None else limits.broken_by_fitted(fitted)
    return outcome if reason is None else Infeasible(reason, outcome.seconds)


def evaluate(task: Task, trial: Trial) -> Outcome:
    """Evaluate a strategy out of fold; an exception becomes an outcome.

    Parameters
    ----------
    task : Task
    trial : Trial

    Returns
    -------
    Outcome
        Equal for equal arguments, except for the seconds.
    """
    started = time.monotonic()
    outcome: Outcome
    try:
        evaluation = _partner if trial.strategy.is_partner else _networks
        outcome = evaluation(task, trial, _measure(task.judge.metric, task.plan))
    except InfeasibleError as error:
        outcome = Infeasible(str(error))
    except DeadlineExceeded as error:
        outcome = Cut(str(error))
    except Exception as error:
        # Law 7: a failed trial never ends a search.
        outcome = Failed(reason_of(error))
    return replace(outcome, seconds=time.monotonic() - started)


def _networks(task: Task, trial: Trial, measure: Measure) -> Outcome:
    """Train the networks of a strategy."""
    strategy, plan = trial.strategy, task.plan
    deadline = _training_deadline(task, trial)
    trained = train_strategy(strategy, plan, task.parts, measure=measure, deadline=deadline)
    raw = _out_of_fold(trained, task)
    if not np.isfinite(raw).all():
        return Failed("The training diverged: some probabilities are not finite.")
    # A NaN weight may leave probabilities finite, where an activation ignores it.
    states = (values for pack in trained.packs for values in pack.state.values())
    if not all(np.isfinite(values).all() for values in states):
        return Failed("The training diverged: some weights are not finite.")
    packs = trained.packs
    if plan.folds.deploys_last:
        packs = tuple(pack.of_folds({len(plan.folds.folds) - 1}) for pack in packs)
    scored = _scored(task, trial, raw, _fitted(task, strategy, packs=packs))
    if trained.cut and isinstance(scored, Scored):
        return Cut("The deadline ended it; its best epoch so far stands.", scored)
    return scored


def _partner(task: Task, trial: Trial, measure: Measure) -> Outcome:
    """Fit the trees of a partner."""
    dataset, plan = task.dataset, task.plan
    partner = PARTNER.make(trial.strategy.network)
    if isinstance(partner, Trees):
        iterations = tree_iterations(dataset, plan, partner)
    else:
        iterations = forest_trees(dataset, plan, partner)
    folds, costs = plan.folds.folds, plan.class_costs
    deadline = _training_deadline(task, trial)
    deployable = partial(deployable_trees, parts=task.parts, plan=plan, limits=task.limits)
    deployed_folds = 1 if plan.folds.deploys_last else len(folds)
    growth = Growth(iterations, measure, deadline, deployable, deployed_folds)
    grown = fit_trees(dataset, folds, partner, growth, seed=plan.seed, class_costs=costs)
    raw = np.zeros((len(dataset.y), dataset.n_classes))
    for fold, posterior in zip(folds, grown.posteriors):
        raw[fold.score] = posterior
    deployed = grown.folds[-1:] if plan.folds.deploys_last else grown.folds
    fitted = _fitted(task, trial.strategy, trees=deployed)
    scored = _scored(task, trial, raw[plan.folds.scored], fitted)
    if grown.cut and isinstance(scored, Scored):
        return Cut("The deadline ended it; what had grown stands.", scored)
    return scored


def _training_deadline(task: Task, trial: Trial) -> Deadline:
    """Return the deadline of training, which leaves time for calibration and scores."""
    cells = len(task.judge.y) * task.dataset.n_classes
    seconds = task.plan.policy.reserves.scoring_cell_seconds * cells
    longest = _MAX_SCORING_SHARE * max(trial.deadline.left(), 0.0)
    return trial.deadline.sooner(min(seconds, longest))


def _fitted(
    task: Task,
    strategy: Strategy,
    *,
    packs: tuple[FittedMemberPack, ...] = (),
    trees: tuple[FittedTrees, ...] = (),
) -> FittedStrategy:
    """Return a fitted strategy without calibration."""
    return FittedStrategy(
        strategy=strategy.to_json(),
        description=strategy.describe(),
        packs=packs,
        calibrator=Calibrator.identity(task.dataset.n_classes),
        class_costs=task.plan.carried_costs if strategy.class_weight.name == "costs" else None,
        trees=trees,
    )


def _scored(task: Task, trial: Trial, raw: np.ndarray, fitted: FittedStrategy) -> Outcome:
    """Calibrate, label and score out-of-fold probabilities."""
    judge = task.judge.until(trial.deadline)
    # Networks whose prior has no closed-form correction need a calibrator.
    needed = not (trial.strategy.is_partner or trial.strategy.exact)
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
    score = judge.score(proba, proba.argmax(axis=1) if labels is None else labels)
    if not np.isfinite(score.value):
        return Failed(f"its score is {score.value}")
    # Without costs and calibration the views equal the probabilities and need not be stored.
    identity = Calibrator.identity(raw.shape[1])
    as_it_is = finishing.class_costs is None and set(calibrators) == {identity}
    return Scored(
        score=score,
        oof=proba,
        finishing=None if as_it_is else finishing,
        labels=labels,
        fitted=fitted,
    )


def _out_of_fold(trained: Trained, task: Task) -> np.ndarray:
    """Average members and rounds within each fold, for the scored rows in table order."""
    dataset, folds = task.dataset, task.plan.folds
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
    if minority_count(plan.outline.class_counts) < plan.policy.training.rare_rows_for_metric:
        chosen = named("log_loss")
    elif metric.kind == "label":
        chosen = named("average_precision")

    def measure(y: np.ndarray, proba: np.ndarray, weight: np.ndarray) -> float:
        """Return the utility of probabilities, minus a hundredth of their log-loss."""
        value = chosen(y, proba, None, weight=weight)
        merit = value if chosen.greater_is_better else -value
        return float(merit - 0.01 * (weight @ row_log_loss(y, proba)) / float(weight.sum()))

    return measure
