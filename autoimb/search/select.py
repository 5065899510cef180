"""Selection of the result from the trials of a search, and training of a result on newer rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.averaging import of_the_mean
from autoimb.assessment.decision import DecisionRule
from autoimb.assessment.judge import Judge, Prediction, label_metric_for
from autoimb.assessment.uncertainty import Reported, defined, errors_needed
from autoimb.budget import Deadline
from autoimb.data.sample import Sample
from autoimb.errors import RunError, TargetError
from autoimb.evaluation.assemble import Calibration, assemble, at_counted_rates, calibrate
from autoimb.evaluation.blend import Mixture, blend
from autoimb.evaluation.limits import counted_seconds
from autoimb.evaluation.outcome import Scored, ranked
from autoimb.evaluation.replay import replay
from autoimb.evaluation.smaller import smaller
from autoimb.evaluation.task import Trial
from autoimb.evaluation.trial import evaluate
from autoimb.pipeline.fitted import FittedPipeline, FittedStrategy
from autoimb.pipeline.summary import stamp
from autoimb.policy import SearchPolicy
from autoimb.search.prepare import Preparation, prepare, table_of
from autoimb.search.request import Request
from autoimb.search.study import StudyResult
from autoimb.space.partner import PARTNER, Forest
from autoimb.space.strategy import Strategy

__all__ = ["Selection", "choose", "refit", "select"]

# Largest number of the best trials among which the choice is repeated.
_MAX_REPLAYED_TRIALS = 25
# Share of the time for choosing that weighing a blend may take; replays have the rest.
_BLENDING_SHARE = 0.7

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Selection:
    """Result of a search, with its out-of-fold predictions and its reported score.

    Attributes
    ----------
    single : int
        Number of the best trial of one strategy, after law 3.
    is_control : bool
        Whether `single` is a control, which has no imbalance method.
    weights : mapping of int to float
        Weights of the probabilities of the result by trial, in decreasing order; they sum to 1.
    partner_share : float
        Share of the weight that partners have.
    proba : ndarray of float64, shape (n, C)
        Out-of-fold probabilities. Weights and calibration are cross-fitted.
    labels : ndarray of int64, shape (n,)
        Cross-fitted labels.
    networks : (ndarray, ndarray) or None
        The same probabilities and labels of the networks alone, where partners have a share.
    reported : Reported
        Score of the result, corrected for the optimism of the choice.
    pipeline : FittedPipeline
    """

    single: int
    is_control: bool
    weights: Mapping[int, float]
    partner_share: float
    proba: Floats
    labels: Ints
    networks: Prediction | None
    reported: Reported
    pipeline: FittedPipeline

    @property
    def is_blend(self) -> bool:
        """True if the result has several strategies."""
        return len(self.weights) > 1

    @property
    def sentence(self) -> str:
        """Description of the result in one sentence."""
        if self.networks is not None:
            share = f"{self.partner_share:.0%}"
            return f"The result is a blend in which trees have {share} of the weight."
        if self.is_blend:
            return (
                f"The result is a blend of {len(self.weights)} "
                "strategies: its probabilities were better on rows that did not weigh them."
            )
        how = "without" if self.is_control else "with"
        return f"The result is one strategy, {how} an imbalance method."


def select(preparation: Preparation, study: StudyResult, *, deadline: Deadline) -> Selection:
    """Select the result of a search: one strategy, or a blend where that predicts better.

    Parameters
    ----------
    preparation : Preparation
    study : StudyResult
        Trials, of which a network is fitted. Sees: out-of-fold predictions of the scored rows.
    deadline : Deadline
        Time limit of the blend, the labels, and the replays of the choice.

    Returns
    -------
    Selection
    """
    task, results = preparation.task, study.results
    strategies = {record.number: record.strategy for record in study.records}
    judge = task.judge.until(deadline)
    partners = [number for number in results if strategies[number].is_partner]
    models = {number: PARTNER.make(strategies[number].network) for number in partners}
    blending = deadline.fraction(_BLENDING_SHARE)
    mixtures = blend(
        judge,
        results,
        partners=partners,
        deep=[n for n, model in models.items() if isinstance(model, Forest) and model.is_deep],
        random_state=task.plan.seed,
        deadline=blending,
        policy=task.plan.policy,
        limits=task.limits,
    )
    single = choose(judge, strategies, results)
    if preparation.request.blend == "small":
        seconds = {n: counted_seconds(r.fitted) for n, r in results.items() if r.fitted is not None}
        mixtures = smaller(
            judge,
            results,
            mixtures,
            single=single,
            partners=partners,
            seconds=seconds,
            deadline=blending,
            policy=task.plan.policy,
        )
    if not mixtures[0].is_blend:
        mixtures = (Mixture.single(judge, results, single), *mixtures[1:])
    calibrations = [_calibrate(judge, results, mixture) for mixture in mixtures]
    result, calibration = mixtures[-1], calibrations[-1]
    order = [number for number in ranked(results) if not strategies[number].is_partner]
    numbers = _replayed(judge, order, single, task.plan.policy)
    reported = replay(
        judge,
        [(results[number].oof, results[number].likeliest) for number in numbers],
        control=np.array([strategies[number].is_control for number in numbers]),
        chosen=numbers.index(single),
        blends=[
            ((calibrated.proba, calibrated.labels), mixture.gain)
            for mixture, calibrated in zip(mixtures, calibrations)
            if mixture.is_blend
        ],
        raw=judge.score(calibration.proba, calibration.labels).value,
        random_state=task.plan.seed,
        policy=task.plan.policy,
    )
    rule, labels = _decide(judge, calibration)
    pipeline, gain = assemble(
        task,
        _fitted(results[number] for number in result.weights),
        list(result.weights.values()),
        schema=preparation.schema,
        classes=preparation.target.classes,
        calibration=calibration,
        rule=rule,
    )
    if gain is not None:
        reported = of_the_mean(reported, gain, judge)
    networks = calibrations[0]
    return Selection(
        single=single,
        is_control=strategies[single].is_control,
        weights=result.weights,
        partner_share=sum(w for n, w in result.weights.items() if strategies[n].is_partner),
        proba=calibration.proba,
        labels=labels,
        networks=None if len(mixtures) == 1 else (networks.proba, networks.labels),
        reported=replace(reported, estimate=_population(preparation)),
        pipeline=_at_counted_rates(pipeline, preparation, calibration),
    )


def choose(judge: Judge, strategies: Mapping[int, Strategy], results: Mapping[int, Scored]) -> int:
    """Choose the best single strategy, by law 3.

    Where the best strategy with an imbalance method does not beat the best control by more than
    chance explains, the single strategy is the control. This choice compares the trials of the
    search; statements on methods come from matched duels instead. Partners are never the single
    strategy.

    Parameters
    ----------
    judge : Judge
    strategies : mapping of int to Strategy
        Strategies by trial.
    results : mapping of int to Scored
        Results by trial, of which a network is fitted.

    Returns
    -------
    int
        Number of the trial, whose networks are fitted.
    """
    order = [number for number in ranked(results) if not strategies[number].is_partner]
    control = next((n for n in order if strategies[n].is_control), None)
    treated = [n for n in order if not strategies[n].is_control]
    single = treated[0] if control is None else control
    if control is not None and treated:
        # A single strategy has to be better by one standard error of the paired difference. The
        # best of several has to be better by more, since the maximum of several differences is
        # larger by chance (Bonferroni). A tie, and a difference of NaN, counts for the control.
        (best, alone) = ((results[n].oof, results[n].likeliest) for n in (treated[0], control))
        difference, error = judge.compare(best, alone)
        if difference > error * errors_needed(len(treated)):
            single = treated[0]
    # Where the file of the fitted strategy has become unreadable, the next best one is used.
    return next(n for n in (single, *order) if results[n].fitted is not None)


def _replayed(judge: Judge, order: list[int], single: int, policy: SearchPolicy) -> list[int]:
    """Return the trials among which replays choose: as many of the best as the work allows."""
    n_cells = len(judge.y) * len(judge.metric.classes)
    affordable = policy.result.replay_work // n_cells
    number = int(np.clip(affordable, policy.result.min_candidates, _MAX_REPLAYED_TRIALS))
    return list(dict.fromkeys([*order[:number], single]))


def _calibrate(judge: Judge, results: Mapping[int, Scored], mixture: Mixture) -> Calibration:
    """Calibrate a mixture, each part of the rows by the other parts."""
    first = next(iter(mixture.weights))
    return calibrate(
        judge,
        mixture.proba,
        lambda part: mixture.view(results, part),
        class_costs=results[first].class_costs,
    )


def _decide(judge: Judge, calibration: Calibration) -> tuple[DecisionRule, Ints]:
    """Fit the decision rule as it is deployed, and label the rows out of fold.

    Where the metric does not judge labels and the user defined no costs, the most probable class is
    predicted, as in scikit-learn, unless the rule beats it by more than the error of the
    comparison.
    """
    rule = judge.deployment.fit_rule(calibration.deployed)
    proba, labels = calibration.proba, calibration.labels
    if judge.metric.kind == "label" or judge.costs is not None:
        return rule, labels
    likeliest = proba.argmax(axis=1)
    of_labels = judge.with_metric(label_metric_for(judge.metric))
    gain, error = of_labels.compare((proba, labels), (proba, likeliest))
    return (rule, labels) if gain > error else (DecisionRule(), likeliest)


def _at_counted_rates(
    pipeline: FittedPipeline, preparation: Preparation, calibration: Calibration
) -> FittedPipeline:
    """Calibrate a pipeline on the rows outside the study, where there are any."""
    if preparation.unseen is None:
        return pipeline
    dataset, judge = preparation.dataset, preparation.task.judge
    return at_counted_rates(pipeline, dataset, preparation.unseen, judge, calibration.deployed)


def _population(preparation: Preparation) -> str:
    """Describe the rows for which the score is expected: similar, later, or of new groups."""
    later = preparation.dataset.times is not None
    if preparation.dataset.cluster is None:
        return "later rows" if later else "new data"
    names = preparation.request.groups
    groups = f"new groups ({', '.join(names)})" if names else "new groups"
    return f"later rows of {groups}" if later else groups


def refit(
    pipeline: FittedPipeline, request: Request, rows: Sample, *, time_budget: float | None
) -> FittedPipeline:
    """Train the strategies of a pipeline on newer rows, without a search.

    Parameters
    ----------
    pipeline : FittedPipeline
        Source of the schema, the classes, the strategies and their weights; its fitted networks are
        not used.
    request : Request
        Request of the search that built the pipeline.
    rows : Sample
        The newer rows, all of them or a sample.
    time_budget : float or None
        Seconds that the original search was planned for.

    Returns
    -------
    FittedPipeline
        Pipeline with the same blend weights, and a decision rule fitted on the new out-of-fold
        predictions.

    Raises
    ------
    TargetError
        If the classes are not those of the pipeline.
    RunError
        If a strategy cannot be trained on these rows; the message has the reason.
    """
    positive = pipeline.classes[pipeline.positive]
    request = replace(request, pos_label=positive, holdout=None)
    preparation = prepare(table_of(rows, request), request, schema=pipeline.schema)
    preparation = replace(preparation, time_budget=time_budget)
    classes = preparation.target.classes
    if list(classes) != list(pipeline.classes):
        expected, actual = (", ".join(map(str, labels)) for labels in (pipeline.classes, classes))
        raise TargetError(f"The pipeline has the classes {expected}; the table has {actual}.")
    task = preparation.task
    judge = task.judge
    results: list[Scored] = []
    for old in pipeline.strategies:
        outcome = evaluate(task, Trial(Strategy.from_json(old.strategy)))
        if not isinstance(outcome, Scored):
            raise RunError(f"{old.description} can't be trained on this table: {outcome.reason}")
        results.append(outcome)

    def mixed(part: int | None) -> Floats:
        """Mix out-of-fold probabilities, or those fitted without the labels of a part."""
        views = [result.oof if part is None else result.view(part) for result in results]
        return np.tensordot(np.array(pipeline.weights), np.stack(views), axes=1)

    calibration = calibrate(judge, mixed(None), mixed, class_costs=results[0].class_costs)
    fitted, _ = assemble(
        task,
        _fitted(results),
        pipeline.weights,
        schema=pipeline.schema,
        classes=pipeline.classes,
        calibration=calibration,
        rule=judge.deployment.fit_rule(calibration.deployed),
    )
    fitted = _at_counted_rates(fitted, preparation, calibration)
    score = judge.score(calibration.proba, calibration.labels)
    info = {"score": defined(score.value), "error": defined(score.error)}
    info |= {"rows": preparation.profile.n_rows} | preparation.rate_info
    return replace(fitted, info=stamp() | fitted.info | info)


def _fitted(results: Iterable[Scored]) -> list[FittedStrategy]:
    return [result.fitted for result in results if result.fitted is not None]
