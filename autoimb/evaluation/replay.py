"""The reported score: the choice is made again on bootstrap samples, and its optimism taken off.

The best of many scores is too high, on the rows that chose it. So the rows are drawn again, with
replacement, and the choice is made again on each sample (bootstrap bias correction of
cross-validation: Tsamardinos, Greasidou & Borboudakis, "Bootstrapping the out-of-sample predictions
for efficient and accurate cross-validation", 2018). How far the value of what is chosen moves with
the sample that chose it, on average, is the optimism. It holds the bias of the metric on few rows
as well, which the bootstrap estimates in the same way (Efron & Tibshirani, "An Introduction to the
Bootstrap", 1993, chapter 10).

A sample adds its noise to that of the rows themselves, so that equal strategies look unequal before
the replay begins, and it would find too little optimism. Hence the values that it begins from are
pulled to their mean by the share of their variance that noise explains (James & Stein, 1961; Efron
& Morris, "Data analysis using Stein's estimator and its generalizations", 1975).

What is reported may be another value than the score that chose: the mean over folds of ten rare
rows is too high to report. What is chosen by one value is less lucky in another. So samples are
valued both ways, and the choice is made again by the score.

Calibrators, blend weights and rules are cross-fitted: no row is predicted or labelled by what its
own class had a part in. So a replay keeps their predictions, and chooses among them.

Of large tables few rows are drawn from, the rarer classes whole as far as possible. A row that
stands for s rows is drawn as if it were there s times and counts 1/s, so that a sample varies as
little as one of all rows would.

Samples know how a score varies with the rows that are scored. That other training rows and seeds
give other networks comes on top, and can't be seen in one search (Bengio & Grandvalet, "No unbiased
estimator of the variance of k-fold cross-validation", 2004). What it was on simulated tables, as a
share, is taken for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.judge import Judge, Prediction
from autoimb.assessment.metrics import Metric
from autoimb.assessment.uncertainty import Reported, error_of_mean, errors_needed, jackknife
from autoimb.budget import Deadline
from autoimb.data.subsample import subsample
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.randomness import Purpose, stream

__all__ = ["Candidates", "replay"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MIN_ROWS = 20  # of a class, in the mean


@dataclass(frozen=True, eq=False)
class Candidates:
    """What a result was chosen from.

    Attributes
    ----------
    singles : sequence of Prediction
        Out-of-fold probabilities (n, C) and labels (n,) of the best strategies.
    control : ndarray of bool, shape (K,)
        Which of them have no imbalance method.
    chosen : int
        Which of them is the best alone, after law 3.
    blends : sequence of (Prediction, float)
        The blends that took the place of what stood before them, in this order, with their
        cross-fitted gain over it; the last is the result. Empty where it is the strategy alone.
    """

    singles: Sequence[Prediction]
    control: NDArray[np.bool_]
    chosen: int
    blends: Sequence[tuple[Prediction, float]] = ()

    @property
    def predictions(self) -> list[Prediction]:
        """All of them, the blends last."""
        return [*self.singles, *(prediction for prediction, _ in self.blends)]

    @property
    def result(self) -> int:
        """The place of the result among them."""
        return len(self.singles) + len(self.blends) - 1 if self.blends else self.chosen


@dataclass(frozen=True, eq=False)
class _Way:
    """A way to value predictions: as they are or by places, of all rows or the mean over groups."""

    predictions: Sequence[Prediction]
    pooled: bool

    def take(self, rows: Ints) -> _Way:
        """Keep some rows."""
        taken = [(proba[rows], labels[rows]) for proba, labels in self.predictions]
        return replace(self, predictions=taken)

    def values(self, judge: Judge, counts: Floats) -> Floats:
        """Return the value of each prediction on each sample, (P, B)."""
        with np.errstate(invalid="ignore"):  # a sample of whole groups may lack a class
            values = [
                judge.of_samples(prediction, counts, pooled=self.pooled)
                for prediction in self.predictions
            ]
        return np.array(values)

    def moves(self, judge: Judge, counts: Floats) -> Floats:
        """Return how far the value of each prediction moves with each sample, (P, B)."""
        values = self.values(judge, np.concatenate([np.ones((1, counts.shape[1])), counts]))
        moved: Floats = np.nan_to_num(values[:, 1:] - values[:, :1])  # without a value: none
        return moved


def replay(
    judge: Judge,
    candidates: Candidates,
    raw: float,
    *,
    random_state: int,
    deadline: Deadline | None = None,
    policy: SearchPolicy = DEFAULT_POLICY,
) -> Reported:
    """Take the optimism of a choice off its result's score.

    Parameters
    ----------
    judge : Judge
        Of the scored rows.
    candidates : Candidates
        Sees: out-of-fold predictions of the scored rows.
    raw : float
        Score of the result on these rows, with the optimism.
    random_state : int
        Seed of the samples.
    deadline : Deadline, optional
        Past it the samples made so far must do: a hundred at least, of another's metric, which
        takes one at a time, five. Without one no clock is read.
    policy : SearchPolicy, optional
        How many samples there are, of how many rows, and what training adds to the error.

    Returns
    -------
    Reported
        The value is that of all rows together where groups have few of the rarest class: means
        over small groups are too high. The interval is the value ± 1.96 errors, on the scale of
        log-odds where the metric lies between 0 and 1.
    """
    deadline = deadline or Deadline()
    if judge.counted is not judge:
        candidates = replace(
            candidates,
            singles=[judge.of_counted(prediction) for prediction in candidates.singles],
            blends=[(judge.of_counted(prediction), gain) for prediction, gain in candidates.blends],
        )
        judge = judge.counted
    predictions, all_rows = candidates.predictions, np.ones((1, len(judge.y)))
    ways = [_Way(predictions, judge.pooled)]  # first the one that chose, last what is reported
    reporting = [
        judge.reporting(prediction, policy.rare_rows_a_reported_group) for prediction in predictions
    ]
    pooled = reporting[0][1]
    if pooled != judge.pooled or (pooled and judge.metric.kind == "ranking"):
        ways.append(_Way([prediction for prediction, _ in reporting], pooled))
    values = [way.values(judge, all_rows)[:, 0] for way in ways]  # (P,) each
    rows, scale, sampled = _subsampled(judge, len(ways) * len(predictions), random_state, policy)
    taken = [way.take(rows) for way in ways]
    random = stream(Purpose.REPLAYS, random_state)
    parts: list[Floats] = []
    at_a_time = policy.replayed_at_a_time // (policy.foreign_work if judge.metric.foreign else 1)
    a_sample = len(ways) * len(predictions) * len(judge.metric.classes) * len(rows)
    at_a_time = int(np.clip(_work(judge, policy) // a_sample, 5, at_a_time))
    while len(parts) * at_a_time < policy.replays:
        counts = _draw(
            sampled, scale, at_a_time, random, pooled=judge.pooled or judge.cluster is not None
        )
        parts.append(np.stack([way.moves(sampled, counts) for way in taken]))
        if deadline.expired:
            break
    moves = np.concatenate(parts, axis=2)  # [(W, P, B), ...] -> (W, P, all B)
    sign = 1.0 if judge.metric.greater_is_better else -1.0
    choice = _choose(candidates, sign * values[0], sign * moves[0], metric=judge.metric)
    optimism = float(moves[-1][choice, np.arange(moves.shape[2])].mean())
    value = float(values[-1][candidates.result]) - optimism
    of_rows = float(moves[-1][candidates.result].std(ddof=1))
    error = judge.with_training(of_rows, policy)
    if not judge.drawn_by_class:  # rows of a fold may be alike, as those of one patient are
        error = max(error, _error_over_folds(judge, predictions[candidates.result], pooled=pooled))
    value, low, high = judge.interval(value, error)
    return Reported(
        value=value,
        error=error,
        low=low,
        high=high,
        raw=raw,
        optimism=optimism,
        replays=moves.shape[2],
        greater_is_better=judge.metric.greater_is_better,
    )


def _error_over_folds(judge: Judge, prediction: Prediction, *, pooled: bool) -> float:
    """Return the standard error of a value over groups: of their mean, or leaving out each."""
    groups = [judge.group == name for name in np.unique(judge.group)]
    samples = np.stack([~mask if pooled else mask for mask in groups]).astype(np.float64)
    values = judge.of_samples(prediction, samples, pooled=True)
    return jackknife(values) if pooled else error_of_mean(values)


def _subsampled(
    judge: Judge, n_candidates: int, random_state: int, policy: SearchPolicy
) -> tuple[Ints, Floats, Judge]:
    """Take as many rows as the work allows, the rarer classes whole as far as possible.

    All of them where the metric takes no weights.

    Returns
    -------
    tuple of ndarray of int64 (k,), ndarray of float64 (k,) and Judge
        The rows, how many rows each of them stands for, and their judge.
    """
    if not judge.metric.weighs:
        return np.arange(len(judge.y)), np.ones(len(judge.y)), judge
    a_row = n_candidates * policy.replayed_at_a_time * len(judge.metric.classes)
    max_rows = max(_work(judge, policy) // a_row, _MIN_ROWS * judge.metric.n_classes)
    random = stream(Purpose.REPLAY_ROWS, random_state)
    rows, scale = subsample(judge.y, np.arange(len(judge.y)), max_rows, random)
    sampled = judge.take(rows)
    weight = scale if sampled.weight is None else sampled.weight * scale
    return rows, scale, replace(sampled, weight=weight)


def _work(judge: Judge, policy: SearchPolicy) -> int:
    """Return the values of rows that are looked at between two looks at the clock."""
    return policy.replay_work // (policy.foreign_work if judge.metric.foreign else 1)


def _draw(
    judge: Judge, scale: Floats, number: int, random: np.random.Generator, *, pooled: bool
) -> Floats:
    """Draw rows with replacement, (number, n) counts: of each class as many as there are.

    Where values are means over folds, of each class in each fold. Rows that stand for `scale` (n,)
    rows are drawn as often as all of these would be, and count a share of a row each time. Where
    rows come in groups of the user's, whole groups are drawn, as many as there are of those that
    hold the same scarcest class.
    """
    fold = np.zeros_like(judge.group) if pooled else judge.group
    if judge.cluster is None:
        unit = np.arange(len(judge.y))
        stratum = fold * judge.metric.n_classes + judge.y
    else:
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


def _choose(candidates: Candidates, values: Floats, moves: Floats, *, metric: Metric) -> Ints:
    """Choose on each sample as the result was chosen, by utilities (P,) and their moves (P, B).

    The best strategy with a method has to beat the best control (law 3). A blend stays where its
    gain does. For a metric of labels that is in likelihood, and the blend stays.

    Returns
    -------
    ndarray of int64, shape (B,)
        Places among the candidates.
    """
    n_singles = len(candidates.singles)
    estimates = _pulled(values[:n_singles], moves[:n_singles])[:, None] + moves[:n_singles]
    places = [np.flatnonzero(mask) for mask in (candidates.control, ~candidates.control)]
    best = [group[estimates[group].argmax(axis=0)] for group in places if len(group)]
    choice: Ints = best[0]
    if len(best) == 2:
        samples = np.arange(moves.shape[1])
        control, treated = best
        error = (moves[treated, samples] - moves[control, samples]).std()
        gap = estimates[treated, samples] - estimates[control, samples]
        choice = np.where(gap > error * errors_needed(len(places[1])), treated, control)
    previous = candidates.chosen
    for place, (_, gain) in enumerate(candidates.blends, n_singles):
        stays = gain + moves[place] - moves[previous] > 0
        choice = np.where(stays | (metric.kind == "label"), place, choice)
        previous = place
    return choice


def _pulled(values: Floats, moves: Floats) -> Floats:
    """Pull values (K,) to their mean by the share of their variance that noise, (K, B), explains.

    Noise is what moves each apart from the others: what moves all alike changes no choice.
    """
    variance = values.var(ddof=1) if len(values) > 1 else 0.0
    if variance == 0.0:
        return values
    apart = moves - moves.mean(axis=1, keepdims=True)
    apart = apart - apart.mean(axis=0)
    noise = (apart**2).sum() / (apart.shape[1] * (len(values) - 1))
    pulled: Floats = values.mean() + max(1 - noise / variance, 0.0) * (values - values.mean())
    return pulled
