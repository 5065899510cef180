"""Each loss against its formula after the paper, written row by row and left to autograd."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from autoimb.space.loss import LOSS, Loss
from autoimb.space.option import Option
from tests.support.tables import at

MEMBERS, COPIES, BATCH = 3, 2, 11
COUNTS = {
    2: torch.tensor([[900.0, 30.0], [20.0, 400.0], [50.0, 50.0]], dtype=torch.float64),
    3: torch.tensor([[500.0, 80, 9], [7, 70, 30], [40, 40, 40]], dtype=torch.float64),
}
# (logits (B, C), classes (B,), weights (B,), rows of each class (C,), parameters) -> ()
Formula = Callable[[Tensor, Tensor, Tensor, Tensor, dict], Tensor]
every_loss = pytest.mark.parametrize("option", list(LOSS), ids=lambda option: option.name)
every_size = pytest.mark.parametrize("n_classes", list(COUNTS))


def class_proba(z: Tensor, y: Tensor) -> Tensor:
    return z.softmax(1)[torch.arange(len(y)), y]


def cross_entropy(z, y, w, n, values):
    return -(w * class_proba(z, y).log()).sum()


def focal(z, y, w, n, values):
    p = class_proba(z, y)
    return -(w * (1 - p) ** values["gamma"] * p.log()).sum()


def logit_adjusted(z, y, w, n, values):
    return cross_entropy(z + values["tau"] * (n / n.sum()).log(), y, w, n, values)


FORMULAS: dict[str, Formula] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "logit_adjusted": logit_adjusted,
}


def loss_at(option: Option, n_classes: int, share: float = 0.5) -> tuple[Loss, dict]:
    values = {key: at(bounds, share) for key, bounds in option.ranges.items()}
    return option.code(COUNTS[n_classes][:, None, :, None], **values), values


def batch_of(n_classes: int, seed: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits (M, k, C, B), classes (M, B), their one-hot truth and weights, as the trainer's."""
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.normal(0.0, 2.0, (MEMBERS, COPIES, n_classes, BATCH)))
    y = torch.from_numpy(random.integers(0, n_classes, (MEMBERS, BATCH)))
    y[0] = 0  # a batch of one class
    truth = one_hot(y, n_classes).permute(0, 2, 1)[:, None].double()
    weight = torch.from_numpy(random.uniform(0.5, 2.0, (MEMBERS, 1, 1, BATCH)))
    return logits, y, truth, weight


@every_size
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@every_loss
def test_the_gradient_of_a_loss_is_that_of_its_formula(option, share, n_classes):
    loss, values = loss_at(option, n_classes, share)
    logits, y, truth, weight = batch_of(n_classes)
    formula = FORMULAS[option.name]
    free = logits.clone().requires_grad_()
    values = [
        formula(free[m, k].T, y[m], weight[m, 0, 0], COUNTS[n_classes][m], values)
        for m in range(MEMBERS)
        for k in range(COPIES)
    ]
    torch.stack(values).sum().backward()
    gradient = loss.gradient(logits, truth, weight)
    torch.testing.assert_close(gradient, free.grad, rtol=1e-7, atol=1e-9)


@every_size
@every_loss
def test_a_loss_is_finite_at_any_logits(option, n_classes):
    _, _, truth, weight = batch_of(n_classes)
    for seed, dtype in ((0, torch.float32), (1, torch.float64)):
        signs = np.random.default_rng(seed).choice([-1e4, 0.0, 1e4], (MEMBERS, 1, n_classes, BATCH))
        logits = torch.from_numpy(signs).to(dtype).expand(-1, COPIES, -1, -1)
        values = {key: at(bounds, 0.0) for key, bounds in option.ranges.items()}
        loss = option.code(COUNTS[n_classes][:, None, :, None].to(dtype), **values)
        gradient = loss.gradient(logits, truth.to(dtype), weight.to(dtype))
        assert gradient.dtype == dtype
        assert gradient.isfinite().all()
        # a shift of all logits of a row is none
        assert gradient.sum(-2).abs().max() <= 1e-4 * gradient.abs().max() + 1e-6
