"""What watches a pack: out-of-fold predictions at every tick, and the epoch each fold keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from autoimb.errors import DeadlineExceeded
from autoimb.nn.network import Network
from autoimb.pipeline.fitted import member_posterior
from autoimb.space.loss import Loss
from autoimb.training.schedule import Schedule

__all__ = ["Evaluation", "Watch"]

Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], float]

_SMOOTHED = 3  # evaluations that a running mean spans; the first ticks, without one, stand only
# until a later one is there


@dataclass(frozen=True)
class Evaluation:
    """The rows that a pack is evaluated on, fold by fold, padded to the longest fold.

    Attributes
    ----------
    x : Tensor of shape (F, V, D)
    codes : Tensor of shape (F, V, Q), or None
    choose : tuple of F ints
        How many of a fold's first rows choose its epoch; 0 where the other folds choose.
    rows : tuple of F int64 arrays
        The rows' numbers in the table: those that choose, then those that are scored.
    y, weight : arrays of shape (n,)
        Of the whole table.
    """

    x: Tensor
    codes: Tensor | None
    choose: tuple[int, ...]
    rows: tuple[np.ndarray, ...]
    y: np.ndarray
    weight: np.ndarray


class Watch:
    """Evaluates the pack at each tick and keeps, for each fold, the weights of its best tick.

    Law 1: the tick of fold k is chosen by the rows of the *other* folds, or by its own choosing
    rows that nobody scores. The best tick so far is known at every tick, so one copy is enough.

    Parameters
    ----------
    network : Network
        F · K members, those of one fold side by side.
    evaluation : Evaluation
    log_prior : float64 array of shape (F * K, C)
        See `member_posterior`.
    loss : Loss
        What is trained on: patience counts from the tick at which its last part begins.
    schedule : Schedule
        Its patience: ticks without a better one, in every fold, after which it answers False.
    measure : callable
        ``(y, proba, weight) -> float``, higher is better; NaN where the rows define no value.
    check : callable
        Raises DeadlineExceeded when time is up, which ends the pack.
    hopeless : callable
        ``(tick, value) -> bool``: whether to give up, from the mean over the folds.
    """

    def __init__(
        self,
        network: Network,
        evaluation: Evaluation,
        *,
        log_prior: np.ndarray,
        loss: Loss,
        schedule: Schedule,
        measure: Measure,
        check: Callable[[], None],
        hopeless: Callable[[int, float], bool] = lambda _tick, _value: False,
    ) -> None:
        self._network, self._evaluation = network, evaluation
        self._log_prior, self._gamma = log_prior, loss.gamma
        self._measure, self._check, self._hopeless = measure, check, hopeless
        self._patience, self._turn = schedule.patience, loss.turn(schedule.ticks)
        folds = len(evaluation.rows)
        self._per_fold = network.members // folds
        self._values: list[list[float]] = []
        self._best = np.full(folds, -np.inf)
        self.chosen = np.zeros(folds, dtype=np.int64)
        self.curve: list[float] = []
        self.floor: list[float] = []  # the worst fold at each tick
        self.cut = self.pruned = False
        self.weights = network.parameters.values.clone()
        # each fold's members' posteriors for its scored rows at its best tick, (K, n, C)
        self.posteriors: list[np.ndarray] = [np.empty(0)] * folds

    def __call__(self, tick: int) -> bool:
        """Evaluate the weights that the network holds now; answer whether to go on.

        When time is up the best tick so far stands, and `cut` says so; the first tick is always
        evaluated, so that there is one.
        """
        self.cut = self.time_up()
        if self.cut and tick > 0:
            return False
        posterior = self._posteriors()
        self._values.append([self._value(f, posterior) for f in range(len(self._best))])
        smoothed = _mean(np.array(self._values[-_SMOOTHED:]), axis=0)
        self.curve.append(float(_mean(smoothed, axis=0)))
        self.floor.append(float(np.min(smoothed)))
        self.pruned = not self.cut and self._hopeless(tick, self.curve[-1])
        if self.pruned:
            return False
        for fold in range(len(self._best)):
            if tick - max(self.chosen[fold], self._turn) > self._patience:
                continue  # its own patience has ended, however long the others go on
            merit = self._merit(fold, smoothed)
            if len(self._values) < _SMOOTHED:
                self._keep(fold, tick, posterior)
            elif merit > self._best[fold]:
                self._best[fold] = merit
                self._keep(fold, tick, posterior)
        latest = max(self.chosen.max(), self._turn)
        return not self.cut and bool(tick - latest < self._patience)

    def time_up(self) -> bool:
        """Whether the deadline has passed."""
        try:
            self._check()
        except DeadlineExceeded:
            return True
        return False

    def _posteriors(self) -> np.ndarray:
        """Return (F * K, V, C)."""
        logits = self._network.predict(self._evaluation.x, self._evaluation.codes).cpu().numpy()
        return member_posterior(logits, log_prior=self._log_prior, gamma=self._gamma)

    def _members(self, fold: int) -> slice:
        return slice(fold * self._per_fold, (fold + 1) * self._per_fold)

    def _value(self, fold: int, posterior: np.ndarray) -> float:
        """Return what the fold's own rows say: its choosing rows if it has any, else all."""
        e = self._evaluation
        rows = e.rows[fold]
        rows = rows[: e.choose[fold]] if e.choose[fold] else rows
        proba = posterior[self._members(fold), : len(rows)].mean(0)
        return self._measure(e.y[rows], proba, e.weight[rows])

    def _merit(self, fold: int, smoothed: np.ndarray) -> float:
        """Return the value by which this fold's tick is judged."""
        if self._evaluation.choose[fold]:
            return float(smoothed[fold])
        return float(_mean(np.delete(smoothed, fold), axis=0))

    def _keep(self, fold: int, tick: int, posterior: np.ndarray) -> None:
        e, members = self._evaluation, self._members(fold)
        self.chosen[fold] = tick
        scored = slice(e.choose[fold], len(e.rows[fold]))
        self.posteriors[fold] = posterior[members, scored]
        parameters = self._network.parameters
        parameters.copy_members(parameters.values, self.weights, members)

    def restore(self) -> None:
        """Put every fold's best weights into the network."""
        with torch.no_grad():
            self._network.parameters.values.copy_(self.weights)


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean over what is defined; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    total = np.where(known, values, 0.0).sum(axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))
