"""One search of a table, concluded by several metrics from the same trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import get_metric
from autoimb.budget import Budget
from autoimb.evaluation.outcome import Scored
from autoimb.policy import SearchPolicy
from autoimb.search.prepare import Table, prepare
from autoimb.search.propose import Agenda
from autoimb.search.request import Request
from autoimb.search.search import SearchResult, conclude
from autoimb.search.study import StudySettings, run_study

__all__ = ["concluded"]


def concluded(
    table: tuple[pd.DataFrame, np.ndarray],
    metrics: Sequence[str],
    *,
    policy: SearchPolicy,
    seed: int,
    n_trials: int,
) -> Iterator[SearchResult]:
    """Search by the first metric, without duels, and conclude by each.

    For another metric the strategies are labelled and scored again; choice, blend, calibrator, rule
    and what is reported are of that metric. Duels have no part in them.
    """
    torch.set_num_threads(1)
    request = Request(
        metric=metrics[0],
        time_budget=None,
        n_trials=n_trials,
        n_jobs=1,
        random_state=seed,
        partners=policy.suggestions.partners,
    )
    preparation = prepare(Table(*table), request, policy=policy)
    task = replace(preparation.task, duels=None)
    agenda = Agenda(
        task=task,
        space=preparation.space,
        profile=preparation.trial_profile,
        n_trials=n_trials,
        random_state=seed,
        partners=policy.suggestions.partners,
    )
    study = run_study(agenda, settings=StudySettings())
    data = preparation.dataset
    for name in metrics:
        metric = get_metric(name, n_classes=data.n_classes, positive=data.positive)
        judge = task.judge.with_metric(metric)
        results = {number: _judged(one, judge) for number, one in study.results.items()}
        yield conclude(
            replace(preparation, metric=metric),
            replace(study, results=results),
            budget=Budget.start(None),
            timing={},
        )


def _judged(one: Scored, judge: Judge) -> Scored:
    """Label and score a trial by another metric."""
    labels = judge.labels(one.view) if judge.metric.kind == "label" else None
    given = one.oof.argmax(axis=1) if labels is None else labels
    return replace(one, labels=labels, score=judge.score(one.oof, given))
