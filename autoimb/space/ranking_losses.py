"""What stands in for ranking metrics in training: criteria of the order of a batch's rows.

A pair of a row i of a class and another row j loses h(s_j - s_i), where h(d) = max(0, 1 + d)² and
s is the log-odds of the class: the squared hinge, which is consistent with the area under the ROC
curve (Gao & Zhou, 2015, "On the consistency of AUC pairwise optimization"). All pairs of a batch
are counted without being listed: h is a polynomial of degree 2 above a bound, so that rows in the
order of their scores need running sums of their masses, and of these times score and score².
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Criterion", "average_precision", "mean_over_classes", "roc_auc"]

# (scores (..., B), masses of the class's rows (..., B), masses of the others (..., B), the class's
# share of all rows (..., 1)), in float64 -> the criterion (...), its derivative by scores (..., B)
Criterion = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
OfBatch = Callable[[Tensor, Tensor, Tensor], Tensor]

_LEAST = 1e-12  # of a denominator: a class without rows


def roc_auc(score: Tensor, own: Tensor, rest: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate the mean of h over all pairs of a row of the class and another one.

    Without bias: by the share of such pairs among all, not by how many a batch happens to hold.

    Parameters
    ----------
    score, own, rest : float64 Tensor of shape (..., B)
        Log-odds of the class; mass of each row that is of it, of each that is not, else 0.
    prior : float64 Tensor of shape (..., 1)
        Share of the class among the rows that a member sees.

    Returns
    -------
    tuple of float64 Tensors of shapes (...) and (..., B)
        0 where a batch lacks rows of either kind; and the derivative by the scores.
    """
    pull = own / (prior * (1.0 - prior)).clamp(min=_LEAST)
    wrong, slope = _above_each(score, rest)
    return (pull * wrong).sum(-1), pull * slope + _pulled(score, pull, rest)


def average_precision(
    score: Tensor, own: Tensor, rest: Tensor, prior: Tensor
) -> tuple[Tensor, Tensor]:
    """Return one minus the average precision, each count of rows above a row made smooth by h.

    For a row of the class, h summed over the others, as a share of h summed over all rows, itself
    included: the objective of Qi, Luo, Xu, Ji & Yang, 2021, "Stochastic optimization of areas
    under precision-recall curves with provable convergence", on the batch alone. Their running
    means of the sums of each row are left out: a pack would have to keep them row by row.

    Parameters
    ----------
    score, own, rest, prior : float64 Tensor
        As for `roc_auc`.

    Returns
    -------
    tuple of float64 Tensors of shapes (...) and (..., B)
    """
    share = own / prior.clamp(min=_LEAST)
    masses = torch.stack((rest, own))
    sums, slopes = _above_each(score, masses)
    wrong, right = sums
    total = (wrong + right).clamp(min=_LEAST)
    pulls = torch.stack((share * right, -share * wrong)) / total**2
    derivative = (pulls * slopes + _pulled(score, pulls, masses)).sum(0)
    return (share * wrong / total).sum(-1), derivative


# mass and pull may have more leading axes than score: (..., B) and (S, ..., B)


def _above_each(score: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
    """Sum mass_j h(s_j - s_i) over j for each row i, and its derivative by s_i; as mass."""
    count, first, second = _tails(score, mass, score - 1.0)
    gap = 1.0 - score
    return gap**2 * count + 2.0 * gap * first + second, -2.0 * (gap * count + first)


def _pulled(score: Tensor, pull: Tensor, mass: Tensor) -> Tensor:
    """Differentiate the sum of pull_i mass_j h(s_j - s_i) over i and j by each s_j; as mass."""
    count, first, _ = _tails(-score, pull, -1.0 - score)
    return 2.0 * mass * ((1.0 + score) * count + first)


def _tails(points: Tensor, mass: Tensor, bounds: Tensor) -> tuple[Tensor, ...]:
    """Sum mass, mass · point and mass · point² over the points above each bound: three, as mass."""
    falling, order = points.sort(-1, descending=True)
    above = torch.searchsorted(-falling, -bounds)  # how many points there are
    mass = mass.gather(-1, order.expand_as(mass))
    powers = torch.stack((mass, mass * falling, mass * falling**2))
    sums: Tensor = torch.nn.functional.pad(powers.cumsum(-1), (1, 0))
    return sums.gather(-1, above.expand_as(powers)).unbind()


def mean_over_classes(criterion: Criterion, counts: Tensor) -> tuple[OfBatch, OfBatch]:
    """Apply a criterion to each class against the others, and take the mean.

    Parameters
    ----------
    criterion : callable
        `roc_auc` or `average_precision`.
    counts : Tensor of shape (..., C, 1)
        Rows of each class that a member sees.

    Returns
    -------
    tuple of two callables
        Value and gradient, as `autoimb.space.loss.Loss` takes them. They count in float64: sums
        of squares of scores cancel.
    """
    priors = (counts / counts.sum(-2, keepdim=True)).double()

    def parts(logits: Tensor, truth: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        exact = logits.double().contiguous()
        n_classes = exact.shape[-2]
        # each class's others, (..., C, B) -> (..., C, C, B)
        itself = torch.eye(n_classes, dtype=torch.bool, device=exact.device)[:, :, None]
        others = exact[..., None, :, :].masked_fill(itself, -torch.inf)
        score = exact - others.logsumexp(-2)
        mass = weight.double() / weight.double().sum(-1, keepdim=True).clamp(min=_LEAST)
        own = (truth * mass).expand_as(score)
        rest = ((1.0 - truth) * mass).expand_as(score)
        scale = weight.double().sum(-1, keepdim=True) / n_classes
        return (*criterion(score, own, rest, priors), others, scale)

    def value(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        values, _, _, scale = parts(logits, truth, weight)
        return (values[..., None] * scale).sum((-2, -1)).to(logits.dtype)

    def gradient(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        _, by_score, others, scale = parts(logits, truth, weight)
        by_score = by_score * scale
        # the log-odds of a class by the logits: 1 by its own, minus its share of the others
        by_others = (by_score[..., None, :] * others.softmax(-2)).sum(-3)
        return by_score.sub_(by_others).to(logits.dtype)

    return value, gradient
