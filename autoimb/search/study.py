"""One Optuna study over one space: ask, evaluate, tell, until the deadline or the last trial."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import optuna

from autoimb.search.agenda import Agenda
from autoimb.search.budget import Deadline
from autoimb.search.choose import is_plain
from autoimb.search.evaluate import evaluate
from autoimb.search.interrupt import Interrupt
from autoimb.search.ledger import Ledger
from autoimb.search.planning import CONFIRMING
from autoimb.search.pool import Runner, runner_for
from autoimb.search.progress import Event
from autoimb.search.pruning import Bar
from autoimb.search.record import RAN, Stage, TrialRecord, unscored
from autoimb.search.worker import Assignment, Evaluate, Work, sentence
from autoimb.space.draw import Space, draw, infeasible
from autoimb.training.parts import Parts

if TYPE_CHECKING:
    from pathlib import Path

    from autoimb.assessment.metrics import Metric
    from autoimb.data.profile import Profile
    from autoimb.data.table import Dataset
    from autoimb.search.evaluate import Outcome
    from autoimb.search.planning import Plan
    from autoimb.search.run_folder import RunFolder
    from autoimb.space.strategy import Strategy

__all__ = ["BEST_KEPT", "StudyResult", "StudySettings", "TrialRecord", "run_study"]

BEST_KEPT = 12  # trials whose fitted networks are kept: a blend takes at most ten
LEAST_TRIAL = 0.5  # seconds: with less left no trial is started
IDLE_ASKS = 50  # strategies in a row that need no evaluation: then the space has no more to give
HOPELESS = 20  # trials failed or infeasible, and no other: then the search ends
PULSE = 0.25  # seconds between two looks at the clock


@dataclass(frozen=True)
class StudySettings:
    """When a study ends and where it runs.

    Parameters
    ----------
    n_trials : int or None
        How many trials may run, in total: those of a resumed search count, infeasible,
        repeated and killed ones don't.
    deadline : Deadline
        Of the search, the reserve for finishing already taken off.
    n_jobs : int
        Worker processes. 1 without a deadline runs in this process.
    random_state : int
    trial_limit : float or None
        Most seconds for one trial.
    storage : str or None
        An Optuna storage URL; None is the RUN folder's journal, or memory without a folder.
    evaluate : callable or None
        None is `autoimb.search.evaluate.evaluate`.
    """

    n_trials: int | None = None
    deadline: Deadline = field(default_factory=Deadline)
    n_jobs: int = 1
    random_state: int = 0
    trial_limit: float | None = None
    storage: str | None = None
    evaluate: Evaluate | None = None


@dataclass(frozen=True)
class StudyResult:
    """What a study found.

    Parameters
    ----------
    records : tuple of TrialRecord
        Of every strategy that was drawn, by number.
    outcomes : mapping of int to Outcome
        With the out-of-fold predictions of every complete trial, best first, and the fitted
        networks of the best `BEST_KEPT`, among those confirmed and among the others, and of the
        best without a lever. Where no trial is complete: of those that their deadline ended with a
        score.
    interrupted : bool
        Whether Ctrl-C ended it.
    """

    records: tuple[TrialRecord, ...]
    outcomes: Mapping[int, Outcome]
    interrupted: bool


def run_study(
    dataset: Dataset,
    plan: Plan,
    space: Space,
    *,
    metric: Metric,
    profile: Profile,
    settings: StudySettings,
    folder: RunFolder | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> StudyResult:
    """Search a space of strategies.

    Parameters
    ----------
    dataset : Dataset
        The training rows.
    plan : Plan
        Folds, epochs and seed, the same for every trial.
    space : Space
    metric : Metric
    profile : Profile
        What the feasibility of an option is read from.
    settings : StudySettings
    folder : RunFolder or None
        Open; holds the study, and each trial as soon as it has finished. What it holds already
        is gone on with.
    on_event : callable or None
        Told of each trial's end, and of the time several times a second.

    Returns
    -------
    StudyResult
        Also after Ctrl-C, with all that had finished.

    Raises
    ------
    RunError
        Where the study of a folder isn't where it was.
    """
    if settings.evaluate is None:
        work = Work(evaluate, dataset, plan, metric, _parts)
    else:
        work = Work(settings.evaluate, dataset, plan, metric)
    cache = None if folder is None else folder.cache
    with _quiet_optuna():
        ledger = Ledger.open(folder, storage=settings.storage, random_state=settings.random_state)
        agenda = Agenda.of(plan, space, settings.deadline)
        search = _Search(ledger, agenda, profile, settings=settings, on_event=on_event)
        with Interrupt() as interrupt:
            interrupted = search.run(work, interrupt, cache=cache)
    return search.result(interrupted=interrupted)


def _parts(dataset: Dataset, plan: Plan, folder: Path | None) -> Parts:
    """Make what is kept between trials: the encoded folds."""
    return Parts(dataset, plan.folds, seed=plan.seed, folder=folder)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@dataclass(frozen=True)
class _Flight:
    """A trial that was asked for and isn't finished."""

    number: int
    stage: Stage
    strategy: Strategy
    params: dict[str, Any]


class _Search:
    """The state of one study while it runs."""

    def __init__(
        self,
        ledger: Ledger,
        agenda: Agenda,
        profile: Profile,
        *,
        settings: StudySettings,
        on_event: Callable[[Event], None] | None,
    ) -> None:
        self._ledger = ledger
        self._agenda = agenda
        self._space = agenda.space
        self._profile = profile
        self._settings = settings
        self._on_event = on_event
        self._records: dict[int, TrialRecord] = {}
        self._outcomes: dict[int, Outcome] = {}
        self._numbers: dict[Strategy, int] = {}  # of each strategy that was drawn
        self._flights: dict[int, _Flight] = {}
        self._exhausted = False

    def run(self, work: Work, interrupt: Interrupt, *, cache: Path | None) -> bool:
        """Go on from what the ledger holds; return whether Ctrl-C ended it."""
        runner: Runner | None = None
        try:
            with interrupt.listening():
                runner = runner_for(
                    work,
                    n_jobs=self._settings.n_jobs,
                    killable=self._settings.deadline.finite,
                    folder=cache,
                )
            self._restore()
            self._loop(runner, interrupt)
        except KeyboardInterrupt:
            return True
        finally:
            if runner is not None:
                runner.close()
            cut_off = tuple(self._flights)
            for record in self._ledger.requeue(cut_off, self._space, suspected=False):
                self._records[record.number] = record
        return False

    def result(self, *, interrupted: bool) -> StudyResult:
        """Return what was found."""
        ranked = self._ranked()
        complete = [n for n in ranked if self._outcomes[n].status == "complete"]
        return StudyResult(
            records=tuple(self._records[number] for number in sorted(self._records)),
            outcomes={number: self._outcomes[number] for number in complete or ranked},
            interrupted=interrupted,
        )

    def _restore(self) -> None:
        for number, stored in self._ledger.restore(self._space).items():
            self._records[number] = stored.record
            if stored.record.status != "killed" and stored.record.stage != "confirm":
                self._numbers[stored.record.strategy] = number
            if _is_usable(stored.outcome):
                self._outcomes[number] = stored.outcome
        self._drop_weights()

    def _loop(self, runner: Runner, interrupt: Interrupt) -> None:
        while True:
            while runner.idle and self._wants_more():
                flight = self._next()
                if flight is None:
                    break
                runner.submit(flight.number, self._assignment(flight))
            if not runner.running:
                return
            self._say(None)
            with interrupt.listening():
                ended = runner.collect(PULSE)
            for number, outcome in ended:
                self._finish(self._flights[number], outcome)

    def _wants_more(self) -> bool:
        """Whether another trial should start now."""
        ran = [record for record in self._records.values() if record.status in RAN]
        n_trials = self._settings.n_trials
        if n_trials is not None and len(ran) + len(self._flights) >= n_trials:
            return False
        useless = [r for r in self._records.values() if r.status in ("failed", "infeasible")]
        if len(useless) >= HOPELESS and len(useless) == len(self._records):
            return False
        seconds = [record.seconds for record in ran if record.status == "complete"]
        typical = max(LEAST_TRIAL, statistics.median(seconds)) if seconds else LEAST_TRIAL
        return not self._exhausted and self._settings.deadline.left() > typical

    def _assignment(self, flight: _Flight) -> Assignment:
        confirms = flight.stage == "confirm"
        return Assignment(
            flight.strategy,
            self._settings.deadline.within(None if confirms else self._trial_limit()),
            # the planned trials are never given up: the verdict and the report compare them
            bar=self._bar() if flight.stage == "search" else None,
            work=CONFIRMING if confirms else 1,
        )

    def _trial_limit(self) -> float | None:
        """Return the most seconds for a trial: twice as many until one has given something."""
        limit = self._settings.trial_limit
        return limit if limit is None or self._outcomes else 2.0 * limit

    def _bar(self) -> Bar | None:
        """Return what a trial must reach to go on; None while nothing is complete."""
        planned = [n for n in self._outcomes if self._records[n].stage != "confirm"]
        best = self._records[min(planned, key=self._rank)] if planned else None
        if best is None or best.status != "complete":
            return None
        return Bar.of(best.curve, best.floor, best.planned)

    def _next(self) -> _Flight | None:
        """Ask until a strategy needs an evaluation; None where the space has no more to give."""
        for _ in range(IDLE_ASKS):
            ranked, left = self._ranked(), self._settings.deadline.left()
            records = [self._records[number] for number in ranked]
            if not self._agenda.plan_ahead(self._ledger, records, left=left):
                break
            trial = self._ledger.ask()
            try:
                strategy = draw(trial, self._space)
            except Exception as error:  # law 7: one bad trial never ends a search
                self._ledger.drop(trial.number, sentence(error))
                continue
            stage: Stage = trial.user_attrs.get("stage", "search")
            flight = _Flight(trial.number, stage, strategy, dict(trial.params))
            if stage != "confirm" and strategy in self._numbers:
                known = self._records.get(self._numbers[strategy])
                self._ledger.repeat(flight.number, known)
                continue
            self._numbers.setdefault(strategy, flight.number)
            self._flights[flight.number] = flight
            reason = infeasible(strategy, self._profile)
            if reason is None:
                return flight
            self._finish(flight, unscored("infeasible", reason))
        self._exhausted = True
        return None

    def _finish(self, flight: _Flight, outcome: Outcome) -> None:
        """Write a trial down; its networks only while it is among the best."""
        number = flight.number
        if outcome.score is not None and not math.isfinite(outcome.score.utility):
            outcome = unscored(
                "failed", f"its score is {outcome.score.value}", seconds=outcome.seconds
            )
        record = TrialRecord.of(number, outcome, stage=flight.stage, strategy=flight.strategy)
        self._records[number] = record
        if _is_usable(outcome):
            self._outcomes[number] = outcome
        if number not in self._kept():
            outcome = replace(outcome, fitted=None)
        self._ledger.finish(record, outcome, flight.params)
        del self._flights[number]
        self._drop_weights()
        self._say(record)

    def _ranked(self) -> list[int]:
        """Return the numbers of the usable trials, complete ones first, best first.

        A strategy that was confirmed competes as it was confirmed, better or worse.
        """
        usable = [self._records[number] for number in self._outcomes]
        again = {r.strategy for r in usable if r.stage == "confirm" and r.status == "complete"}
        competing = (r for r in usable if r.stage == "confirm" or r.strategy not in again)
        return sorted((record.number for record in competing), key=self._rank)

    def _rank(self, number: int) -> tuple[bool, float, int]:
        score = self._records[number].score
        utility = -math.inf if score is None else score.utility
        return self._records[number].status != "complete", -utility, number

    def _kept(self) -> set[int]:
        """Return the trials whose networks are kept: the best, and the best without a lever.

        Of the confirmed ones and of the others apart: one that was confirmed may score less than
        many that still wait for it, and be the best when all are.
        """
        ranked = self._ranked()
        again = [number for number in ranked if self._records[number].stage == "confirm"]
        once = [number for number in ranked if self._records[number].stage != "confirm"]
        plain = [number for number in ranked if is_plain(self._records[number])]
        return {*again[:BEST_KEPT], *once[:BEST_KEPT], *plain[:1]}

    def _drop_weights(self) -> None:
        for number in self._outcomes.keys() - self._kept():
            if self._outcomes[number].fitted is not None:
                self._outcomes[number] = replace(self._outcomes[number], fitted=None)
                self._ledger.drop_weights(number)

    def _say(self, finished: TrialRecord | None) -> None:
        if self._on_event is None:
            return
        ranked = self._ranked()
        counts: Counter[str] = Counter(record.status for record in self._records.values())
        self._on_event(
            Event(
                finished=finished,
                best=self._records[ranked[0]] if ranked else None,
                counts=counts,
                running=len(self._flights),
                n_trials=self._settings.n_trials,
            )
        )


def _is_usable(outcome: Outcome) -> bool:
    """Whether a pipeline could be made of it: also of one that its deadline ended with a score."""
    scored = outcome.score is not None and outcome.oof is not None
    return scored and outcome.status in ("complete", "timeout")
