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
    """A loss on logits.

    Attributes
    ----------
    value : callable
        ``(logits (..., k, C), y (...)) -> (..., k)``: the loss of each row and copy.
    gradient : callable
        ``(logits (..., k, C), y (...)) -> (..., k, C)``: its derivative by the logits.
    gamma : float
        Focal exponent, which prediction inverts in closed form.
    adjustment : float
        τ of the logit adjustment: τ · log prior is added to the logits in training.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor]
    gamma: float = 0.0
    adjustment: float = 0.0


def _own_class(values: Tensor, y: Tensor) -> Tensor:
    """Pick the entry of each row's class: (..., k, C), (...) -> (..., k, 1)."""
    index = y[..., None, None].expand(*values.shape[:-1], 1)
    return values.gather(-1, index)


def _cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    return -_own_class(torch.log_softmax(logits, -1), y)[..., 0]


def _cross_entropy_gradient(logits: Tensor, y: Tensor) -> Tensor:
    p = torch.softmax(logits, -1)
    index = y[..., None, None].expand(*logits.shape[:-1], 1)
    return p.scatter_add_(-1, index, torch.full_like(index, -1.0, dtype=p.dtype))


@LOSS.option()
def cross_entropy() -> Loss:
    """Cross-entropy: the log-likelihood of the classes."""
    return Loss(_cross_entropy, _cross_entropy_gradient)


@LOSS.option(gamma=Float(0.5, 3.0))
def focal(gamma: float) -> Loss:
    """Focal loss: rows that are already right count less (Lin et al., 2017)."""

    def value(logits: Tensor, y: Tensor) -> Tensor:
        log_p = _own_class(torch.log_softmax(logits, -1), y)[..., 0]
        return -((1.0 - log_p.exp()) ** gamma) * log_p

    def gradient(logits: Tensor, y: Tensor) -> Tensor:
        log_p = _own_class(torch.log_softmax(logits, -1), y)
        p = log_p.exp()
        rest = (1.0 - p).clamp_(min=1e-7)
        factor = rest**gamma - gamma * p * rest ** (gamma - 1.0) * log_p
        return _cross_entropy_gradient(logits, y).mul_(factor)

    return Loss(value, gradient, gamma=gamma)


@LOSS.option(tau=Float(0.25, 1.5))
def logit_adjusted(tau: float) -> Loss:
    """Logit adjustment: a margin of τ · log prior in training (Menon et al., 2021)."""
    return Loss(_cross_entropy, _cross_entropy_gradient, adjustment=tau)
