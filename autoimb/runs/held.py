"""The trials of a study in its Optuna storage, as one of its drivers sees and changes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import RandomSampler
from optuna.trial import BaseTrial, FrozenTrial, TrialState, create_trial

from autoimb.runs.sharing import Sharing

__all__ = ["HeldTrials"]

T = TypeVar("T")


class HeldTrials:
    """The trials of a study.

    Parameters
    ----------
    sharing : Sharing
        The storage and the name of the study, and who else works on it.
    """

    def __init__(self, sharing: Sharing) -> None:
        self.sharing, self._storage = sharing, sharing.storage
        self._study = sharing.patiently(self._opened)
        self._rows = sharing.patiently(lambda: sharing.rows(self._study))
        self._read: list[FrozenTrial] | None = None  # until one of them changes
        self._asked: set[int] = set()
        self._ended = 0  # all trials below have ended

    def _opened(self) -> int:
        """Open the study, or begin it; return Optuna's number of it."""
        optuna.create_study(
            storage=self._storage,
            study_name=self.sharing.name,
            direction="maximize",
            load_if_exists=True,
            sampler=RandomSampler(),  # never needed: all values are drawn where a trial is enqueued
        )
        return self._storage.get_study_id_from_name(self.sharing.name)

    def exclusively(self, step: Callable[[], T]) -> T:
        """Do something while no other driver does; it may be begun anew."""
        return self.sharing.exclusively(lambda: self._freshly(step))

    def patiently(self, step: Callable[[], T]) -> T:
        """Do what may be done twice, while others go on."""
        return self.sharing.patiently(lambda: self._freshly(step))

    def _freshly(self, step: Callable[[], T]) -> T:
        """Do something that reads the trials anew."""
        self._read = None
        try:
            return step()
        finally:
            self._read = None

    def every(self, *states: TrialState) -> list[FrozenTrial]:
        """Return all trials by number, or those of some states."""
        if self._read is None:
            if self._rows is None:
                self._read = self._storage.get_all_trials(self._study, deepcopy=False)
            else:
                self._read = self._rows.every()
        return [t for t in self._read if t.state in states] if states else self._read

    def unfinished(self) -> list[FrozenTrial]:
        """Return the trials that wait or run, by number."""
        trials = self.every()
        while self._ended < len(trials) and trials[self._ended].state.is_finished():
            self._ended += 1
        return [trial for trial in trials[self._ended :] if not trial.state.is_finished()]

    def is_mine(self, trial: FrozenTrial) -> bool:
        """Say whether a trial is this driver's."""
        return bool(trial.user_attrs.get("driver") == self.sharing.driver)

    def is_left_to_me(self, trial: FrozenTrial) -> bool:
        """Say whether a trial was begun in this driver's name, which has not heard so."""
        unheard = trial.state == TrialState.RUNNING and trial.number not in self._asked
        return unheard and self.is_mine(trial)

    def create(
        self,
        attributes: Mapping[str, Any],
        *,
        like: BaseTrial | None = None,
        state: TrialState = TrialState.WAITING,
    ) -> None:
        """Add a trial with all its values at once."""
        template = create_trial(
            state=state,
            params=None if like is None else like.params,
            distributions=None if like is None else like.distributions,
            user_attrs={**attributes, "driver": self.sharing.driver},
        )
        before = self.every()
        if self._rows is None:
            self._storage.create_new_trial(self._study, template)
            self._read = None
        else:
            template.number = self._rows.add(template)
            in_order = template.number == len(before)
            self._read = [*before, template] if in_order else None

    def adopt(self, trial: FrozenTrial) -> None:
        """Add a trial that has ended."""
        self._storage.create_new_trial(self._study, trial)
        self._read = None

    def begin(self, trial: FrozenTrial) -> None:
        """Take a trial that waits."""
        trial_id = self._trial_id(trial.number)
        if not self.is_mine(trial):
            self._storage.set_trial_user_attr(trial_id, "driver", self.sharing.driver)
        if trial.state == TrialState.WAITING:
            self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        self._asked.add(trial.number)
        self._read = None

    def close(self, number: int, state: TrialState, value: float | None, **said: Any) -> bool:
        """End a trial, with attributes that say more; False where it had ended before."""
        self._read = None
        if self._rows is not None:
            return self._rows.end(number, state, value, said)
        trial_id = self._trial_id(number)
        try:
            for key, own in said.items():
                self._storage.set_trial_user_attr(trial_id, key, own)
            values = None if value is None else [value]
            self._storage.set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError:
            return False
        return True

    def status(self, number: int) -> str | None:
        """Return what a trial was closed with; None of one that has not ended."""
        if self._rows is not None:
            return self._rows.status(number)
        trial = self._storage.get_trial(self._trial_id(number))
        return str(trial.user_attrs.get("status")) if trial.state.is_finished() else None

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study, number)
