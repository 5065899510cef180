"""What is handed over: the best strategy, `none` where it is no worse, or a blend."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autoimb.assessment.uncertainty import Prediction
from autoimb.assessment.verdict import Verdict, verdict
from autoimb.errors import RunError
from autoimb.search.blend import Blend, blend

if TYPE_CHECKING:
    from autoimb.search.budget import Deadline
    from autoimb.search.evaluate import Outcome, Plan
    from autoimb.search.prepare import Prepared
    from autoimb.search.record import TrialRecord

__all__ = ["Winner", "choose", "is_plain", "usable_outcomes"]

MOST_REASONS = 5


@dataclass(frozen=True)
class Winner:
    """The outcome of the choice.

    Attributes
    ----------
    single : int
        The best trial of one strategy, after law 3.
    blend : Blend
        What is handed over: a blend, or the single strategy.
    verdict : Verdict
        Whether any lever helps.
    """

    single: int
    blend: Blend
    verdict: Verdict


def is_plain(record: TrialRecord) -> bool:
    """Tell whether a strategy pulls no lever; costs that the user gave are none."""
    levers = set(record.strategy.levers)
    if record.strategy.class_weight.name == "costs":
        levers.discard("class_weight")
    return not levers


def usable_outcomes(
    records: Sequence[TrialRecord], outcomes: Mapping[int, Outcome]
) -> dict[int, Outcome]:
    """Return the outcomes that can be handed over: complete ones, else what the deadline left.

    Raises
    ------
    RunError
        Where there is none; the message counts the reasons.
    """
    found = {n: o for n, o in outcomes.items() if o.score is not None and o.oof is not None}
    complete = {n: o for n, o in found.items() if o.status == "complete"}
    if complete:
        return complete
    cut = {n: replace(o, status="complete") for n, o in found.items() if o.fitted is not None}
    if cut:
        return cut
    reasons = Counter(f"{r.status}: {r.reason}" if r.reason else r.status for r in records)
    shown = "; ".join(f"{count} × {why}" for why, count in reasons.most_common(MOST_REASONS))
    raise RunError(
        f"No trial was completed{f' ({shown})' if shown else ''}. "
        "Give the search more time, fewer rows or fewer options."
    )


def choose(
    prepared: Prepared,
    plan: Plan,
    records: Sequence[TrialRecord],
    outcomes: Mapping[int, Outcome],
    *,
    deadline: Deadline,
) -> Winner:
    """Choose what to hand over.

    Law 3: where the best lever does not beat `none` by more than its error, the single strategy
    is `none`. A blend only needs a better cross-fitted score.

    Parameters
    ----------
    prepared : Prepared
        The study's rows and metric.
    plan : Plan
        Its folds and costs.
    records : sequence of TrialRecord
        All trials.
    outcomes : mapping of int to Outcome
        From `usable_outcomes`. Sees: out-of-fold predictions of the scored rows.
    deadline : Deadline
        For the blend.

    Returns
    -------
    Winner
        All its trials have out-of-fold predictions; `none` may lack its networks.
    """
    rows = plan.folds.scored
    y, weight, group = (
        prepared.dataset.y[rows],
        prepared.dataset.weight[rows],
        plan.folds.group[rows],
    )
    best = blend(
        prepared.metric,
        outcomes,
        y,
        group,
        weight=weight,
        costs=plan.cost_matrix,
        random_state=plan.seed,
        deadline=deadline,
    )
    by_number = {record.number: record for record in records}
    ranked = sorted(outcomes, key=lambda n: (-_utility(outcomes[n]), n))
    plain = next((n for n in ranked if is_plain(by_number[n])), None)
    pulled = [n for n in ranked if not is_plain(by_number[n])]
    answer = verdict(
        prepared.metric,
        y,
        group,
        none=None if plain is None else _prediction(outcomes[plain]),
        lever=_prediction(outcomes[pulled[0]]) if pulled else None,
        lever_name=by_number[pulled[0]].strategy.describe() if pulled else "",
        tried=len(pulled),
        weight=weight,
    )
    single = pulled[0] if pulled and (plain is None or answer.lever_helps) else plain
    if single is None:
        single = ranked[0]
    if not best.kept:
        best = _alone(single, outcomes[single], best)
    return Winner(single=single, blend=best, verdict=answer)


def _alone(number: int, outcome: Outcome, best: Blend) -> Blend:
    """Return the single strategy as what is handed over."""
    if best.numbers == (number,) or outcome.oof is None or outcome.score is None:
        return best
    return replace(
        best,
        numbers=(number,),
        proba=outcome.oof,
        labels=_prediction(outcome)[1],
        score=outcome.score,
        gain=0.0,
    )


def _prediction(outcome: Outcome) -> Prediction:
    """Return probabilities and labels; metrics that don't look at labels get the likeliest."""
    assert outcome.oof is not None  # of the usable ones
    labels = outcome.oof.argmax(axis=1) if outcome.labels is None else outcome.labels
    return outcome.oof, labels


def _utility(outcome: Outcome) -> float:
    return -math.inf if outcome.score is None else outcome.score.utility
