"""One study over one space: propose, evaluate, record, until the deadline or the last trial."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import optuna

from autoimb.budget import Deadline
from autoimb.errors import ClusterLostError
from autoimb.evaluation.outcome import Infeasible, Scored
from autoimb.evaluation.task import Trial
from autoimb.evaluation.trial import evaluate, within
from autoimb.runs.folder import RunFolder
from autoimb.runs.record import TrialRecord
from autoimb.runtime.interrupt import Interrupt
from autoimb.runtime.pool import LOCAL, Backend, Resources, Runner
from autoimb.runtime.progress import Event
from autoimb.runtime.shared import Evaluate
from autoimb.search.history import INTERRUPTED, TrialHistory
from autoimb.search.propose import Agenda, propose

__all__ = ["StudyResult", "StudySettings", "run_study"]

PULSE = 0.25  # seconds between two looks at the clock


@dataclass(frozen=True)
class StudySettings:
    """When a study ends and where it runs.

    Attributes
    ----------
    deadline : Deadline
        Deadline of the search, without the reserve for what follows it. On this machine, one
        worker without a deadline is the current process.
    trial_limit : float or None
        Maximum number of seconds for one trial.
    memory : int or None
        Memory limit in bytes of all trials; None uses the free memory.
    backend : Backend
    synchronous : bool
        Whether trials start in batches of one for each worker, each of which starts when all trials
        of the batch before have ended. What is proposed then depends on no trial's speed.
    evaluate : callable
        `autoimb.evaluation.trial.evaluate` or a replacement.
    on_event : callable or None
        Called at the end of each trial, and several times a second.
    """

    deadline: Deadline = field(default_factory=Deadline)
    trial_limit: float | None = None
    memory: int | None = None
    backend: Backend = LOCAL
    synchronous: bool = False
    evaluate: Evaluate = evaluate
    on_event: Callable[[Event], None] | None = None


@dataclass(frozen=True)
class StudyResult:
    """Trials of a study.

    Attributes
    ----------
    records : tuple of TrialRecord
        Records of all strategies and partners, by number.
    results : mapping of int to Scored
        What can be exported, best first: of every complete trial its out-of-fold predictions,
        and of the best ones and the best control the fitted networks. If no trial is complete
        with its networks, what their deadline left of the others. Then the partners, if there are
        networks.
    interrupted : str
        What ended the study early, ``"the user"`` or a loss; empty otherwise.
    duels : mapping of int to (TrialRecord, Scored or None)
        Trials of matched duels, which are on other rows and folds.
    """

    records: tuple[TrialRecord, ...]
    results: Mapping[int, Scored]
    interrupted: str
    duels: Mapping[int, tuple[TrialRecord, Scored | None]] = field(default_factory=dict)


def run_study(
    agenda: Agenda, *, settings: StudySettings, folder: RunFolder | None = None
) -> StudyResult:
    """Search a space of strategies.

    Parameters
    ----------
    agenda : Agenda
        What the study may try. Afterwards its task has the encoders that the trials fitted.
    settings : StudySettings
    folder : RunFolder or None
        Open folder that stores each trial as soon as it has finished. The study continues with the
        trials that it contains.

    Returns
    -------
    StudyResult
        Also after Ctrl-C or a loss, with all finished trials.
    """
    task = agenda.task
    history = TrialHistory(None if folder is None else folder.store)
    interrupted, runner = "", None
    with _quiet_optuna(), Interrupt() as interrupt:
        try:
            with interrupt.listening():
                resources = Resources(
                    n_jobs=agenda.n_workers,
                    killable=settings.deadline.finite,
                    memory=settings.memory,
                    folder=None if folder is None else folder.cache,
                )
                runner = settings.backend.runner(task, settings.evaluate, resources)
            history.restore(agenda.space)
            _Study(history, agenda, settings, runner).loop(interrupt)
        except KeyboardInterrupt:
            interrupted = "the user"
        except ClusterLostError as lost:
            interrupted = str(lost)
        finally:
            if runner is not None:
                runner.close()
            task.parts.keep_encoders()
            history.end_running(INTERRUPTED)
        history.publish()
    records = [history.records[number] for number in sorted(history.records)]
    return StudyResult(
        records=tuple(record for record in records if record.stage != "duel"),
        results=history.usable(),
        interrupted=interrupted,
        duels={r.number: (r, history.results.get(r.number)) for r in records if r.stage == "duel"},
    )


@dataclass(frozen=True)
class _Study:
    """A study while it runs: it proposes, submits and records trials."""

    history: TrialHistory
    agenda: Agenda
    settings: StudySettings
    runner: Runner

    def loop(self, interrupt: Interrupt) -> None:
        """Run trials until none is left to propose."""
        self._start()
        while self.runner.running:
            self._tell()
            with interrupt.listening():
                ended = self.runner.collect(PULSE)
            finished = []
            for number, outcome in ended:
                # The size of trees is known only after they have grown.
                if self.history.records[number].stage == "partner":
                    outcome = within(outcome, self.agenda.task.limits)
                finished.append(self.history.finish(number, outcome))
            # All trials are stored before anyone is told of one.
            for record in finished:
                self._tell(record)
            self._start()
            if finished:
                # Workers do not wait for it.
                self.history.publish()

    def _start(self) -> None:
        """Submit trials to an idle runner while there is one to propose."""
        history, settings, runner = self.history, self.settings, self.runner
        n_workers = self.agenda.n_workers
        if settings.synchronous and runner.running:
            return
        while len(runner.running) < n_workers if settings.synchronous else runner.idle:
            proposal = propose(history, self.agenda, left=settings.deadline.left())
            if proposal is None:
                return
            record = proposal.record
            history.start(record, proposal.distributions)
            if proposal.infeasible is not None:
                self._tell(history.finish(record.number, Infeasible(proposal.infeasible)))
                continue
            # The limit is twice as long until a trial has a result.
            limit = settings.trial_limit
            if limit is not None and not history.ranked:
                limit *= 2.0
            deadline = settings.deadline.within(limit)
            trial = Trial(record.strategy, deadline, duel=record.stage == "duel")
            runner.submit(record.number, trial)

    def _tell(self, finished: TrialRecord | None = None) -> None:
        """Report a trial that ended, or the time."""
        ranked = self.history.ranked
        event = Event(
            finished=finished,
            best=ranked[0] if ranked else None,
            counts=Counter[str](record.status for record in self.history.strategies),
            running=len(self.history.running),
            n_trials=self.agenda.n_trials,
        )
        if self.settings.on_event is not None:
            self.settings.on_event(event)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Silence Optuna's log."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
