"""What trials are evaluated on: those of the search, and matched duels apart from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autoimb.assessment.costs import Matrix
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import Metric
from autoimb.data.dataset import Dataset
from autoimb.data.folds import FoldPlan, duel_folds
from autoimb.data.forward import forward_duel_folds, time_chunks
from autoimb.evaluation.limits import Limits
from autoimb.evaluation.workload import fewer_rows, make_plan
from autoimb.randomness import Purpose, seed_for
from autoimb.training.plan import Plan

__all__ = ["Basis", "judge_of", "plan_duels"]


@dataclass(frozen=True, eq=False)
class Basis:
    """What trials are evaluated on, the same for all that are compared.

    Attributes
    ----------
    dataset : Dataset
    plan : Plan
    judge : Judge
        Of the rows that the plan scores.
    limits : Limits
        Of what is deployed; trials that only compare have none.
    """

    dataset: Dataset
    plan: Plan
    judge: Judge
    limits: Limits = field(default_factory=Limits)


def plan_duels(study: Basis) -> Basis | None:
    """Plan the duels of a study from counts: few rows, many folds, a seed of their own.

    Parameters
    ----------
    study : Basis

    Returns
    -------
    Basis or None
        At the rung of all duels; the groups of its judge are its folds. None where the rarer
        classes have too few rows; see `duel_folds`. The rows that score in a hold-out have no part.
    """
    dataset, plan = study.dataset, study.plan
    policy, folds = plan.policy, plan.folds
    seed = seed_for(Purpose.DUELS, plan.seed)
    rows = folds.training if len(folds.folds) == 1 else np.arange(len(dataset.y))
    few, rows = fewer_rows(dataset, rows, most=policy.most_duel_rows, random_state=seed)
    options: Any = {"random_state": seed, "policy": policy, "cluster": few.cluster}
    if few.times is None:
        own = duel_folds(few.y, folds.take(rows), **options)
    else:
        own = forward_duel_folds(few.y, few.times, **options)
    if own is None:
        return None
    duels = make_plan(
        few,
        own,
        random_state=seed,
        operations=plan.effort.operations,
        class_costs=plan.class_costs,
        costs_in_probabilities=plan.costs_in_probabilities,
        policy=policy,
    )
    return Basis(
        dataset=few,
        plan=duels.at(policy.duel_rung),
        judge=judge_of(few, own, study.judge.metric, costs=study.judge.costs),
    )


def judge_of(
    dataset: Dataset,
    folds: FoldPlan,
    metric: Metric,
    *,
    costs: Matrix | None = None,
    rates: tuple[float, ...] | None = None,
) -> Judge:
    """Return the judge of the rows that folds score.

    Where rows have times and no groups, what is drawn together is chunks of time.

    Parameters
    ----------
    dataset : Dataset
    folds : FoldPlan
    metric : Metric
    costs, rates
        As in `Judge`.
    """
    scored, period, cluster = folds.scored, folds.period, dataset.cluster
    if period is not None:
        period = period[scored]
    if cluster is not None:
        cluster = cluster[scored]
    elif period is not None and dataset.times is not None:
        cluster = time_chunks(dataset.times.take(scored), period)
    return Judge(
        metric=metric,
        y=dataset.y[scored],
        group=folds.group[scored],
        weight=folds.scored_weight(dataset.weight),
        costs=costs,
        cluster=cluster,
        drawn_by_class=not folds.predefined and period is None,
        period=period,
        rates=rates,
    )
