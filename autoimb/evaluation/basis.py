"""What trials are evaluated on: those of the search, and matched duels apart from them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from autoimb.assessment.judge import Judge
from autoimb.data.dataset import Dataset
from autoimb.data.folds import duel_folds
from autoimb.evaluation.limits import Limits
from autoimb.evaluation.workload import fewer_rows, make_plan
from autoimb.randomness import Purpose, seed_for
from autoimb.training.plan import Plan

__all__ = ["Basis", "plan_duels"]


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
    own = duel_folds(few.y, folds.take(rows), random_state=seed, policy=policy, cluster=few.cluster)
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
    scored = own.scored
    return Basis(
        dataset=few,
        plan=duels.at(policy.duel_rung),
        judge=replace(
            study.judge,
            y=few.y[scored],
            group=own.group[scored],
            weight=own.scored_weight(few.weight),
            cluster=None if few.cluster is None else few.cluster[scored],
        ),
    )
