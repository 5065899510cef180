"""Each loss against its formula after the paper, written row by row and left to autograd."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from math import pi, sin

import numpy as np
import pytest
import torch
from tables import (
    at,
    chosen,
    dataset_of,
    mixed_table,
    outcome_of,
    parts_of,
    short_plan,
    strategy_with,
)
from torch import Tensor
from torch.nn.functional import one_hot

from autoimb.budget import Deadline
from autoimb.data.folds import plan_folds
from autoimb.evaluation.trial import Scored
from autoimb.space.components import COMPONENTS
from autoimb.space.loss import LOSS, Loss
from autoimb.space.option import Option
from autoimb.training.checkpoints import Until
from autoimb.training.fit import Job, fit_members

MEMBERS, COPIES, BATCH = 3, 2, 11
COUNTS = {
    2: torch.tensor([[900.0, 30.0], [20.0, 400.0], [50.0, 50.0]], dtype=torch.float64),
    3: torch.tensor([[500.0, 80, 9], [7, 70, 30], [40, 40, 40]], dtype=torch.float64),
}
# (logits (B, C), classes (B,), weights (B,), rows of each class (C,), parameters) -> ()
Formula = Callable[[Tensor, Tensor, Tensor, Tensor, dict], Tensor]
every_loss = pytest.mark.parametrize("option", list(LOSS), ids=lambda option: option.name)
every_size = pytest.mark.parametrize("n_classes", list(COUNTS))


def own_proba(z: Tensor, y: Tensor) -> Tensor:
    return z.softmax(1)[torch.arange(len(y)), y]


def cross_entropy(z, y, w, n, values):
    return -(w * own_proba(z, y).log()).sum()


def focal(z, y, w, n, values):
    p = own_proba(z, y)
    return -(w * (1 - p) ** values["gamma"] * p.log()).sum()


def logit_adjusted(z, y, w, n, values):
    return cross_entropy(z + values["tau"] * (n / n.sum()).log(), y, w, n, values)


def ldam(z, y, w, n, values):
    margins = n**-0.25
    margins = values["margin"] * margins / margins.max()
    return cross_entropy(z - margins * one_hot(y, len(n)), y, w, n, values)


def ldam_reweighted(z, y, w, n, values):
    by_class = (1 - 0.9999) / (1 - 0.9999**n)
    by_class = by_class * n.sum() / (n * by_class).sum()
    return ldam(z, y, w * by_class[y], n, values)


def asymmetric(z, y, w, n, values):
    total = torch.zeros((), dtype=torch.float64)
    for p, c, weight in zip(own_proba(z, y), y, w):
        if n[c] < n.mean():
            total = total - weight * (1 - p) ** values["gamma_rare"] * p.log()
        elif p + values["margin"] < 1:
            p = p + values["margin"]
            total = total - weight * (1 - p) ** values["gamma_common"] * p.log()
    return total


def smoothed(z, y, w, spread: Tensor):
    """Cross-entropy to targets (B, C)."""
    return -(w[:, None] * spread * z.softmax(1).log()).sum()


def label_smoothing(z, y, w, n, values):
    share = values["smoothing"]
    return smoothed(z, y, w, (1 - share) * one_hot(y, len(n)).double() + share / len(n))


def label_aware_smoothing(z, y, w, n, values):
    spread = torch.empty_like(z)
    for row, c in enumerate(y):
        span = float(n.max() - n.min())
        place = float(n[c] - n.min()) / span if span else 0.0
        share = values["smoothing"] * sin(pi / 2 * place)
        spread[row] = share / (len(n) - 1)
        spread[row, c] = 1 - share
    return smoothed(z, y, w, spread)


def log_odds(z: Tensor, c: int) -> Tensor:
    return z[:, c] - torch.cat([z[:, :c], z[:, c + 1 :]], 1).logsumexp(1)


def hinge(s: Tensor) -> Tensor:
    """h of every pair: (B,) -> (B, B), by which j (columns) comes near to or above i (rows)."""
    return torch.clamp(1 + s[None, :] - s[:, None], min=0) ** 2


def auc_surrogate(z, y, w, n, values):
    total = 0.0
    for c in range(len(n)):
        own, rest = y == c, y != c
        if own.any() and rest.any():
            pairs = w[own][:, None] * w[rest] / w.sum() ** 2
            share = n[c] / n.sum() * (1 - n[c] / n.sum())
            total += (pairs * hinge(log_odds(z, c))[own][:, rest]).sum() / share
    return w.sum() * total / len(n)


def ap_surrogate(z, y, w, n, values):
    total = 0.0
    for c in range(len(n)):
        own = y == c
        if own.any():
            h = hinge(log_odds(z, c))[own] * w
            wrong = h[:, ~own].sum(1) / h.sum(1)
            total += (w[own] * wrong).sum() / w.sum() / (n[c] / n.sum())
    return w.sum() * total / len(n)


# one formula, or one for each part of the plan
FORMULAS: dict[str, tuple[Formula, ...]] = {
    "cross_entropy": (cross_entropy,),
    "focal": (focal,),
    "logit_adjusted": (logit_adjusted,),
    "ldam": (ldam, ldam_reweighted),
    "asymmetric": (asymmetric,),
    "label_smoothing": (label_smoothing,),
    "label_aware_smoothing": (label_aware_smoothing,),
    "auc_surrogate": (cross_entropy, auc_surrogate),
    "ap_surrogate": (cross_entropy, ap_surrogate),
}


def phases(loss: Loss) -> list[Loss]:
    return [loss] if loss.later is None else [loss, loss.later]


def made(option: Option, n_classes: int, share: float = 0.5) -> tuple[Loss, dict]:
    values = {key: at(bounds, share) for key, bounds in option.ranges.items()}
    return option.code(COUNTS[n_classes][:, None, :, None], **values), values


def some_batch(n_classes: int, seed: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
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
def test_a_loss_is_its_formula_and_its_gradient_that_of_autograd(option, share, n_classes):
    loss, values = made(option, n_classes, share)
    logits, y, truth, weight = some_batch(n_classes)
    for phase, formula in zip(phases(loss), FORMULAS[option.name], strict=True):
        free = logits.clone().requires_grad_()
        wanted = torch.stack(
            [
                formula(free[m, k].T, y[m], weight[m, 0, 0], COUNTS[n_classes][m], values)
                + 0.0 * free.sum()
                for m in range(MEMBERS)
                for k in range(COPIES)
            ]
        )
        wanted.sum().backward()
        got = phase.value(logits, truth, weight)
        torch.testing.assert_close(got.flatten(), wanted.detach(), rtol=1e-9, atol=1e-12)
        gradient = phase.gradient(logits, truth, weight)
        torch.testing.assert_close(gradient, free.grad, rtol=1e-7, atol=1e-9)


@every_size
@every_loss
def test_a_loss_is_finite_at_any_logits(option, n_classes):
    _, _, truth, weight = some_batch(n_classes)
    for seed, dtype in ((0, torch.float32), (1, torch.float64)):
        signs = np.random.default_rng(seed).choice([-1e4, 0.0, 1e4], (MEMBERS, 1, n_classes, BATCH))
        logits = torch.from_numpy(signs).to(dtype).expand(-1, COPIES, -1, -1)
        values = {key: at(bounds, 0.0) for key, bounds in option.ranges.items()}
        loss = option.code(COUNTS[n_classes][:, None, :, None].to(dtype), **values)
        for phase in phases(loss):
            assert phase.value(logits, truth.to(dtype), weight.to(dtype)).isfinite().all()
            gradient = phase.gradient(logits, truth.to(dtype), weight.to(dtype))
            assert gradient.dtype == dtype
            assert gradient.isfinite().all()
            # a shift of all logits of a row is none
            assert gradient.sum(-2).abs().max() <= 1e-4 * gradient.abs().max() + 1e-6


@every_loss
def test_a_member_loses_the_same_in_any_pack(option):
    logits, _, truth, weight = some_batch(3)
    values = chosen(option).values
    together = phases(option.code(COUNTS[3][:, None, :, None], **values))
    for m in range(MEMBERS):
        alone = phases(option.code(COUNTS[3][[m], None, :, None], **values))
        for whole, one in zip(together, alone):
            wanted = whole.gradient(logits, truth, weight)[[m]]
            got = one.gradient(logits[[m]], truth[[m]], weight[[m]])
            torch.testing.assert_close(got, wanted, rtol=1e-12, atol=0.0)


@every_loss
def test_weights_reach_a_loss(option):
    logits, _, truth, weight = some_batch(2)
    for phase in phases(made(option, 2)[0]):
        unit = phase.gradient(logits, truth, torch.ones_like(weight))
        torch.testing.assert_close(
            phase.gradient(logits, truth, 3 * torch.ones_like(weight)), 3 * unit
        )
        assert not torch.allclose(phase.gradient(logits, truth, weight), unit, rtol=1e-2)


def test_no_two_losses_are_the_same():
    logits, _, truth, weight = some_batch(3)
    values = []
    for option in LOSS:
        loss = made(option, 3)[0]
        last = loss.later or loss
        values.append(last.value(logits, truth, weight))
    for i, a in enumerate(values):
        for b in values[i + 1 :]:
            assert not torch.allclose(a, b, rtol=1e-2)


def test_the_surrogates_of_a_right_order_with_room_between_are_zero():
    y = torch.tensor([0, 0, 0, 1, 1])
    truth = one_hot(y, 2).T[None, None].double()
    logits = torch.zeros(1, 1, 2, 5, dtype=torch.float64)
    logits[0, 0, 1] = torch.tensor([-3.0, -2.0, 0.0, 1.0, 4.0])
    weight = torch.full((1, 1, 1, 5), 0.2, dtype=torch.float64)
    for name in ("auc_surrogate", "ap_surrogate"):
        loss = made(LOSS[name], 2)[0].later
        assert loss.value(logits, truth, weight).abs().max() < 1e-12
        assert loss.gradient(logits, truth, weight).abs().max() < 1e-12
        assert loss.value(-logits, truth, weight).min() > 0.1


# --- parts of the plan ----------------------------------------------------------------------------


def test_a_plan_of_any_length_ends_with_the_last_loss():
    for option in LOSS:
        for share in (0.0, 0.5, 1.0):
            loss, _ = made(option, 2, share)
            for checkpoints in (1, 2, 5, 60):
                seen = [loss.at(checkpoint, checkpoints) for checkpoint in range(checkpoints)]
                turn = loss.turn(checkpoints)
                assert seen == [loss] * turn + [loss.later or loss] * (checkpoints - turn)
                assert turn < checkpoints
            assert loss.turn(1000) == (0 if loss.later is None else round(1000 * loss.begins))


@pytest.mark.parametrize("name", [option.name for option in LOSS if "begins" in option.ranges])
def test_patience_waits_for_the_last_loss(name):
    """And a loss without parts stops where it always did."""
    dataset = dataset_of(*mixed_table("binary"))
    folds = plan_folds(dataset.y, cv=2, random_state=0)
    plan = short_plan(dataset, folds, checkpoints=20, patience=2)

    def evaluations(loss):
        parts, asked = parts_of(dataset, plan), count()
        # worse from one checkpoint to the next, at which each of two folds is measured
        until = Until(lambda y, proba, weight: -float(next(asked) // 2), Deadline())
        return len(fit_members(Job(strategy_with(loss=loss), plan, parts), parts, until).curve)

    short = evaluations(chosen(LOSS["cross_entropy"]))
    assert short < 8
    assert evaluations(chosen(LOSS[name], begins=0.5)) == 10 + 2 + 1


@pytest.mark.parametrize("ensemble", ["boosting", "self_paced", "snapshot"])
@every_loss
def test_a_loss_trains_copies_and_rounds(option, ensemble):
    dataset = dataset_of(*mixed_table("multiclass"))
    plan = short_plan(dataset, plan_folds(dataset.y, cv=2, random_state=0))
    strategy = strategy_with(
        loss=chosen(option),
        ensemble=chosen(COMPONENTS["ensemble"][ensemble], 0.0),
        network=chosen(COMPONENTS["network"]["tabm"], 0.0),
    )
    outcome = outcome_of(strategy, dataset, plan)
    assert isinstance(outcome, Scored), outcome.reason
    np.testing.assert_allclose(outcome.oof.sum(1), 1.0)
