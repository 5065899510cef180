"""The ensemble component: which rows each member sees, their weights, and how members count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from autoimb.space.option import Choice, Component, Float, Int
from autoimb.space.resampling.component import under_counts

__all__ = [
    "ENSEMBLE",
    "Ended",
    "Ensemble",
    "Round",
    "draws_balanced_rows",
    "samme",
    "self_paced_rows",
]


_BINS = 20  # of hardness


@dataclass(frozen=True)
class Round:
    """What a member's rows are drawn from.

    Attributes
    ----------
    y : int64 array of shape (n,)
        The classes of the fold's training part.
    row_state : float64 array of shape (n,)
        What the member's last round passed on, one number for each row.
    progress : float
        From 0 in the first round to 1 in the last.
    random : Generator
        The member's own.
    """

    y: np.ndarray
    row_state: np.ndarray
    progress: float
    random: np.random.Generator


@dataclass(frozen=True)
class Ended:
    """What a member's round ended with, on the training rows that it is judged on.

    Attributes
    ----------
    y : int64 array of shape (n,)
    weight : float64 array of shape (n,)
        What the rows weigh without the ensemble: as the user says, and for rows left out.
    proba : float64 array of shape (n, C)
        What the member gives for them.
    number : int
        Of the round.
    """

    y: np.ndarray
    weight: np.ndarray
    proba: np.ndarray
    number: int = 0


Draw = Callable[[Round], np.ndarray]
Update = Callable[[np.ndarray, Ended], tuple[np.ndarray, float]]


@dataclass(frozen=True)
class Ensemble:
    """What the rounds of an ensemble are.

    What a member's round passes on to the next is its row state: one number for each of the n rows
    of its fold's training part, all ones at first.

    Attributes
    ----------
    members : int
        Members of each fold that train side by side in one round.
    rounds : int
        Rounds that follow each other.
    draw : callable
        ``(round) -> rows``: the rows of the training part that one member sees.
    update : callable or None
        ``(row_state (n,), ended) -> (row_state (n,), vote)`` after a round, from its prediction for
        the training rows.
    weighs : bool
        Whether the row state weighs the rows.
    bagged : bool
        Whether a member keeps its rows in every round, and is judged on them alone.
    continues : bool
        Whether a round goes on from the networks of the one before, on a cosine of its own.
    matched_control : Choice or None
        Of members that draw balanced rows: an ensemble as large on rows as they are, which it has
        to beat as well as the single network. None of other ensembles.
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
    "ensemble", "How many networks a fold trains, and on which rows each."
)


def draws_balanced_rows(name: str) -> bool:
    """Tell whether an ensemble leaves nothing for resampling and class weights to do."""
    return ENSEMBLE[name].sizes is not None


def _all_rows(now: Round) -> np.ndarray:
    return np.arange(len(now.y))


def _bootstrap(now: Round) -> np.ndarray:
    """Draw each class with replacement, at its own size, so that no class is lost."""
    return np.concatenate([now.random.choice(rows, len(rows)) for rows in _by_class(now.y)])


def _balanced(strength: float) -> Draw:
    """Draw random rows of the larger classes, down to the sizes of this strength."""

    def draw(now: Round) -> np.ndarray:
        parts = [
            now.random.choice(rows, n, replace=False) for rows, n in _under_sampled(now.y, strength)
        ]
        return np.concatenate(parts)

    return draw


def _by_class(y: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(y == c) for c in np.unique(y)]


def _under_sampled(y: np.ndarray, strength: float) -> Iterator[tuple[np.ndarray, int]]:
    """Yield each class's rows, and how many of them to draw."""
    groups = _by_class(y)
    wanted = under_counts(np.array([len(rows) for rows in groups]), strength)
    return zip(groups, map(int, wanted))


@ENSEMBLE.option()
def single() -> Ensemble:
    """One network a fold."""
    return Ensemble(1, 1, _all_rows)


@ENSEMBLE.option(members=Int(3, 24, log=True))
def bagging(members: int) -> Ensemble:
    """Networks on bootstrap samples, drawn within each class (Breiman, 1996)."""
    return Ensemble(members, 1, _bootstrap)


@ENSEMBLE.option(
    members=Int(4, 16),
    strength=Float(0.5, 1.0),
    sizes=under_counts,
)
def balanced_bagging(members: int, strength: float) -> Ensemble:
    """Networks on under-sampled rows, another draw for each (Wallace et al., 2011)."""
    control = Choice("bagging", (("members", members),))
    return Ensemble(members, 1, _balanced(strength), matched_control=control)


@ENSEMBLE.option(rounds=Int(3, 8), exact=False)
def boosting(rounds: int) -> Ensemble:
    """Networks in turn, each on what the ones before got wrong: SAMME (Zhu et al., 2009)."""
    return Ensemble(1, rounds, _all_rows, samme)


@ENSEMBLE.option(
    rounds=Int(3, 8),
    strength=Float(0.5, 1.0),
    exact=False,
    sizes=under_counts,
    searched=False,
)
def rus_boost(rounds: int, strength: float) -> Ensemble:
    """Boosting on rows that are under-sampled anew in every round (Seiffert et al., 2010)."""
    control = Choice("boosting", (("rounds", rounds),))
    return Ensemble(1, rounds, _balanced(strength), samme, matched_control=control)


@ENSEMBLE.option(
    members=Int(2, 6),
    rounds=Int(2, 4),
    strength=Float(0.5, 1.0),
    exact=False,
    sizes=under_counts,
    searched=False,
)
def easy_ensemble(members: int, rounds: int, strength: float) -> Ensemble:
    """Boosted networks on each of several under-sampled bags of rows (Liu et al., 2009)."""
    control = Choice("bagging", (("members", members * rounds),))
    draw = _balanced(strength)
    return Ensemble(members, rounds, draw, samme, bagged=True, matched_control=control)


@ENSEMBLE.option(
    rounds=Int(4, 10),
    strength=Float(0.5, 1.0),
    exact=False,
    sizes=under_counts,
)
def self_paced(rounds: int, strength: float) -> Ensemble:
    """Networks in turn on under-sampled rows, harder ones more often: SPE (Liu et al., 2020)."""

    def draw(now: Round) -> np.ndarray:
        parts = [
            self_paced_rows(rows, n, 1.0 - now.row_state[rows], now.progress, now.random)
            for rows, n in _under_sampled(now.y, strength)
        ]
        return np.concatenate(parts)

    control = Choice("bagging", (("members", rounds),))
    return Ensemble(1, rounds, draw, _mean_own_probability, weighs=False, matched_control=control)


@ENSEMBLE.option(rounds=Int(3, 6))
def snapshot(rounds: int) -> Ensemble:
    """One network a fold, restarted warm on a new cosine; each end counts (Huang et al., 2017)."""
    return Ensemble(1, rounds, _all_rows, continues=True)


def self_paced_rows(
    rows: np.ndarray,
    count: int,
    hardness: np.ndarray,
    progress: float,
    random: np.random.Generator,
) -> np.ndarray:
    """Draw rows of a class by how hard they are.

    The rows of each of 20 bins of hardness share a chance of 1 / (mean hardness + α), where α
    grows from 0 to infinity: at first each bin contributes the same hardness, at last each the
    same number of rows (Liu et al., "Self-paced ensemble for highly imbalanced massive data
    classification", 2020, algorithm 1).

    Parameters
    ----------
    rows : int64 array of shape (n,)
    count : int
        How many to draw, at most n, none twice.
    hardness : float64 array of shape (n,)
        From 0 to 1: one minus the probability that the ensemble so far gives to the row's class.
    progress : float
        From 0 to 1.
    random : Generator

    Returns
    -------
    int64 array of shape (count,)
    """
    if count == len(rows) or np.ptp(hardness) == 0.0:
        return random.choice(rows, count, replace=False)
    edges = np.linspace(hardness.min(), hardness.max(), _BINS + 1)
    place = np.clip(np.searchsorted(edges, hardness, side="right") - 1, 0, _BINS - 1)
    size = np.bincount(place, minlength=_BINS)
    mean = np.bincount(place, hardness, minlength=_BINS) / np.maximum(size, 1)
    pace = np.tan(0.5 * np.pi * min(progress, 1.0 - 1e-6))
    chance = (1.0 / (mean + pace + 1e-6) / np.maximum(size, 1))[place]
    return random.choice(rows, count, replace=False, p=chance / chance.sum())


def _mean_own_probability(row_state: np.ndarray, ended: Ended) -> tuple[np.ndarray, float]:
    """Pass on the mean probability that all rounds give to a row's own class; votes are equal."""
    own = ended.proba[np.arange(len(ended.y)), ended.y]
    return (row_state * ended.number + own) / (ended.number + 1), 1.0


def samme(times: np.ndarray, ended: Ended) -> tuple[np.ndarray, float]:
    """Reweight rows after a round and say how much its member counts.

    Parameters
    ----------
    times : float64 array of shape (n,)
        Times their own weight that the rows weighed in the round.
    ended : Ended

    Returns
    -------
    times : float64 array of shape (n,)
        Mean 1 over the weight of the rows. Back to 1 where the member is no better than chance.
    vote : float
        log((1-e)/e) + log(C-1), with e the weighted error held within [1e-3, 1-1/C]; 0 at chance.

    Notes
    -----
    Zhu, Zou, Rosset & Hastie, "Multi-class AdaBoost", 2009, algorithm 2. The floor of e keeps a
    member that makes no error from silencing the others. Members vote with their probabilities,
    not their labels, so that the ensemble ranks rows.
    """
    n_classes = ended.proba.shape[1]
    wrong = ended.proba.argmax(1) != ended.y
    error = float(np.clip(np.average(wrong, weights=times * ended.weight), 1e-3, 1.0))
    if error >= 1.0 - 1.0 / n_classes:
        return np.ones_like(times), 0.0
    vote = float(np.log((1.0 - error) / error) + np.log(n_classes - 1.0))
    new = times * np.exp(vote * wrong)
    return new / np.average(new, weights=ended.weight), vote
