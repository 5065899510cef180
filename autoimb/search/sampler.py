"""Optuna's sampler: the trials that it is shown, and the values that it draws."""

from __future__ import annotations

import warnings
from collections.abc import Container, Mapping, Sequence
from copy import copy
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.randomness import Purpose, seed_for
from autoimb.runs.record import TrialRecord

__all__ = ["SamplerView", "as_strategies", "as_trial", "ask"]


def ask(
    trials: Sequence[FrozenTrial],
    values: Mapping[str, Any],
    *,
    number: int,
    random_state: int,
    policy: SearchPolicy = DEFAULT_POLICY,
) -> optuna.Trial:
    """Ask the sampler for a trial, from which a strategy can be drawn.

    The sampler sees the strategies that it should learn from, in a study made for this one draw.
    Its random numbers are keyed by the seed and the trial's number, not by what this process did
    before: a resumed search draws like one that was never killed.

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
    shown = SamplerView(as_strategies(trials, policy))
    study = optuna.create_study(storage=shown, direction="maximize", sampler=sampler)
    study.enqueue_trial(dict(values))
    return study.ask()


def as_trial(record: TrialRecord, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """Return a trial as Optuna sees it.

    TPE forgets failed trials and proposes them again, but it ranks pruned ones without a value
    below all complete ones, as a strategy without a score deserves. Partners and duels are not
    shown to the sampler.

    Parameters
    ----------
    record : TrialRecord
    distributions : mapping of str to BaseDistribution
        Distributions of the parameters; empty for a partner.
    """
    if record.status == "running":
        state = TrialState.RUNNING
    elif record.apart or record.status == "killed":
        state = TrialState.FAIL
    else:
        state = TrialState.COMPLETE if record.status == "complete" else TrialState.PRUNED
    attributes: dict[str, Any] = {
        "trial": record.number,
        "stage": record.stage,
        "status": record.status,
    }
    if record.stage == "partner":
        attributes["partner"] = record.strategy.network.name
    value = None if record.score is None else float(record.score.utility)
    trial = create_trial(
        state=state,
        value=value if state == TrialState.COMPLETE else None,
        params=dict(record.params),
        distributions=dict(distributions),
        user_attrs=attributes,
    )
    trial.number = record.number
    return trial


# --- what the sampler sees ------------------------------------------------------------------------


def as_strategies(
    trials: Sequence[FrozenTrial], policy: SearchPolicy = DEFAULT_POLICY
) -> list[FrozenTrial]:
    """Return the trials that the sampler should see, as copies.

    Of very many strategies only the best and the newest are shown, as the time of a draw grows
    with their number. TPE models 25 at most as good ones (Bergstra et al., 2011; Optuna's
    default), and weighs the others less the older they are.

    Parameters
    ----------
    trials : sequence of FrozenTrial
        By number.
    policy : SearchPolicy, optional
        How many are shown.

    Returns
    -------
    list of FrozenTrial
        By number; without those that the sampler would forget in any case, and matched duels,
        whose scores are of other rows.
    """
    strategies = [
        copy(trial)
        for trial in trials
        if trial.state != TrialState.FAIL
        and trial.params
        and trial.user_attrs.get("stage") != "duel"
    ]
    # the best and the newest, in their order; all of them where there are no more
    window = policy.suggestions
    older = strategies[: max(len(strategies) - window.sampler_newest, 0)]
    best = sorted(range(len(older)), key=lambda place: _rank(older[place]))[: window.sampler_best]
    return [*(older[place] for place in sorted(best)), *strategies[len(older) :]]


class SamplerView(InMemoryStorage):
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


def _rank(trial: FrozenTrial) -> tuple[bool, float]:
    """Sort strategies as TPE does: the best first."""
    return trial.state != TrialState.COMPLETE, 0.0 if trial.value is None else -trial.value
