"""The search from the user's table to the fitted pipeline."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autoimb.assessment.references import logistic_reference
from autoimb.assessment.uncertainty import Score
from autoimb.data.encoding import Encoder
from autoimb.data.folds import Fold
from autoimb.data.table import Dataset
from autoimb.pipeline.fitted import FittedPipeline, FittedStrategy
from autoimb.report.build import Facts
from autoimb.search.budget import Budget
from autoimb.search.choose import Winner, choose, usable_outcomes
from autoimb.search.facts import Found, build_facts, leaderboard, versions
from autoimb.search.planning import Plan, make_plan, seen, thinned, trial_operations
from autoimb.search.prepare import Prepared, Table, prepare
from autoimb.search.progress import Progress
from autoimb.search.record import TrialRecord
from autoimb.search.request import Request
from autoimb.search.study import StudyResult, StudySettings, run_study
from autoimb.search.worker import one_thread
from autoimb.space.strategy import Strategy

if TYPE_CHECKING:
    from autoimb.search.run_folder import RunFolder

__all__ = ["SearchResult", "encoders_read", "fit_encoders", "planned", "run_search", "search"]

REFERENCE_RATE = 4e9  # operations a second of a logistic regression, counted low
REFERENCE_STEPS = 200
LABEL_SECONDS = 1e-5  # a row and class, of labels that are tuned for several classes
TRIAL_SHARE = 0.25  # of the budget: what one trial may take at most


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found.

    Attributes
    ----------
    pipeline : FittedPipeline
        What is handed over.
    records : tuple of TrialRecord
        All trials, by number.
    facts : Facts
        What the report says.
    best_strategy : Strategy
        The best single strategy, after law 3.
    best_score : Score
        Out of fold, of what is handed over.
    leaderboard : DataFrame
        One row a trial, best first.
    interrupted : bool
        Whether Ctrl-C ended the search.
    """

    pipeline: FittedPipeline
    records: tuple[TrialRecord, ...]
    facts: Facts
    best_strategy: Strategy
    best_score: Score
    leaderboard: pd.DataFrame
    interrupted: bool


def search(
    frame: pd.DataFrame,
    y: pd.Series | NDArray[Any],
    request: Request,
    *,
    sample_weight: NDArray[np.float64] | None = None,
    eval_set: tuple[pd.DataFrame, pd.Series | NDArray[Any]] | None = None,
    folder: RunFolder | None = None,
    kinds: Mapping[str, str] | None = None,
) -> SearchResult:
    """Search the best strategy for a table; the budget starts now.

    Parameters
    ----------
    frame : DataFrame of shape (n, p)
        The columns, without the target.
    y : Series or ndarray of shape (n,)
        The labels.
    request : Request
        What was asked for.
    sample_weight : ndarray of shape (n,) or None
        The user's row weights.
    eval_set : (DataFrame, labels) or None
        Rows that choose and score instead of cross-validation.
    folder : RunFolder or None
        An open folder that keeps the trials.
    kinds : mapping of str to str or None
        The user's word on the kind of columns.

    Returns
    -------
    SearchResult
        Also after Ctrl-C, from the trials that had finished.

    Raises
    ------
    InputError
        On a table, a target or a request that no search can use.
    RunError
        Where no trial was completed; the message counts the reasons.
    """
    budget = Budget.start(request.time_budget)
    prepared = prepare(Table(frame, y, sample_weight, eval_set, kinds), request)
    return run_search(prepared, folder=folder, budget=budget)


def run_search(
    prepared: Prepared,
    *,
    folder: RunFolder | None = None,
    budget: Budget,
    storage: str | None = None,
) -> SearchResult:
    """Search with everything checked; see `search`.

    Parameters
    ----------
    prepared : Prepared
        The checked table and request.
    folder : RunFolder or None
        An open folder that keeps the trials.
    budget : Budget
        Running since the start of all.
    storage : str or None
        An Optuna storage URL instead of the folder's journal.

    Returns
    -------
    SearchResult
        As from `search`.
    """
    request = prepared.request
    space = prepared.space
    prepared, plan = _plan(prepared, folder)
    settings = StudySettings(
        n_trials=request.n_trials,
        deadline=budget.search_deadline,
        n_jobs=request.n_jobs,
        random_state=request.random_state,
        trial_limit=None if budget.total is None else TRIAL_SHARE * budget.total,
        storage=storage,
    )
    ready = budget.elapsed
    with Progress(budget, metric=prepared.metric.name, verbose=request.verbose) as progress:
        study = run_study(
            prepared.dataset,
            plan,
            space,
            metric=prepared.metric,
            profile=seen(prepared.profile, prepared.dataset, plan),
            settings=settings,
            folder=folder,
            on_event=progress,
        )
    timing = {"preparing": ready, "searching": budget.elapsed - ready}
    with one_thread():  # which no other program's load makes many times slower
        return _conclude(prepared, plan, study, budget=budget, timing=timing)


def _plan(prepared: Prepared, folder: RunFolder | None) -> tuple[Prepared, Plan]:
    """Plan the study; a resumed one goes on as it was planned, whatever its limits are now."""
    request = prepared.request
    first: dict[str, Any] = {"time_budget": request.time_budget}
    if folder is not None:
        first |= {"folds": len(prepared.folds.folds)}
        first = folder.read_run().get("plan", first)
        folder.update_run({"request": request.to_json(), "plan": first, "versions": versions()})
    return planned(prepared, time_budget=first["time_budget"])


def planned(prepared: Prepared, *, time_budget: float | None) -> tuple[Prepared, Plan]:
    """Plan a study, of fewer rows where not all of them fit.

    Parameters
    ----------
    prepared : Prepared
    time_budget : float or None
        Seconds.

    Returns
    -------
    tuple of Prepared and Plan
        With the rows that trials see. The profile stays that of the whole table.
    """
    operations = trial_operations(time_budget)
    seed, before = prepared.request.random_state, len(prepared.dataset.y)
    dataset, folds = thinned(
        prepared.dataset, prepared.folds, random_state=seed, operations=operations
    )
    notices = prepared.notices
    if len(dataset.y) < before:
        notices += (
            f"The search sees {len(dataset.y):,} of the {before:,} rows, the rarer classes whole "
            "as far as possible: more would not fit its time or memory.",
        )
    # where only ensembles are allowed, their networks train longer, and there are fewer trials
    operations *= sqrt(prepared.space.least_networks)
    plan = make_plan(dataset, folds, random_state=seed, operations=operations, costs=prepared.costs)
    return replace(prepared, dataset=dataset, folds=folds, notices=notices), plan


def _conclude(
    prepared: Prepared,
    plan: Plan,
    study: StudyResult,
    *,
    budget: Budget,
    timing: dict[str, float],
) -> SearchResult:
    """Turn the finished study into what is handed over."""
    started = time.monotonic()
    outcomes = usable_outcomes(study.records, study.outcomes)
    encoders = fit_encoders(prepared.dataset, plan.folds.folds)
    references = {}
    if _reference_seconds(prepared, encoders) < 0.4 * budget.deadline.left():
        references["logistic regression"] = logistic_reference(
            prepared.dataset, plan.folds, encoders, random_state=plan.seed
        )
    deadline = budget.deadline.fraction(0.75)
    winner = choose(prepared, plan, study.records, outcomes, deadline=deadline)
    strategies = {record.number: record.strategy for record in study.records}
    handed = (outcomes[number].fitted for number in winner.blend.numbers)
    fitted = tuple(networks for networks in handed if networks is not None)
    further = plan.folds.every[len(encoders) : encoders_read(fitted)]
    encoders += fit_encoders(prepared.dataset, further)
    pipeline = _pipeline(prepared, plan, winner, fitted=fitted, encoders=encoders)
    timing["finishing"] = time.monotonic() - started
    found = Found(winner.blend, pipeline.rule, winner.sentence, references, timing)
    return SearchResult(
        pipeline=pipeline,
        records=study.records,
        facts=build_facts(prepared, plan, study, found, deadline=budget.deadline.fraction(0.5)),
        best_strategy=strategies[winner.single],
        best_score=winner.blend.score,
        leaderboard=pd.DataFrame(leaderboard(study.records)),
        interrupted=study.interrupted,
    )


def fit_encoders(dataset: Dataset, folds: Sequence[Fold]) -> tuple[Encoder, ...]:
    """Fit one encoder a fold. Sees: the fold's training rows only."""
    columns, layout, y = dataset.columns, dataset.layout, dataset.y
    return tuple(Encoder.fit(columns, fold.train, layout=layout, y=y) for fold in folds)


def encoders_read(strategies: Sequence[FittedStrategy]) -> int:
    """Count the encoders that the strategies' members read, from the first to the last of them."""
    return 1 + max(int(pack.fold.max()) for one in strategies for pack in one.packs)


def _pipeline(
    prepared: Prepared,
    plan: Plan,
    winner: Winner,
    *,
    fitted: tuple[FittedStrategy, ...],
    encoders: tuple[Encoder, ...],
) -> FittedPipeline:
    """Put the winner together."""
    best = winner.blend
    return FittedPipeline(
        schema=prepared.schema,
        classes=prepared.target.classes,
        positive=prepared.target.positive,
        encoders=encoders,
        strategies=fitted,
        weights=best.weights,
        rule=winner.rule,
        oof=(
            prepared.dataset.y[plan.folds.scored],
            best.proba,
            plan.folds.scored_weight(prepared.dataset.weight),
        ),
        info={
            "metric": prepared.metric.name,
            "score": best.score.value,
            "error": best.score.error,
            "rows": prepared.profile.n_rows,
        },
    )


def _reference_seconds(prepared: Prepared, encoders: tuple[Encoder, ...]) -> float:
    """Estimate what the logistic regression and its labels take: it never costs the budget."""
    width = max(encoder.width(ple=False) for encoder in encoders)
    cells = len(prepared.dataset.y) * prepared.dataset.n_classes
    seconds = 4.0 * cells * width * REFERENCE_STEPS * len(encoders) / REFERENCE_RATE
    labels = prepared.metric.kind == "label" and prepared.dataset.n_classes > 2
    return seconds + LABEL_SECONDS * cells if labels else seconds
