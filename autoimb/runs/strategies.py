"""A study of strategies, made of one of trials: what the sampler should see."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from autoimb.policy import DEFAULT_POLICY, SearchPolicy

__all__ = ["ENOUGH_STRATEGIES", "Shown", "as_strategies"]

ENOUGH_STRATEGIES = 10  # at a rung, so that the sampler learns from it


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
    older = views[: max(len(views) - policy.sampler_newest, 0)]
    best = sorted(range(len(older)), key=lambda place: older[place].rank)[: policy.sampler_best]
    return [*(older[place] for place in sorted(best)), *views[len(older) :]]


def _rung(trial: FrozenTrial) -> float:
    """Return its rung; a strategy that its own patience ended has reached all of them."""
    ended = trial.user_attrs.get("status") == "complete"
    return max(float(trial.user_attrs.get("rung", 1.0)), 1.0 if ended else 0.0)
