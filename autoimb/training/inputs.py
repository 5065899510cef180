"""Inputs of the networks of a strategy: the rows of all folds as tensors, and their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from autoimb.data.encoding.encoder import Encoder
from autoimb.data.folds import choosing_folds
from autoimb.nn.network import NetworkSpec
from autoimb.space.network import Hyperparameters
from autoimb.training.parts import Parts, TrainingPart
from autoimb.training.plan import Outline

__all__ = ["Evaluation", "Inputs", "network_spec"]

# Sizes are padded to a multiple, so that a level more or less rarely changes a shape.
_MULTIPLE = 8


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The rows that a pack is evaluated on, fold by fold, padded to the longest fold.

    Attributes
    ----------
    x : Tensor of shape (F, V, D)
    codes : Tensor of shape (F, V, Q), or None
    choose : tuple of F ints
        Number of a fold's first rows that choose its checkpoint; 0 if other folds choose.
    choosers : sequence of F tuples of int
        Folds whose rows choose the checkpoint of each fold, see `choosing_folds`.
    rows : tuple of F int64 arrays
        Row numbers in the table: first the choosing rows, then the scored rows.
    y, weight : arrays of shape (n,)
        Classes and weights of the whole table.
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
    """Stacked training rows of all folds, and the shape of the networks that read them.

    ``x``: ``[a a a b b b b]`` for the training rows of the folds a and b.

    Attributes
    ----------
    spec : NetworkSpec
        Shape of every member of the pack.
    widths : tuple of F ints
        Number of dense columns of each fold; the remaining columns are padding.
    starts : int64 array of shape (F + 1,)
        Position of each fold's first row in ``x``, and the total number of rows.
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
        """Build the inputs of networks with the given hyperparameters.

        Parameters
        ----------
        data : Parts
        training : sequence of F TrainingParts
            After resampling.
        hyper : Hyperparameters
        kind : str
            The network option's name.
        outline : Outline
            Sizes from which shapes are planned.
        device : str
        """
        encoders = [data.encoder(fold) for fold in range(len(training))]
        widths = tuple(encoder.width(ple=hyper.ple) for encoder in encoders)
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
    """Return the shape of a pack's networks, which fits the widest encoder output of all folds.

    Parameters
    ----------
    hyper : Hyperparameters
    kind : str
        The network option's name.
    encoders : sequence of Encoder
        Encoders of the folds, at least one.
    outline : Outline
        Sizes from which shapes are planned.
    n_classes : int
    """
    widths = (encoder.width(ple=hyper.ple) for encoder in encoders)
    levels = np.array([outline.levels, *(encoder.embedded_cardinalities for encoder in encoders)])
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
    """Return the dense columns and codes of all folds' training rows, stacked by fold."""
    x = np.zeros((int(starts[-1]), spec.n_inputs), dtype=np.float32)
    codes = np.zeros((int(starts[-1]), len(spec.cardinalities)), dtype=np.int64)
    for fold, part in enumerate(training):
        fold_rows = slice(int(starts[fold]), int(starts[fold + 1]))
        dense, codes[fold_rows] = data.encoder(fold).dense(part.encoded, ple=spec.ple)
        x[fold_rows, : dense.shape[1]] = dense
    return x, codes


def _evaluation(data: Parts, spec: NetworkSpec, device: str) -> Evaluation:
    rows = tuple(data.evaluated_rows(fold) for fold in range(len(data.folds.folds)))
    longest = max(len(fold_rows) for fold_rows in rows)
    x = np.zeros((len(rows), longest, spec.n_inputs), dtype=np.float32)
    codes = np.zeros((len(rows), longest, len(spec.cardinalities)), dtype=np.int64)
    for fold in range(len(rows)):
        dense, fold_codes = data.encoder(fold).dense(data.evaluation(fold), ple=spec.ple)
        x[fold, : len(dense), : dense.shape[1]] = dense
        codes[fold, : len(dense)] = fold_codes
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
