"""One trial: a strategy in; scores and a fitted strategy out, or why there are none."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from autoimb.assessment.uncertainty import Score
from autoimb.data.rarity import minority_count
from autoimb.errors import DeadlineExceeded, InfeasibleError
from autoimb.evaluation.limits import Limits
from autoimb.evaluation.workload import forest_trees, partner_plan, tree_iterations
from autoimb.partners.fit import Growth, fit_boosted_trees, fit_forests
from autoimb.partners.trees import FittedTrees
from autoimb.pipeline.fitted import FittedMemberPack, FittedStrategy, fold_average
from autoimb.space.partner import PARTNER, Bagged
from autoimb.training.checkpoints import Measure, Until
from autoimb.training.fit import Job, Trained, fit_members
from autoimb.training.parts import Parts
from autoimb.training.plan import Plan

__all__ = [
    "Cut",
    "Failed",
    "Infeasible",
    "Outcome",
    "Pruned",
    "Scored",
    "Trace",
    "evaluate",
    "ranked",
    "reason_of",
    "within",
]


@dataclass(frozen=True)
class Trace:
    """How a training went.

    Attributes
    ----------
    curve, floor : tuple of float
        The measure at each checkpoint: the mean over the folds, and the worst of them.
    planned : int
        Checkpoints of the planned work.
    ended : bool
        Whether its own patience ended it, so that more work would change nothing.
    confirmed : bool
        Whether it was on folds that had not chosen it.
    checkpoints : tuple of int
        The checkpoint that each fold kept, of every repeat.
    """

    curve: tuple[float, ...] = ()
    floor: tuple[float, ...] = ()
    planned: int = 0
    ended: bool = False
    confirmed: bool = False
    checkpoints: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Scored:
    """A trial that ended by itself.

    Attributes
    ----------
    score : Score
    oof : float64 array of shape (n_scored, C)
        Out-of-fold probabilities of ``plan.folds.scored``, calibrated across folds.
    finishing : Finishing or None
        How they were calibrated and weighted by the user's costs, where they were.
    labels : int64 array of shape (n_scored,), or None
        Cross-fitted by the decision rule where the metric is one of labels; None where the most
        probable class does.
    fitted : FittedStrategy or None
        None where its networks were not kept.
    trace : Trace
    seconds : float
    """

    score: Score
    oof: np.ndarray
    finishing: Finishing | None = None
    labels: np.ndarray | None = None
    fitted: FittedStrategy | None = None
    trace: Trace = field(default_factory=Trace)
    seconds: float = 0.0

    @property
    def class_costs(self) -> tuple[float, ...] | None:
        """The user's costs of the classes, where its probabilities carry them."""
        return None if self.finishing is None else self.finishing.class_costs

    def view(self, part: int) -> np.ndarray:
        """Return all rows' probabilities as what saw no label of a part gives them, (n_scored, C).

        The parts are those of the judge; its own rows are those of `oof`.
        """
        return self.oof if self.finishing is None else self.finishing.view(part)

    @property
    def likeliest(self) -> np.ndarray:
        """The labels, or the most probable class where there are none."""
        return self.oof.argmax(axis=1) if self.labels is None else self.labels


@dataclass(frozen=True, eq=False)
class Cut:
    """A trial that its deadline ended; `best` is what its best checkpoint gives, if any."""

    reason: str
    best: Scored | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Pruned:
    """A trial that was given up, being much worse than the best one."""

    reason: str
    trace: Trace = field(default_factory=Trace)
    seconds: float = 0.0


@dataclass(frozen=True)
class Infeasible:
    """A strategy that can't run on these rows."""

    reason: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Failed:
    """A trial that broke."""

    reason: str
    seconds: float = 0.0


Outcome = Scored | Cut | Pruned | Infeasible | Failed


def ranked(results: Mapping[int, Scored]) -> list[int]:
    """Return the numbers of trials, best first; of equals the earlier.

    Confirmed ones come before others, whatever their values: those of the others were chosen by.
    """

    def place(number: int) -> tuple[bool, float, int]:
        result = results[number]
        return not result.trace.confirmed, -result.score.utility, number

    return sorted(results, key=place)


def reason_of(error: BaseException) -> str:
    """Write an exception as one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def within(outcome: Outcome, limits: Limits) -> Outcome:
    """Return an outcome, or that it is infeasible where what was fitted breaks a limit."""
    best = outcome.best if isinstance(outcome, Cut) else outcome
    fitted = best.fitted if isinstance(best, Scored) else None
    reason = None if fitted is None else limits.broken_by_fitted(fitted)
    return outcome if reason is None else Infeasible(reason, outcome.seconds)


def evaluate(job: Job, judge: Judge) -> Outcome:
    """Evaluate a strategy out of fold; never raises for a bad one.

    Parameters
    ----------
    job : Job
    judge : Judge
        Of the rows that the plan scores, in their order.

    Returns
    -------
    Outcome
        The same for the same arguments, but for its seconds.
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
    except Exception as error:  # law 7: one bad trial never ends a search
        outcome = Failed(reason_of(error))
    return replace(outcome, seconds=time.monotonic() - started)


def _judged(job: Job, judge: Judge, trained: Sequence[Trained]) -> Outcome:
    """Turn what the repeats gave into the outcome."""
    first = trained[0]
    trace = Trace(
        curve=first.curve,
        floor=first.floor,
        planned=first.planned,
        ended=all(one.ended for one in trained),
        confirmed=job.plan.repeats != (0,),
        checkpoints=tuple(checkpoint for one in trained for checkpoint in one.checkpoints),
    )
    if first.pruned:
        done, planned = len(first.curve), first.planned
        return Pruned(f"Given up after {done} of {planned} planned checkpoints.", trace)
    # of each row, from the networks of all repeats that did not see it
    repeats = [job.data.repeat(number) for number in job.plan.repeats]
    each = [_out_of_fold(one, own) for one, own in zip(trained, repeats)]
    raw = np.mean(each, axis=0)
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
    if len(each) > 1:
        gain = _gain_of_mean(judge, [raw, *each], fitted.class_costs)
        score = replace(scored.score, gain_of_mean=gain)
        scored = replace(scored, score=score)
    if any(one.cut for one in trained):
        return Cut("The deadline ended it; its best epoch so far stands.", scored)
    return scored


def _gain_of_mean(
    judge: Judge, probabilities: Sequence[np.ndarray], class_costs: tuple[float, ...] | None
) -> float:
    """Return what the mean, which comes first, gains over a repeat's probabilities, in utility."""
    of_labels = judge.metric.kind == "label"
    identity = Calibrator.identity(judge.metric.n_classes)
    mean, *each = [
        judge.utility((proba, judge.labels(proba) if of_labels else proba.argmax(axis=1)))
        for proba in (finish(own, identity, class_costs) for own in probabilities)
    ]
    return mean - float(np.mean(each))


def _partner(job: Job, judge: Judge, measure: Measure) -> Outcome:
    """Fit a partner's trees, on the folds that confirm where there is time for them."""
    dataset, made = job.data.dataset, PARTNER.make(job.strategy.network)
    plan = partner_plan(dataset, job.plan, made)
    given = (dataset, plan.folds.folds)
    seed, costs = plan.seed, plan.class_costs
    if isinstance(made, Bagged):
        trees = forest_trees(dataset, plan, made)
        grown = fit_forests(*given, made, job.deadline, trees=trees, seed=seed, class_costs=costs)
    else:
        growth = Growth(tree_iterations(dataset, plan, made), measure, job.deadline)
        grown = fit_boosted_trees(*given, made, growth, seed=seed, class_costs=costs)
    raw = np.zeros((len(dataset.y), dataset.n_classes))
    for fold, posterior in zip(plan.folds.folds, grown.posteriors):
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
    """Return a job's fitted strategy, not yet calibrated."""
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
    # a part is finished by what the other parts teach, as new rows are by what all do
    calibrators = tuple(
        _calibrator(judge.take(learn), raw[learn], needed=needed) for learn, _ in judge.parts
    )
    finishing = Finishing(raw, calibrators, fitted.class_costs)
    proba = np.empty_like(raw)
    for number, (_, use) in enumerate(judge.parts):
        proba[use] = finishing.view(number)[use]
    labels = judge.labels(finishing.view) if judge.metric.kind == "label" else None
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
    """Return all packs, their folds numbered through all repeats, as the pipeline's encoders.

    Where only the last fold is deployed, its networks alone are returned.
    """
    packs = []
    for number, one in zip(plan.repeats, trained):
        last = len(plan.folds.repeat(number).folds) - 1
        for pack in one.packs:
            own = pack.of_folds({last}) if plan.folds.deploys_last else pack
            packs.append(replace(own, fold=own.fold + plan.folds.offset(number)))
    return tuple(packs)


def _out_of_fold(trained: Trained, data: Parts) -> np.ndarray:
    """Combine members and rounds within each fold, for the scored rows in table order."""
    dataset, folds = data.dataset, data.folds
    out = np.zeros((len(dataset.y), dataset.n_classes))
    for number, fold in enumerate(folds.folds):
        posteriors, members, weights = [], [], []
        for pack, posterior in zip(trained.packs, trained.posteriors):
            mine = np.flatnonzero(pack.fold == number)
            posteriors.append(posterior[number])
            members.append(np.zeros(len(mine), dtype=np.int64))
            weights.append(pack.weight[mine])
        out[fold.score] = fold_average(posteriors, members, weights)
    return out[folds.scored]


def _calibrator(judge: Judge, raw: np.ndarray, *, needed: bool) -> Calibrator:
    """Fit a calibrator where no formula corrects the prior, or where it gains enough."""
    fit = fit_calibrator if needed else calibrator_that_gains
    return fit(judge.y, raw, weight=judge.weight)


def _measure(metric: Metric, plan: Plan) -> Measure:
    """Return what chooses the checkpoint.

    The metric itself, but the log-loss where minority rows are few, and the average precision
    where the metric is one of labels, which would need a decision rule at every checkpoint. A
    hundredth of the log-loss decides where a ranking can't be better: an easy table is ranked
    rightly long before its probabilities are right.
    """
    chosen = metric
    named = partial(get_metric, n_classes=metric.n_classes, positive=metric.positive)
    if minority_count(plan.effort.outline.class_counts) < plan.policy.rare_rows_for_metric:
        chosen = named("log_loss")
    elif metric.kind == "label":
        chosen = named("average_precision")

    def measure(y: np.ndarray, proba: np.ndarray, weight: np.ndarray) -> float:
        value = chosen(y, proba, None, weight=weight)
        merit = value if chosen.greater_is_better else -value
        return float(merit - 0.01 * (weight @ row_log_loss(y, proba)) / float(weight.sum()))

    return measure
