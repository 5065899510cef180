"""The loss component: what a network minimises, with its gradient by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from math import log1p, pi

import torch
from torch import Tensor

from autoimb.nn.kernels import training_kernels
from autoimb.space.option import Component, Float
from autoimb.space.ranking_losses import Criterion, average_precision, mean_over_classes, roc_auc

__all__ = ["LOSS", "Loss"]

_BETA_COMPLEMENT = 1e-4  # 1 - β of deferred re-weighting, as in the paper of LDAM

Weighted = Callable[[Tensor, Tensor, Tensor], Tensor]
OfRows = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """A loss on logits. The rows of a batch are the last axis: then no step of it is a short one.

    Attributes
    ----------
    value : callable
        ``(logits (..., C, B), truth (..., C, B), weight (..., 1, B)) -> (...)``: the loss of a
        batch, of one-hot truth and row weights that broadcast. It grows with the weights: a row
        of twice the weight is the row standing there twice, and the sum of all weights is what
        the whole is scaled by.
    gradient : callable
        The same arguments ``-> (..., C, B)``: its derivative by the logits.
    gamma : float
        Focal exponent, which prediction inverts in closed form.
    adjustment : float
        τ of the logit adjustment: τ · log prior is added to the logits in training.
    later : Loss or None
        What takes its place in the later part of the training.
    begins : float
        The share of the planned checkpoints from which it does: of the plan and of nothing that is
        measured, since a moment that all folds' measures choose would show a fold its own rows.
    """

    value: Weighted
    gradient: Weighted
    gamma: float = 0.0
    adjustment: float = 0.0
    later: Loss | None = None
    begins: float = 0.0

    def turn(self, checkpoints: int) -> int:
        """Return from which of so many planned checkpoints the last loss is trained on, from 0."""
        return 0 if self.later is None else int(self.begins * checkpoints)

    def at(self, checkpoint: int, checkpoints: int) -> Loss:
        """Return the loss of one of so many planned checkpoints."""
        return self if self.later is None or checkpoint < self.turn(checkpoints) else self.later


# Every option takes the rows of each class that a member sees, as training counts them: after
# resampling and all weights. A tensor (M, 1, C, 1), so that it broadcasts over k, C and rows.
LOSS: Component[Loss] = Component("loss", "What the networks minimise.")


def _total(value: OfRows) -> Weighted:
    """Sum over rows what each of them loses: (..., C, B) twice -> (..., B)."""
    return lambda logits, truth, weight: value(logits, truth).mul(weight[..., 0, :]).sum(-1)


def _of_rows(value: OfRows, gradient: OfRows) -> Loss:
    """Sum over rows what each of them loses, and its gradient."""
    return Loss(_total(value), lambda logits, truth, weight: gradient(logits, truth).mul_(weight))


def _own(numbers: Tensor, truth: Tensor) -> Tensor:
    """Pick each row's own class: (..., C, B) -> (..., 1, B)."""
    return numbers.mul(truth).sum(-2, keepdim=True)


def _own_log_proba(logits: Tensor, truth: Tensor) -> Tensor:
    """Log-probability of each row's own class: (..., C, B) -> (..., 1, B)."""
    return _own(torch.log_softmax(logits, -2), truth)


def _cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    return -_own_log_proba(logits, truth)[..., 0, :]


_kernels = cache(training_kernels)


def _cross_entropy_gradient(logits: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    return _kernels(logits.dtype, logits.device).cross_entropy(logits, truth, weight)


def _moved(move: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """Take the cross-entropy of logits that a constant of the classes moves."""
    return Loss(
        _total(lambda logits, truth: _cross_entropy(move(logits, truth), truth)),
        lambda logits, truth, weight: _cross_entropy_gradient(move(logits, truth), truth, weight),
    )


def _towards(target: Callable[[Tensor], Tensor]) -> Loss:
    """Take the cross-entropy to other targets than one-hot ones, (..., C, B) -> (..., C, B)."""
    return _of_rows(
        lambda logits, truth: -torch.log_softmax(logits, -2).mul(target(truth)).sum(-2),
        lambda logits, truth: torch.softmax(logits, -2).sub_(target(truth)),
    )


def _focus(log_p: Tensor, gamma: Tensor | float) -> Tensor:
    """By how much the gradient of a row's cross-entropy is that of its focal loss."""
    p = log_p.exp()
    rest = (1.0 - p).clamp_(min=1e-7)
    return rest**gamma - gamma * p * rest ** (gamma - 1.0) * log_p


@LOSS.option()
def cross_entropy(counts: Tensor) -> Loss:  # noqa: ARG001  component's signature
    """Cross-entropy: the log-likelihood of the classes."""
    return _moved(lambda logits, _: logits)


@LOSS.option(gamma=Float(0.5, 3.0))
def focal(counts: Tensor, *, gamma: float) -> Loss:  # noqa: ARG001  component's signature
    """Focal loss: rows that are already right count less (Lin et al., 2017)."""

    def value(logits: Tensor, truth: Tensor) -> Tensor:
        log_p = _own_log_proba(logits, truth)[..., 0, :]
        return -((1.0 - log_p.exp()) ** gamma) * log_p

    def gradient(logits: Tensor, truth: Tensor) -> Tensor:
        factor = _focus(_own_log_proba(logits, truth), gamma)
        return _cross_entropy_gradient(logits, truth).mul_(factor)

    return replace(_of_rows(value, gradient), gamma=gamma)


@LOSS.option(tau=Float(0.25, 1.5))
def logit_adjusted(counts: Tensor, *, tau: float) -> Loss:
    """Logit adjustment: a margin of τ · log prior in training (Menon et al., 2021)."""
    offset = tau * torch.log(counts / counts.sum(-2, keepdim=True))
    return replace(_moved(lambda logits, _: logits + offset), adjustment=tau)


@LOSS.option(margin=Float(0.25, 4.0, log=True), begins=Float(0.2, 0.8), exact=False, searched=False)
def ldam(counts: Tensor, *, margin: float, begins: float) -> Loss:
    """Margins of n^(-1/4), from a share of the plan on re-weighted: LDAM-DRW (Cao et al., 2019)."""
    # a row must be right by its class's margin, in logits: the head has no norm, so that the
    # paper's scale s is a part of the margin, which the rarest class has whole
    counts = counts.clamp(min=1.0)
    margins = margin * (counts.amin(-2, keepdim=True) / counts) ** 0.25
    first = _moved(lambda logits, truth: logits - margins * truth)
    # weights of the effective number (Cui et al., 2019), mean 1 over rows
    weights = -1.0 / torch.expm1(counts * log1p(-_BETA_COMPLEMENT))
    weights = weights * (counts.sum(-2, keepdim=True) / (counts * weights).sum(-2, keepdim=True))

    def value(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        return first.value(logits, truth, weight * _own(weights, truth))

    def gradient(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        return first.gradient(logits, truth, weight * _own(weights, truth))

    return replace(first, later=Loss(value, gradient), begins=begins)


@LOSS.option(
    gamma_rare=Float(0.0, 1.0),
    gamma_common=Float(1.0, 4.0),
    margin=Float(0.0, 0.1),
    exact=False,
    searched=False,
)
def asymmetric(counts: Tensor, *, gamma_rare: float, gamma_common: float, margin: float) -> Loss:
    """Focal loss, stronger on common classes, which may be right by less (Ridnik et al., 2021)."""
    # The paper is of many labels at once, where the absent ones are the common class. Here a
    # class is common that has its even share of the rows or more; its probability is read as
    # min(p + margin, 1), so that rows within the margin are no loss at all.
    rare = counts < counts.mean(-2, keepdim=True)
    gammas = torch.full_like(counts, gamma_common).masked_fill_(rare, gamma_rare)
    margins = torch.full_like(counts, margin).masked_fill_(rare, 0.0)

    def read(log_p: Tensor, truth: Tensor) -> Tensor:
        return torch.logaddexp(log_p, _own(margins, truth).log()).clamp(max=0.0)

    def value(logits: Tensor, truth: Tensor) -> Tensor:
        log_p = read(_own_log_proba(logits, truth), truth)
        return (-((1.0 - log_p.exp()) ** _own(gammas, truth)) * log_p)[..., 0, :]

    def gradient(logits: Tensor, truth: Tensor) -> Tensor:
        own = _own_log_proba(logits, truth)
        log_p = read(own, truth)
        factor = _focus(log_p, _own(gammas, truth)).mul_((own - log_p).exp_()).mul_(log_p < 0.0)
        return _cross_entropy_gradient(logits, truth).mul_(factor)

    return _of_rows(value, gradient)


@LOSS.option(smoothing=Float(0.02, 0.2), exact=False, searched=False)
def label_smoothing(counts: Tensor, *, smoothing: float) -> Loss:
    """Cross-entropy to labels of which a share goes to all classes (Szegedy et al., 2016)."""
    n_classes = counts.shape[-2]
    return _towards(lambda truth: truth * (1.0 - smoothing) + smoothing / n_classes)


@LOSS.option(smoothing=Float(0.05, 0.4), exact=False, searched=False)
def label_aware_smoothing(counts: Tensor, *, smoothing: float) -> Loss:
    """Label smoothing that grows with a class's rows, none for the rarest (Zhong et al., 2021)."""
    others = counts.shape[-2] - 1
    least, most = counts.amin(-2, keepdim=True), counts.amax(-2, keepdim=True)
    # the concave form of the paper, from 0 for the rarest class to the most for the commonest
    place = (counts - least) / (most - least).clamp(min=1e-6)
    shares = smoothing * torch.sin(0.5 * pi * place)

    def target(truth: Tensor) -> Tensor:
        share = _own(shares, truth) / others
        return truth * (1.0 - (others + 1) * share) + share

    return _towards(target)


def _ranked(criterion: Criterion, counts: Tensor, begins: float) -> Loss:
    """Train on cross-entropy first, then on a criterion of the order of the rows."""
    first = cross_entropy(counts)
    value, gradient = mean_over_classes(criterion, counts)
    return replace(first, later=Loss(value, gradient), begins=begins)


@LOSS.option(begins=Float(0.1, 0.7), exact=False, searched=False)
def auc_surrogate(counts: Tensor, *, begins: float) -> Loss:
    """Cross-entropy, then the squared hinge of a batch's pairs, for ROC AUC (Gao & Zhou, 2015)."""
    return _ranked(roc_auc, counts, begins)


@LOSS.option(begins=Float(0.1, 0.7), exact=False, searched=False)
def ap_surrogate(counts: Tensor, *, begins: float) -> Loss:
    """Cross-entropy, then a batch's average precision by squared hinges (Qi et al., 2021)."""
    return _ranked(average_precision, counts, begins)
