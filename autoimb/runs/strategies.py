"""A study of strategies, made of one of trials: what the sampler should see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState, create_trial

__all__ = ["ENOUGH_STRATEGIES", "as_strategies"]

ENOUGH_STRATEGIES = 10  # at a rung, so that the sampler learns from it


def as_strategies(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Show the trials of a study as the sampler should see them: each strategy once.

    With its value at the highest rung that ten strategies reached, on the folds of the search. One
    that did not get so far is shown as given up on its way there, which TPE ranks by how far it
    got, then by its value.

    Parameters
    ----------
    trials : sequence of FrozenTrial
        By number; one at a higher rung names the one that it follows.

    Returns
    -------
    list of FrozenTrial
        Without those that wait, and those that the sampler would forget in any case.
    """
    first: dict[int, int] = {}
    chains: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        follows = trial.user_attrs.get("follows")
        first[trial.number] = trial.number if follows is None else first[int(follows)]
        heard = trial.state not in (TrialState.WAITING, TrialState.FAIL)
        others = trial.user_attrs.get("stage") == "confirm"  # other folds, and more networks
        repeated = trial.user_attrs.get("status") == "repeated"
        if heard and trial.params and not (others or repeated):
            chains.setdefault(first[trial.number], []).append(trial)
    reached = Counter(
        _rung(trial) for chain in chains.values() for trial in chain if trial.value is not None
    )
    enough = [rung for rung, count in reached.items() if count >= ENOUGH_STRATEGIES]
    highest = max(enough, default=min(reached, default=0.0))
    return [_as_strategy(chain, highest) for chain in chains.values()]


def _as_strategy(chain: Sequence[FrozenTrial], rung: float) -> FrozenTrial:
    valued = {_rung(trial): trial.value for trial in chain if trial.value is not None}
    reached = [value for own, value in sorted(valued.items()) if own >= rung]
    state, value, between = TrialState.PRUNED, None, {}
    if reached:
        state, value = TrialState.COMPLETE, reached[0]
    elif valued:
        last = max(valued)
        between = {int(16 * last): valued[last]}
    elif chain[-1].state == TrialState.RUNNING:
        state = TrialState.RUNNING
    return create_trial(
        state=state,
        value=value,
        params=chain[0].params,
        distributions=chain[0].distributions,
        intermediate_values=between,
    )


def _rung(trial: FrozenTrial) -> float:
    """Return its rung; a strategy that its own patience ended has reached all of them."""
    ended = trial.user_attrs.get("status") == "complete"
    return max(float(trial.user_attrs.get("rung", 1.0)), 1.0 if ended else 0.0)
