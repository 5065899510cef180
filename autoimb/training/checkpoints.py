"""What the checkpoints of a pack show: out-of-fold predictions, and what each fold keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from autoimb.budget import Deadline
from autoimb.nn.network import Network
from autoimb.pipeline.fitted import member_posterior
from autoimb.space.loss import Loss
from autoimb.training.inputs import Evaluation
from autoimb.training.pruning import Bar
from autoimb.training.schedule import Schedule

__all__ = ["Checkpoints", "Measure", "Selector", "Until"]

Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], float]

# Checkpoints that a running mean spans; the first ones, without one, stand until a later one.
_SMOOTHED = 3


@dataclass(frozen=True)
class Until:
    """What chooses a checkpoint, and what ends a training.

    Attributes
    ----------
    measure : callable
        ``(y, proba, weight) -> float``, higher is better; NaN where the rows define no value.
    deadline : Deadline
    bar : Bar or None
        What must be reached to go on.
    """

    measure: Measure
    deadline: Deadline
    bar: Bar | None = None


@dataclass(frozen=True, eq=False)
class Checkpoints:
    """What the checkpoints of a pack have shown so far.

    Attributes
    ----------
    values : tuple of tuples of F floats
        The measure of each fold's own rows, by checkpoint.
    best : float64 array of shape (F,)
        By what each fold's checkpoint was chosen.
    chosen : int64 array of shape (F,)
        The checkpoint that each fold keeps.
    curve, floor : tuple of float
        The measure at each checkpoint: the mean over the folds, and the worst of them.
    weights : Tensor
        Each fold's members as they were at its checkpoint, as the pack's flat vector.
    posteriors : tuple of F arrays (K, n, C)
        Each fold's members' posteriors for its scored rows at its checkpoint.
    ended : bool
        Whether training should not go on.
    cut, pruned : bool
        Whether the deadline, or the bar, ended it.
    """

    values: tuple[tuple[float, ...], ...]
    best: np.ndarray
    chosen: np.ndarray
    weights: Tensor
    posteriors: tuple[np.ndarray, ...]
    curve: tuple[float, ...] = ()
    floor: tuple[float, ...] = ()
    ended: bool = False
    cut: bool = False
    pruned: bool = False


@dataclass(frozen=True, eq=False)
class Selector:
    """Evaluates a pack at its checkpoints and keeps, for each fold, the weights of the best.

    Law 1: the checkpoint of fold k is chosen by the rows of the *other* folds, or by its own
    choosing rows that nobody scores. The best so far is known at every checkpoint, so one copy of
    the weights is enough.

    Attributes
    ----------
    evaluation : Evaluation
    log_prior : float64 array of shape (F * K, C)
        See `member_posterior`; the members of one fold side by side.
    loss : Loss
        What is trained on: patience counts from the checkpoint at which its last part begins.
    schedule : Schedule
        Its patience: checkpoints without a better one, in every fold, after which it ends.
    until : Until
    """

    evaluation: Evaluation
    log_prior: np.ndarray
    loss: Loss
    schedule: Schedule
    until: Until

    def start(self, network: Network) -> Checkpoints:
        """Return what is known before the first checkpoint."""
        folds = len(self.evaluation.rows)
        return Checkpoints(
            values=(),
            best=np.full(folds, -np.inf),
            chosen=np.zeros(folds, dtype=np.int64),
            weights=network.parameters.values.clone(),
            posteriors=(np.empty(0),) * folds,
        )

    def after(self, before: Checkpoints, number: int, network: Network) -> Checkpoints:
        """Evaluate the weights that the network holds now.

        When time is up the best checkpoint so far stands, and `cut` says so; the first one is
        always evaluated, so that there is one.

        Parameters
        ----------
        before : Checkpoints
        number : int
            Of the checkpoint, from 0.
        network : Network

        Returns
        -------
        Checkpoints
        """
        cut = self.until.deadline.expired
        if cut and number > 0:
            return replace(before, cut=True, ended=True)
        posterior = self._posteriors(network)
        folds = range(len(before.best))
        values = (*before.values, tuple(self._value(f, posterior) for f in folds))
        smoothed = _mean(np.array(values[-_SMOOTHED:]), axis=0)
        curve = (*before.curve, float(_mean(smoothed, axis=0)))
        shown = replace(
            before, values=values, curve=curve, floor=(*before.floor, float(np.min(smoothed)))
        )
        bar = self.until.bar
        if not cut and bar is not None and bar.above(number, self.schedule.unit, curve[-1]):
            return replace(shown, pruned=True, ended=True)
        turn, patience = self.loss.turn(self.schedule.checkpoints), self.schedule.patience
        best, kept = before.best.copy(), []
        for fold in folds:
            if number - max(before.chosen[fold], turn) > patience:
                continue  # its own patience has ended, however long the others go on
            merit = self._merit(fold, smoothed)
            if len(values) < _SMOOTHED:
                kept.append(fold)
            elif merit > best[fold]:
                best[fold] = merit
                kept.append(fold)
        after = self._keeping(replace(shown, best=best), kept, number, posterior, network)
        latest = max(after.chosen.max(), turn)
        return replace(after, cut=cut, ended=cut or bool(number - latest >= patience))

    def _posteriors(self, network: Network) -> np.ndarray:
        """Return (F * K, V, C)."""
        logits = network.predict(self.evaluation.x, self.evaluation.codes).cpu().numpy()
        return member_posterior(logits, log_prior=self.log_prior, gamma=self.loss.gamma)

    def _members(self, fold: int) -> slice:
        """Return where a fold's members stand: ``[a a b b]``."""
        each = len(self.log_prior) // len(self.evaluation.rows)
        return slice(fold * each, (fold + 1) * each)

    def _value(self, fold: int, posterior: np.ndarray) -> float:
        """Return what the fold's own rows say: its choosing rows if it has any, else all."""
        e = self.evaluation
        rows = e.rows[fold]
        rows = rows[: e.choose[fold]] if e.choose[fold] else rows
        proba = posterior[self._members(fold), : len(rows)].mean(0)
        return self.until.measure(e.y[rows], proba, e.weight[rows])

    def _merit(self, fold: int, smoothed: np.ndarray) -> float:
        """Return the value by which this fold's checkpoint is judged."""
        if self.evaluation.choose[fold]:
            return float(smoothed[fold])
        return float(_mean(np.delete(smoothed, fold), axis=0))

    def _keeping(
        self,
        before: Checkpoints,
        folds: list[int],
        number: int,
        posterior: np.ndarray,
        network: Network,
    ) -> Checkpoints:
        """Keep what some folds' members are and predict now."""
        if not folds:
            return before
        e, parameters = self.evaluation, network.parameters
        chosen, posteriors = before.chosen.copy(), list(before.posteriors)
        with torch.no_grad():
            weights = before.weights.clone()
            for fold in folds:
                members = self._members(fold)
                chosen[fold] = number
                scored = slice(e.choose[fold], len(e.rows[fold]))
                posteriors[fold] = posterior[members, scored]
                parameters.copy_members(parameters.values, weights, members)
        return replace(before, chosen=chosen, weights=weights, posteriors=tuple(posteriors))


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean over what is defined; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    total = np.where(known, values, 0.0).sum(axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))
