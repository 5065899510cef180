"""The loss room: what a network minimises, with its gradient by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from autoimb.space.option import Float, Room

__all__ = ["LOSS", "Loss"]

LOSS = Room("loss", "What the networks minimise.")


@dataclass(frozen=True)
class Loss:
    """A loss on logits. The rows of a batch are the last axis: then no step of it is a short one.

    Attributes
    ----------
    value : callable
        ``(logits (..., C, B), truth (..., C, B)) -> (..., B)``: the loss of each row, of one-hot
        truth that broadcasts.
    gradient : callable
        ``(logits (..., C, B), truth (..., C, B)) -> (..., C, B)``: its derivative by the logits.
    gamma : float
        Focal exponent, which prediction inverts in closed form.
    adjustment : float
        τ of the logit adjustment: τ · log prior is added to the logits in training.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor]
    gamma: float = 0.0
    adjustment: float = 0.0


def _own_log_proba(logits: Tensor, truth: Tensor) -> Tensor:
    """Log-probability of each row's own class: (..., C, B) -> (..., 1, B)."""
    return torch.log_softmax(logits, -2).mul(truth).sum(-2, keepdim=True)


def _cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    return -_own_log_proba(logits, truth)[..., 0, :]


def _cross_entropy_gradient(logits: Tensor, truth: Tensor) -> Tensor:
    return torch.softmax(logits, -2).sub_(truth)


@LOSS.option()
def cross_entropy() -> Loss:
    """Cross-entropy: the log-likelihood of the classes."""
    return Loss(_cross_entropy, _cross_entropy_gradient)


@LOSS.option(gamma=Float(0.5, 3.0))
def focal(gamma: float) -> Loss:
    """Focal loss: rows that are already right count less (Lin et al., 2017)."""

    def value(logits: Tensor, truth: Tensor) -> Tensor:
        log_p = _own_log_proba(logits, truth)[..., 0, :]
        return -((1.0 - log_p.exp()) ** gamma) * log_p

    def gradient(logits: Tensor, truth: Tensor) -> Tensor:
        log_p = _own_log_proba(logits, truth)
        p = log_p.exp()
        rest = (1.0 - p).clamp_(min=1e-7)
        factor = rest**gamma - gamma * p * rest ** (gamma - 1.0) * log_p
        return _cross_entropy_gradient(logits, truth).mul_(factor)

    return Loss(value, gradient, gamma=gamma)


@LOSS.option(tau=Float(0.25, 1.5))
def logit_adjusted(tau: float) -> Loss:
    """Logit adjustment: a margin of τ · log prior in training (Menon et al., 2021)."""
    return Loss(_cross_entropy, _cross_entropy_gradient, adjustment=tau)


@LOSS.option(smoothing=Float(0.02, 0.2), exact=False, searched=False)
def label_smoothing(smoothing: float) -> Loss:
    """Cross-entropy to labels of which a share goes to all classes (Szegedy et al., 2016)."""

    def smoothed(truth: Tensor) -> Tensor:
        return truth * (1.0 - smoothing) + smoothing / truth.shape[-2]

    def value(logits: Tensor, truth: Tensor) -> Tensor:
        return -torch.log_softmax(logits, -2).mul(smoothed(truth)).sum(-2)

    def gradient(logits: Tensor, truth: Tensor) -> Tensor:
        return torch.softmax(logits, -2).sub_(smoothed(truth))

    return Loss(value, gradient)
