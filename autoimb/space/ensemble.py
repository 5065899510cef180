"""The ensemble component: which rows each member sees, their weights, and how members count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoimb.space.option import Choice, Component, Float, Int
from autoimb.space.resampling.component import under_counts

__all__ = [
    "ENSEMBLE",
    "Ensemble",
    "Round",
    "RoundResult",
    "draws_balanced_rows",
    "samme",
    "self_paced_rows",
]


_BINS = 20  # number of hardness bins


@dataclass(frozen=True)
class Round:
    """Data from which the rows of a member are drawn in a round.

    Attributes
    ----------
    y : int64 array of shape (n,)
        Classes of the fold's training part.
    row_state : float64 array of shape (n,)
        Row state from the member's last round, one number for each row.
    progress : float
        From 0 in the first round to 1 in the last.
    random : Generator
        Random generator of the member.
    """

    y: np.ndarray
    row_state: np.ndarray
    progress: float
    random: np.random.Generator


@dataclass(frozen=True)
class RoundResult:
    """Result of a member's round on the training rows by which it is judged.

    Attributes
    ----------
    y : int64 array of shape (n,)
    weight : float64 array of shape (n,)
        Row weights without the ensemble: those of the user, and corrections for omitted rows.
    proba : float64 array of shape (n, C)
        Predictions of the member for the rows.
    number : int
        Number of the round, from 0.
    """

    y: np.ndarray
    weight: np.ndarray
    proba: np.ndarray
    number: int = 0


Draw = Callable[[Round], np.ndarray]
Pick = Callable[[Round, np.ndarray, int], np.ndarray]
Update = Callable[[np.ndarray, RoundResult], tuple[np.ndarray, float]]


@dataclass(frozen=True)
class Ensemble:
    """Definition of an ensemble: its members and its rounds.

    A member's round passes a row state to the next: one number for each of the n rows of the fold's
    training part, ones before the first round.

    Attributes
    ----------
    members : int
        Number of members of each fold that are trained in parallel in one round.
    rounds : int
        Number of successive rounds.
    draw : callable
        ``(round) -> rows``: the rows of the training part on which one member is trained.
    update : callable or None
        ``(row_state (n,), result) -> (row_state (n,), vote)`` after a round, from its predictions
        for the training rows.
    weighs : bool
        Whether the row state is a factor of the row weights.
    bagged : bool
        Whether a member has the same rows in every round, and is judged on them alone.
    continues : bool
        Whether a round continues from the networks of the previous round, with a new cosine.
    matched_control : Choice or None
        For members that draw balanced rows: an ensemble of the same size on unbalanced rows, which
        the ensemble has to beat as well as the single network. None for other ensembles.
    """

    members: int
    rounds: int
    draw: Draw
    update: Update | None = None
    weighs: bool = True
    bagged: bool = False
    continues: bool = False
    matched_control: Choice | None = None


ENSEMBLE: Component[Ensemble] = Component(
    "ensemble", "Number of networks in each fold, and the rows on which each is trained."
)

# The settings that all ensembles on balanced rows share.
_BALANCED: dict[str, Any] = {"strength": Float(0.5, 1.0), "sizes": under_counts}


def draws_balanced_rows(name: str) -> bool:
    """Return whether an ensemble balances classes itself, by drawing balanced rows."""
    return ENSEMBLE[name].sizes is not None


def _all_rows(round_: Round) -> np.ndarray:
    return np.arange(len(round_.y))


def _bootstrap(round_: Round) -> np.ndarray:
    """Draw each class with replacement, at its own size, so that no class is lost."""
    return np.concatenate([round_.random.choice(rows, len(rows)) for rows in _by_class(round_.y)])


def _any_rows(round_: Round, rows: np.ndarray, count: int) -> np.ndarray:
    return round_.random.choice(rows, count, replace=False)


def _balanced(strength: float, pick: Pick = _any_rows) -> Draw:
    """Return a function that under-samples the larger classes with the given strength.

    ``pick(round, rows, count)`` draws so many of the rows of a class.
    """

    def draw(round_: Round) -> np.ndarray:
        groups = _by_class(round_.y)
        sizes = under_counts(np.array([len(rows) for rows in groups]), strength)
        return np.concatenate([pick(round_, rows, int(n)) for rows, n in zip(groups, sizes)])

    return draw


def _by_class(y: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(y == c) for c in np.unique(y)]


@ENSEMBLE.option()
def single() -> Ensemble:
    """One network a fold."""
    return Ensemble(1, 1, _all_rows)


@ENSEMBLE.option(members=Int(3, 24, log=True))
def bagging(members: int) -> Ensemble:
    """Networks on bootstrap samples, drawn within each class (Breiman, 1996)."""
    return Ensemble(members, 1, _bootstrap)


@ENSEMBLE.option(members=Int(4, 16), **_BALANCED)
def balanced_bagging(members: int, strength: float) -> Ensemble:
    """Networks on under-sampled rows, another draw for each (Wallace et al., 2011)."""
    control = Choice("bagging", (("members", members),))
    return Ensemble(members, 1, _balanced(strength), matched_control=control)


@ENSEMBLE.option(rounds=Int(3, 8), exact=False)
def boosting(rounds: int) -> Ensemble:
    """Networks in turn, each on what the ones before got wrong: SAMME (Zhu et al., 2009)."""
    return Ensemble(1, rounds, _all_rows, samme)


@ENSEMBLE.option(rounds=Int(3, 8), exact=False, searched=False, **_BALANCED)
def rus_boost(rounds: int, strength: float) -> Ensemble:
    """Boosting on rows that are under-sampled anew in every round (Seiffert et al., 2010)."""
    control = Choice("boosting", (("rounds", rounds),))
    return Ensemble(1, rounds, _balanced(strength), samme, matched_control=control)


@ENSEMBLE.option(members=Int(2, 6), rounds=Int(2, 4), exact=False, searched=False, **_BALANCED)
def easy_ensemble(members: int, rounds: int, strength: float) -> Ensemble:
    """Boosted networks on each of several under-sampled bags of rows (Liu et al., 2009)."""
    control = Choice("bagging", (("members", members * rounds),))
    draw = _balanced(strength)
    return Ensemble(members, rounds, draw, samme, bagged=True, matched_control=control)


@ENSEMBLE.option(rounds=Int(4, 10), exact=False, **_BALANCED)
def self_paced(rounds: int, strength: float) -> Ensemble:
    """Networks in turn on under-sampled rows, harder ones more often: SPE (Liu et al., 2020)."""
    control = Choice("bagging", (("members", rounds),))
    draw = _balanced(strength, self_paced_rows)
    return Ensemble(1, rounds, draw, _mean_class_probability, weighs=False, matched_control=control)


@ENSEMBLE.option(rounds=Int(3, 6))
def snapshot(rounds: int) -> Ensemble:
    """One network a fold, restarted warm on a new cosine; each end counts (Huang et al., 2017)."""
    return Ensemble(1, rounds, _all_rows, continues=True)


def self_paced_rows(round_: Round, rows: np.ndarray, count: int) -> np.ndarray:
    """Draw rows of a class by their hardness, from 0 to 1.

    The hardness of a row is one minus its row state, the probability that the ensemble so far
    gives to the row's class.

    The rows of each of 20 bins of hardness share a chance of 1 / (mean hardness + α), where α
    grows from 0 to infinity: at first each bin contributes the same hardness, at last each the
    same number of rows (Liu et al., "Self-paced ensemble for highly imbalanced massive data
    classification", 2020, algorithm 1).

    Parameters
    ----------
    round_ : Round
    rows : int64 array
        Rows of the class.
    count : int
        Number of rows to draw without replacement.

    Returns
    -------
    int64 array of shape (count,)
    """
    hardness = 1.0 - round_.row_state[rows]
    if count == len(rows) or np.ptp(hardness) == 0.0:
        return _any_rows(round_, rows, count)
    edges = np.linspace(hardness.min(), hardness.max(), _BINS + 1)
    # The chance of a row is that of its bin, divided by the number of rows in the bin.
    place = np.clip(np.searchsorted(edges, hardness, side="right") - 1, 0, _BINS - 1)
    size = np.bincount(place, minlength=_BINS)
    mean = np.bincount(place, hardness, minlength=_BINS) / np.maximum(size, 1)
    pace = np.tan(0.5 * np.pi * min(round_.progress, 1.0 - 1e-6))
    chance = (1.0 / (mean + pace + 1e-6) / np.maximum(size, 1))[place]
    return round_.random.choice(rows, count, replace=False, p=chance / chance.sum())


def _mean_class_probability(row_state: np.ndarray, result: RoundResult) -> tuple[np.ndarray, float]:
    """Return the mean probability of a row's true class over all rounds, and a vote of 1."""
    class_probability = result.proba[np.arange(len(result.y)), result.y]
    return (row_state * result.number + class_probability) / (result.number + 1), 1.0


def samme(times: np.ndarray, result: RoundResult) -> tuple[np.ndarray, float]:
    """Reweight the rows after a round, and compute the vote of its member.

    Parameters
    ----------
    times : float64 array of shape (n,)
        Factors of the rows' weights in the round.
    result : RoundResult

    Returns
    -------
    times : float64 array of shape (n,)
        New factors, with weighted mean 1; all 1 if the member is no better than chance.
    vote : float
        log((1-e)/e) + log(C-1), with e the weighted error clipped to [1e-3, 1-1/C]; 0 at chance.

    Notes
    -----
    Zhu, Zou, Rosset & Hastie, "Multi-class AdaBoost", 2009, algorithm 2. The floor of e keeps a
    member without errors from dominating the others. Members vote with probabilities instead of
    labels, so that the ensemble ranks rows.
    """
    n_classes = result.proba.shape[1]
    wrong = result.proba.argmax(1) != result.y
    error = float(np.clip(np.average(wrong, weights=times * result.weight), 1e-3, 1.0))
    if error >= 1.0 - 1.0 / n_classes:
        return np.ones_like(times), 0.0
    vote = float(np.log((1.0 - error) / error) + np.log(n_classes - 1.0))
    new = times * np.exp(vote * wrong)
    return new / np.average(new, weights=result.weight), vote
