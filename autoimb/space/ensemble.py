"""The ensemble room: which rows each member sees, with which weights, and how members count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from autoimb.space.option import Float, Int, Room
from autoimb.space.resampling.room import under_counts

__all__ = ["ENSEMBLE", "Ensemble", "samme"]

ENSEMBLE = Room("ensemble", "How many networks a fold trains, and on which rows each.")

Draw = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Update = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, float]]


@dataclass(frozen=True)
class Ensemble:
    """What the rounds of an ensemble are.

    Attributes
    ----------
    members : int
        Members of each fold that train side by side in one round.
    rounds : int
        Rounds that follow each other.
    draw : callable
        ``(y (n,), random) -> rows``: the rows of the training part that one member sees.
    update : callable or None
        ``(weights (n,), y (n,), proba (n, C)) -> (weights (n,), vote)`` after a round, from its
        prediction for the training rows.
    """

    members: int
    rounds: int
    draw: Draw
    update: Update | None = None


def _all_rows(y: np.ndarray, random: np.random.Generator) -> np.ndarray:  # noqa: ARG001  a Draw
    return np.arange(len(y))


def _bootstrap(y: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw each class with replacement, at its own size, so that no class is lost."""
    parts = [random.choice(rows, len(rows)) for rows in _by_class(y)]
    return np.concatenate(parts)


def _by_class(y: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(y == c) for c in np.unique(y)]


@ENSEMBLE.option()
def single() -> Ensemble:
    """One network a fold."""
    return Ensemble(1, 1, _all_rows)


@ENSEMBLE.option(members=Int(3, 8))
def bagging(members: int) -> Ensemble:
    """Networks on bootstrap samples, drawn within each class (Breiman, 1996)."""
    return Ensemble(members, 1, _bootstrap)


@ENSEMBLE.option(
    members=Int(4, 16), strength=Float(0.5, 1.0), samples_rows=True, sizes=under_counts
)
def balanced_bagging(members: int, strength: float) -> Ensemble:
    """Networks on under-sampled rows, another draw for each (Wallace et al., 2011)."""

    def draw(y: np.ndarray, random: np.random.Generator) -> np.ndarray:
        groups = _by_class(y)
        wanted = under_counts(np.array([len(rows) for rows in groups]), strength)
        parts = [random.choice(rows, n, replace=False) for rows, n in zip(groups, wanted)]
        return np.concatenate(parts)

    return Ensemble(members, 1, draw)


@ENSEMBLE.option(rounds=Int(3, 8), exact=False)
def boosting(rounds: int) -> Ensemble:
    """Networks in turn, each on what the ones before got wrong: SAMME (Zhu et al., 2009)."""
    return Ensemble(1, rounds, _all_rows, samme)


def samme(weights: np.ndarray, y: np.ndarray, proba: np.ndarray) -> tuple[np.ndarray, float]:
    """Reweight rows after a round and say how much its member counts.

    Parameters
    ----------
    weights : float64 array of shape (n,)
        The round's own weights.
    y : int64 array of shape (n,)
    proba : float64 array of shape (n, C)
        What the round's member gives for these rows.

    Returns
    -------
    weights : float64 array of shape (n,)
        Mean 1. Back to equal where the member is no better than chance.
    vote : float
        log((1-e)/e) + log(C-1), with e the weighted error held within [1e-3, 1-1/C]; 0 at chance.

    Notes
    -----
    Zhu, Zou, Rosset & Hastie, "Multi-class AdaBoost", 2009, algorithm 2. The floor of e keeps a
    member that makes no error from silencing the others. Members vote with their probabilities,
    not their labels, so that the ensemble ranks rows.
    """
    n_classes = proba.shape[1]
    wrong = proba.argmax(1) != y
    error = float(np.clip(np.average(wrong, weights=weights), 1e-3, 1.0))
    if error >= 1.0 - 1.0 / n_classes:
        return np.ones_like(weights), 0.0
    vote = float(np.log((1.0 - error) / error) + np.log(n_classes - 1.0))
    new = weights * np.exp(vote * wrong)
    return new / new.mean(), vote
