"""Evaluation of a pack at its checkpoints, and the selection of one checkpoint for each fold."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from autoimb.assessment.stopping import Stopping
from autoimb.budget import Deadline
from autoimb.nn.network import Network
from autoimb.pipeline.fitted import member_posterior
from autoimb.training.inputs import Evaluation

__all__ = ["Measure", "Selector"]

# ``(y, proba, weight) -> float``, higher is better; NaN where the rows define no value.
Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


class Selector:
    """Evaluates a pack at its checkpoints and keeps, for each fold, the weights of the best.

    The best checkpoint so far is known at every checkpoint, so one copy of the weights is enough.
    `Stopping` selects the checkpoint by law 1.

    Parameters
    ----------
    network : Network
        The network that is trained, with its initial weights.
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

    Attributes
    ----------
    stopping : Stopping
        Measured values, and the checkpoint that each fold retains.
    weights : Tensor
        The pack's flat vector, with each fold's members as of the fold's retained checkpoint.
    posteriors : list of F arrays (K, n, C)
        Posteriors of each fold's members for its scored rows, at its retained checkpoint.
    cut : bool
        Whether the deadline ended training.
    """

    def __init__(
        self,
        network: Network,
        evaluation: Evaluation,
        log_prior: np.ndarray,
        *,
        gamma: float,
        patience: int,
        measure: Measure,
        deadline: Deadline,
    ) -> None:
        self.network, self.evaluation, self.log_prior = network, evaluation, log_prior
        self._gamma, self._patience = gamma, patience
        self._measure, self._deadline = measure, deadline
        folds = len(evaluation.rows)
        self.stopping = Stopping.initial(folds)
        self.weights = network.parameters.values.clone()
        self.posteriors = [np.empty(0)] * folds
        self.cut = False

    @torch.no_grad()
    def evaluate(self) -> bool:
        """Evaluate the current weights, and retain them where they are the best.

        Once the deadline has passed, the best checkpoint so far is final and `cut` is set. The
        first checkpoint is always evaluated, so that a result exists.

        Returns
        -------
        bool
            Whether training is complete.
        """
        self.cut = self._deadline.expired
        if self.cut and self.stopping.values:
            return True
        posterior = self._posteriors()
        self.stopping = self.stopping.after(
            [self._value(fold, posterior) for fold in range(len(self.posteriors))],
            choosers=self.evaluation.choosers,
            patience=self._patience,
        )
        # Only the members of folds whose best checkpoint is the current one are copied.
        for fold in self.stopping.newest:
            members = self._members(fold)
            scored = slice(self.evaluation.choose[fold], len(self.evaluation.rows[fold]))
            self.posteriors[fold] = posterior[members, scored]
            parameters = self.network.parameters
            parameters.copy_members(parameters.values, self.weights, members)
        return self.cut or self.stopping.ended

    def _posteriors(self) -> np.ndarray:
        """Return the members' posteriors for the evaluation rows, of shape (F * K, V, C)."""
        evaluation = self.evaluation
        logits = self.network.predict(evaluation.x, evaluation.codes).cpu().numpy()
        return member_posterior(logits, log_prior=self.log_prior, gamma=self._gamma)

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
        return self._measure(evaluation.y[rows], proba, evaluation.weight[rows])
