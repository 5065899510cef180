"""Choice of the result: the best strategy, the control where it is no worse, or a blend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.calibration import Calibrator
from autoimb.assessment.decision import DecisionRule
from autoimb.assessment.judge import Judge, label_metric_for
from autoimb.assessment.uncertainty import Reported, errors_needed
from autoimb.budget import Deadline
from autoimb.evaluation.blend import Blend, blend
from autoimb.evaluation.calibrated import Calibrated, calibrated
from autoimb.evaluation.limits import Limits
from autoimb.evaluation.outcome import Scored, ranked
from autoimb.evaluation.replay import Candidates, replay
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.space.strategy import Strategy

__all__ = ["Winner", "choose"]

# Largest number of the best trials among which the choice is repeated.
_MAX_REPLAYED_TRIALS = 25
# Share of the time for choosing that weighing a blend may take; replays have the rest.
_BLENDING_SHARE = 0.7


@dataclass(frozen=True)
class Winner:
    """Result of the choice, with its calibrator, decision rule and reported score.

    Attributes
    ----------
    single : int
        Number of the best trial of one strategy, after law 3.
    blend : Blend
        The calibrated result: a blend, or the single strategy.
    rule : DecisionRule
        Decision rule fitted on `deployed`.
    is_control : bool
        Whether `single` is a control, which has no imbalance method.
    calibrator : Calibrator
        Calibrator of the out-of-fold probabilities, fitted on all rows.
    deployed : ndarray of float64, shape (n, C)
        Out-of-fold probabilities, calibrated by `calibrator`.
    reported : Reported
        Score of the result, corrected for the optimism of the choice.
    """

    single: int
    blend: Blend
    rule: DecisionRule
    is_control: bool
    calibrator: Calibrator
    deployed: NDArray[np.float64]
    reported: Reported

    @property
    def sentence(self) -> str:
        """Description of the result in one sentence."""
        if self.blend.networks is not None:
            share = f"{self.blend.partner_share:.0%}"
            return f"The result is a blend in which trees have {share} of the weight."
        if self.blend.is_blend:
            return (
                f"The result is a blend of {len(self.blend.numbers)} "
                "strategies: its probabilities were better on rows that did not weigh them."
            )
        how = "without" if self.is_control else "with"
        return f"The result is one strategy, {how} an imbalance method."


def choose(
    judge: Judge,
    strategies: Mapping[int, Strategy],
    results: Mapping[int, Scored],
    *,
    random_state: int,
    deadline: Deadline,
    policy: SearchPolicy = DEFAULT_POLICY,
    limits: Limits | None = None,
) -> Winner:
    """Choose the result of a search.

    Law 3: where the best strategy with an imbalance method does not beat the best control by more
    than chance explains, the single strategy is the control. This choice compares the trials of the
    search; statements on methods come from matched duels instead. A blend only has to predict
    better, cross-fitted. Partners can have a share of a blend, but are never the single strategy.

    Parameters
    ----------
    judge : Judge
        Judge of the scored rows.
    strategies : mapping of int to Strategy
        Strategies by trial.
    results : mapping of int to Scored
        Results that can be exported, by trial. Sees: out-of-fold predictions of the scored rows.
    random_state : int
        Seed of the blend's bags and of the bootstrap samples.
    deadline : Deadline
        Time limit of the blend, the labels, and the replays of the choice.
    policy : SearchPolicy, optional
    limits : Limits, optional
        Limits that the strategies of a blend keep together; each strategy alone keeps them.

    Returns
    -------
    Winner
        The trials of the result have out-of-fold predictions and fitted networks, or trees.
    """
    judge = judge.until(deadline)
    best = blend(
        judge,
        results,
        partners=[number for number in results if strategies[number].is_partner],
        random_state=random_state,
        deadline=deadline.fraction(_BLENDING_SHARE),
        policy=policy,
        limits=limits,
    )
    # Law 3 chooses the single strategy: the best treated one has to beat the best control.
    order = [number for number in ranked(results) if not strategies[number].is_partner]
    control = next((n for n in order if strategies[n].is_control), None)
    treated = [n for n in order if not strategies[n].is_control]
    single = control
    if treated and (control is None or _beats(judge, results, treated, control)):
        single = treated[0]
    if single is None or results[single].fitted is None:
        # The file of the fitted strategy has become unreadable, so the next best one is used.
        single = next(number for number in order if results[number].fitted is not None)
    if not best.is_blend:
        best = _alone(single, results[single], best, judge)
    if best.networks is not None and not best.networks.is_blend:
        alone = _alone(single, results[single], best.networks, judge)
        best = replace(best, networks=alone)
    if best.networks is not None:
        best = replace(best, networks=_calibrated(best.networks, results, judge)[0])
    best, calibration = _calibrated(best, results, judge)
    # The replay repeats this choice on bootstrap samples, among as many of the best trials as its
    # work allows, and subtracts the optimism from the score.
    n_cells = len(judge.y) * len(judge.metric.classes)
    min_trials, max_trials = policy.result.min_candidates, _MAX_REPLAYED_TRIALS
    replayed = int(np.clip(policy.result.replay_work // n_cells, min_trials, max_trials))
    numbers = list(dict.fromkeys([*order[:replayed], single]))
    reported = replay(
        judge,
        Candidates(
            singles=[(results[number].oof, results[number].likeliest) for number in numbers],
            control=np.array([strategies[number].is_control for number in numbers]),
            chosen=numbers.index(single),
            blends=[
                ((candidate.proba, candidate.labels), candidate.gain)
                for candidate in (best.networks, best)
                if candidate is not None and candidate.is_blend
            ],
        ),
        best.score.value,
        random_state=random_state,
        deadline=deadline,
        policy=policy,
    )
    # The decision rule is fitted on the probabilities of the deployed calibrator.
    rule, labels = _decide(best, judge, calibration.deployed)
    return Winner(
        single=single,
        blend=replace(best, labels=labels),
        rule=rule,
        is_control=strategies[single].is_control,
        calibrator=calibration.calibrator,
        deployed=calibration.deployed,
        reported=reported,
    )


def _beats(
    judge: Judge, results: Mapping[int, Scored], treated: Sequence[int], control: int
) -> bool:
    """Return whether the best of several strategies with a method beats the control.

    A single strategy has to be better by one standard error of the paired difference. The best of
    several has to be better by more, since the maximum of several differences is larger by chance
    (Bonferroni). A tie counts for the control.
    """
    best, control_result = results[treated[0]], results[control]
    difference, error = judge.compare(
        (best.oof, best.likeliest), (control_result.oof, control_result.likeliest)
    )
    # A difference of NaN compares as False and thus counts for the control.
    return difference > error * errors_needed(len(treated))


def _alone(number: int, result: Scored, best: Blend, judge: Judge) -> Blend:
    """Return a result that consists of the single strategy."""
    if best.numbers == (number,):
        return best
    labels = judge.labels(result.view) if result.labels is None else result.labels
    return replace(
        best, numbers=(number,), proba=result.oof, labels=labels, score=result.score, gain=0.0
    )


def _calibrated(
    best: Blend, results: Mapping[int, Scored], judge: Judge
) -> tuple[Blend, Calibrated]:
    """Calibrate the probabilities of a result, each part of the rows by the other parts."""
    calibration = calibrated(
        judge,
        best.proba,
        lambda part: best.view(results, part),
        class_costs=results[best.numbers[0]].class_costs,
    )
    best = replace(
        best, proba=calibration.proba, labels=calibration.labels, score=calibration.score
    )
    return best, calibration


def _decide(
    best: Blend, judge: Judge, deployed: NDArray[np.float64]
) -> tuple[DecisionRule, NDArray[np.int64]]:
    """Fit the decision rule as it is deployed, and label the rows out of fold.

    Where the metric does not judge labels and the user defined no costs, the most probable class is
    predicted, as in scikit-learn, unless the rule beats it by more than the error of the
    comparison.
    """
    rule = judge.deployment.fit_rule(deployed)
    if judge.metric.kind == "label" or judge.costs is not None:
        return rule, best.labels
    likeliest = best.proba.argmax(axis=1)
    gain, error = judge.with_metric(label_metric_for(judge.metric)).compare(
        (best.proba, best.labels), (best.proba, likeliest)
    )
    return (rule, best.labels) if gain > error else (DecisionRule(), likeliest)
