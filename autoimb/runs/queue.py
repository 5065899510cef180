"""What waits to be tried in a study, and the view of its trials that the sampler draws from."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.randomness import Purpose, seed_for
from autoimb.runs.record import Stage
from autoimb.runs.storage import TrialStorage
from autoimb.space.draw import Space, draw

__all__ = ["ENOUGH_STRATEGIES", "Queue", "Shown", "as_strategies"]

ENOUGH_STRATEGIES = 10  # at a rung, so that the sampler learns from it


class Queue:
    """Enqueues trials with all their values, and asks for them.

    Parameters
    ----------
    storage : TrialStorage
    space : Space
    random_state : int
    policy : SearchPolicy, optional
        How many strategies the sampler learns from.
    """

    def __init__(
        self,
        storage: TrialStorage,
        *,
        space: Space,
        random_state: int,
        policy: SearchPolicy = DEFAULT_POLICY,
    ) -> None:
        self._storage, self._space = storage, space
        self._random_state, self._policy = random_state, policy

    @property
    def waiting(self) -> bool:
        """Whether an enqueued trial waits to be asked for."""
        return self._next_in_line() is not None

    @property
    def plans(self) -> set[str]:
        """The planned trials that were enqueued."""
        attributes = (trial.user_attrs for trial in self._storage.trials)
        return {str(named["plan"]) for named in attributes if "plan" in named}

    @property
    def raised(self) -> set[int]:
        """The trials of which a higher rung was enqueued."""
        attributes = (trial.user_attrs for trial in self._storage.trials)
        return {int(named["follows"]) for named in attributes if "follows" in named}

    def enqueue(
        self, params: Mapping[str, Any], *, stage: Stage, rung: float, plan: str = ""
    ) -> None:
        """Let a strategy with these values come next, at a rung; what is left out is drawn.

        The sampler sees each strategy once, which a study with a trial for each rung does not
        show: so it is asked in a study of strategies, made for this one draw. Its random numbers
        are keyed by the seed and the count of trials, not by what this process did before: a
        resumed study draws like one that was never killed.
        """
        trials = self._storage.trials
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # `group`, which its docs advise
            sampler = TPESampler(
                multivariate=True,
                group=True,
                constant_liar=True,
                seed=seed_for(Purpose.SAMPLER, self._random_state, index=len(trials)),
            )
        shown = Shown(as_strategies(trials, self._policy))
        seen = optuna.create_study(storage=shown, direction="maximize", sampler=sampler)
        seen.enqueue_trial(dict(params))
        drawn = seen.ask()
        with contextlib.suppress(Exception):  # whoever asks for the trial meets it again
            draw(drawn, self._space)
        attributes = {"stage": stage, "rung": rung} | ({"plan": plan} if plan else {})
        self._storage.create(attributes, like=drawn)

    def enqueue_higher(self, number: int, *, stage: Stage, rung: float) -> None:
        """Let the strategy of a trial come next at a higher rung."""
        attributes = {"stage": stage, "rung": rung, "follows": number}
        self._storage.create(attributes, like=self._storage.trials[number])

    def begin_partner(self, name: str) -> int | None:
        """Begin the trial of a partner; its number, or None where it has begun before.

        Optuna holds it without a parameter, and in the end as failed, so no sampler sees it. One
        that was cut off gets a second chance, as a strategy does that may have ended the program.
        """
        attributes = [trial.user_attrs for trial in self._storage.trials]
        states = [named.get("status") for named in attributes if named.get("partner") == name]
        if len(states) > 1 or any(status != "killed" for status in states):
            return None
        return self._storage.create({"stage": "partner", "partner": name}, state=TrialState.RUNNING)

    def ask(self) -> FrozenTrial | None:
        """Begin the next of the trials that were enqueued; None where none waits."""
        trial = self._next_in_line()
        if trial is not None:
            self._storage.begin(trial.number)
        return trial

    def _next_in_line(self) -> FrozenTrial | None:
        waiting = (t for t in self._storage.trials if t.state == TrialState.WAITING)
        return next(waiting, None)


# --- what the sampler sees ------------------------------------------------------------------------


def as_strategies(
    trials: Sequence[FrozenTrial], policy: SearchPolicy = DEFAULT_POLICY
) -> list[FrozenTrial]:
    """Show the trials of a study as the sampler should see them: each strategy once.

    With its value at the highest rung that ten strategies reached, on the folds of the search. One
    that did not get so far is shown as given up on its way there, which TPE ranks by how far it
    got, then by its value.

    Of very many strategies only the best and the newest are shown, as the time of a draw grows
    with their number. TPE models 25 at most as good ones (Bergstra et al., 2011; Optuna's
    default), and weighs the others less the older they are.

    Parameters
    ----------
    trials : sequence of FrozenTrial
        By number; one at a higher rung names the one that it follows.
    policy : SearchPolicy, optional
        How many are shown.

    Returns
    -------
    list of FrozenTrial
        By number; without those that wait, those that the sampler would forget in any case, and
        matched duels, whose scores are of other rows.
    """
    first: dict[int, int] = {}
    chains: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        follows = trial.user_attrs.get("follows")
        first[trial.number] = trial.number if follows is None else first[int(follows)]
        heard = trial.state not in (TrialState.WAITING, TrialState.FAIL)
        others = trial.user_attrs.get("stage") in ("confirm", "duel")  # other folds, or rows
        repeated = trial.user_attrs.get("status") == "repeated"
        if heard and trial.params and not (others or repeated):
            chains.setdefault(first[trial.number], []).append(trial)
    reached = Counter(
        _rung(trial) for chain in chains.values() for trial in chain if trial.value is not None
    )
    enough = [rung for rung, count in reached.items() if count >= ENOUGH_STRATEGIES]
    highest = max(enough, default=min(reached, default=0.0))
    views = [_View.of(chain, highest) for chain in chains.values()]
    return [view.as_trial() for view in _window(views, policy)]


class Shown(InMemoryStorage):
    """The storage of a study that a sampler looks at for one draw.

    Optuna copies each trial that is added to a study, which took most of the time of a draw. Here
    the trials that are shown stay as they are, under numbers below 0.

    Parameters
    ----------
    strategies : sequence of FrozenTrial
    """

    def __init__(self, strategies: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._strategies = tuple(strategies)
        for number, trial in enumerate(self._strategies, start=-len(self._strategies)):
            trial.number = number

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return what is shown, and then what the study was asked for."""
        asked = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        shown = (trial for trial in self._strategies if states is None or trial.state in states)
        return [*shown, *asked]


@dataclass(frozen=True)
class _View:
    """A strategy as the sampler should see it.

    Attributes
    ----------
    first : FrozenTrial
        Of its lowest rung.
    state : TrialState
    value : float or None
    between : dict of int to float
        Its value on the way, by sixteenths of the planned work.
    """

    first: FrozenTrial
    state: TrialState
    value: float | None = None
    between: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, chain: Sequence[FrozenTrial], rung: float) -> _View:
        """Look at its trials from a rung."""
        valued = {_rung(trial): trial.value for trial in chain if trial.value is not None}
        reached = [value for own, value in sorted(valued.items()) if own >= rung]
        if reached:
            return cls(chain[0], TrialState.COMPLETE, reached[0])
        if valued:
            last = max(valued)
            return cls(chain[0], TrialState.PRUNED, between={int(16 * last): valued[last]})
        running = chain[-1].state == TrialState.RUNNING
        return cls(chain[0], TrialState.RUNNING if running else TrialState.PRUNED)

    @property
    def rank(self) -> tuple[bool, int, float]:
        """Sorts views as TPE does: the best first."""
        step, value = next(iter(self.between.items()), (0, -math.inf))
        value = value if self.value is None else self.value
        return self.state != TrialState.COMPLETE, -step, -value

    def as_trial(self) -> FrozenTrial:
        """Return what a sampler can read; all of it was checked where it was drawn."""
        return FrozenTrial(
            number=-1,  # until it is shown
            trial_id=-1,
            state=self.state,
            value=self.value,
            datetime_start=None,
            datetime_complete=None,
            params=self.first.params,
            distributions=self.first.distributions,
            user_attrs={},
            system_attrs={},
            intermediate_values=self.between,
        )


def _window(views: Sequence[_View], policy: SearchPolicy) -> list[_View]:
    """Keep the best and the newest, in their order; all of them where there are no more."""
    window = policy.suggestions
    older = views[: max(len(views) - window.sampler_newest, 0)]
    best = sorted(range(len(older)), key=lambda place: older[place].rank)[: window.sampler_best]
    return [*(older[place] for place in sorted(best)), *views[len(older) :]]


def _rung(trial: FrozenTrial) -> float:
    """Return its rung; a strategy that its own patience ended has reached all of them."""
    ended = trial.user_attrs.get("status") == "complete"
    return max(float(trial.user_attrs.get("rung", 1.0)), 1.0 if ended else 0.0)
