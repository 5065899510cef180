"""One Optuna study over one space: ask, evaluate, tell, until the deadline or the last trial."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import optuna

from autoimb.budget import Deadline
from autoimb.errors import ClusterLostError
from autoimb.evaluation.outcome import Infeasible, Outcome, Scored, reason_of
from autoimb.evaluation.trial import evaluate, within
from autoimb.runs.journal import Journal
from autoimb.runs.record import APART, RAN, Stage, TrialRecord, usable
from autoimb.runtime.interrupt import Interrupt
from autoimb.runtime.pool import LOCAL, Backend, Resources, Runner
from autoimb.runtime.progress import Event
from autoimb.runtime.worker import Assignment, Evaluate, Work
from autoimb.search.agenda import Agenda
from autoimb.search.known import Known
from autoimb.space.draw import Space, draw, infeasible
from autoimb.space.strategy import Strategy, partner
from autoimb.training.parts import Parts

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from autoimb.data.profile import Profile
    from autoimb.evaluation.basis import Basis
    from autoimb.runs.folder import RunFolder
    from autoimb.training.pruning import Bar

__all__ = ["MAX_USELESS_TRIALS", "PendingTrial", "StudyResult", "StudySettings", "run_study"]

# No trial is started with fewer seconds left.
_MIN_TRIAL_SECONDS = 0.5
# Number of trials, all failed or infeasible, after which the search ends.
MAX_USELESS_TRIALS = 20

PULSE = 0.25  # seconds between two looks at the clock


@dataclass(frozen=True)
class StudySettings:
    """When a study ends and where it runs.

    Parameters
    ----------
    n_trials : int or None
        How many strategies may be tried, in total: those of a resumed search count, infeasible,
        repeated and killed ones don't, nor do partners and duels.
    deadline : Deadline
        Of the search, the reserve for finishing already taken off.
    n_jobs : int
        Worker processes. On this machine, 1 without a deadline runs in this process.
    random_state : int
    partners : tuple of str
        Which are tried as well, in this order.
    trial_limit : float or None
        Most seconds for one trial.
    memory : int or None
        Bytes that everything may take; None for what is free.
    backend : Backend
    evaluate : callable
        `autoimb.evaluation.trial.evaluate`, or a stand-in for it.
    on_event : callable or None
        Told of each trial's end, and of the time several times a second.
    """

    n_trials: int | None = None
    deadline: Deadline = field(default_factory=Deadline)
    n_jobs: int = 1
    random_state: int = 0
    partners: tuple[str, ...] = ()
    trial_limit: float | None = None
    memory: int | None = None
    backend: Backend = LOCAL
    evaluate: Evaluate = evaluate
    on_event: Callable[[Event], None] | None = None


@dataclass(frozen=True)
class StudyResult:
    """What a study found.

    Parameters
    ----------
    records : tuple of TrialRecord
        Of every strategy that was drawn, by number: of its highest rung.
    results : mapping of int to Scored
        What can be exported, best first: of every complete trial its out-of-fold predictions,
        and of the best ones, among those confirmed and among the others, and of the best without a
        method, the fitted networks. Where no trial is complete with its networks: what their
        deadline left of the others. Then the partners, where there are networks.
    interrupted : str
        What ended it early, ``"the user"`` or a loss; empty where nothing did.
    parts : Parts
        The folds, with the encoders that were fitted.
    duels : mapping of int to (TrialRecord, Scored or None)
        The trials of matched duels, which are on other rows and folds.
    """

    records: tuple[TrialRecord, ...]
    results: Mapping[int, Scored]
    interrupted: str
    parts: Parts
    duels: Mapping[int, tuple[TrialRecord, Scored | None]] = field(default_factory=dict)


def run_study(
    study: Basis,
    space: Space,
    *,
    profile: Profile,
    settings: StudySettings,
    duels: Basis | None = None,
    folder: RunFolder | None = None,
) -> StudyResult:
    """Search a space of strategies.

    Parameters
    ----------
    study : Basis
        Training rows, plan and judge, the same for every trial.
    space : Space
    profile : Profile
        What the feasibility of an option is read from.
    settings : StudySettings
    duels : Basis or None
        The same for matched duels; None for a study without.
    folder : RunFolder or None
        Open; holds the study, and each trial as soon as it has finished. What it holds already
        is gone on with.

    Returns
    -------
    StudyResult
        Also after Ctrl-C or a loss, with all that had finished.
    """
    work = Work(settings.evaluate, study, duels)
    interrupted = ""
    runner: Runner | None = None
    parts = Parts(study.dataset, study.plan.folds, seed=study.plan.seed)
    with _quiet_optuna(), Interrupt() as interrupt:
        journal = Journal.open(
            folder,
            space=space,
            random_state=settings.random_state,
            policy=study.plan.policy,
        )
        agenda = Agenda.of(study, space, settings.deadline, duels=duels is not None)
        running = _Study(journal, agenda, profile, settings)
        try:
            with interrupt.listening():
                resources = Resources(
                    n_jobs=settings.n_jobs,
                    killable=settings.deadline.finite,
                    memory=settings.memory,
                    folder=None if folder is None else folder.cache,
                )
                runner = settings.backend.runner(work, resources)
            running.restore()
            running.start(runner)
            while runner.running:
                running.say()
                with interrupt.listening():
                    ended = runner.collect(PULSE)
                finished = [running.finish(number, outcome) for number, outcome in ended]
                for record in finished:  # all are written down before anyone is told of one
                    running.say(record)
                running.start(runner)
        except KeyboardInterrupt:
            interrupted = "the user"
        except ClusterLostError as lost:
            interrupted = str(lost)
        finally:
            if runner is not None:
                with suppress(OSError):  # what can't be read is fitted again
                    parts = runner.encoded()
                runner.close()
            running.requeue()
    known = running.known
    return StudyResult(
        records=tuple(record for record in known.standing if record.stage != "duel"),
        results=known.usable(),
        interrupted=interrupted,
        parts=parts,
        duels={r.number: (r, known.results.get(r.number)) for r in known.duels},
    )


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Silence Optuna's log, which holds nothing for a user."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@dataclass(frozen=True)
class PendingTrial:
    """A trial between its start and its end.

    Attributes
    ----------
    number : int
    stage : Stage
    strategy : Strategy
    params : dict
        What the study drew, by Optuna's names.
    rung : float
    follows : int or None
        The trial of the same strategy at the rung below.
    """

    number: int
    stage: Stage
    strategy: Strategy
    params: dict[str, Any] = field(default_factory=dict)
    rung: float = 1.0
    follows: int | None = None

    @classmethod
    def of(cls, trial: FrozenTrial, space: Space) -> Self:
        """Read a trial that Optuna holds; it raises where no strategy can be drawn from that."""
        attributes = trial.user_attrs
        return cls(
            trial.number,
            attributes["stage"],
            draw(trial, space),
            dict(trial.params),
            rung=attributes["rung"],
            follows=attributes.get("follows"),
        )

    def assignment(self, deadline: Deadline, *, limit: float | None, bar: Bar | None) -> Assignment:
        """Return what a worker is asked to do.

        Parameters
        ----------
        deadline : Deadline
            Of the search.
        limit : float or None
            Most seconds for a trial.
        bar : Bar or None
            What a trial must reach to go on.
        """
        confirms = self.stage == "confirm"
        return Assignment(
            self.strategy,
            deadline.within(None if confirms else limit),
            # planned trials and duels are never given up: choice, verdict and report compare them
            bar=bar if self.stage == "search" else None,
            rung=self.rung,
            confirm=confirms,
            duel=self.stage == "duel",
        )


class _Study:
    """The trials of one study while it runs: what is known, and what comes next."""

    def __init__(
        self, journal: Journal, agenda: Agenda, profile: Profile, settings: StudySettings
    ) -> None:
        self._journal, self._agenda, self._settings = journal, agenda, settings
        self._space, self._policy, self._profile = agenda.space, agenda.policy, profile
        self.known = Known(agenda.policy)
        self._numbers: dict[Strategy, int] = {}  # of each strategy that was drawn
        self._running: dict[int, PendingTrial] = {}
        self._exhausted = set[bool]()  # before a control is known, whose methods then come; after

    # --- what is known ------------------------------------------------------------------------

    def restore(self) -> None:
        """Take over what the journal holds."""
        for number, stored in self._journal.restore().items():
            record = stored.record
            self.known.add(record, stored.result)
            if record.status == "killed":  # its strategy may be tried once more
                if self._numbers.get(record.strategy) == number:
                    del self._numbers[record.strategy]
            elif record.follows is None and record.stage != "duel":
                self._numbers[record.strategy] = number
        self._drop_weights()

    def say(self, finished: TrialRecord | None = None) -> None:
        """Tell of a trial that ended, or of the time."""
        if self._settings.on_event is None:
            return
        ranked = self.known.ranked
        counts = Counter[str](r.status for r in self.known.standing if not r.apart)
        self._settings.on_event(
            Event(
                finished=finished,
                best=ranked[0] if ranked else None,
                counts=counts,
                running=len(self._running),
                n_trials=self._settings.n_trials,
            )
        )

    # --- what comes next ----------------------------------------------------------------------

    def start(self, runner: Runner) -> None:
        """Give an idle runner trials, while there should be more."""
        while runner.idle:
            trial = self._next_partner() or (self._next_strategy() if self._wants_more() else None)
            if trial is None:
                return
            limit, bar = self._trial_limit(), self.known.bar
            asked = trial.assignment(self._settings.deadline, limit=limit, bar=bar)
            runner.submit(trial.number, asked)

    def _next_partner(self) -> PendingTrial | None:
        """Begin the next partner, where its turn has come."""
        stages = [r.stage for r in self.known.records.values()]
        stages += [trial.stage for trial in self._running.values()]
        if self._settings.deadline.left() < self._policy.suggestions.min_partner_seconds:
            return None
        for name in self._agenda.partners_due(
            self._settings.partners,
            tried=sum(stage not in APART for stage in stages),
            workers=self._settings.n_jobs,
        ):
            number = self._journal.queue.begin_partner(name)
            if number is not None:
                strategy = partner(name, costs=self._space.costs)
                self._running[number] = trial = PendingTrial(number, "partner", strategy)
                return trial
        return None

    def _wants_more(self) -> bool:
        """Whether another trial should start now."""
        tried = self.known.strategies
        useless = [record for record in tried if record.status in ("failed", "infeasible")]
        if len(useless) >= MAX_USELESS_TRIALS and len(useless) == len(tried):
            return False
        return self._settings.deadline.left() > _MIN_TRIAL_SECONDS

    def _may_try_new(self) -> bool:
        """Whether a strategy may start that was not tried yet, and would end in time."""
        ran = [record for record in self.known.strategies if record.status in RAN]
        tried = {record.strategy for record in ran}
        tried |= {t.strategy for t in self._running.values() if t.stage not in APART}
        most = self._settings.n_trials
        if self.known.has_control in self._exhausted or (most is not None and len(tried) >= most):
            return False
        seconds = [r.seconds for r in ran if r.follows is None and r.score is not None]
        typical = max(_MIN_TRIAL_SECONDS, statistics.median(seconds) if seconds else 0.0)
        return self._settings.deadline.left() > typical

    def _next_strategy(self) -> PendingTrial | None:
        """Ask until a strategy needs an evaluation; None where the space has none to give now."""
        for _ in range(self._policy.suggestions.max_repeated_draws):
            records, left = self.known.strategies, self._settings.deadline.left()
            new = self._may_try_new()
            duels, queue = self.known.duels, self._journal.queue
            ahead = self._agenda.plan_ahead(queue, records, duels, left=left, new=new)
            asked = queue.ask() if ahead else None
            if asked is None:
                return None
            try:
                trial = PendingTrial.of(asked, self._space)
            except Exception as error:  # law 7: one bad trial never ends a search
                self._journal.drop(asked.number, reason_of(error))
                continue
            if trial.stage != "duel":
                tried = self._numbers.get(trial.strategy)
                if trial.follows is None and tried is not None:
                    self._journal.close_duplicate(trial.number, self.known.records.get(tried))
                    continue
                self._numbers.setdefault(trial.strategy, trial.number)
            self._running[trial.number] = trial
            reason = infeasible(trial.strategy, self._profile)
            if reason is None and trial.stage != "duel":
                reason = self._agenda.limits.broken_by(trial.strategy)
            if reason is None:
                return trial
            self.say(self.finish(trial.number, Infeasible(reason)))
        self._exhausted.add(self.known.has_control)
        return None

    def _trial_limit(self) -> float | None:
        """Return the most seconds for a trial: twice as many until one has given something."""
        limit = self._settings.trial_limit
        return limit if limit is None or self.known.ranked else 2.0 * limit

    # --- what has ended -----------------------------------------------------------------------

    def finish(self, number: int, outcome: Outcome) -> TrialRecord:
        """Write down a trial, and delete the networks that are no longer among the best."""
        trial = self._running[number]
        if trial.stage == "partner":  # what its trees take is known only now
            outcome = within(outcome, self._agenda.limits)
        record = TrialRecord.of(
            number,
            outcome,
            stage=trial.stage,
            strategy=trial.strategy,
            rung=trial.rung,
            before=None if trial.follows is None else self.known.records[trial.follows],
        )
        result = self.known.add(record, usable(outcome))
        self._journal.finish(record, result, trial.params)
        self._drop_weights()
        del self._running[number]
        return record

    def _drop_weights(self) -> None:
        """Delete the networks that are no longer among the best."""
        for number in self.known.drop():
            self._journal.drop_weights(number)

    def requeue(self) -> None:
        """Close the trials that were cut off, so that another search asks for them once more."""
        for record in self._journal.requeue(self._running):
            self.known.add(record, None)
