"""What waits to be tried in a study: trials are enqueued with all their values, and asked for."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.randomness import Purpose, seed_for
from autoimb.runs.held import HeldTrials
from autoimb.runs.record import Stage
from autoimb.runs.strategies import Shown, as_strategies
from autoimb.space.draw import Space, draw

__all__ = ["Queue"]


class Queue:
    """Enqueues trials and asks for them; where a study is shared, while no other driver does.

    Parameters
    ----------
    held : HeldTrials
    space : Space
    random_state : int
    policy : SearchPolicy, optional
        How many strategies the sampler learns from.
    """

    def __init__(
        self,
        held: HeldTrials,
        *,
        space: Space,
        random_state: int,
        policy: SearchPolicy = DEFAULT_POLICY,
    ) -> None:
        self._held, self._space = held, space
        self._random_state, self._policy = random_state, policy

    @property
    def waiting(self) -> bool:
        """Whether an enqueued trial waits to be asked for."""
        return self._first_in_line() is not None

    @property
    def plans(self) -> set[str]:
        """The planned trials that were enqueued, by any driver."""
        return {str(t.user_attrs["plan"]) for t in self._held.every() if "plan" in t.user_attrs}

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
                seed=seed_for(Purpose.SAMPLER, self._random_state, index=len(self._held.every())),
            )
        shown = Shown(as_strategies(self._held.every(), self._policy))
        seen = optuna.create_study(storage=shown, direction="maximize", sampler=sampler)
        seen.enqueue_trial(dict(params))
        drawn = seen.ask()
        with contextlib.suppress(Exception):  # whoever asks for the trial meets it again
            draw(drawn, self._space)
        attributes = {"stage": stage, "rung": rung} | ({"plan": plan} if plan else {})
        self._held.create(attributes, like=drawn)

    @property
    def raised(self) -> set[int]:
        """The trials of which a higher rung was enqueued."""
        said = (trial.user_attrs for trial in self._held.every())
        return {int(own["follows"]) for own in said if "follows" in own}

    def enqueue_higher(self, number: int, *, stage: Stage, rung: float) -> None:
        """Let the strategy of a trial come next at a higher rung."""
        attributes = {"stage": stage, "rung": rung, "follows": number}
        self._held.create(attributes, like=self._held.every()[number])

    def begin_partner(self, name: str) -> int | None:
        """Begin the trial of a partner; its number, or None where it has begun before.

        Optuna holds it without a parameter, and in the end as failed, so no sampler sees it. One
        that was cut off gets a second chance, as a strategy does that may have ended the program.
        """
        known = self._partners(name)
        trial = next(filter(self._held.is_left_to_me, known), None)
        if trial is None:
            states = [t.user_attrs.get("status") for t in known]
            if len(states) > 1 or any(status != "killed" for status in states):
                return None
            attributes = {"stage": "partner", "partner": name}
            self._held.create(attributes, state=TrialState.RUNNING)
            trial = next(filter(self._held.is_left_to_me, self._partners(name)))
        self._held.begin(trial)
        return trial.number

    def _partners(self, name: str) -> list[FrozenTrial]:
        return [t for t in self._held.every() if t.user_attrs.get("partner") == name]

    def ask(self) -> FrozenTrial | None:
        """Return the next of the trials that were enqueued; None where none waits.

        Of a step that two drivers have planned, or one twice, as a connection broke, the second
        is closed.
        """
        while (trial := self._first_in_line()) is not None:
            repeated = self._is_planned_before(trial)
            self._held.begin(trial)
            if not repeated:
                return trial
            self._held.close(trial.number, TrialState.FAIL, None, status="repeated")
        return None

    def _first_in_line(self) -> FrozenTrial | None:
        """Return the next trial to ask for: one whose start was not confirmed comes first."""
        trials, left = self._held.unfinished(), self._held.is_left_to_me
        begun = (t for t in trials if left(t) and "partner" not in t.user_attrs)
        waiting = (t for t in trials if t.state == TrialState.WAITING)
        return next(begun, None) or next(waiting, None)

    def _is_planned_before(self, trial: FrozenTrial) -> bool:
        """Say whether an earlier trial is of the same step of the plan, and was not cut off."""
        key = next((key for key in ("plan", "follows") if key in trial.user_attrs), None)
        if key is None:
            return False
        step, earlier = trial.user_attrs[key], self._held.every()[: trial.number]
        same = (other.user_attrs for other in earlier if other.user_attrs.get(key) == step)
        return any(said.get("status") != "killed" for said in same)
