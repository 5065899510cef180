"""One study over one space: propose, evaluate, record, until the deadline or the last trial."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import optuna

from autoimb.budget import Deadline
from autoimb.errors import ClusterLostError
from autoimb.evaluation.outcome import Infeasible, Outcome, Scored
from autoimb.evaluation.trial import evaluate, within
from autoimb.runs.record import APART, RAN, TrialRecord
from autoimb.runtime.interrupt import Interrupt
from autoimb.runtime.pool import LOCAL, Backend, Resources, Runner
from autoimb.runtime.progress import Event
from autoimb.runtime.worker import Assignment, Evaluate, Work
from autoimb.search.agenda import Agenda
from autoimb.search.history import Proposal, TrialHistory
from autoimb.search.sampler import ask
from autoimb.space.draw import Space, draw, infeasible
from autoimb.space.strategy import Strategy, partner
from autoimb.training.parts import Parts

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

    from autoimb.data.profile import Profile
    from autoimb.evaluation.task import Task
    from autoimb.runs.folder import RunFolder

__all__ = ["MAX_USELESS_TRIALS", "StudyResult", "StudySettings", "run_study"]

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
        Of every strategy that was drawn, by number.
    results : mapping of int to Scored
        What can be exported, best first: of every complete trial its out-of-fold predictions,
        and of the best ones and the best control the fitted networks. Where no trial is complete
        with its networks: what their deadline left of the others. Then the partners, where there
        are networks.
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
    study: Task,
    space: Space,
    *,
    profile: Profile,
    settings: StudySettings,
    duels: Task | None = None,
    folder: RunFolder | None = None,
) -> StudyResult:
    """Search a space of strategies.

    Parameters
    ----------
    study : Task
        Training rows, plan and judge, the same for every trial.
    space : Space
    profile : Profile
        What the feasibility of an option is read from.
    settings : StudySettings
    duels : Task or None
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
        store = None if folder is None else folder.store
        history = TrialHistory(space, store)
        agenda = Agenda.of(study, space, settings.deadline, duels=duels is not None)
        running = _Study(history, agenda, profile, settings)
        try:
            with interrupt.listening():
                resources = Resources(
                    n_jobs=settings.n_jobs,
                    killable=settings.deadline.finite,
                    memory=settings.memory,
                    folder=None if folder is None else folder.cache,
                )
                runner = settings.backend.runner(work, resources)
            history.restore()
            running.start(runner)
            while runner.running:
                running.say()
                with interrupt.listening():
                    ended = runner.collect(PULSE)
                finished = [running.finish(number, outcome) for number, outcome in ended]
                for record in finished:  # all are written down before anyone is told of one
                    running.say(record)
                running.start(runner)
                if finished:
                    history.publish()  # workers don't wait for it
        except KeyboardInterrupt:
            interrupted = "the user"
        except ClusterLostError as lost:
            interrupted = str(lost)
        finally:
            if runner is not None:
                with suppress(OSError):  # what can't be read is fitted again
                    parts = runner.encoded()
                runner.close()
            history.interrupt()
        history.publish()
    return StudyResult(
        records=tuple(
            history.records[n]
            for n in sorted(history.records)
            if history.records[n].stage != "duel"
        ),
        results=history.usable(),
        interrupted=interrupted,
        parts=parts,
        duels={r.number: (r, history.results.get(r.number)) for r in history.duels},
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


class _Study:
    """The trials of one study while it runs: how they start, and how they end."""

    def __init__(
        self, history: TrialHistory, agenda: Agenda, profile: Profile, settings: StudySettings
    ) -> None:
        self._history, self._agenda, self._settings = history, agenda, settings
        self._space, self._policy, self._profile = agenda.space, agenda.policy, profile
        self._exhausted = set[bool]()  # before a control is known, whose methods then come; after

    def say(self, finished: TrialRecord | None = None) -> None:
        """Tell of a trial that ended, or of the time."""
        if self._settings.on_event is None:
            return
        ranked = self._history.ranked
        counts = Counter[str](r.status for r in self._history.strategies)
        self._settings.on_event(
            Event(
                finished=finished,
                best=ranked[0] if ranked else None,
                counts=counts,
                running=len(self._history.running),
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
            runner.submit(trial.number, self._assignment(trial))

    def _assignment(self, trial: TrialRecord) -> Assignment:
        """Return what a worker is asked to do."""
        return Assignment(
            trial.strategy,
            self._settings.deadline.within(self._trial_limit()),
            duel=trial.stage == "duel",
        )

    def _next_partner(self) -> TrialRecord | None:
        """Start the next partner, where its turn has come."""
        started = self._history.started
        if self._settings.deadline.left() < self._policy.suggestions.min_partner_seconds:
            return None
        for name in self._agenda.partners_due(
            self._settings.partners,
            tried=sum(record.stage not in APART for record in started),
            workers=self._settings.n_jobs,
        ):
            strategy = partner(name, costs=self._space.costs)
            before = [record for record in started if record.strategy == strategy]
            # one that was cut off may have ended the program, and gets one more chance
            if len(before) < 2 and all(record.status == "killed" for record in before):
                return self._history.start(Proposal("partner"), strategy)
        return None

    def _wants_more(self) -> bool:
        """Whether another trial should start now."""
        tried = self._history.strategies
        useless = [record for record in tried if record.status in ("failed", "infeasible")]
        if len(useless) >= MAX_USELESS_TRIALS and len(useless) == len(tried):
            return False
        return self._settings.deadline.left() > _MIN_TRIAL_SECONDS

    def _may_try_new(self) -> bool:
        """Whether a strategy may start that was not tried yet, and would end in time."""
        ran = [record for record in self._history.strategies if record.status in RAN]
        running = (trial.record for trial in self._history.running.values())
        tried = {record.strategy for record in (*ran, *running) if not record.apart}
        most = self._settings.n_trials
        if self._history.has_control in self._exhausted or (
            most is not None and len(tried) >= most
        ):
            return False
        seconds = [r.seconds for r in ran if r.score is not None]
        typical = max(_MIN_TRIAL_SECONDS, statistics.median(seconds) if seconds else 0.0)
        return self._settings.deadline.left() > typical

    def _next_strategy(self) -> TrialRecord | None:
        """Start the next strategy that needs an evaluation; None where there is none now."""
        history = self._history
        for _ in range(self._policy.suggestions.max_repeated_draws):
            left, new = self._settings.deadline.left(), self._may_try_new()
            proposal = self._agenda.propose(history, left=left, new=new)
            if proposal is None:
                return None
            drawn = self._drawn(proposal)
            try:
                strategy = draw(drawn, self._space)
            except Exception:  # law 7: one bad trial never ends a search
                history.count(proposal)
                continue
            if proposal.stage != "duel" and self._is_known(strategy):
                history.count(proposal)
                continue
            trial = history.start(proposal, strategy, drawn)
            reason = infeasible(strategy, self._profile)
            if reason is None and trial.stage != "duel":
                reason = self._agenda.limits.broken_by(strategy)
            if reason is None:
                return trial
            self.say(history.finish(trial.number, Infeasible(reason)))
        self._exhausted.add(history.has_control)
        return None

    def _drawn(self, proposal: Proposal) -> BaseTrial:
        """Return a trial from which the proposed strategy can be drawn."""
        history = self._history
        if proposal.repeats is not None:
            return history.trials[proposal.repeats]
        return ask(
            list(history.trials.values()),
            proposal.values,
            number=history.n_proposed,
            random_state=self._settings.random_state,
            policy=self._policy,
        )

    def _is_known(self, strategy: Strategy) -> bool:
        """Whether a strategy was tried or runs; one that was cut off may be tried once more."""
        return any(
            record.strategy == strategy and record.status != "killed" and record.stage != "duel"
            for record in self._history.started
        )

    def _trial_limit(self) -> float | None:
        """Return the most seconds for a trial: twice as many until one has given something."""
        limit = self._settings.trial_limit
        return limit if limit is None or self._history.ranked else 2.0 * limit

    # --- what has ended -----------------------------------------------------------------------

    def finish(self, number: int, outcome: Outcome) -> TrialRecord:
        """Record the end of a trial."""
        if self._history.running[number].record.stage == "partner":
            outcome = within(outcome, self._agenda.limits)  # what its trees take is known only now
        return self._history.finish(number, outcome)
