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
from autoimb.data.table import Dataset
from autoimb.errors import DeadlineExceeded, InfeasibleError
from autoimb.pipeline.fitted import FittedMemberPack, FittedStrategy, fold_average
from autoimb.search.budget import Deadline
from autoimb.search.planning import Plan
from autoimb.search.pruning import Bar
from autoimb.space.strategy import Strategy
from autoimb.training.parts import Parts
from autoimb.training.rounds import Trained, train_strategy

__all__ = ["Outcome", "Status", "evaluate"]

Status = Literal["complete", "pruned", "infeasible", "failed", "timeout"]

_FEW_MINORITY_ROWS = 50  # below, the log-loss chooses the epoch: the metric is too noisy


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
    curve, floor : tuple of float
        The measure at each tick: the mean over the folds, and the worst of them.
    planned : int
        Ticks that were planned.
    epochs : tuple of int
        The tick that each fold kept, of every deal.
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
    floor: tuple[float, ...] = ()
    planned: int = 0
    epochs: tuple[int, ...] = ()

    def view(self, part: int) -> np.ndarray:
        """Return all rows' probabilities as what saw no label of a part gives them, (n_scored, C).

        The parts are those of `leave_group_out`; its own rows are those of `oof`.
        """
        assert self.oof is not None  # of a scored trial
        return self.oof if self.finishing is None else self.finishing.view(part)


def evaluate(
    strategy: Strategy,
    dataset: Dataset,
    plan: Plan,
    *,
    metric: Metric,
    deadline: Deadline,
    cache: Parts | None = None,
    bar: Bar | None = None,
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
    bar : Bar, optional
        What it must reach to go on.

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
            bar=bar,
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
    bar: Bar | None,
) -> Outcome:
    data = parts.dataset
    costs = None if plan.cost_weights is None else np.array(plan.cost_weights)
    deals = [parts.deal(number) for number in range(plan.deals)]
    trained = [
        train_strategy(
            strategy,
            own,
            effort=plan.effort,
            costs=costs,
            measure=_measure(metric, data, plan.effort.outline.class_counts),
            check=check,
            hopeless=None if bar is None else bar.above,
            device=plan.device,
        )
        for own in deals
    ]
    first, cut = trained[0], any(one.cut for one in trained)
    outcome = Outcome(
        "timeout" if cut else "complete",
        "The deadline ended it; its best epoch so far stands." if cut else "",
        curve=first.curve,
        floor=first.floor,
        planned=first.planned,
        epochs=tuple(tick for one in trained for tick in one.ticks),
    )
    if first.pruned:
        reason = f"Given up after {len(first.curve)} of {first.planned} ticks."
        return replace(outcome, status="pruned", reason=reason)
    # of each row, from the networks of all deals that did not see it
    oof = np.mean([_out_of_fold(one, own) for one, own in zip(trained, deals)], axis=0)
    if not np.isfinite(oof).all():
        return Outcome("failed", "The training diverged: some probabilities are not finite.")
    scored = plan.folds.scored
    y, weight = data.y[scored], plan.folds.scored_weight(data.weight)
    group = plan.folds.group[scored]
    exact = strategy.exact
    fitted = FittedStrategy(
        strategy=strategy.to_json(),
        description=strategy.describe(),
        packs=_packs(trained, n_folds=len(plan.folds.folds)),
        calibrator=_calibrator(y, oof, weight, needed=not exact),
        tilt=plan.cost_weights if strategy.class_weight.name == "costs" else None,
        work=plan.work,
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
    return replace(
        outcome,
        score=score(metric, y, proba, labels, group, weight=weight),
        oof=proba,
        finishing=None if set(calibrators) == {identity} else finishing,
        labels=labels if metric.kind == "label" else None,
        fitted=fitted,
    )


def _packs(trained: Sequence[Trained], *, n_folds: int) -> tuple[FittedMemberPack, ...]:
    """Return all packs, their folds numbered through all deals, as the pipeline's encoders are."""
    return tuple(
        replace(pack, fold=pack.fold + number * n_folds)
        for number, one in enumerate(trained)
        for pack in one.packs
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
