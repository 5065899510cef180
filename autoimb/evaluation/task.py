"""Inputs of an evaluation: the task (rows, folds and judge of a search) and the trial."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from autoimb.assessment.costs import Matrix
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import Metric
from autoimb.budget import Deadline
from autoimb.data.dataset import Dataset
from autoimb.data.folds import FoldPlan, duel_folds
from autoimb.data.forward import forward_duel_folds, time_chunks
from autoimb.evaluation.limits import Limits
from autoimb.evaluation.workload import fewer_rows, make_plan
from autoimb.randomness import Purpose, seed_for
from autoimb.space.strategy import Strategy
from autoimb.training.parts import Parts
from autoimb.training.plan import Plan

__all__ = ["Task", "Trial", "judge_of", "plan_duels"]


@dataclass(frozen=True, eq=False)
class Task:
    """Rows, plan and judge of trials, the same for all trials that are compared.

    Attributes
    ----------
    dataset : Dataset
    plan : Plan
    judge : Judge
        Judge of the rows that the plan scores.
    limits : Limits
        Limits of the deployed pipeline; trials that are only compared have none.
    duels : Task or None
        Task of matched duels, see `plan_duels`; None for a search without.
    """

    dataset: Dataset
    plan: Plan
    judge: Judge
    limits: Limits = field(default_factory=Limits)
    duels: Task | None = None

    @cached_property
    def parts(self) -> Parts:
        """The encoded folds, which belong to this process and do not travel with the task."""
        return Parts(self.dataset, self.plan.folds, seed=self.plan.seed)

    def share_parts(self, folder: Path) -> None:
        """Share the encoded folds with other processes through a folder."""
        folds, seed = self.plan.folds, self.plan.seed
        vars(self)["parts"] = Parts(self.dataset, folds, seed=seed, folder=folder / "parts")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "parts"}


@dataclass(frozen=True)
class Trial:
    """A strategy to evaluate.

    Attributes
    ----------
    strategy : Strategy
    deadline : Deadline
    duel : bool
        Whether it is evaluated on the rows and folds of matched duels, `Task.duels`.
    """

    strategy: Strategy
    deadline: Deadline = field(default_factory=Deadline)
    duel: bool = False


def plan_duels(study: Task) -> Task | None:
    """Plan the duels of a study from counts: few rows, many folds and a separate seed.

    Parameters
    ----------
    study : Task
        Task of the search.

    Returns
    -------
    Task or None
        Task with the work of all duels; the groups of its judge are its folds. None where the rarer
        classes have too few rows; see `duel_folds`. The scored rows of a hold-out are excluded.
    """
    dataset, plan = study.dataset, study.plan
    policy, folds = plan.policy, plan.folds
    seed = seed_for(Purpose.DUELS, plan.seed)
    # A hold-out has separate rows for scores, which must not enter a comparison of methods.
    rows = folds.training if len(folds.folds) == 1 else np.arange(len(dataset.y))
    duel_dataset, rows = fewer_rows(
        dataset, rows, max_rows=policy.comparisons.max_rows, random_state=seed
    )
    options: Any = {"random_state": seed, "policy": policy, "cluster": duel_dataset.cluster}
    if duel_dataset.times is None:
        fold_plan = duel_folds(duel_dataset.y, folds.take(rows), **options)
    else:
        fold_plan = forward_duel_folds(duel_dataset.y, duel_dataset.times, **options)
    if fold_plan is None:
        return None
    duel_plan = make_plan(
        duel_dataset,
        fold_plan,
        random_state=seed,
        operations=plan.operations,
        class_costs=plan.class_costs,
        costs_in_probabilities=plan.costs_in_probabilities,
        policy=policy,
    )
    return Task(
        dataset=duel_dataset,
        plan=replace(duel_plan, work=policy.comparisons.work),
        judge=judge_of(duel_dataset, fold_plan, study.judge.metric, costs=study.judge.costs),
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

    Where rows have times and no groups, the clusters of the bootstrap are chunks of time.

    Parameters
    ----------
    dataset : Dataset
    folds : FoldPlan
    metric : Metric
    costs, rates
        Costs and expected class rates, as in `Judge`.
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
