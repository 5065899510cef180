"""What is handed over: the best strategy, `none` where it is no worse, or a blend."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.decision import (
    DecisionRule,
    cross_fit_labels,
    fit_rule,
    label_metric_for,
)
from autoimb.assessment.uncertainty import Prediction, paired_difference
from autoimb.assessment.verdict import Verdict, verdict
from autoimb.errors import RunError
from autoimb.search.blend import Blend, blend
from autoimb.space.rooms import ROOMS

if TYPE_CHECKING:
    from autoimb.assessment.metrics import Metric
    from autoimb.search.budget import Deadline
    from autoimb.search.evaluate import Outcome
    from autoimb.search.planning import Plan
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
    rule : DecisionRule
        Fitted on all out-of-fold rows.
    verdict : Verdict
        Whether any lever helps.
    is_plain : bool
        Whether `single` pulls no lever.
    """

    single: int
    blend: Blend
    rule: DecisionRule
    verdict: Verdict
    is_plain: bool

    @property
    def sentence(self) -> str:
        """Whether levers help, and what is handed over."""
        finding = self.verdict.sentence
        if self.blend.kept:
            return (
                f"{finding} What is handed over is a blend of {len(self.blend.numbers)} "
                "strategies: its probabilities were better on rows that did not weigh them."
            )
        return f"{finding} The answer is to leave it out." if self.is_plain else finding


@dataclass(frozen=True, eq=False)
class _Rows:
    """The scored rows, and what they are judged by."""

    metric: Metric
    y: NDArray[np.int64]
    group: NDArray[np.int64]
    weight: NDArray[np.float64]
    costs: tuple[tuple[float, ...], ...] | None


def is_plain(record: TrialRecord) -> bool:
    """Tell whether a strategy does nothing against the imbalance.

    Costs that the user gave are none of its doing, and an ensemble on rows as they are is but a
    larger network.
    """
    levers = set(record.strategy.levers)
    if not ROOMS["ensemble"][record.strategy.ensemble.name].samples_rows:
        levers.discard("ensemble")
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
    if any(o.fitted is not None for o in complete.values()):
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
    is `none`. A blend only needs to predict better, cross-fitted.

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
    scored, dataset = plan.folds.scored, prepared.dataset
    rows = _Rows(
        metric=prepared.metric,
        y=dataset.y[scored],
        group=plan.folds.group[scored],
        weight=plan.folds.scored_weight(dataset.weight),
        costs=plan.cost_matrix,
    )
    best = blend(
        rows.metric,
        outcomes,
        rows.y,
        rows.group,
        weight=rows.weight,
        costs=rows.costs,
        random_state=plan.seed,
        deadline=deadline,
    )
    by_number = {record.number: record for record in records}
    ranked = sorted(outcomes, key=lambda n: (-_utility(outcomes[n]), n))
    plain = next((n for n in ranked if is_plain(by_number[n])), None)
    pulled = [n for n in ranked if not is_plain(by_number[n])]
    answer = verdict(
        rows.metric,
        rows.y,
        rows.group,
        none=None if plain is None else _prediction(outcomes[plain]),
        lever=_prediction(outcomes[pulled[0]]) if pulled else None,
        lever_name=by_number[pulled[0]].strategy.describe() if pulled else "",
        tried=len(pulled),
        weight=rows.weight,
    )
    single = pulled[0] if pulled and (plain is None or answer.lever_helps) else plain
    if single is None or outcomes[single].fitted is None:  # its file was torn since
        single = next(number for number in ranked if outcomes[number].fitted is not None)
    if not best.kept:
        best = _alone(single, outcomes[single], best, rows)
    rule, labels = _decide(best, rows)
    return Winner(
        single=single,
        blend=replace(best, labels=labels),
        rule=rule,
        verdict=answer,
        is_plain=single == plain,
    )


def _alone(number: int, outcome: Outcome, best: Blend, rows: _Rows) -> Blend:
    """Return the single strategy as what is handed over."""
    if best.numbers == (number,) or outcome.oof is None or outcome.score is None:
        return best
    labels = outcome.labels
    if labels is None:
        labels = cross_fit_labels(
            rows.metric, rows.y, outcome.view, rows.group, weight=rows.weight, costs=rows.costs
        )
    return replace(
        best, numbers=(number,), proba=outcome.oof, labels=labels, score=outcome.score, gain=0.0
    )


def _decide(best: Blend, rows: _Rows) -> tuple[DecisionRule, NDArray[np.int64]]:
    """Fit the decision rule, and label the rows out of fold.

    Where the metric does not judge labels and the user gave no costs, the most probable class is
    the answer unless the rule beats it by more than its error: as scikit-learn would have it.
    """
    rule = fit_rule(rows.metric, rows.y, best.proba, weight=rows.weight, costs=rows.costs)
    if rows.metric.kind == "label" or rows.costs is not None:
        return rule, best.labels
    likeliest = best.proba.argmax(axis=1)
    gain, error = paired_difference(
        label_metric_for(rows.metric),
        rows.y,
        (best.proba, best.labels),
        (best.proba, likeliest),
        rows.group,
        weight=rows.weight,
    )
    return (rule, best.labels) if gain > error else (DecisionRule(), likeliest)


def _prediction(outcome: Outcome) -> Prediction:
    """Return probabilities and labels; metrics that don't look at labels get the likeliest."""
    assert outcome.oof is not None  # of the usable ones
    labels = outcome.oof.argmax(axis=1) if outcome.labels is None else outcome.labels
    return outcome.oof, labels


def _utility(outcome: Outcome) -> float:
    return -math.inf if outcome.score is None else outcome.score.utility
