"""What the networks of a strategy read: the rows of all folds as tensors, and their shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from autoimb.data.encoding.encoder import Encoder
from autoimb.data.folds import choosing_folds
from autoimb.nn.network import NetworkSpec
from autoimb.space.network.component import Hyperparameters
from autoimb.training.parts import Parts, TrainingPart
from autoimb.training.plan import Outline

__all__ = ["Evaluation", "Inputs", "network_spec"]

_MULTIPLE = 8  # that sizes are padded to, so that a level more or less rarely changes a shape


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The rows that a pack is evaluated on, fold by fold, padded to the longest fold.

    Attributes
    ----------
    x : Tensor of shape (F, V, D)
    codes : Tensor of shape (F, V, Q), or None
    choose : tuple of F ints
        How many of a fold's first rows choose its checkpoint; 0 where other folds choose.
    choosers : sequence of F tuples of int
        Which folds' own rows choose for each fold, see `choosing_folds`.
    rows : tuple of F int64 arrays
        The rows' numbers in the table: those that choose, then those that are scored.
    y, weight : arrays of shape (n,)
        Of the whole table.
    """

    x: Tensor
    codes: Tensor | None
    choose: tuple[int, ...]
    choosers: Sequence[tuple[int, ...]]
    rows: tuple[np.ndarray, ...]
    y: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, eq=False)
class Inputs:
    """The rows of all folds, one fold below the other, and the shape of what reads them.

    ``x``: ``[a a a b b b b]`` for the training rows of the folds a and b.

    Attributes
    ----------
    spec : NetworkSpec
        Of every member of the pack.
    widths : tuple of F ints
        Dense columns that each fold really has; the rest is padding.
    starts : int64 array of shape (F + 1,)
        Where each fold's rows begin.
    x : Tensor of shape (R, D)
    codes : Tensor of shape (R, Q), or None
    y : Tensor of shape (R,), int64
    evaluation : Evaluation
    """

    spec: NetworkSpec
    widths: tuple[int, ...]
    starts: np.ndarray
    x: Tensor
    codes: Tensor | None
    y: Tensor
    evaluation: Evaluation

    @classmethod
    def of(
        cls,
        data: Parts,
        training: Sequence[TrainingPart],
        hyper: Hyperparameters,
        *,
        kind: str,
        outline: Outline,
        device: str,
    ) -> Inputs:
        """Write the folds' rows as a network of these hyperparameters reads them.

        Parameters
        ----------
        data : Parts
        training : sequence of F TrainingParts
            After resampling.
        hyper : Hyperparameters
        kind : str
            The network option's name.
        outline : Outline
            What shapes are planned on.
        device : str
        """
        encoders = [data.encoder(fold) for fold in range(len(training))]
        widths = tuple(e.width(ple=hyper.ple) for e in encoders)
        spec = network_spec(
            hyper,
            kind=kind,
            encoders=encoders,
            outline=outline,
            n_classes=data.dataset.n_classes,
        )
        starts = np.cumsum([0, *(len(part.y) for part in training)])
        x, codes = _training_rows(data, training, spec, starts)
        y = np.concatenate([part.y for part in training])
        return cls(
            spec=spec,
            widths=widths,
            starts=starts,
            x=torch.from_numpy(x).to(device),
            codes=torch.from_numpy(codes).to(device) if spec.cardinalities else None,
            y=torch.from_numpy(y).to(device),
            evaluation=_evaluation(data, spec, device),
        )


def network_spec(
    hyper: Hyperparameters,
    *,
    kind: str,
    encoders: Sequence[Encoder],
    outline: Outline,
    n_classes: int,
) -> NetworkSpec:
    """Say what the networks of a pack are, from the widest of what their encoders give.

    Parameters
    ----------
    hyper : Hyperparameters
    kind : str
        The network option's name.
    encoders : sequence of Encoder
        At least one.
    outline : Outline
        What shapes are planned on.
    n_classes : int
    """
    widths = (e.width(ple=hyper.ple) for e in encoders)
    levels = np.array([outline.levels, *(e.embedded_cardinalities for e in encoders)])
    return NetworkSpec(
        kind=kind,
        width=hyper.width,
        depth=hyper.depth,
        k=hyper.k,
        activation=hyper.activation,
        dropout=hyper.dropout,
        embedding_dim=8,
        ple=hyper.ple,
        n_inputs=_padded(max(outline.inputs[hyper.ple], *widths)),
        cardinalities=tuple(_padded(int(n)) for n in levels.max(0)),
        n_classes=n_classes,
        body=hyper.body,
        periodic=len(encoders[0].bins) if hyper.periodic else 0,
    )


def _padded(size: int) -> int:
    return -(-size // _MULTIPLE) * _MULTIPLE


def _training_rows(
    data: Parts, training: Sequence[TrainingPart], spec: NetworkSpec, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Write the rows of all folds one below the other, a fold at a time."""
    x = np.zeros((int(starts[-1]), spec.n_inputs), dtype=np.float32)
    codes = np.zeros((int(starts[-1]), len(spec.cardinalities)), dtype=np.int64)
    for fold, part in enumerate(training):
        own = slice(int(starts[fold]), int(starts[fold + 1]))
        dense, codes[own] = data.encoder(fold).dense(part.encoded, ple=spec.ple)
        x[own, : dense.shape[1]] = dense
    return x, codes


def _evaluation(data: Parts, spec: NetworkSpec, device: str) -> Evaluation:
    rows = tuple(data.evaluated_rows(fold) for fold in range(len(data.folds.folds)))
    longest = max(len(own) for own in rows)
    x = np.zeros((len(rows), longest, spec.n_inputs), dtype=np.float32)
    codes = np.zeros((len(rows), longest, len(spec.cardinalities)), dtype=np.int64)
    for fold in range(len(rows)):
        dense, wide = data.encoder(fold).dense(data.evaluation(fold), ple=spec.ple)
        x[fold, : len(dense), : dense.shape[1]] = dense
        codes[fold, : len(dense)] = wide
    weight, scale = data.dataset.weight, data.folds.scale
    return Evaluation(
        x=torch.from_numpy(x).to(device),
        codes=torch.from_numpy(codes).to(device) if spec.cardinalities else None,
        choose=tuple(len(fold.choose) for fold in data.folds.folds),
        choosers=choosing_folds(data.folds.folds),
        rows=rows,
        y=data.dataset.y,
        weight=weight if scale is None else weight * scale,
    )
