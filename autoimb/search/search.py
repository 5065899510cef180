"""The search, from the checked table to the fitted pipeline."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from autoimb.assessment.averaging import of_the_mean
from autoimb.assessment.checks import Finding
from autoimb.assessment.verdict import Verdict, verdict
from autoimb.budget import Budget
from autoimb.errors import RunError
from autoimb.evaluation.assemble import Decided, assemble
from autoimb.evaluation.choose import Winner, choose
from autoimb.evaluation.limits import timed
from autoimb.evaluation.rates import at_counted_rates
from autoimb.evaluation.task import Task, plan_duels
from autoimb.evaluation.trial import evaluate
from autoimb.pipeline.artifact import artifact_bytes
from autoimb.pipeline.fitted import FittedPipeline
from autoimb.pipeline.summary import stamp
from autoimb.runs.folder import RunFolder, understood
from autoimb.runtime.batches import Synchronous
from autoimb.runtime.pool import LOCAL, Backend
from autoimb.runtime.progress import Event, Progress
from autoimb.runtime.worker import one_thread
from autoimb.search.duels import fought
from autoimb.search.limiting import check_limits
from autoimb.search.prepare import Planned, Prepared, check_table, plan_study
from autoimb.search.study import StudyResult, StudySettings, run_study
from autoimb.version import __version__

if TYPE_CHECKING:
    from autoimb.assessment.uncertainty import Reported
    from autoimb.runs.record import TrialRecord
    from autoimb.runtime.worker import Evaluate
    from autoimb.search.untouched import Tested, Untouched
    from autoimb.space.strategy import Strategy

__all__ = ["TRIAL_SHARE", "Callback", "SearchResult", "conclude", "search", "versions"]

# Largest share of the budget for a single trial.
TRIAL_SHARE = 0.25
# Share of the time left after the search for choosing the result.
_CHOOSING_SHARE = 0.75
# Largest share of the budget for predicting test rows.
_TEST_SHARE = 0.1

Callback = Callable[[Event], object]

MOST_REASONS = 5
PACKAGES = ("torch", "optuna", "imbalanced-learn", "scikit-learn", "numpy", "pandas")


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found.

    Attributes
    ----------
    pipeline : FittedPipeline
        What is exported.
    planned : Planned
        What the search was of.
    study : StudyResult
        All trials; their networks are left out.
    winner : Winner
    verdict : Verdict
        Whether the rare class needs special treatment on this table.
    timing : dict of str to float
        Seconds by stage.
    findings : tuple of Finding
        What the checks saw before the first trial.
    deployed : dict of str to float or None
        What `pipeline` takes and may take; see `Limits.deployed`, and as measured: ``seconds``,
        and ``bytes`` of its file.
    tested : Tested or None
        What `pipeline` says of the rows that nothing else saw.
    error : Exception or None
        What a callback raised; it ended the search.
    """

    pipeline: FittedPipeline
    planned: Planned
    study: StudyResult
    winner: Winner
    verdict: Verdict
    timing: dict[str, float]
    deployed: Mapping[str, float | None] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    tested: Tested | None = None
    error: Exception | None = None

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """All trials of the search, by number."""
        return self.study.records

    @property
    def best_strategy(self) -> Strategy:
        """The best single strategy, after law 3."""
        found = {record.number: record.strategy for record in self.records}
        return found[self.winner.single]

    @property
    def best_score(self) -> Reported:
        """Out of fold, of the result, without the optimism of its choice."""
        return self.winner.reported

    @property
    def interrupted(self) -> str:
        """What ended the search early; empty where nothing did."""
        return self.study.interrupted


def search(
    prepared: Prepared,
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
    prepared : Prepared
        The checked table and request.
    budget : Budget
        Running since the start of all.
    folder : RunFolder or None
        An open folder that keeps the trials.
    callbacks : sequence of callable
        Each called with an `Event` when a trial has ended and is written down. What one raises
        ends the search as Ctrl-C does.
    backend : Backend
        Where trials run.
    evaluate : callable
        `autoimb.evaluation.trial.evaluate`, or a stand-in for it.

    Returns
    -------
    SearchResult
        Also after Ctrl-C, from the trials that had finished.

    Raises
    ------
    RunError
        Where no trial was completed; the message counts the reasons.
    BudgetError
        Where the budget ended before a first trial.
    Exception
        What a callback raised, where nothing had finished by then.
    """
    request = prepared.request
    in_time = partial(_in_time, budget, folder)
    in_time("the study was planned")
    planned = plan_study(prepared, time_budget=_planned_budget(prepared, budget, folder))
    check_limits(prepared.space, planned.limits)
    in_time("its duels were planned")
    duels = None if prepared.request.strategy is not None else plan_duels(planned.task)
    test, seconds = _planned_test(prepared, budget)
    cells = len(planned.judge.y) * len(planned.judge.metric.classes)
    budget = replace(budget, cells=cells).at_its_pace()
    if planned.unseen is not None and budget.total is not None:
        seconds += len(planned.unseen.y) * prepared.policy.reserves.test_row_seconds
    findings = check_table(planned)
    in_time("the first trial")
    ready = budget.elapsed
    listeners = _Listeners(callbacks, findings)
    with Progress(budget, metric=prepared.metric.name, verbose=request.verbose) as progress:
        study = run_study(
            planned.task,
            prepared.space,
            duels=duels,
            profile=planned.trial_profile,
            settings=StudySettings(
                n_trials=request.most_trials,
                deadline=budget.search_deadline.sooner(seconds),
                n_jobs=request.n_jobs,
                random_state=request.random_state,
                partners=request.partners,
                trial_limit=_trial_limit(prepared, budget),
                memory=request.max_memory,
                backend=Synchronous(backend) if request.synchronous else backend,
                evaluate=evaluate,
                on_event=partial(listeners.tell, progress),
            ),
            folder=folder,
        )
    timing = {"preparing": ready, "searching": budget.elapsed - ready}
    if listeners.error is not None and not study.results:
        raise listeners.error
    with one_thread():  # which no other program's load makes many times slower
        result = conclude(planned, study, duels, budget=budget, timing=timing)
        tested = None if test is None else test.predicted(result.pipeline, planned.judge)
    return replace(result, findings=findings, tested=tested, error=listeners.error)


def _in_time(budget: Budget, folder: RunFolder | None, before: str) -> None:
    """Raise BudgetError where no trial can begin any more, and none was there before."""
    if folder is None or not folder.store.records():
        budget.check(before)


class _Listeners:
    """Who is told of a study's events.

    Parameters
    ----------
    callbacks : sequence of callable
    findings : sequence of Finding
        Told once the study has begun: what can't begin is one line, its error.

    Attributes
    ----------
    error : Exception or None
        What a callback raised.
    """

    def __init__(self, callbacks: Sequence[Callback], findings: Sequence[Finding]) -> None:
        self._callbacks = tuple(callbacks)
        self._waiting = [str(finding) for finding in findings]
        self.error: Exception | None = None

    def tell(self, progress: Progress, event: Event) -> None:
        """Show an event, and call back where a trial has ended."""
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
            raise KeyboardInterrupt from error  # what has finished becomes the result


def _planned_test(prepared: Prepared, budget: Budget) -> tuple[Untouched | None, float]:
    """Return the test rows that there is time to predict, and the seconds to keep for them."""
    test, reserves = prepared.test, prepared.policy.reserves
    if test is None or budget.total is None:
        return test, 0.0
    test = test.at_most(int(_TEST_SHARE * budget.total / reserves.test_row_seconds))
    return test, len(test.codes) * reserves.test_row_seconds


def _trial_limit(prepared: Prepared, budget: Budget) -> float | None:
    """Return the most seconds for one trial; one strategy alone has all of them."""
    if budget.total is None or prepared.request.strategy is not None:
        return None
    return TRIAL_SHARE * budget.total


def _planned_budget(prepared: Prepared, budget: Budget, folder: RunFolder | None) -> float | None:
    """Return the seconds to plan for; a resumed study goes on as it was planned.

    What is asked for and planned, and when this began, is written down.
    """
    request = prepared.request
    if folder is None:
        return request.time_budget
    first = {"time_budget": request.time_budget, "folds": len(prepared.folds.folds)}
    with understood(folder.path / "run.json", "plan"):
        plan = folder.read_run().get("plan", first)
        seconds: float | None = plan["time_budget"]
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
    planned: Planned,
    study: StudyResult,
    duels: Task | None,
    *,
    budget: Budget,
    timing: dict[str, float],
) -> SearchResult:
    """Turn the finished study into the result.

    Parameters
    ----------
    planned : Planned
    study : StudyResult
        Of this plan. Sees: out-of-fold predictions of the scored rows, by the fitted networks.
    duels : Task or None
        What the study's duels were on.
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
        Where no trial was completed; the message counts the reasons.
    """
    started = time.monotonic()
    if not study.results:
        raise RunError(_why_nothing(study))
    prepared, plan, judge = planned.prepared, planned.plan, planned.judge
    winner = choose(
        judge,
        {record.number: record.strategy for record in study.records},
        study.results,
        random_state=plan.seed,
        deadline=budget.deadline.fraction(_CHOOSING_SHARE),
        policy=plan.policy,
        limits=planned.limits,
    )
    best = winner.blend
    chosen = (study.results[number].fitted for number in best.numbers)
    made = assemble(
        study.parts,
        plan,
        judge,
        schema=prepared.schema,
        classes=prepared.target.classes,
        strategies=[fitted for fitted in chosen if fitted is not None],
        weights=best.weights,
        decided=Decided(winner.deployed, best.proba, best.score, winner.calibrator, winner.rule),
    )
    pipeline, gain = made.pipeline, made.gain_of_mean
    if gain is not None:
        winner = replace(winner, reported=of_the_mean(winner.reported, gain, judge))
    if planned.unseen is not None:
        pipeline = at_counted_rates(pipeline, planned.unseen, judge, winner.deployed)
    reported = replace(winner.reported, estimate=_estimate(prepared))
    winner = replace(winner, reported=reported)
    said = _verdict(prepared, study, duels)
    info = stamp() | pipeline.info | {"rows": prepared.profile.n_rows, **reported.to_info()}
    info["verdict"] = said.sentence
    if planned.expected is not None:
        info["rate"] = planned.expected.to_info(prepared.dataset.positive)
    deployed = planned.limits.deployed(pipeline)
    if planned.limits.deployment is not None:
        info["deployed"] = deployed
    seconds = timed(pipeline, prepared.dataset.columns)  # not in the file, whose bytes they change
    pipeline = replace(pipeline, info=info)
    light = {number: replace(one, fitted=None) for number, one in study.results.items()}
    return SearchResult(
        pipeline=pipeline,
        planned=planned,
        study=replace(study, results=light),
        winner=winner,
        verdict=said,
        timing=timing | {"finishing": time.monotonic() - started},
        deployed=deployed | {"seconds": seconds, "bytes": artifact_bytes(pipeline)},
    )


def _estimate(prepared: Prepared) -> str:
    """Say on what the score is expected: rows like these, later ones, or those of new groups."""
    later = prepared.dataset.times is not None
    if prepared.dataset.cluster is None:
        return "later rows" if later else "new data"
    names = prepared.request.groups
    groups = f"new groups ({', '.join(names)})" if names else "new groups"
    return f"later rows of {groups}" if later else groups


def _verdict(prepared: Prepared, study: StudyResult, duels: Task | None) -> Verdict:
    """Say whether the rare class needs special treatment, from the duels alone."""
    several = len(prepared.target.classes) > 2
    return verdict(
        fought(prepared.space, study.duels, duels),
        metric=prepared.metric.name.replace("_", " "),
        rare="rarer classes" if several else "rare class",
    )


def _why_nothing(study: StudyResult) -> str:
    records, way_on = study.records, "Give the search more time, fewer rows or fewer options."
    if study.interrupted:
        way_on = f"The search was interrupted by {study.interrupted}."
    reasons = Counter(f"{r.status}: {r.reason}" if r.reason else r.status for r in records)
    shown = "; ".join(f"{count} × {why}" for why, count in reasons.most_common(MOST_REASONS))
    return f"No trial was completed{f' ({shown})' if shown else ''}. {way_on}"


def versions() -> dict[str, str]:
    """Return the versions of what makes a result, by package."""
    found = {"autoimb": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        found[package] = version(package)
    return found
