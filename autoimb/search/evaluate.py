"""One trial: a strategy in, scores and a fitted strategy out; a pure function."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from autoimb.assessment.calibration import Calibrator, Finishing, fit_calibrator
from autoimb.assessment.crossfit import leave_group_out
from autoimb.assessment.decision import DecisionRule, fit_rule
from autoimb.assessment.metrics import Metric, get_metric
from autoimb.assessment.uncertainty import Score, score
from autoimb.data.folds import FoldPlan
from autoimb.data.table import Dataset
from autoimb.errors import DeadlineExceeded, InfeasibleError
from autoimb.pipeline.fitted import FittedStrategy, fold_average
from autoimb.search.budget import Deadline
from autoimb.space.strategy import Strategy
from autoimb.training.effort import Effort, Outline
from autoimb.training.parts import Parts
from autoimb.training.rounds import Trained, is_exact, train_strategy

__all__ = ["Outcome", "Plan", "Status", "evaluate", "make_plan"]

Status = Literal["complete", "pruned", "infeasible", "failed", "timeout"]

_FEW_MINORITY_ROWS = 50  # below, the log-loss chooses the epoch: the metric is too noisy
_RATE = 40e9  # operations a second that the plan counts on for each worker
_TRIALS = 30  # strategies that the plan would like to see in a budget


@dataclass(frozen=True)
class Plan:
    """What all trials of a study share; frozen before the first one.

    Attributes
    ----------
    folds : FoldPlan
    effort : Effort
    seed : int
    cost_weights : tuple of C floats, or None
        The user's cost of each class: weights the loss and tilts the probabilities.
    cost_matrix : tuple of C tuples of C floats, or None
        Cost of (true, predicted), for tilted probabilities: the labels minimise it.
    device : str
    """

    folds: FoldPlan
    effort: Effort
    seed: int
    cost_weights: tuple[float, ...] | None = None
    cost_matrix: tuple[tuple[float, ...], ...] | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Outcome:
    """What a trial gave.

    Attributes
    ----------
    status : str
        "complete", or why not. One that the deadline ended has all the rest all the same, where
        it had come so far.
    reason : str
        One sentence where it is not complete.
    score : Score or None
    oof : float64 array of shape (n_scored, C), or None
        Out-of-fold probabilities of ``plan.folds.scored``, calibrated across folds.
    finishing : Finishing or None
        How they were calibrated, where they were.
    labels : int64 array of shape (n_scored,), or None
        Cross-fitted by the decision rule where the metric is one of labels, else the most
        probable class.
    fitted : FittedStrategy or None
    seconds : float
    curve : tuple of float
        The measure at each tick.
    epochs : tuple of int
        The tick that each fold kept.
    """

    status: Status
    reason: str = ""
    score: Score | None = None
    oof: np.ndarray | None = None
    finishing: Finishing | None = None
    labels: np.ndarray | None = None
    fitted: FittedStrategy | None = None
    seconds: float = 0.0
    curve: tuple[float, ...] = ()
    epochs: tuple[int, ...] = ()

    def view(self, part: int) -> np.ndarray:
        """Return all rows' probabilities as what saw no label of a part gives them, (n_scored, C).

        The parts are those of `leave_group_out`; its own rows are those of `oof`.
        """
        assert self.oof is not None  # of a scored trial
        return self.oof if self.finishing is None else self.finishing.view(part)


def make_plan(
    dataset: Dataset,
    folds: FoldPlan,
    *,
    random_state: int,
    time_budget: float | None,
    n_jobs: int = 1,
    costs: Sequence[float] | Sequence[Sequence[float]] | None = None,
) -> Plan:
    """Plan a study from counts and the budget; no clock is read.

    Parameters
    ----------
    dataset : Dataset
    folds : FoldPlan
    random_state : int
    time_budget : float or None
        Seconds; None plans as for 300.
    n_jobs : int
    costs : C floats, or a C × C matrix (true × predicted), or None

    Returns
    -------
    Plan
    """
    rows = len(dataset.y)
    seconds = 300.0 if time_budget is None else time_budget
    limits = ((3_000, 60, 10), (15_000, 40, 8), (60_000, 20, 4))
    most, patience = next(((t, p) for n, t, p in limits if rows < n), (10, 3))
    operations = _RATE * n_jobs * 0.8 * seconds / _TRIALS
    effort = Effort(
        operations=operations,
        most_ticks=most,
        least_ticks=5,
        patience=patience,
        outline=Outline.of(dataset),
    )
    weights, matrix = _costs(costs)
    return Plan(
        folds=folds,
        effort=effort,
        seed=random_state,
        cost_weights=weights,
        cost_matrix=matrix,
        device=_device(),
    )


def _costs(
    costs: Sequence[float] | Sequence[Sequence[float]] | None,
) -> tuple[tuple[float, ...] | None, tuple[tuple[float, ...], ...] | None]:
    """Split costs into a weight for each class and what the decision minimises.

    Trained with a weight w on each class, a network gives probabilities tilted by w. The expected
    cost of answering j, sum_i p_i C_ij, is sum_i (tilted_i / w_i) C_ij up to a factor.
    """
    if costs is None:
        return None, None
    given = np.asarray(costs, dtype=np.float64)
    matrix = given if given.ndim == 2 else given[:, None] * (1.0 - np.eye(len(given)))
    weights = np.maximum(given.sum(1) if given.ndim == 2 else given, 1e-12)
    weights = weights / weights.mean()
    tilted = matrix / weights[:, None]
    return tuple(map(float, weights)), tuple(tuple(map(float, row)) for row in tilted)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def evaluate(
    strategy: Strategy,
    dataset: Dataset,
    plan: Plan,
    *,
    metric: Metric,
    deadline: Deadline,
    cache: Parts | None = None,
) -> Outcome:
    """Evaluate a strategy out of fold; never raises for a bad one.

    Parameters
    ----------
    strategy : Strategy
    dataset : Dataset
    plan : Plan
    metric : Metric
    deadline : Deadline
        Checked at every fold and tick.
    cache : Parts, optional
        The study's encoded folds, where the caller keeps them between trials.

    Returns
    -------
    Outcome
        The same for the same arguments, but for its seconds.
    """
    started = time.monotonic()
    try:
        outcome = _evaluate(
            strategy,
            plan,
            metric=metric,
            check=deadline.check,
            parts=cache or Parts(dataset, plan.folds, seed=plan.seed),
        )
    except InfeasibleError as error:
        outcome = Outcome("infeasible", str(error))
    except DeadlineExceeded as error:
        outcome = Outcome("timeout", str(error))
    except Exception as error:  # law 7: one bad trial never ends a search
        outcome = Outcome("failed", f"{type(error).__name__}: {error}")
    return replace(outcome, seconds=time.monotonic() - started)


def _evaluate(
    strategy: Strategy,
    plan: Plan,
    *,
    metric: Metric,
    check: Callable[[], None],
    parts: Parts,
) -> Outcome:
    data = parts.dataset
    costs = None if plan.cost_weights is None else np.array(plan.cost_weights)
    trained = train_strategy(
        strategy,
        parts,
        effort=plan.effort,
        costs=costs,
        measure=_measure(metric, data, plan.effort.outline.class_counts),
        check=check,
        device=plan.device,
    )
    oof = _out_of_fold(trained, parts)
    if not np.isfinite(oof).all():
        return Outcome("failed", "The training diverged: some probabilities are not finite.")
    scored = plan.folds.scored
    y, weight, group = data.y[scored], data.weight[scored], plan.folds.group[scored]
    exact = is_exact(strategy)
    fitted = FittedStrategy(
        strategy=strategy.to_json(),
        description=strategy.describe(),
        packs=trained.packs,
        calibrator=_calibrator(y, oof, weight, needed=not exact),
        tilt=plan.cost_weights if strategy.class_weight.name == "costs" else None,
    )
    # a part is finished by what the other parts teach, as new rows are by what all do
    splits = list(leave_group_out(y, group))
    calibrators = tuple(
        _calibrator(y[learn], oof[learn], weight[learn], needed=not exact) for learn, _ in splits
    )
    finishing = Finishing(oof, calibrators, fitted.tilt)
    proba, labels = np.empty_like(oof), np.empty(len(y), dtype=np.int64)
    for number, (learn, use) in enumerate(splits):
        view, rule = finishing.view(number), DecisionRule()
        if metric.kind == "label":
            rule = fit_rule(
                metric, y[learn], view[learn], weight=weight[learn], costs=plan.cost_matrix
            )
        proba[use], labels[use] = view[use], rule.apply(view[use])
    identity = Calibrator.identity(oof.shape[1])
    return Outcome(
        status="timeout" if trained.cut else "complete",
        reason="The deadline ended it; its best epoch so far stands." if trained.cut else "",
        score=score(metric, y, proba, labels, group, weight=weight),
        oof=proba,
        finishing=None if set(calibrators) == {identity} else finishing,
        labels=labels if metric.kind == "label" else None,
        fitted=fitted,
        curve=trained.curve,
        epochs=trained.ticks,
    )


def _out_of_fold(trained: Trained, parts: Parts) -> np.ndarray:
    """Combine members and rounds within each fold, for the scored rows in table order."""
    data, folds = parts.dataset, parts.folds
    out = np.zeros((len(data.y), data.n_classes))
    for number, fold in enumerate(folds.folds):
        posteriors, members, weights = [], [], []
        for pack, posterior in zip(trained.packs, trained.posteriors):
            mine = np.flatnonzero(pack.fold == number)
            posteriors.append(posterior[number])
            members.append(np.zeros(len(mine), dtype=np.int64))
            weights.append(pack.weight[mine])
        out[fold.score] = fold_average(posteriors, members, weights)
    return out[folds.scored]


def _calibrator(y: np.ndarray, oof: np.ndarray, weight: np.ndarray, *, needed: bool) -> Calibrator:
    """Fit a calibrator where no formula corrects the prior, or where it gains enough.

    Enough is more log-likelihood than its C free parameters gain by chance (Akaike, 1974).
    """
    fitted = fit_calibrator(y, oof, weight=weight)
    gain = _log_loss(y, oof, weight) - _log_loss(y, fitted.apply(oof), weight)
    if needed or gain > oof.shape[1]:
        return fitted
    return Calibrator.identity(oof.shape[1])


def _log_loss(y: np.ndarray, proba: np.ndarray, weight: np.ndarray) -> float:
    own = np.clip(proba[np.arange(len(y)), y], 1e-15, 1.0)
    return float(-(weight @ np.log(own)))


def _measure(
    metric: Metric, data: Dataset, class_counts: tuple[int, ...]
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], float]:
    """Return what chooses the epoch.

    The metric itself, but the log-loss where minority rows are few, and the average precision
    where the metric is one of labels, which would need a decision rule at every tick. A hundredth
    of the log-loss decides where a ranking can't be better: an easy table is ranked rightly long
    before its probabilities are right.
    """
    chosen = metric
    if min(class_counts) < _FEW_MINORITY_ROWS:
        chosen = get_metric("log_loss", n_classes=data.n_classes, positive=data.positive)
    elif metric.kind == "label":
        chosen = get_metric("average_precision", n_classes=data.n_classes, positive=data.positive)

    def measure(y: np.ndarray, proba: np.ndarray, weight: np.ndarray) -> float:
        value = chosen(y, proba, None, weight=weight)
        merit = value if chosen.greater_is_better else -value
        return merit - 0.01 * _log_loss(y, proba, weight) / float(weight.sum())

    return measure
