"""The books of a study: its Optuna storage and its RUN folder, kept in step through any kill.

A trial's file is written before Optuna is told. So after a kill a trial that Optuna holds for
running has either a file, and is told from it, or none, and is asked for once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from autoimb.errors import OptionError
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.runs.queue import Queue
from autoimb.runs.record import Stage, StoredTrial, TrialRecord
from autoimb.runs.storage import TrialStorage
from autoimb.space.draw import Space, draw
from autoimb.space.strategy import Strategy, partner

if TYPE_CHECKING:
    from autoimb.evaluation.outcome import Scored
    from autoimb.runs.folder import RunFolder

__all__ = ["Journal"]

KILLED = "the program ended while this trial ran"


class Journal:
    """Writes down what became of each trial, and keeps storage and folder in step.

    Parameters
    ----------
    storage : BaseStorage
    study : str
        The name of the study in the storage.
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
        storage: BaseStorage,
        study: str,
        *,
        space: Space,
        folder: RunFolder | None,
        random_state: int,
        policy: SearchPolicy = DEFAULT_POLICY,
    ) -> None:
        self._space, self._files = space, None if folder is None else folder.files
        self._storage = TrialStorage(storage, study)
        self.queue = Queue(self._storage, space=space, random_state=random_state, policy=policy)

    @classmethod
    def open(
        cls,
        folder: RunFolder | None,
        *,
        space: Space,
        random_state: int,
        policy: SearchPolicy = DEFAULT_POLICY,
    ) -> Journal:
        """Open the study of a folder, or a new one.

        Parameters
        ----------
        folder : RunFolder or None
            Without a folder the study lives in memory.
        space : Space
            Of the strategies that it is asked for.
        random_state : int
        policy : SearchPolicy, optional
        """
        opened = partial(cls, space=space, folder=folder, random_state=random_state, policy=policy)
        if folder is None:
            return opened(InMemoryStorage(), "autoimb")
        name = folder.study_name
        try:
            return opened(folder.storage(), name)
        except Exception as error:  # whole lines that are no study: it is made anew from trials
            folder.set_journal_aside(error)
            return opened(folder.storage(), name)

    def finish(self, record: TrialRecord, result: Scored | None, params: Mapping[str, Any]) -> None:
        """Write a finished trial down, then tell Optuna.

        Parameters
        ----------
        record : TrialRecord
        result : Scored or None
        params : mapping of str to value
            What the study drew, by Optuna's names.
        """
        if self._files is not None:
            self._files.save(record, result, params)
        self._tell(record)

    def drop_weights(self, number: int) -> None:
        """Delete the networks of a trial that is no longer among the best."""
        if self._files is not None:
            self._files.drop_weights(number)

    def close_duplicate(self, number: int, known: TrialRecord | None) -> None:
        """Close a trial whose strategy is known: with its value, or unheard while that runs."""
        state, value = (TrialState.FAIL, None) if known is None else (_state(known), _value(known))
        self._storage.close(number, state, value, status="repeated")

    def drop(self, number: int, reason: str) -> None:
        """Close a trial from which no strategy could be drawn."""
        self._storage.close(number, TrialState.FAIL, status=reason)

    def restore(self) -> dict[int, StoredTrial]:
        """Bring the study and the folder in step, and return what had finished.

        Trials with a file that the study doesn't hold as finished are told from it, or added
        where the study lost them; trials that were cut off are closed and asked for once more.

        Returns
        -------
        dict of int to StoredTrial
            By number; a trial that was cut off has the status "killed".
        """
        if self._files is None:
            return {}
        stored = self._files.load()
        for number, trial in stored.items():
            trials = self._storage.trials
            if number >= len(trials):
                self._adopt(trial, gap=number - len(trials))
            elif not trials[number].state.is_finished():
                self._tell(trial.record)
        running = [t.number for t in self._storage.trials if t.state == TrialState.RUNNING]
        for record in self._requeue(running, suspected=True):
            stored[record.number] = StoredTrial(record, None, {})
        return dict(sorted(stored.items()))

    def requeue(self, numbers: Iterable[int]) -> list[TrialRecord]:
        """Close running trials, and put their strategies into the queue again.

        Returns
        -------
        list of TrialRecord
            Of those that were far enough to have a strategy.
        """
        return self._requeue(numbers, suspected=False)

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
            trials = self._storage.trials
            trial = trials[number]
            if trial.state.is_finished():  # a second Ctrl-C came right after its end
                continue
            if "partner" in trial.user_attrs:
                strategy = partner(str(trial.user_attrs["partner"]), costs=self._space.costs)
                records.append(self._killed(trial, "partner", strategy))
                continue
            stage: Stage = trial.user_attrs.get("stage", "search")
            second = suspected and "again" in trial.user_attrs
            if not second and number not in {t.user_attrs.get("again") for t in trials}:
                attributes = {"stage": stage, "again": number}
                for name in ("rung", "follows"):
                    if name in trial.user_attrs:
                        attributes[name] = trial.user_attrs[name]
                self._storage.create(attributes, like=trial)
            fixed = _replayed(trial.params, self._space)
            if fixed is None:
                self._storage.close(number, TrialState.FAIL, status="killed")
                continue
            records.append(self._killed(trial, stage, draw(fixed, self._space)))
        return records

    def _killed(self, trial: FrozenTrial, stage: Stage, strategy: Strategy) -> TrialRecord:
        rung, follows = trial.user_attrs.get("rung", 1.0), trial.user_attrs.get("follows")
        record = TrialRecord(
            trial.number, stage, strategy, "killed", KILLED, None, 0.0, rung=rung, follows=follows
        )
        self.finish(record, None, trial.params)
        return record

    def _adopt(self, stored: StoredTrial, *, gap: int) -> None:
        """Add a trial that only the folder holds, under its number."""
        record = stored.record
        fixed = None if record.stage == "partner" else _replayed(stored.params, self._space)
        for _ in range(gap):
            self._storage.add(create_trial(state=TrialState.FAIL))
        self._storage.add(
            create_trial(
                state=_state(record),
                value=_value(record),
                params={} if fixed is None else fixed.params,
                distributions={} if fixed is None else fixed.distributions,
                user_attrs=_attributes(record),
            )
        )

    def _tell(self, record: TrialRecord) -> None:
        self._storage.close(record.number, _state(record), _value(record), status=record.status)


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
