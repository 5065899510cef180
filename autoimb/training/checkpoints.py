"""What the checkpoints of a pack show: out-of-fold predictions, and what each fold keeps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from autoimb.assessment.stopping import Stopping
from autoimb.budget import Deadline
from autoimb.nn.network import Network
from autoimb.pipeline.fitted import member_posterior
from autoimb.space.loss import Loss
from autoimb.training.inputs import Evaluation
from autoimb.training.pruning import Bar
from autoimb.training.schedule import Schedule

__all__ = ["Checkpoints", "Measure", "Selector", "Until"]

Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


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
    stopping : Stopping
        What they measured, and which of them each fold keeps.
    weights : Tensor
        Each fold's members as they were at its checkpoint, as the pack's flat vector.
    posteriors : tuple of F arrays (K, n, C)
        Each fold's members' posteriors for its scored rows at its checkpoint.
    ended : bool
        Whether training should not go on.
    cut, pruned : bool
        Whether the deadline, or the bar, ended it.
    """

    stopping: Stopping
    weights: Tensor
    posteriors: tuple[np.ndarray, ...]
    ended: bool = False
    cut: bool = False
    pruned: bool = False


@dataclass(frozen=True, eq=False)
class Selector:
    """Evaluates a pack at its checkpoints and keeps, for each fold, the weights of the best.

    The best so far is known at every checkpoint, so one copy of the weights is enough; which it is
    says `Stopping`, by law 1.

    Attributes
    ----------
    evaluation : Evaluation
    log_prior : float64 array of shape (F * K, C)
        See `member_posterior`; the members of one fold side by side.
    loss : Loss
        What is trained on.
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
            stopping=Stopping.initial(folds),
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
        stopping = before.stopping.after(
            [self._value(fold, posterior) for fold in range(len(before.posteriors))],
            choosers=self.evaluation.choosers,
            patience=self.schedule.patience,
        )
        shown, bar = replace(before, stopping=stopping), self.until.bar
        measured = stopping.curve[-1]
        if not cut and bar is not None and bar.above(number, self.schedule.unit, measured):
            return replace(shown, pruned=True, ended=True)
        after = self._keeping(shown, posterior, network)
        return replace(after, cut=cut, ended=cut or stopping.ended)

    def _posteriors(self, network: Network) -> np.ndarray:
        """Return (F * K, V, C)."""
        logits = network.predict(self.evaluation.x, self.evaluation.codes).cpu().numpy()
        return member_posterior(logits, log_prior=self.log_prior, gamma=self.loss.gamma)

    def _members(self, fold: int) -> slice:
        """Return where a fold's members stand: ``[a a b b]``."""
        each = len(self.log_prior) // len(self.evaluation.rows)
        return slice(fold * each, (fold + 1) * each)

    def _value(self, fold: int, posterior: np.ndarray) -> float:
        """Return what the fold's own rows say: those that choose if it has any, else all."""
        e = self.evaluation
        rows = e.rows[fold]
        rows = rows[: e.choose[fold]] if e.choose[fold] else rows
        if not len(rows):
            return math.nan
        proba = posterior[self._members(fold), : len(rows)].mean(0)
        return self.until.measure(e.y[rows], proba, e.weight[rows])

    def _keeping(self, shown: Checkpoints, posterior: np.ndarray, network: Network) -> Checkpoints:
        """Keep what the members of some folds are and predict now."""
        if not shown.stopping.newest:
            return shown
        e, parameters = self.evaluation, network.parameters
        posteriors = list(shown.posteriors)
        with torch.no_grad():
            weights = shown.weights.clone()
            for fold in shown.stopping.newest:
                members = self._members(fold)
                scored = slice(e.choose[fold], len(e.rows[fold]))
                posteriors[fold] = posterior[members, scored]
                parameters.copy_members(parameters.values, weights, members)
        return replace(shown, weights=weights, posteriors=tuple(posteriors))
