"""The only training loop: one pack of members, in lockstep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
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

__all__ = ["Pack", "TrainingState", "train"]

NO_DEADLINE = Deadline()


@dataclass(frozen=True)
class Pack:
    """What the members of a pack train on.

    All folds' training rows stand below each other in one array, so that one gather serves the
    whole pack.

    Attributes
    ----------
    x : Tensor of shape (R, D)
        Dense columns.
    codes : Tensor of shape (R, Q), int64, or None
        Embedded columns.
    y : Tensor of shape (R,), int64
        Classes.
    rows : tuple of M int64 arrays
        Each member's rows of x; a row may stand there twice.
    weights : tuple of M float arrays
        Each row's weight, mean 1 over the member's rows.
    keys : tuple of M Keys
        Of their random numbers.
    shares : tuple of M float arrays of shape (C,), or of None
        How much of every batch of a member each class is; None where batches come as its rows do.
        Weights then have mean 1 over what is drawn.
    """

    x: Tensor
    codes: Tensor | None
    y: Tensor
    rows: tuple[np.ndarray, ...]
    weights: tuple[np.ndarray, ...]
    keys: tuple[Key, ...]
    shares: tuple[np.ndarray | None, ...]


class _Stream:
    """A member's endless sequence of rows: one permutation after the other.

    Parameters
    ----------
    rows : int64 array of shape (n,)
    weights : float array of shape (n,)
    random : Generator
    """

    def __init__(self, rows: np.ndarray, weights: np.ndarray, random: np.random.Generator) -> None:
        self._rows, self._weights = rows, weights
        self._random = random
        self._left = np.empty(0, dtype=np.int64)

    def take(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the next rows and their weights."""
        parts, have = [self._left], len(self._left)
        while have < count:
            parts.append(self._random.permutation(len(self._rows)))
            have += len(self._rows)
        order = np.concatenate(parts)
        self._left = order[count:]
        chosen = order[:count]
        return self._rows[chosen], self._weights[chosen]


class _BalancedStream:
    """A member's endless sequence of batches with given shares of the classes: a stream for each.

    A batch of B rows has those of the points u, u + 1, ..., u + B - 1 in class c that lie in its
    stretch of B · share_c, so that batches differ by one row of a class at most, and by none where
    the stretch is a whole number (systematic sampling; Madow & Madow, 1944). From one batch to the
    next u moves by the golden ratio, modulo 1, which spreads it evenly: in the long run the shares
    are exact.

    Parameters
    ----------
    rows : int64 array of shape (n,)
    weights : float array of shape (n,)
    key : Key
    y : int64 array of shape (n,)
        The rows' classes.
    shares : float array of shape (C,)
        Sums to 1; zero for a class without rows.
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
        # rounded, so that a stretch of a whole number is one
        self._ends = np.round(batch * np.cumsum(shares[classes]), 9)
        self._batch = batch
        self._start = key.stream(Purpose.BATCH_SHARES).random()

    def take(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the next rows and their weights: some whole batches, each class by class."""
        batches, golden = count // self._batch, 0.5 * (1.0 + sqrt(5.0))
        starts = (self._start + golden * np.arange(batches)) % 1.0
        self._start = (self._start + golden * batches) % 1.0
        upto = np.floor(self._ends + starts[:, None]).astype(np.int64)  # (S, C)
        sizes = np.diff(upto, axis=1, prepend=0)
        own = np.repeat(np.tile(np.arange(len(self._streams)), batches), sizes.reshape(-1))
        rows, weights = np.empty(count, dtype=np.int64), np.empty(count)
        for which, stream in enumerate(self._streams):
            at = np.flatnonzero(own == which)
            rows[at], weights[at] = stream.take(len(at))
        return rows, weights


@dataclass(eq=False)
class TrainingState:
    """How far the training of a network is: with its weights, all that a next rung goes on from.

    Attributes
    ----------
    optimizer : Optimizer
    averaged : Averaged
    checkpoint : int
        Checkpoints that are done.
    """

    optimizer: Optimizer
    averaged: Averaged
    checkpoint: int = 0

    @classmethod
    def start(cls, network: Network, schedule: Schedule) -> TrainingState:
        """Return the state before the first step."""
        parameters = network.parameters
        optimizer = Optimizer(parameters, weight_decay=schedule.weight_decay, beta2=schedule.beta2)
        return cls(optimizer, Averaged(parameters.values, decay=0.85))

    def arrays(self) -> dict[str, Tensor]:
        """Return what is a flat vector of the pack."""
        return self.optimizer.arrays() | {"averaged": self.averaged.mean}

    def counts(self) -> dict[str, int]:
        """Return what was counted."""
        return {
            "checkpoint": self.checkpoint,
            "steps": self.optimizer.steps,
            "updates": self.averaged.updates,
        }

    def restore(self, arrays: Mapping[str, Tensor], counts: Mapping[str, int]) -> None:
        """Bring it to where another one was."""
        self.optimizer.restore(arrays, counts["steps"])
        self.averaged.restore(arrays["averaged"], counts["updates"])
        self.checkpoint = counts["checkpoint"]


@torch.inference_mode()
def train(
    network: Network,
    pack: Pack,
    loss: Loss,
    schedule: Schedule,
    *,
    state: TrainingState | None = None,
    deadline: Deadline = NO_DEADLINE,
) -> Iterator[int]:
    """Train a drawn network on a pack, and pause at every checkpoint.

    A member's loss is that of its batch, of row weights divided by the batch and by its k copies:
    a mean over rows of weight · loss(row).

    Parameters
    ----------
    network : Network
        Drawn; trained in place.
    pack : Pack
    loss : Loss
        Made for the class counts of the pack's members.
    schedule : Schedule
    state : TrainingState or None
        At the end of one of the schedule's rungs, from which it goes on; None at the start. It is
        moved on: after the last checkpoint it is what the next rung begins with.
    deadline : Deadline
        Looked at in every step; once it has passed, the checkpoint ends there.

    Yields
    ------
    int
        The number of the checkpoint, from 0, while the network holds the weights to evaluate and to
        deploy. Who has seen enough stops iterating.
    """
    spec, batch = network.spec, schedule.batch_size
    state = TrainingState.start(network, schedule) if state is None else state
    dtype, device, values = network.dtype, network.device, network.parameters.values
    classes = torch.arange(spec.n_classes, device=device)[:, None]
    every = max(1, schedule.steps // 16)
    for rung, (begin, end) in enumerate(pairwise((0, *schedule.ends))):
        if end <= state.checkpoint:
            continue
        own = replace(pack, keys=tuple(replace(key, rung=rung) for key in pack.keys))
        streams = _streams(own, batch)
        size = batch * spec.k * spec.widest
        pool = MaskPool(own.keys, spec.dropout, size=size, dtype=dtype, device=device)
        for checkpoint in range(begin, end):
            rows, weights = _gather(streams, schedule, network)
            y = pack.y[rows].view(schedule.steps, network.members, 1, 1, batch)
            truth = torch.eq(y, classes).to(dtype)
            weights.div_(spec.k * batch)
            pool.refresh()
            for step, batches in enumerate(zip(rows.unbind(), truth.unbind(), weights.unbind())):
                if deadline.expired:
                    break
                chosen, own_truth, own_weights = batches
                logits = network.forward(pack.x, pack.codes, pool, chosen=chosen)
                network.backward(loss.gradient(logits, own_truth, own_weights))
                state.optimizer.step(schedule.rate(checkpoint * schedule.steps + step))
                if step % every == every - 1:
                    state.averaged.update(values)
            current = values.clone() if schedule.kind == "constant" else values
            if schedule.kind == "constant":
                values.copy_(state.averaged.mean)
            yield checkpoint
            if schedule.kind == "constant":
                values.copy_(current)
            state.checkpoint = checkpoint + 1


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
    """Draw the batches up to a checkpoint: rows (S, M * B) and weights (S, M, 1, 1, B)."""
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
