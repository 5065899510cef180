"""The search, from the checked table to the fitted pipeline."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from autoimb.assessment.checks import Finding
from autoimb.assessment.duels import Verdict, verdict
from autoimb.budget import Budget, check_budget
from autoimb.errors import RunError
from autoimb.evaluation.limits import check_limits, timed
from autoimb.evaluation.trial import evaluate
from autoimb.pipeline.artifact import artifact_bytes
from autoimb.pipeline.fitted import FittedPipeline
from autoimb.pipeline.summary import stamp
from autoimb.runs.folder import RunFolder, understood
from autoimb.runs.record import TrialRecord
from autoimb.runtime.pool import LOCAL, Backend
from autoimb.runtime.progress import Event, Progress
from autoimb.runtime.shared import Evaluate
from autoimb.runtime.worker import one_thread
from autoimb.search.duels import duel_results
from autoimb.search.prepare import Preparation, check_table
from autoimb.search.propose import Agenda
from autoimb.search.select import Selection, select
from autoimb.search.study import StudyResult, StudySettings, run_study
from autoimb.search.untouched import Tested, Untouched
from autoimb.space.strategy import Strategy
from autoimb.version import __version__

__all__ = ["Callback", "SearchResult", "conclude", "search", "versions"]

# Largest share of the budget for a single trial.
_TRIAL_SHARE = 0.25
# Share of the time left after the search for choosing the result.
_CHOOSING_SHARE = 0.75
# Largest share of the budget for predicting test rows.
_TEST_SHARE = 0.1
# Reasons of failed trials in an error.
_MAX_REASONS = 5
# Packages whose versions a search records.
_PACKAGES = ("torch", "optuna", "imbalanced-learn", "scikit-learn", "numpy", "pandas")
# Nullable types for the kinds of labels that have no NaN.
_NULLABLE = {"i": "Int64", "u": "UInt64", "b": "boolean"}

Callback = Callable[[Event], object]


@dataclass(frozen=True, eq=False)
class SearchResult:
    """Result of a search.

    Attributes
    ----------
    preparation : Preparation
        Table and plan of the search.
    study : StudyResult
        All trials; their networks are left out.
    selection : Selection
        The result, with the exported pipeline.
    verdict : Verdict
        Whether the rare class needs special treatment on this table.
    timing : dict of str to float
        Seconds by stage.
    deployed : dict of str to float or None
        Footprint and limits of `pipeline`, see `Limits.deployed`, and the measured ``seconds`` and
        ``bytes`` of its file.
    findings : tuple of Finding
        Findings of the checks before the first trial.
    tested : Tested or None
        Predictions of the test rows by `pipeline`.
    error : Exception or None
        Exception of a callback, which ended the search.
    """

    preparation: Preparation
    study: StudyResult
    selection: Selection
    verdict: Verdict
    timing: dict[str, float]
    deployed: Mapping[str, float | None] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    tested: Tested | None = None
    error: Exception | None = None

    @property
    def pipeline(self) -> FittedPipeline:
        """The exported pipeline."""
        return self.selection.pipeline

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """All trials of the search, by number."""
        return self.study.records

    @property
    def best_strategy(self) -> Strategy:
        """The best single strategy, after law 3."""
        return {record.number: record.strategy for record in self.records}[self.selection.single]

    @property
    def interrupted(self) -> str:
        """What ended the search early; empty where nothing did."""
        return self.study.interrupted

    def out_of_fold(self) -> pd.DataFrame:
        """Return cross-fitted predictions of the result; their score has the choice's optimism.

        Sees: for each row, the rows of the other folds.

        Returns
        -------
        DataFrame
            One row for each row of the user, those of an evaluation set last. ``row`` is its
            position, ``fold`` the group by which its calibration, its label and the weights of the
            blend are cross-fitted (with cross-validation its fold), ``proba_<class>`` its
            calibrated probabilities, and ``label`` what the decision rule predicts. All but ``row``
            are missing where a row was not scored.
        """
        preparation, selection = self.preparation, self.selection
        folds, classes = preparation.task.plan.folds, preparation.target.classes
        labels = classes[selection.labels]
        predictions: dict[str, Any] = {
            "fold": folds.group[folds.scored],
            **{f"proba_{label}": selection.proba[:, code] for code, label in enumerate(classes)},
            # A type that allows missing values.
            "label": pd.Series(labels, dtype=_NULLABLE.get(classes.dtype.kind)),
        }
        rows = np.flatnonzero(preparation.retained)[preparation.study[2]][folds.scored]
        frame = pd.DataFrame(predictions).set_axis(rows).astype({"fold": "Int64"})
        frame = frame.reindex(np.arange(len(preparation.retained)))
        return frame.rename_axis("row").reset_index()


def search(
    preparation: Preparation,
    *,
    budget: Budget,
    folder: RunFolder | None = None,
    callbacks: Sequence[Callback] = (),
    backend: Backend = LOCAL,
    evaluate: Evaluate = evaluate,
) -> SearchResult:
    """Search the best strategy for a table.

    Parameters
    ----------
    preparation : Preparation
        The checked table and request.
    budget : Budget
        Budget since the start of the program.
    folder : RunFolder or None
        An open folder that stores the trials.
    callbacks : sequence of callable
        Each is called with an `Event` when a trial has ended and is stored. An exception ends the
        search as Ctrl-C does.
    backend : Backend
        Backend that runs the trials.
    evaluate : callable
        `autoimb.evaluation.trial.evaluate`, or a stand-in for it.

    Returns
    -------
    SearchResult
        Also after Ctrl-C, from the completed trials.

    Raises
    ------
    RunError
        If no trial was completed; the message counts the reasons.
    BudgetError
        If the budget ended before a first trial.
    Exception
        An exception of a callback, if no trial was completed before.
    """
    request = preparation.request
    in_time = partial(_check_time, budget, folder)
    in_time("the study was planned")
    preparation = replace(preparation, time_budget=_planned_seconds(preparation, budget, folder))
    task = preparation.task
    check_limits(preparation.space, task.limits)
    budget = replace(budget, cells=len(task.judge.y) * len(task.judge.metric.classes)).at_its_pace()
    test, reserved = _test_rows(preparation, budget)
    findings = check_table(preparation)
    in_time("the first trial")
    ready = budget.elapsed
    trial_limit = None
    # One strategy alone may take the whole time.
    if budget.total is not None and request.strategy is None:
        trial_limit = _TRIAL_SHARE * budget.total
    listeners = _Listeners(callbacks, findings)
    with Progress(budget, metric=preparation.metric.name, verbose=request.verbose) as progress:
        study = run_study(
            Agenda(
                task=task,
                space=preparation.space,
                profile=preparation.trial_profile,
                n_trials=request.n_trials,
                n_workers=request.n_jobs,
                random_state=request.random_state,
                partners=request.partners,
                min_samples_leaf=request.min_samples_leaf,
            ),
            settings=StudySettings(
                deadline=budget.deadline.sooner(budget.reserve + reserved),
                trial_limit=trial_limit,
                memory=request.max_memory,
                backend=backend,
                synchronous=request.synchronous,
                evaluate=evaluate,
                on_event=partial(listeners.tell, progress),
            ),
            folder=folder,
        )
    timing = {"preparing": ready, "searching": budget.elapsed - ready}
    if listeners.error is not None and not study.results:
        raise listeners.error
    # Other programs on the machine slow several threads down many times.
    with one_thread():
        result = conclude(preparation, study, budget=budget, timing=timing)
        tested = None if test is None else test.predicted(result.pipeline, task.judge)
    return replace(result, findings=findings, tested=tested, error=listeners.error)


def _check_time(budget: Budget, folder: RunFolder | None, step: str) -> None:
    """Raise BudgetError if no trial can begin any more, unless the folder has trials."""
    if folder is None or not folder.store.records():
        budget.check(step)


class _Listeners:
    """Listeners of the events of a study.

    Parameters
    ----------
    callbacks : sequence of callable
    findings : sequence of Finding
        Shown at the first event: a search that cannot begin shows its error only.

    Attributes
    ----------
    error : Exception or None
        Exception of a callback.
    """

    def __init__(self, callbacks: Sequence[Callback], findings: Sequence[Finding]) -> None:
        self._callbacks = tuple(callbacks)
        self._waiting = [str(finding) for finding in findings]
        self.error: Exception | None = None

    def tell(self, progress: Progress, event: Event) -> None:
        """Show an event, and call the callbacks if a trial has ended."""
        progress.tell(*self._waiting)
        self._waiting.clear()
        progress(event)
        if event.finished is None:
            return
        try:
            for callback in self._callbacks:
                callback(event)
        except Exception as error:
            self.error = error
            # The search ends as by Ctrl-C, with the completed trials.
            raise KeyboardInterrupt from error


def _test_rows(preparation: Preparation, budget: Budget) -> tuple[Untouched | None, float]:
    """Return the test rows that there is time to predict, and the seconds for them and `unseen`."""
    test, unseen = preparation.test, preparation.unseen
    if budget.total is None:
        return test, 0.0
    a_row, n_rows = preparation.policy.reserves.test_row_seconds, 0
    if test is not None:
        test = test.at_most(int(_TEST_SHARE * budget.total / a_row))
        n_rows += len(test.codes)
    return test, a_row * (n_rows + (0 if unseen is None else len(unseen)))


def _planned_seconds(
    preparation: Preparation, budget: Budget, folder: RunFolder | None
) -> float | None:
    """Return the seconds to plan for; a resumed study goes on as it was planned.

    The folder stores the request, the plan and the start of this session.
    """
    request = preparation.request
    if folder is None:
        return request.time_budget
    first = {"time_budget": request.time_budget, "folds": len(preparation.folds.folds)}
    with understood(folder.path / "run.json", "plan"):
        plan = folder.read_run().get("plan", first)
        seconds: float | None = plan["time_budget"]
        check_budget(seconds, n_trials=1)
    folder.update_run(
        {
            "request": request.to_json(),
            "plan": plan,
            "versions": versions(),
            "session": {"started": time.time() - budget.elapsed},
        }
    )
    return seconds


def conclude(
    preparation: Preparation,
    study: StudyResult,
    *,
    budget: Budget,
    timing: dict[str, float],
) -> SearchResult:
    """Turn the finished study into the result.

    Parameters
    ----------
    preparation : Preparation
    study : StudyResult
        Study of this plan. Sees: out-of-fold predictions of the scored rows, by the fitted
        networks.
    budget : Budget
        Its deadline ends the choice.
    timing : dict of str to float
        Seconds by stage so far.

    Returns
    -------
    SearchResult

    Raises
    ------
    RunError
        If no trial was completed; the message counts the reasons.
    """
    started = time.monotonic()
    if not study.results:
        raise RunError(_why_nothing(study))
    deadline = budget.deadline.fraction(_CHOOSING_SHARE)
    selection = select(preparation, study, deadline=deadline)
    # Statements on methods come from the duels alone.
    is_multiclass = len(preparation.target.classes) > 2
    answer = verdict(
        duel_results(preparation.space, study.duels, preparation.task.duels),
        metric=preparation.metric.name.replace("_", " "),
        rare="rarer classes" if is_multiclass else "rare class",
    )
    pipeline, task = selection.pipeline, preparation.task
    deployed = task.limits.deployed(pipeline)
    info = stamp() | pipeline.info | {"rows": preparation.profile.n_rows}
    info |= selection.reported.to_info() | {"verdict": answer.sentence} | preparation.rate_info
    if task.limits.deployment is not None:
        info["deployed"] = deployed
    pipeline = replace(pipeline, info=info)
    # The measured seconds are not stored in the file, whose bytes they would change.
    deployed = deployed | {
        "seconds": timed(pipeline, task.dataset.columns),
        "bytes": artifact_bytes(pipeline),
    }
    light = {number: replace(result, fitted=None) for number, result in study.results.items()}
    return SearchResult(
        preparation=preparation,
        study=replace(study, results=light),
        selection=replace(selection, pipeline=pipeline),
        verdict=answer,
        timing=timing | {"finishing": time.monotonic() - started},
        deployed=deployed,
    )


def _why_nothing(study: StudyResult) -> str:
    """Return the message of a search without a completed trial."""
    hint = "Give the search more time, fewer rows or fewer options."
    if study.interrupted:
        hint = f"The search was interrupted by {study.interrupted}."
    reasons = Counter(f"{r.status}: {r.reason}" if r.reason else r.status for r in study.records)
    listed = "; ".join(f"{count} × {why}" for why, count in reasons.most_common(_MAX_REASONS))
    return f"No trial was completed{f' ({listed})' if listed else ''}. {hint}"


def versions() -> dict[str, str]:
    """Return the versions of autoimb, Python and the packages that influence a result."""
    packages = {package: version(package) for package in _PACKAGES}
    return {"autoimb": __version__, "python": platform.python_version()} | packages
