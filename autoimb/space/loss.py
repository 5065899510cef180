"""The loss component: losses of the networks, defined by their gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoimb.space.option import Component, Float

if TYPE_CHECKING:
    from torch import Tensor

    Gradient = Callable[[Tensor, Tensor, Tensor], Tensor]

__all__ = ["LOSS", "Loss"]


@dataclass(frozen=True)
class Loss:
    """A loss on logits, with the rows of a batch on the last axis, which is the longest.

    Attributes
    ----------
    gradient : callable
        ``(logits (..., C, B), truth (..., C, B), weight (..., 1, B)) -> (..., C, B)``: the
        derivative by the logits of the weighted sum of the rows' losses, of one-hot truth and row
        weights that broadcast.
    gamma : float
        Focal exponent, which prediction inverts in closed form.
    adjustment : float
        τ of the logit adjustment: τ · log prior is added to the logits in training.
    """

    gradient: Gradient
    gamma: float = 0.0
    adjustment: float = 0.0


# Every option takes the class counts of the members' training rows, after resampling and all
# weights, as a tensor (M, 1, C, 1), which broadcasts over k, C and rows.
LOSS: Component[Loss] = Component("loss", "Loss function of the networks.")


def _cross_entropy_gradient(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    # The imports are local because listing the options must not import torch.
    import torch

    from autoimb.nn.code import training_code

    code = training_code(logits.device, logits.dtype)
    if code is None:
        return torch.softmax(logits, -2).sub_(truth).mul_(weight)
    gradient = torch.empty(logits.shape)
    arrays = (array.contiguous().numpy() for array in (logits, truth, weight, gradient))
    code.cross_entropy(*arrays)
    return gradient


@LOSS.option()
def cross_entropy(counts: Tensor) -> Loss:  # noqa: ARG001  component's signature
    """Cross-entropy: the log-likelihood of the classes."""
    return Loss(_cross_entropy_gradient)


@LOSS.option(gamma=Float(0.5, 3.0))
def focal(counts: Tensor, *, gamma: float) -> Loss:  # noqa: ARG001  component's signature
    """Focal loss: rows that are already right count less (Lin et al., 2017)."""

    def gradient(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        # The gradient is that of the cross-entropy times a factor for each row.
        log_p = logits.log_softmax(-2).mul(truth).sum(-2, keepdim=True)
        p = log_p.exp()
        rest = (1.0 - p).clamp_(min=1e-7)
        factor = rest**gamma - gamma * p * rest ** (gamma - 1.0) * log_p
        return _cross_entropy_gradient(logits, truth, factor.mul_(weight))

    return Loss(gradient, gamma=gamma)


@LOSS.option(tau=Float(0.25, 1.5))
def logit_adjusted(counts: Tensor, *, tau: float) -> Loss:
    """Logit adjustment: a margin of τ · log prior in training (Menon et al., 2021)."""
    offset = tau * (counts / counts.sum(-2, keepdim=True)).log()

    def gradient(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        return _cross_entropy_gradient(logits + offset, truth, weight)

    return Loss(gradient, adjustment=tau)
