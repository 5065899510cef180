"""Evaluation of a pack at its checkpoints, and the selection of one checkpoint for each fold."""

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
from autoimb.training.inputs import Evaluation

__all__ = ["Checkpoints", "Measure", "Selector"]

# ``(y, proba, weight) -> float``, higher is better; NaN where the rows define no value.
Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


@dataclass(frozen=True, eq=False)
class Checkpoints:
    """Result of the checkpoints of a pack so far.

    Attributes
    ----------
    stopping : Stopping
        Measured values, and the checkpoint that each fold retains.
    weights : Tensor
        The pack's flat vector, with each fold's members as of the fold's retained checkpoint.
    posteriors : tuple of F arrays (K, n, C)
        Posteriors of each fold's members for its scored rows, at its retained checkpoint.
    ended : bool
        Whether training is complete.
    cut : bool
        Whether the deadline ended training.
    """

    stopping: Stopping
    weights: Tensor
    posteriors: tuple[np.ndarray, ...]
    ended: bool = False
    cut: bool = False


@dataclass(frozen=True, eq=False)
class Selector:
    """Evaluates a pack at its checkpoints and keeps, for each fold, the weights of the best.

    The best checkpoint so far is known at every checkpoint, so one copy of the weights is enough.
    `Stopping` selects the checkpoint by law 1.

    Attributes
    ----------
    evaluation : Evaluation
    log_prior : float64 array of shape (F * K, C)
        Prior correction of each member, see `member_posterior`; members of a fold are adjacent.
    gamma : float
        Exponent of a focal training loss, or 0.
    patience : int
        Number of checkpoints without an improvement in any fold after which training ends.
    measure : callable
        Measure that selects checkpoints.
    deadline : Deadline
    """

    evaluation: Evaluation
    log_prior: np.ndarray
    gamma: float
    patience: int
    measure: Measure
    deadline: Deadline

    def start(self, network: Network) -> Checkpoints:
        """Return the result before the first checkpoint, with the initial weights."""
        folds = len(self.evaluation.rows)
        return Checkpoints(
            stopping=Stopping.initial(folds),
            weights=network.parameters.values.clone(),
            posteriors=(np.empty(0),) * folds,
        )

    def evaluate(self, previous: Checkpoints, number: int, network: Network) -> Checkpoints:
        """Evaluate the current weights of the network, and retain them where they are the best.

        Once the deadline has passed, the best checkpoint so far is final and `cut` is set. The
        first checkpoint is always evaluated, so that a result exists.

        Parameters
        ----------
        previous : Checkpoints
            Result of the previous checkpoints.
        number : int
            Number of the checkpoint, from 0.
        network : Network

        Returns
        -------
        Checkpoints
        """
        cut = self.deadline.expired
        if cut and number > 0:
            return replace(previous, cut=True, ended=True)
        posterior = self._posteriors(network)
        stopping = previous.stopping.after(
            [self._value(fold, posterior) for fold in range(len(previous.posteriors))],
            choosers=self.evaluation.choosers,
            patience=self.patience,
        )
        selected = self._keep_newest(replace(previous, stopping=stopping), posterior, network)
        return replace(selected, cut=cut, ended=cut or stopping.ended)

    def _posteriors(self, network: Network) -> np.ndarray:
        """Return the members' posteriors for the evaluation rows, of shape (F * K, V, C)."""
        logits = network.predict(self.evaluation.x, self.evaluation.codes).cpu().numpy()
        return member_posterior(logits, log_prior=self.log_prior, gamma=self.gamma)

    def _members(self, fold: int) -> slice:
        """Return the positions of a fold's members in the pack: ``[a a b b]``."""
        members_per_fold = len(self.log_prior) // len(self.evaluation.rows)
        return slice(fold * members_per_fold, (fold + 1) * members_per_fold)

    def _value(self, fold: int, posterior: np.ndarray) -> float:
        """Return the measure on the fold's choosing rows, or on all its rows if it has none."""
        evaluation = self.evaluation
        rows = evaluation.rows[fold]
        rows = rows[: evaluation.choose[fold]] if evaluation.choose[fold] else rows
        if not len(rows):
            return math.nan
        proba = posterior[self._members(fold), : len(rows)].mean(0)
        return self.measure(evaluation.y[rows], proba, evaluation.weight[rows])

    def _keep_newest(
        self, checkpoints: Checkpoints, posterior: np.ndarray, network: Network
    ) -> Checkpoints:
        """Retain the weights and posteriors of the folds for which this checkpoint is the best."""
        if not checkpoints.stopping.newest:
            return checkpoints
        evaluation, parameters = self.evaluation, network.parameters
        posteriors = list(checkpoints.posteriors)
        with torch.no_grad():
            weights = checkpoints.weights.clone()
            # Only the members of folds whose best checkpoint is the current one are copied.
            for fold in checkpoints.stopping.newest:
                members = self._members(fold)
                scored = slice(evaluation.choose[fold], len(evaluation.rows[fold]))
                posteriors[fold] = posterior[members, scored]
                parameters.copy_members(parameters.values, weights, members)
        return replace(checkpoints, weights=weights, posteriors=tuple(posteriors))
