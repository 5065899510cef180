"""From a strategy to trained members: its rounds, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from autoimb.pipeline.fitted import FittedMemberPack
from autoimb.space.strategy import Strategy
from autoimb.training.effort import Effort
from autoimb.training.parts import Parts
from autoimb.training.run import Run

__all__ = ["Trained", "train_strategy"]


@dataclass(frozen=True)
class Trained:
    """What the rounds of a strategy gave.

    Attributes
    ----------
    packs : tuple of FittedMemberPack
        One a round.
    posteriors : tuple of lists of F arrays (K, n_scored_in_fold, C)
        Out of fold: one list a round.
    ticks : tuple of int
        The tick that each fold kept, of every round.
    curve, floor : tuple of float
        The measure at each tick of the first round: the mean over folds, and the worst fold.
    planned : int
        Ticks planned for a round.
    cut : bool
        Whether the deadline ended it before its own stopping rule did.
    pruned : bool
        Whether it was given up.
    """

    packs: tuple[FittedMemberPack, ...]
    posteriors: tuple[list[np.ndarray], ...]
    ticks: tuple[int, ...]
    curve: tuple[float, ...]
    cut: bool
    floor: tuple[float, ...] = ()
    planned: int = 0
    pruned: bool = False


def train_strategy(
    strategy: Strategy,
    parts: Parts,
    *,
    effort: Effort,
    costs: np.ndarray | None,
    measure: Callable[[np.ndarray, np.ndarray, np.ndarray], float],
    check: Callable[[], None],
    hopeless: Callable[[int, int, float], bool] | None = None,
    device: str = "cpu",
) -> Trained:
    """Train all folds and members of a strategy.

    Parameters
    ----------
    strategy : Strategy
    parts : Parts
        The folds.
    effort : Effort
    costs : float64 array of shape (C,), or None
        The user's cost of each class.
    measure, check
        See `Watch`.
    hopeless : callable, optional
        ``(tick, planned ticks, value) -> bool``; not asked where rounds follow each other, since
        one round says little of their sum.
    device : str

    Returns
    -------
    Trained

    Raises
    ------
    InfeasibleError, DeadlineExceeded
    """
    folds = range(len(parts.folds.folds))
    training = []
    for fold in folds:
        training.append(parts.training(fold, strategy.resampling))
        check()
    run = Run(strategy, parts, training, effort, costs, measure, check, device)
    handed = run.begin()
    packs: list[FittedMemberPack] = []
    posteriors: list[list[np.ndarray]] = []
    ticks: list[int] = []
    curve: tuple[float, ...] = ()
    floor: tuple[float, ...] = ()
    pruned = False
    planned = run.schedule().ticks
    for number in range(run.ensemble.rounds):
        pack, watch = run.round(number, handed, None if run.ensemble.rounds > 1 else hopeless)
        posteriors.append(watch.posteriors)
        ticks.extend(int(t) for t in watch.chosen)
        curve, floor = curve or tuple(watch.curve), floor or tuple(watch.floor)
        pruned = watch.pruned
        if run.ensemble.update is not None:
            pack = run.vote(pack, handed, number)
        packs.append(pack)
        if watch.cut:
            break
    return Trained(
        packs=tuple(packs),
        posteriors=tuple(posteriors),
        ticks=tuple(ticks),
        curve=curve,
        cut=watch.cut,
        floor=floor,
        planned=planned,
        pruned=pruned,
    )
