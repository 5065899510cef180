"""The books of a study: its Optuna storage and its RUN folder, kept in step through any kill.

A trial's file is written before Optuna is told. So after a kill a trial that Optuna holds for
running has either a file, and is told from it, or none, and is asked for once more.
"""

from __future__ import annotations

import contextlib
import uuid
import warnings
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import InMemoryStorage, get_storage
from optuna.trial import FixedTrial, FrozenTrial, Trial, TrialState, create_trial

from autoimb.errors import OptionError, RunError
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.randomness import Purpose, seed_for
from autoimb.runs.record import Stage, StoredTrial, TrialRecord
from autoimb.runs.seal import reason_of
from autoimb.runs.strategies import Shown, as_strategies
from autoimb.space.draw import Space, draw
from autoimb.space.strategy import Strategy, partner

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from autoimb.evaluation.trial import Scored
    from autoimb.runs.folder import RunFolder

__all__ = ["Journal"]

KILLED = "the program ended while this trial ran"


class Journal:
    """Asks Optuna, and writes down what became of each trial.

    Parameters
    ----------
    storage : BaseStorage
    name : str
        Of the study.
    space : Space
    folder : RunFolder or None
    random_state : int
    policy : SearchPolicy, optional
        How many strategies the sampler learns from.

    Attributes
    ----------
    plans : set of str
        The planned trials that were enqueued, in this process or before.
    """

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        *,
        space: Space,
        folder: RunFolder | None,
        random_state: int,
        policy: SearchPolicy = DEFAULT_POLICY,
    ) -> None:
        self._storage, self._space = storage, space
        self._folder = folder
        self._random_state, self._policy = random_state, policy
        self._study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            sampler=RandomSampler(),  # never needed: all values are drawn where a trial is enqueued
        )
        self._id = storage.get_study_id_from_name(name)
        self.plans = {str(t.user_attrs["plan"]) for t in self._trials() if "plan" in t.user_attrs}

    @classmethod
    def open(
        cls,
        folder: RunFolder | None,
        *,
        space: Space,
        storage: str | None,
        random_state: int,
        policy: SearchPolicy = DEFAULT_POLICY,
    ) -> Journal:
        """Open the study of a folder, or a new one.

        Parameters
        ----------
        folder : RunFolder or None
        space : Space
            Of the strategies that it is asked for.
        storage : str or None
            An Optuna storage URL; None is the folder's journal, or memory without a folder.
        random_state : int
        policy : SearchPolicy, optional

        Raises
        ------
        RunError
            Where the folder's study is kept elsewhere than `storage` says, or `storage` is none.
        """
        made = partial(cls, space=space, folder=folder, random_state=random_state, policy=policy)
        if folder is None:
            place = InMemoryStorage() if storage is None else _reach(storage)
            return made(place, f"autoimb-{uuid.uuid4().hex[:12]}")
        if folder.journal.is_file() and storage is not None:
            raise RunError(f"The search in {folder.path} keeps its own journal: give no storage.")
        if storage is None and folder.read_run().get("external_storage"):
            raise RunError(f"The search in {folder.path} needs the storage that it began with.")
        folder.update_run({"external_storage": storage is not None})
        name = folder.study_name
        if storage is not None:
            return made(_reach(storage), name)
        try:
            return made(folder.storage(), name)
        except Exception as error:  # whole lines that are no study: it is made anew from trials
            folder.set_aside(folder.journal, reason_of(error))
            return made(folder.storage(), name)

    @property
    def waiting(self) -> bool:
        """Whether an enqueued trial waits to be asked for."""
        return bool(self._trials(TrialState.WAITING))

    def enqueue(
        self, params: Mapping[str, Any], *, stage: Stage, rung: float, plan: str = ""
    ) -> None:
        """Let a strategy with these values come next, at a rung; what is left out is drawn.

        The sampler sees each strategy once, which a study with a trial for each rung does not
        show: so it is asked in a study of strategies, made for this one draw. Its random numbers
        are keyed by the seed and the count of trials, not by what this process did before: a
        resumed study draws like one that was never killed.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # `group`, which its docs advise
            sampler = TPESampler(
                multivariate=True,
                group=True,
                constant_liar=True,
                seed=seed_for(Purpose.SAMPLER, self._random_state, index=len(self._trials())),
            )
        shown = Shown(as_strategies(self._trials(), self._policy))
        seen = optuna.create_study(storage=shown, direction="maximize", sampler=sampler)
        seen.enqueue_trial(dict(params))
        drawn = seen.ask()
        with contextlib.suppress(Exception):  # whoever asks for the trial meets it again
            draw(drawn, self._space)
        attributes = {"stage": stage, "rung": rung} | ({"plan": plan} if plan else {})
        self._study.enqueue_trial(dict(params) | drawn.params, user_attrs=attributes)
        if plan:
            self.plans.add(plan)

    @property
    def raised(self) -> set[int]:
        """The trials of which a higher rung was enqueued."""
        return {int(t.user_attrs["follows"]) for t in self._trials() if "follows" in t.user_attrs}

    def enqueue_higher(self, number: int, *, stage: Stage, rung: float) -> None:
        """Let the strategy of a trial come next at a higher rung."""
        attributes = {"stage": stage, "rung": rung, "follows": number}
        self._study.enqueue_trial(self._trials()[number].params, user_attrs=attributes)

    def begin_partner(self, name: str) -> int | None:
        """Begin the trial of a partner; its number, or None where it has begun before.

        Optuna holds it without a parameter, and in the end as failed, so no sampler sees it. One
        that was cut off gets a second chance, as a strategy does that may have ended the program.
        """
        known = [t.user_attrs for t in self._trials() if t.user_attrs.get("partner") == name]
        if len(known) > 1 or any(own.get("status") != "killed" for own in known):
            return None
        trial_id = self._storage.create_new_trial(self._id)
        for key, value in {"stage": "partner", "partner": name}.items():
            self._storage.set_trial_user_attr(trial_id, key, value)
        return self._storage.get_trial_number_from_id(trial_id)

    def ask(self) -> Trial:
        """Return the next of the trials that were enqueued."""
        return self._study.ask()

    def finish(self, record: TrialRecord, result: Scored | None, params: Mapping[str, Any]) -> None:
        """Write a finished trial down, then tell Optuna."""
        if self._folder is not None:
            self._folder.save_trial(record, result, params)
        self._tell(record)

    def drop_weights(self, number: int) -> None:
        """Delete the networks of a trial that is no longer among the best."""
        if self._folder is not None:
            self._folder.drop_weights(number)

    def close_duplicate(self, number: int, known: TrialRecord | None) -> None:
        """Close a trial whose strategy is known: with its value, or unheard while that runs."""
        if known is None:
            self._close(number, "repeated", TrialState.FAIL)
        else:
            self._close(number, "repeated", _state(known), _value(known))

    def drop(self, number: int, reason: str) -> None:
        """Close a trial from which no strategy could be drawn."""
        self._close(number, reason, TrialState.FAIL)

    def requeue(self, numbers: tuple[int, ...], *, suspected: bool) -> list[TrialRecord]:
        """Close trials that were cut off, and put their strategies into the queue again.

        Parameters
        ----------
        numbers : tuple of int
        suspected : bool
            Whether a trial may be what ended the program: then it gets only one more chance.

        Returns
        -------
        list of TrialRecord
            Of those that were far enough to have a strategy.
        """
        trials = self._trials()
        repeated = {t.user_attrs.get("again") for t in trials}
        records = []
        for number in numbers:
            trial = trials[number]
            if "partner" in trial.user_attrs:
                strategy = partner(str(trial.user_attrs["partner"]), costs=self._space.costs)
                records.append(self._killed(trial, "partner", strategy, {}))
                continue
            params = trial.system_attrs.get("fixed_params", {}) | trial.params
            stage: Stage = trial.user_attrs.get("stage", "search")
            second = suspected and "again" in trial.user_attrs
            if not second and number not in repeated:
                held = ("rung", "follows")
                kept = {name: trial.user_attrs[name] for name in held if name in trial.user_attrs}
                attributes = {"stage": stage, "again": number} | kept
                self._study.enqueue_trial(params, user_attrs=attributes)
            fixed = _replayed(params, self._space)
            if fixed is None:
                self._close(number, "killed", TrialState.FAIL)
                continue
            records.append(self._killed(trial, stage, draw(fixed, self._space), params))
        return records

    def _killed(
        self, trial: FrozenTrial, stage: Stage, strategy: Strategy, params: Mapping[str, Any]
    ) -> TrialRecord:
        rung, follows = trial.user_attrs.get("rung", 1.0), trial.user_attrs.get("follows")
        record = TrialRecord(
            trial.number, stage, strategy, "killed", KILLED, None, 0.0, rung=rung, follows=follows
        )
        if self._folder is not None:
            self._folder.save_trial(record, None, params)
        self._tell(record)
        return record

    def restore(self) -> dict[int, StoredTrial]:
        """Bring the study and the folder in step, and return what had finished.

        Trials with a file that the study doesn't hold as finished are told from it, or added
        where the study lost them; trials that were cut off are closed and asked for once more.

        Returns
        -------
        dict of int to StoredTrial
            By number; a trial that was cut off has the status "killed".
        """
        if self._folder is None:
            return {}
        stored = self._folder.load_trials()
        for number, trial in stored.items():
            held = self._trials()
            if number >= len(held):
                self._adopt(trial, gap=number - len(held))
            elif not held[number].state.is_finished():
                self._tell(trial.record)
        cut_off = tuple(t.number for t in self._trials(TrialState.RUNNING))
        if not cut_off:
            return stored
        self.requeue(cut_off, suspected=True)
        return self._folder.load_trials()

    def _adopt(self, stored: StoredTrial, *, gap: int) -> None:
        """Add a trial that only the folder holds, under its number."""
        for _ in range(gap):
            self._study.add_trial(create_trial(state=TrialState.FAIL))
        record = stored.record
        fixed = None if record.stage == "partner" else _replayed(stored.params, self._space)
        trial = create_trial(
            state=_state(record),
            value=_value(record),
            params={} if fixed is None else fixed.params,
            distributions={} if fixed is None else fixed.distributions,
            user_attrs=_attributes(record),
        )
        self._study.add_trial(trial)

    def _tell(self, record: TrialRecord) -> None:
        self._close(record.number, record.status, _state(record), _value(record))

    def _close(
        self, number: int, status: str, state: TrialState, value: float | None = None
    ) -> None:
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._id, number)
        self._storage.set_trial_user_attr(trial_id, "status", status)
        if self._trials()[number].state == TrialState.WAITING:  # its start was lost
            self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        self._study.tell(number, value, state)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)


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


def _reach(url: str) -> BaseStorage:
    """Open a user's storage; its own errors name no culprit, and its URL may hold a password."""
    if not url.strip():
        raise RunError(f"A storage must be a URL, such as sqlite:///study.db; got {url!r}.")
    try:
        return get_storage(url)
    except Exception as error:
        scheme = url.split(":", 1)[0]
        words = " ".join(str(error).split()).replace(url, f"{scheme}:...")
        raise RunError(f"The {scheme!r} storage can't be opened: {words}") from error
