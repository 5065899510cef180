"""The books of a study: its Optuna storage and its RUN folder, kept in step through any kill.

A trial's file is written before Optuna is told. So after a kill a trial that Optuna holds for
running has either a file, and is told from it, or none, and is asked for once more.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from optuna.storages import InMemoryStorage, get_storage
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from autoimb.errors import OptionError, RunError, StorageLostError
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.runs.database import reach
from autoimb.runs.held import HeldTrials
from autoimb.runs.queue import Queue
from autoimb.runs.record import Stage, StoredTrial, TrialRecord
from autoimb.runs.sharing import Alone, SharedStudy, Sharing
from autoimb.space.draw import Space, draw
from autoimb.space.strategy import Strategy, partner

if TYPE_CHECKING:
    from autoimb.evaluation.trial import Scored
    from autoimb.pipeline.fitted import FittedStrategy
    from autoimb.runs.folder import RunFolder
    from autoimb.runs.trials import TrialFiles

__all__ = ["Journal"]

T = TypeVar("T")

KILLED = "the program ended while this trial ran"


class Journal:
    """Writes down what became of each trial, and keeps storage and folder in step.

    Parameters
    ----------
    sharing : Sharing
        The storage and the name of the study, and who else works on it.
    space : Space
    folder : RunFolder or None
    random_state : int
    policy : SearchPolicy, optional
        How many strategies the sampler learns from.

    Attributes
    ----------
    queue : Queue
        What is enqueued and asked for.
    """

    def __init__(
        self,
        sharing: Sharing,
        *,
        space: Space,
        folder: RunFolder | None,
        random_state: int,
        policy: SearchPolicy = DEFAULT_POLICY,
    ) -> None:
        self._space, self._files = space, None if folder is None else folder.files
        self._held = HeldTrials(sharing)
        self.queue = Queue(self._held, space=space, random_state=random_state, policy=policy)
        self._heard: set[int] = set()  # the trials whose end this driver knows
        self._heard_below = 0  # all of them below

    @classmethod
    def open(
        cls,
        folder: RunFolder | None,
        *,
        space: Space,
        storage: SharedStudy | str | None,
        random_state: int,
        policy: SearchPolicy = DEFAULT_POLICY,
    ) -> Journal:
        """Open the study of a folder, or a new one.

        Parameters
        ----------
        folder : RunFolder or None
        space : Space
            Of the strategies that it is asked for.
        storage : SharedStudy, str or None
            A study with other drivers, or an Optuna storage URL; None is the folder's journal, or
            memory without a folder.
        random_state : int
        policy : SearchPolicy, optional

        Raises
        ------
        RunError
            Where the folder's study is kept elsewhere than `storage` says, or `storage` is none.
        """
        made = partial(cls, space=space, folder=folder, random_state=random_state, policy=policy)
        if isinstance(storage, SharedStudy):
            return made(storage)
        if folder is None:
            place = InMemoryStorage() if storage is None else get_storage(reach(storage))
            return made(Alone(place, f"autoimb-{uuid.uuid4().hex[:12]}"))
        if folder.journal.is_file() and storage is not None:
            raise RunError(f"The search in {folder.path} keeps its own journal: give no storage.")
        if storage is None and folder.read_run().get("external_storage"):
            raise RunError(f"The search in {folder.path} needs the storage that it began with.")
        folder.update_run({"external_storage": storage is not None})
        name = folder.study_name
        if storage is not None:
            return made(Alone(get_storage(reach(storage)), name))
        try:
            return made(Alone(folder.storage(), name))
        except Exception as error:  # whole lines that are no study: it is made anew from trials
            folder.set_journal_aside(error)
            return made(Alone(folder.storage(), name))

    @property
    def shared(self) -> bool:
        """Whether other drivers may work on the study."""
        return self._held.sharing.shared

    @property
    def shared_files(self) -> TrialFiles | None:
        """The files of a study's trials where other drivers may read them; None elsewhere."""
        return self._files if self.shared else None

    def exclusively(self, step: Callable[[], T]) -> T:
        """Do something while no other driver does; it may be begun anew."""
        return self._held.exclusively(step)

    def elsewhere(self) -> list[FrozenTrial]:
        """Return the trials that other drivers run."""
        running = (t for t in self._held.unfinished() if t.state == TrialState.RUNNING)
        return [trial for trial in running if not self._held.is_mine(trial)]

    def finish(
        self,
        record: TrialRecord,
        result: Scored | None,
        params: Mapping[str, Any],
        *,
        before_told: Callable[[], None] = lambda: None,
    ) -> bool:
        """Write a finished trial down, then tell Optuna.

        Parameters
        ----------
        record : TrialRecord
        result : Scored or None
        params : mapping of str to value
            What the study drew, by Optuna's names.
        before_told : callable, optional
            Done once the trial is written, and before others hear of it; not for one given up.

        Returns
        -------
        bool
            False where it had been given up meanwhile, as its driver was not heard of.
        """

        def finished() -> bool:
            status = self._held.status(record.number)
            if status is not None:  # it was told, and the connection broke before that was said
                return status == record.status
            if self._files is not None:
                self._files.save(record, result, params)
            before_told()
            return self._tell(record)

        ended = self._held.sharing.patiently(finished)
        if ended:
            self._heard.add(record.number)
        return ended

    def drop_weights(self, number: int) -> None:
        """Delete the networks of a trial that is no longer among the best."""
        if self._files is not None:
            self._files.drop_weights(number)

    def networks(self, number: int) -> FittedStrategy | None:
        """Read the networks of a trial, whoever has trained them; None where none can be read."""
        try:
            return None if self._files is None else self._files.networks(number)
        except StorageLostError:
            return None

    def close_duplicate(self, number: int, known: TrialRecord | None) -> None:
        """Close a trial whose strategy is known: with its value, or unheard while that runs."""
        state, value = (TrialState.FAIL, None) if known is None else (_state(known), _value(known))
        self._close(number, "repeated", state, value)

    def drop(self, number: int, reason: str) -> None:
        """Close a trial from which no strategy could be drawn."""
        self._close(number, reason, TrialState.FAIL)

    def heard(self) -> dict[int, StoredTrial]:
        """Return what others have ended since this was asked last, while nobody has to wait.

        Returns
        -------
        dict of int to StoredTrial
            By number, without networks; `news` has what is left.
        """
        if (files := self.shared_files) is None:
            return {}
        ended = self._held.patiently(self._unheard)
        stored = files.load(ended, networks=False)
        self._heard.update(ended)
        return stored

    def news(self) -> dict[int, StoredTrial]:
        """Return what has ended since this was asked last, and was not `finish`-ed here.

        What drivers left that are gone is told from its file where it has one, else closed and
        asked for once more.

        Returns
        -------
        dict of int to StoredTrial
            By number, without networks; a trial that was cut off has the status "killed".
        """
        if self._files is None:
            return {}
        ended, left = self._unheard(), self._left_behind()
        stored = self._files.load([*ended, *left], networks=False)
        for number in set(left) & set(stored):
            self._tell(stored[number].record)
        killed = self._requeue([n for n in left if n not in stored], suspected=True)
        stored |= {record.number: StoredTrial(record, None, {}) for record in killed}
        self._heard.update(ended, stored)
        return dict(sorted(stored.items()))

    def _unheard(self) -> list[int]:
        """Return the trials whose end this driver does not know."""
        trials = self._held.every()
        while self._heard_below in self._heard:
            self._heard_below += 1
        later = (trial for trial in trials[self._heard_below :] if trial.state.is_finished())
        return [trial.number for trial in later if trial.number not in self._heard]

    def _left_behind(self) -> list[int]:
        """Return the trials that run for a driver which is gone."""
        others = self.elsewhere()
        living = self._held.sharing.living() if others else set()
        return [trial.number for trial in others if trial.user_attrs.get("driver") not in living]

    def requeue(self, numbers: tuple[int, ...]) -> list[TrialRecord]:
        """Close trials of this driver, and put their strategies into the queue again.

        Returns
        -------
        list of TrialRecord
            Of those that were far enough to have a strategy.
        """
        if not numbers:
            return []
        return self.exclusively(lambda: self._requeue(numbers, suspected=False))

    def _requeue(self, numbers: Iterable[int], *, suspected: bool) -> list[TrialRecord]:
        """Close trials that were cut off, and put their strategies into the queue again.

        Parameters
        ----------
        numbers : iterable of int
        suspected : bool
            Whether a trial may be what ended the program: then it gets only one more chance.
        """
        records = []
        for number in numbers:
            trials = self._held.every()
            trial = trials[number]
            if trial.state.is_finished():  # another driver took this one for dead
                continue
            if "partner" in trial.user_attrs:
                strategy = partner(str(trial.user_attrs["partner"]), costs=self._space.costs)
                records.append(self._killed(trial, "partner", strategy))
                continue
            stage: Stage = trial.user_attrs.get("stage", "search")
            second = suspected and "again" in trial.user_attrs
            if not second and number not in {t.user_attrs.get("again") for t in trials}:
                kept = {n: own for n, own in trial.user_attrs.items() if n in ("rung", "follows")}
                self._held.create({"stage": stage, "again": number} | kept, like=trial)
            fixed = _replayed(trial.params, self._space)
            if fixed is None:
                self._close(number, "killed", TrialState.FAIL)
                continue
            records.append(self._killed(trial, stage, draw(fixed, self._space)))
        return records

    def _killed(self, trial: FrozenTrial, stage: Stage, strategy: Strategy) -> TrialRecord:
        rung, follows = trial.user_attrs.get("rung", 1.0), trial.user_attrs.get("follows")
        record = TrialRecord(
            trial.number, stage, strategy, "killed", KILLED, None, 0.0, rung=rung, follows=follows
        )
        if self._files is not None:
            self._files.save(record, None, trial.params)
        self._tell(record)
        return record

    def restore(self) -> dict[int, StoredTrial]:
        """Bring the study and the folder in step, and return what had finished.

        Trials with a file that the study doesn't hold as finished are told from it, or added
        where the study lost them; trials that were cut off are closed and asked for once more.

        Returns
        -------
        dict of int to StoredTrial
            By number; a trial that was cut off has the status "killed". With the networks where
            no other driver can drop them.
        """
        if self._files is None:
            return {}
        stored = self._files.load(networks=not self.shared)  # before others have to wait
        self.exclusively(lambda: self._restore(stored))
        return dict(sorted(stored.items()))

    def _restore(self, stored: dict[int, StoredTrial]) -> None:
        """Bring the study in step with trials that have files, to which others are added."""
        for number, trial in stored.items():
            held = self._held.every()
            if number >= len(held):
                self._adopt(trial, gap=number - len(held))
            elif held[number].state == TrialState.WAITING:  # its start was lost
                self._tell(trial.record)
        trials = self._held.every()
        self._heard.update(number for number in stored if trials[number].state.is_finished())
        stored |= self.news()

    def _adopt(self, stored: StoredTrial, *, gap: int) -> None:
        """Add a trial that only the folder holds, under its number."""
        record = stored.record
        fixed = None if record.stage == "partner" else _replayed(stored.params, self._space)
        lost = [create_trial(state=TrialState.FAIL) for _ in range(gap)]
        own = create_trial(
            state=_state(record),
            value=_value(record),
            params={} if fixed is None else fixed.params,
            distributions={} if fixed is None else fixed.distributions,
            user_attrs=_attributes(record),
        )
        for trial in (*lost, own):
            self._held.adopt(trial)

    def _tell(self, record: TrialRecord) -> bool:
        said: dict[str, Any] = {"status": record.status}
        if (score := record.score) is not None:
            told = record.strategy.describe()
            said["result"] = {"score": score.value, "error": score.error, "description": told}
        return self._held.close(record.number, _state(record), _value(record), **said)

    def _close(
        self, number: int, status: str, state: TrialState, value: float | None = None
    ) -> None:
        """End a trial that has no record."""
        self._held.sharing.patiently(lambda: self._held.close(number, state, value, status=status))


def _attributes(record: TrialRecord) -> dict[str, Any]:
    """Return what Optuna's trial says of a record."""
    own: dict[str, Any] = {"stage": record.stage, "status": record.status, "rung": record.rung}
    if record.follows is not None:
        own["follows"] = record.follows
    if record.stage == "partner":
        own["partner"] = record.strategy.network.name
    return own


def _state(record: TrialRecord) -> TrialState:
    """Say it in Optuna's words.

    TPE forgets failed trials and proposes them again, but it ranks pruned ones without a value
    below all complete ones: that is what a strategy that gave no score deserves. Partners and duels
    are none of its business.
    """
    if record.apart or record.status == "killed":
        return TrialState.FAIL
    scored = record.status in ("complete", "partial")
    return TrialState.COMPLETE if scored else TrialState.PRUNED


def _value(record: TrialRecord) -> float | None:
    if _state(record) != TrialState.COMPLETE or record.score is None:
        return None
    return float(record.score.utility)


def _replayed(params: Mapping[str, Any], space: Space) -> FixedTrial | None:
    """Return a trial from which these values were drawn; None where they don't suffice."""
    fixed = FixedTrial(dict(params))
    try:
        draw(fixed, space)
    except (ValueError, KeyError, OptionError):
        return None
    return fixed
