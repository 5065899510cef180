"""What Optuna's sampler sees of a study, and the values that it draws."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import BaseTrial, FrozenTrial, TrialState, create_trial

from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.randomness import Purpose, seed_for
from autoimb.runs.record import TrialRecord

__all__ = ["ENOUGH_STRATEGIES", "Shown", "as_strategies", "as_trial", "ask"]

ENOUGH_STRATEGIES = 10  # at a rung, so that the sampler learns from it


def ask(
    trials: Sequence[FrozenTrial],
    values: Mapping[str, Any],
    *,
    number: int,
    random_state: int,
    policy: SearchPolicy = DEFAULT_POLICY,
) -> optuna.Trial:
    """Ask the sampler for a trial, from which a strategy can be drawn.

    The sampler sees each strategy once, which a study with a trial for each rung does not show: so
    it is asked in a study of strategies, made for this one draw. Its random numbers are keyed by
    the seed and the trial's number, not by what this process did before: a resumed search draws
    like one that was never killed.

    Parameters
    ----------
    trials : sequence of FrozenTrial
        All trials so far, by number.
    values : mapping of str to value
        Fixed values by Optuna's names; the sampler draws the others.
    number : int
        Of the new trial.
    random_state : int
    policy : SearchPolicy, optional
        How many strategies the sampler learns from.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # `group`, which its docs advise
        sampler = TPESampler(
            multivariate=True,
            group=True,
            constant_liar=True,
            seed=seed_for(Purpose.SAMPLER, random_state, index=number),
        )
    shown = Shown(as_strategies(trials, policy))
    study = optuna.create_study(storage=shown, direction="maximize", sampler=sampler)
    study.enqueue_trial(dict(values))
    return study.ask()


def as_trial(record: TrialRecord, drawn: BaseTrial | None) -> FrozenTrial:
    """Return a trial as Optuna sees it.

    TPE forgets failed trials and proposes them again, but it ranks pruned ones without a value
    below all complete ones: that is what a strategy that gave no score deserves. Partners and duels
    are none of its business.

    Parameters
    ----------
    record : TrialRecord
    drawn : BaseTrial or None
        What its values were drawn from; None for a partner.
    """
    value = None if record.score is None else float(record.score.utility)
    if record.status == "running":
        state = TrialState.RUNNING
    elif record.apart or record.status == "killed":
        state = TrialState.FAIL
    elif record.status in ("complete", "partial"):
        state = TrialState.COMPLETE
    else:
        state = TrialState.PRUNED
    attributes: dict[str, Any] = {
        "trial": record.number,
        "stage": record.stage,
        "status": record.status,
        "rung": record.rung,
    }
    if record.follows is not None:
        attributes["follows"] = record.follows
    if record.stage == "partner":
        attributes["partner"] = record.strategy.network.name
    trial = create_trial(
        state=state,
        value=value if state == TrialState.COMPLETE else None,
        params=None if drawn is None else drawn.params,
        distributions=None if drawn is None else drawn.distributions,
        user_attrs=attributes,
    )
    trial.number = record.number
    return trial


# --- what the sampler sees ------------------------------------------------------------------------


def as_strategies(
    trials: Sequence[FrozenTrial], policy: SearchPolicy = DEFAULT_POLICY
) -> list[FrozenTrial]:
    """Show the trials of a study as the sampler should see them: each strategy once.

    With its value at the highest rung that ten strategies reached. One
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
        By number; without those that the sampler would forget in any case, and matched duels,
        whose scores are of other rows.
    """
    first: dict[int, int] = {}
    chains: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        follows = trial.user_attrs.get("follows")
        first[trial.number] = trial.number if follows is None else first[int(follows)]
        heard = trial.state != TrialState.FAIL
        others = trial.user_attrs.get("stage") == "duel"  # other rows
        if heard and trial.params and not others:
            chains.setdefault(first[trial.number], []).append(trial)
    reached = Counter(
        _rung(trial) for chain in chains.values() for trial in chain if trial.value is not None
    )
    enough = [rung for rung, count in reached.items() if count >= ENOUGH_STRATEGIES]
    highest = max(enough, default=min(reached, default=0.0))
    strategies = [_as_strategy(chain, highest) for chain in chains.values()]
    # the best and the newest, in their order; all of them where there are no more
    window = policy.suggestions
    older = strategies[: max(len(strategies) - window.sampler_newest, 0)]
    best = sorted(range(len(older)), key=lambda place: _rank(older[place]))[: window.sampler_best]
    return [*(older[place] for place in sorted(best)), *strategies[len(older) :]]


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


def _as_strategy(chain: Sequence[FrozenTrial], rung: float) -> FrozenTrial:
    """Return the trials of a strategy as one, as they are seen from a rung."""
    state, value, between = TrialState.PRUNED, None, dict[int, float]()
    valued = {_rung(trial): trial.value for trial in chain if trial.value is not None}
    reached = [valued[at] for at in sorted(valued) if at >= rung]
    if reached:
        state, value = TrialState.COMPLETE, reached[0]
    elif valued:
        highest = max(valued)
        between[int(16 * highest)] = valued[highest]  # by sixteenths of the planned work
    elif chain[-1].state == TrialState.RUNNING:
        state = TrialState.RUNNING
    return FrozenTrial(
        number=-1,  # until it is shown
        trial_id=-1,
        state=state,
        value=value,
        datetime_start=None,
        datetime_complete=None,
        params=chain[0].params,
        distributions=chain[0].distributions,
        user_attrs={},
        system_attrs={},
        intermediate_values=between,
    )


def _rank(trial: FrozenTrial) -> tuple[bool, int, float]:
    """Sort strategies as TPE does: the best first."""
    step, between = next(iter(trial.intermediate_values.items()), (0, -math.inf))
    value = between if trial.value is None else trial.value
    return trial.state != TrialState.COMPLETE, -step, -value


def _rung(trial: FrozenTrial) -> float:
    """Return its rung; a strategy that its own patience ended has reached all of them."""
    ended = trial.user_attrs.get("status") == "complete"
    return max(float(trial.user_attrs.get("rung", 1.0)), 1.0 if ended else 0.0)
