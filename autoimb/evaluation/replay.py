"""Reported score: the score of the result, corrected for the optimism of the choice.

The best of many scores is too high on the rows that chose it. The choice is therefore repeated on
bootstrap samples of the rows (bootstrap bias correction of cross-validation: Tsamardinos, Greasidou
& Borboudakis, "Bootstrapping the out-of-sample predictions for efficient and accurate
cross-validation", 2018). The optimism is the mean difference between the value of the chosen
candidate on the sample that chose it and its value on all rows. It includes the bias of the metric
on few rows, which the bootstrap estimates in the same way (Efron & Tibshirani, "An Introduction to
the Bootstrap", 1993, chapter 10).

A sample adds its noise to the noise of the rows themselves, so equal strategies look unequal even
before resampling, and the optimism would be underestimated. The values on all rows are therefore
shrunk to their mean by the share of their variance that noise explains (James & Stein, 1961; Efron
& Morris, "Data analysis using Stein's estimator and its generalizations", 1975).

The reported value may differ from the score that made the choice: the mean over folds of ten rare
rows each is too high to report, so the value of all rows together is reported instead. A candidate
that was chosen by one value has less optimism in another. Samples are therefore valued in both
ways, and the choice is repeated by the score.

Calibrators, blend weights and decision rules are cross-fitted: no row is predicted or labelled by a
model that its label influenced. A replay thus keeps their predictions, and only chooses among them.

Of large tables, a subsample is used that has as many rows of the rarer classes as possible. A row
that represents s rows is drawn as if it were present s times and counts 1/s, so that a sample
varies as little as one of all rows.

The samples show how a score varies with the scored rows. Other training rows and seeds would give
other networks, and this variance cannot be estimated from one search (Bengio & Grandvalet, "No
unbiased estimator of the variance of k-fold cross-validation", 2004). The error is therefore
increased by a share that was measured on simulated tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.judge import Judge, Prediction
from autoimb.assessment.uncertainty import Reported, error_of_mean, errors_needed, jackknife
from autoimb.data.subsample import subsample
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.randomness import Purpose, stream

__all__ = ["replay"]

# Largest number of bootstrap samples between two checks of the deadline
# (reports/design/reported-score.md).
_REPLAYS_AT_A_TIME = 100
# Work of a user's metric as a multiple of a built-in one's; samples then have fewer rows.
_FOREIGN_WORK = 20

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MIN_ROWS = 20  # smallest mean number of rows per class in a subsample


def replay(
    judge: Judge,
    singles: Sequence[Prediction],
    *,
    control: NDArray[np.bool_],
    chosen: int,
    raw: float,
    random_state: int,
    blends: Sequence[tuple[Prediction, float]] = (),
    policy: SearchPolicy = DEFAULT_POLICY,
) -> Reported:
    """Correct the score of the result for the optimism of its choice.

    Sees: out-of-fold predictions of the scored rows.

    Parameters
    ----------
    judge : Judge
        Judge of the scored rows. After its deadline no further samples are drawn. At least one
        batch is drawn: a hundred samples, or five for a user-defined metric, which takes one sample
        at a time. Without a deadline no clock is read.
    singles : sequence of K Predictions
        Out-of-fold probabilities (n, C) and labels (n,) of the best strategies.
    control : ndarray of bool, shape (K,)
        Mask of the strategies without an imbalance method.
    chosen : int
        Index of the best single strategy, after law 3.
    raw : float
        Score of the result on these rows, without the correction.
    random_state : int
        Seed of the samples.
    blends : sequence of (Prediction, float), optional
        Blends that replaced the preceding result, in this order, with their cross-fitted gain over
        it; the last blend is the result. Without blends the result is the single strategy.
    policy : SearchPolicy, optional
        Source of the number of samples, their number of rows, and the part of the error that is
        due to training.

    Returns
    -------
    Reported
        Corrected value, error and interval. The value refers to all rows together where groups have
        few rows of the rarest class, since means over small groups are too high. The interval is
        the value ± 1.96 errors, on the scale of log-odds where the metric lies between 0 and 1.
    """
    predictions = [*singles, *(prediction for prediction, _ in blends)]
    predictions = [judge.of_counted(prediction) for prediction in predictions]
    judge, n_predictions = judge.counted, len(predictions)
    result = n_predictions - 1 if blends else chosen
    # Predictions are valued as for the choice, and then, where that differs, as they are reported.
    valued = [(prediction, judge.pooled) for prediction in predictions]
    reporting = [
        judge.reporting(prediction, policy.result.rare_rows_per_group) for prediction in predictions
    ]
    pooled = reporting[0][1]
    if pooled != judge.pooled or (pooled and judge.metric.kind == "ranking"):
        valued += reporting
    values = _values(judge, valued, np.ones((1, len(judge.y))))[:, 0]
    rows, scale, sampled = _subsampled(judge, len(valued), random_state, policy)
    taken = [((proba[rows], labels[rows]), pooled) for (proba, labels), pooled in valued]
    random = stream(Purpose.REPLAYS, random_state)
    parts: list[Floats] = []
    # Samples are valued in batches: large enough to be vectorized, small enough for the deadline.
    batch = _REPLAYS_AT_A_TIME // (_FOREIGN_WORK if judge.metric.foreign else 1)
    a_sample = len(valued) * len(judge.metric.classes) * len(rows)
    batch = int(np.clip(_work(judge, policy) // a_sample, 5, batch))
    while len(parts) * batch < policy.result.replays:
        counts = _draw(
            sampled, scale, batch, random, pooled=judge.pooled or judge.cluster is not None
        )
        parts.append(_moves(sampled, taken, counts))
        if judge.deadline.expired:
            break
    moves = np.concatenate(parts, axis=1)  # [(V, batch), ...] -> (V, B)
    sign = 1.0 if judge.metric.greater_is_better else -1.0
    choice = _choose(
        sign * values[:n_predictions],
        sign * moves[:n_predictions],
        control=control,
        chosen=chosen,
        # The gain in a metric of labels is one of likelihood, which samples do not value: the blend
        # is always chosen.
        gains=[np.inf if judge.metric.kind == "label" else gain for _, gain in blends],
    )
    values, moves = values[-n_predictions:], moves[-n_predictions:]
    optimism = float(moves[choice, np.arange(moves.shape[1])].mean())
    error = judge.with_training(float(moves[result].std(ddof=1)), policy)
    if not judge.drawn_by_class:
        # The rows of a fold may be similar, as those of one patient are, so the error over folds
        # can be larger than the error over rows.
        error = max(error, _error_over_folds(judge, predictions[result], pooled=pooled))
    value, low, high = judge.interval(float(values[result]) - optimism, error)
    return Reported(
        value=value,
        error=error,
        low=low,
        high=high,
        raw=raw,
        optimism=optimism,
        replays=moves.shape[1],
        greater_is_better=judge.metric.greater_is_better,
    )


def _values(judge: Judge, valued: Sequence[tuple[Prediction, bool]], counts: Floats) -> Floats:
    """Return the values on each sample, (V, B), of predictions that are pooled or not."""
    # A sample of whole groups may lack a class, so that its value is NaN.
    with np.errstate(invalid="ignore"):
        values = [
            judge.of_samples(prediction, counts, pooled=pooled) for prediction, pooled in valued
        ]
    return np.array(values)


def _moves(judge: Judge, valued: Sequence[tuple[Prediction, bool]], counts: Floats) -> Floats:
    """Return the difference of each value on each sample to that on all rows, (V, B)."""
    values = _values(judge, valued, np.concatenate([np.ones((1, counts.shape[1])), counts]))
    # A sample without a value counts as one without a difference.
    moved: Floats = np.nan_to_num(values[:, 1:] - values[:, :1])
    return moved


def _error_over_folds(judge: Judge, prediction: Prediction, *, pooled: bool) -> float:
    """Return the standard error over groups: of their mean, or of a jackknife over groups."""
    groups = [judge.group == name for name in np.unique(judge.group)]
    samples = np.stack([~mask if pooled else mask for mask in groups]).astype(np.float64)
    values = judge.of_samples(prediction, samples, pooled=True)
    return jackknife(values) if pooled else error_of_mean(values)


def _subsampled(
    judge: Judge, n_candidates: int, random_state: int, policy: SearchPolicy
) -> tuple[Ints, Floats, Judge]:
    """Draw as many rows as the work allows, with as many of the rarer classes as possible.

    All rows are used where the metric is not known to count a row by its weight.

    Returns
    -------
    tuple of ndarray of int64 (k,), ndarray of float64 (k,) and Judge
        The rows, the number of rows that each of them represents, and their judge.
    """
    if not judge.metric.weighs:
        return np.arange(len(judge.y)), np.ones(len(judge.y)), judge
    a_row = n_candidates * _REPLAYS_AT_A_TIME * len(judge.metric.classes)
    max_rows = max(_work(judge, policy) // a_row, _MIN_ROWS * judge.metric.n_classes)
    random = stream(Purpose.REPLAY_ROWS, random_state)
    rows, scale = subsample(judge.y, np.arange(len(judge.y)), max_rows, random)
    sampled = judge.take(rows)
    weight = scale if sampled.weight is None else sampled.weight * scale
    return rows, scale, replace(sampled, weight=weight)


def _work(judge: Judge, policy: SearchPolicy) -> int:
    """Return the number of row values that are computed between two reads of the clock."""
    return policy.result.replay_work // (_FOREIGN_WORK if judge.metric.foreign else 1)


def _draw(
    judge: Judge, scale: Floats, number: int, random: np.random.Generator, *, pooled: bool
) -> Floats:
    """Draw rows with replacement, stratified by class, and return their counts, (number, n).

    Where values are means over folds, the strata are the classes within each fold. A row that
    represents `scale` rows is drawn as often as all of these would be, and counts a share of a row
    each time. Where the user defined groups, whole groups are drawn, and the strata are the groups
    with the same scarcest class.
    """
    fold = np.zeros_like(judge.group) if pooled else judge.group
    if judge.cluster is None:
        unit = np.arange(len(judge.y))
        stratum = fold * judge.metric.n_classes + judge.y
    else:
        # A group belongs to the stratum of the scarcest class among its rows.
        unit = np.unique(judge.cluster, return_inverse=True)[1]
        scale = np.ones(unit.max() + 1)
        scarcity = np.argsort(np.argsort(-np.bincount(judge.y, minlength=judge.metric.n_classes)))
        stratum = np.zeros(len(scale), dtype=np.int64)
        np.maximum.at(stratum, unit, fold * judge.metric.n_classes + scarcity[judge.y])
    counts = np.empty((number, len(stratum)))
    for name in np.unique(stratum):
        members = np.flatnonzero(stratum == name)
        draws = max(round(scale[members].sum()), 1)
        drawn = random.multinomial(draws, np.full(len(members), 1 / len(members)), number)
        counts[:, members] = drawn * len(members) / draws
    return counts[:, unit]


def _choose(
    values: Floats,
    moves: Floats,
    *,
    control: NDArray[np.bool_],
    chosen: int,
    gains: Sequence[float],
) -> Ints:
    """Repeat the choice on each sample, by utilities (P,) and their differences (P, B).

    The best strategy with a method has to beat the best control (law 3). A blend is chosen where it
    has a gain on the sample.

    Returns
    -------
    ndarray of int64, shape (B,)
        Indices of the chosen predictions.
    """
    n_singles = len(control)
    estimates = _pulled(values[:n_singles], moves[:n_singles])[:, None] + moves[:n_singles]
    places = [np.flatnonzero(mask) for mask in (control, ~control)]
    best = [group[estimates[group].argmax(axis=0)] for group in places if len(group)]
    choice: Ints = best[0]
    if len(best) == 2:
        samples = np.arange(moves.shape[1])
        alone, treated = best
        error = (moves[treated, samples] - moves[alone, samples]).std()
        gap = estimates[treated, samples] - estimates[alone, samples]
        choice = np.where(gap > error * errors_needed(len(places[1])), treated, alone)
    previous = chosen
    for place, gain in enumerate(gains, n_singles):
        choice = np.where(gain + moves[place] - moves[previous] > 0, place, choice)
        previous = place
    return choice


def _pulled(values: Floats, moves: Floats) -> Floats:
    """Shrink values (K,) to their mean by the share of their variance that noise, (K, B), explains.

    Noise is the part of the differences that is not common to all candidates, since a common
    difference changes no choice.
    """
    variance = values.var(ddof=1) if len(values) > 1 else 0.0
    if variance == 0.0:
        return values
    apart = moves - moves.mean(axis=1, keepdims=True)
    apart = apart - apart.mean(axis=0)
    noise = (apart**2).sum() / (apart.shape[1] * (len(values) - 1))
    pulled: Floats = values.mean() + max(1 - noise / variance, 0.0) * (values - values.mean())
    return pulled
