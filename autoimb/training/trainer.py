"""The only training loop: one pack of members, in lockstep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from autoimb.budget import Deadline
from autoimb.nn.dropout import MaskPool
from autoimb.nn.network import Network
from autoimb.randomness import Key, Purpose
from autoimb.space.loss import Loss
from autoimb.training.optimizer import Averaged, Optimizer
from autoimb.training.schedule import Schedule

__all__ = ["Pack", "train"]

NO_DEADLINE = Deadline()


@dataclass(frozen=True)
class Pack:
    """Training rows of the members of a pack.

    All folds' training rows are stacked in one array, so that one gather serves the whole pack.

    Attributes
    ----------
    x : Tensor of shape (R, D)
        Dense columns.
    codes : Tensor of shape (R, Q), int64, or None
        Embedded columns.
    y : Tensor of shape (R,), int64
        Classes.
    rows : tuple of M int64 arrays
        Row numbers of each member in ``x``; a row may occur twice.
    weights : tuple of M float arrays
        Weight of each row, with mean 1 over the member's rows.
    keys : tuple of M Keys
        Keys of the members' random streams.
    shares : tuple of M float arrays of shape (C,), or of None
        Share of each class in every batch of a member, or None if batches follow the rows. With
        shares, weights have mean 1 over the drawn rows.
    """

    x: Tensor
    codes: Tensor | None
    y: Tensor
    rows: tuple[np.ndarray, ...]
    weights: tuple[np.ndarray, ...]
    keys: tuple[Key, ...]
    shares: tuple[np.ndarray | None, ...]


class _Stream:
    """Endless sequence of a member's rows: one permutation after the other.

    Parameters
    ----------
    rows : int64 array of shape (n,)
    weights : float array of shape (n,)
    random : Generator
    """

    def __init__(self, rows: np.ndarray, weights: np.ndarray, random: np.random.Generator) -> None:
        self._rows, self._weights = rows, weights
        self._random = random
        self._pending = np.empty(0, dtype=np.int64)

    def take(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the next rows and their weights."""
        permutations, available = [self._pending], len(self._pending)
        while available < count:
            permutations.append(self._random.permutation(len(self._rows)))
            available += len(self._rows)
        order = np.concatenate(permutations)
        self._pending = order[count:]
        chosen = order[:count]
        return self._rows[chosen], self._weights[chosen]


class _BalancedStream:
    """Endless sequence of a member's batches with fixed class shares: one stream for each class.

    Class c has an interval of length B · share_c, and a batch of B rows contains as many rows of
    class c as points u, u + 1, ..., u + B - 1 lie in the interval (systematic sampling; Madow &
    Madow, 1944). Batches thus differ by at most one row of a class, and by none if the length is a
    whole number. From one batch to the next u moves by the golden ratio, modulo 1, which spreads it
    evenly: in the long run the shares are exact.

    Parameters
    ----------
    rows : int64 array of shape (n,)
    weights : float array of shape (n,)
    key : Key
    y : int64 array of shape (n,)
        Classes of the rows.
    shares : float array of shape (C,)
        Class shares, with sum 1; zero for a class without rows.
    batch : int
    """

    def __init__(
        self,
        rows: np.ndarray,
        weights: np.ndarray,
        key: Key,
        *,
        y: np.ndarray,
        shares: np.ndarray,
        batch: int,
    ) -> None:
        classes = np.flatnonzero(shares)
        self._streams = [
            _Stream(rows[y == c], weights[y == c], key.stream(Purpose.BATCHES, int(c)))
            for c in classes
        ]
        # Rounding keeps the ends of intervals whose length is a whole number exact.
        self._ends = np.round(batch * np.cumsum(shares[classes]), 9)
        self._batch = batch
        self._start = key.stream(Purpose.BATCH_SHARES).random()

    def take(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and weights of the next whole batches, each sorted by class."""
        batches, golden = count // self._batch, 0.5 * (1.0 + sqrt(5.0))
        starts = (self._start + golden * np.arange(batches)) % 1.0
        self._start = (self._start + golden * batches) % 1.0
        ends = np.floor(self._ends + starts[:, None]).astype(np.int64)  # (S, C)
        sizes = np.diff(ends, axis=1, prepend=0)
        class_of_row = np.repeat(np.tile(np.arange(len(self._streams)), batches), sizes.reshape(-1))
        rows, weights = np.empty(count, dtype=np.int64), np.empty(count)
        # The rows of each class fill its places in all batches at once.
        for position, stream in enumerate(self._streams):
            places = np.flatnonzero(class_of_row == position)
            rows[places], weights[places] = stream.take(len(places))
        return rows, weights


@torch.no_grad()
def train(
    network: Network,
    pack: Pack,
    loss: Loss,
    schedule: Schedule,
    *,
    deadline: Deadline = NO_DEADLINE,
) -> Iterator[int]:
    """Train an initialized network on a pack, and pause at every checkpoint.

    A member's loss is the mean of weight · loss(row) over the rows of a batch and the k copies of
    the network: row weights are divided by the batch size and by k.

    Parameters
    ----------
    network : Network
        Network with initial weights, trained in place.
    pack : Pack
    loss : Loss
        Loss for the class counts of the pack's members.
    schedule : Schedule
    deadline : Deadline
        Deadline that is checked in every step; once it has passed, the checkpoint ends early.

    Yields
    ------
    int
        Number of the checkpoint, from 0, while the network has the weights to evaluate and to
        deploy. To end training, stop iterating.
    """
    spec, batch = network.spec, schedule.batch_size
    optimizer = Optimizer(
        network.parameters, weight_decay=schedule.weight_decay, beta2=schedule.beta2
    )
    averaged = Averaged(network.parameters.values, decay=0.85)
    dtype, device, values = network.dtype, network.device, network.parameters.values
    classes = torch.arange(spec.n_classes, device=device)[:, None]
    averaging_interval = max(1, schedule.steps // 16)
    streams = _streams(pack, batch)
    size = batch * spec.k * spec.widest
    pool = MaskPool(pack.keys, spec.dropout, size=size, dtype=dtype, device=device)
    for checkpoint in range(schedule.checkpoints):
        # All batches until the checkpoint are gathered at once, which saves overhead per step.
        rows, weights = _gather(streams, schedule, network)
        y = pack.y[rows].view(schedule.steps, network.members, 1, 1, batch)
        truth = torch.eq(y, classes).to(dtype)
        weights.div_(spec.k * batch)
        pool.refresh()
        for step, step_batch in enumerate(zip(rows.unbind(), truth.unbind(), weights.unbind())):
            if deadline.expired:
                break
            chosen, step_truth, step_weights = step_batch
            logits = network.forward(pack.x, pack.codes, chosen, pool)
            network.backward(loss.gradient(logits, step_truth, step_weights))
            optimizer.step(schedule.rate(checkpoint * schedule.steps + step))
            if step % averaging_interval == averaging_interval - 1:
                averaged.update(values)
        # With a constant rate the averaged weights are evaluated, and training continues from the
        # current ones.
        current = values.clone() if schedule.kind == "constant" else values
        if schedule.kind == "constant":
            values.copy_(averaged.mean)
        yield checkpoint
        if schedule.kind == "constant":
            values.copy_(current)


def _streams(pack: Pack, batch: int) -> list[_Stream | _BalancedStream]:
    y = pack.y.cpu().numpy()
    return [
        _Stream(rows, weights, key.stream(Purpose.BATCHES))
        if shares is None
        else _BalancedStream(rows, weights, key, y=y[rows], shares=shares, batch=batch)
        for rows, weights, key, shares in zip(pack.rows, pack.weights, pack.keys, pack.shares)
    ]


def _gather(
    streams: Sequence[_Stream | _BalancedStream], schedule: Schedule, network: Network
) -> tuple[Tensor, Tensor]:
    """Draw the batches until the next checkpoint: rows (S, M * B) and weights (S, M, 1, 1, B)."""
    steps, batch = schedule.steps, schedule.batch_size
    drawn = [stream.take(steps * batch) for stream in streams]
    # (M, S * B) -> (S, M, B)
    rows = np.stack([r for r, _ in drawn]).reshape(-1, steps, batch).transpose(1, 0, 2)
    weights = np.stack([w for _, w in drawn]).reshape(-1, steps, batch).transpose(1, 0, 2)
    flat = np.ascontiguousarray(rows).reshape(steps, -1)
    return (
        torch.from_numpy(flat).to(network.device),
        torch.from_numpy(np.ascontiguousarray(weights[:, :, None, None])).to(
            network.device, network.dtype
        ),
    )
