"""A packed network: built from its description, trained in place, read out as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from autoimb.data.encoding import MISSING, OTHER
from autoimb.errors import ArtifactError
from autoimb.nn.dropout import MaskPool
from autoimb.nn.layers import Activation, Buffers, Embedding, Heads, Linear, SpreadLinear
from autoimb.nn.parameters import Parameters

__all__ = ["Network", "NetworkSpec", "build"]

CACHED = 2**18  # numbers of one layer's activations that stay in the cache


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that the shape of one member depends on.

    Attributes
    ----------
    kind : str
        The network option's name.
    width, depth : int
        Of the hidden layers.
    k : int
        Implicit members with shared weights (TabM); 1 in a plain network.
    activation : {"relu", "silu"}
    dropout : float
        After every hidden layer, in training only.
    embedding_dim : int
        Length of the learned vectors of wide category columns.
    ple : bool
        Whether numbers enter piecewise-linearly encoded.
    n_inputs : int
        Dense columns, padded to the widest fold.
    cardinalities : tuple of int
        Levels of each embedded column, padded to the widest fold.
    n_classes : int
    """

    kind: str
    width: int
    depth: int
    k: int
    activation: Activation
    dropout: float
    embedding_dim: int
    ple: bool
    n_inputs: int
    cardinalities: tuple[int, ...]
    n_classes: int

    def __post_init__(self) -> None:
        sizes = (self.width, self.depth, self.k, self.n_classes, self.embedding_dim)
        if min(sizes) < 1 or self.n_inputs < 0 or self.activation not in get_args(Activation):
            raise ArtifactError(f"A network can't be built from {self!r}.")

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"cardinalities": list(self.cardinalities)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> NetworkSpec:
        """Build from what `to_json` gave."""
        return cls(**{**values, "cardinalities": tuple(values["cardinalities"])})


class Network:
    """A stack of packed layers: embeddings, hidden layers, heads.

    Parameters
    ----------
    spec : NetworkSpec
    members : int
        Networks of this shape that are held side by side.
    dtype, device
        Of all arrays.
    """

    def __init__(
        self, spec: NetworkSpec, members: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.spec, self.members, self.dtype, self.device = spec, members, dtype, device
        self._embedding = (
            Embedding("embedding", spec.cardinalities, spec.embedding_dim)
            if spec.cardinalities
            else None
        )
        kept = 1.0 / (1.0 - MaskPool.rounded(spec.dropout))
        first = self._first_layer(spec)
        later = [
            Linear(
                f"hidden{i}",
                spec.width,
                spec.width,
                activation=spec.activation,
                dropout=spec.dropout,
                incoming=kept,
            )
            for i in range(1, spec.depth)
        ]
        self._hidden: list[Linear | SpreadLinear] = [first, *later]
        self._heads = Heads("heads", spec.width, k=spec.k, n_classes=spec.n_classes, incoming=kept)
        layers = [*([self._embedding] if self._embedding else []), *self._hidden, self._heads]
        wanted = [p for layer in layers for p in layer.wanted()]
        self.parameters = Parameters(wanted, members, dtype=dtype, device=device)
        self._buffers = Buffers(dtype, device)
        for layer in layers:
            layer.bind(self.parameters, self._buffers)

    @staticmethod
    def _first_layer(spec: NetworkSpec) -> Linear | SpreadLinear:
        n_in = spec.n_inputs + spec.embedding_dim * len(spec.cardinalities)
        if spec.k == 1:
            return Linear(
                "hidden0",
                n_in,
                spec.width,
                activation=spec.activation,
                dropout=spec.dropout,
                padded=True,
            )
        return SpreadLinear(
            "hidden0",
            n_in,
            spec.width,
            k=spec.k,
            spread="normal" if spec.ple else "signs",
            activation=spec.activation,
            dropout=spec.dropout,
        )

    def draw(self, keys: Sequence[Sequence[int]], n_inputs: Sequence[int]) -> None:
        """Draw every member's start; see `Parameters.draw`.

        Parameters
        ----------
        keys : sequence of sequences of int, of length members
        n_inputs : sequence of int, of length members
            The dense columns that each member's own fold has; the padding starts at zero.
        """
        embedded = self.spec.embedding_dim * len(self.spec.cardinalities)
        # embedded vectors stand before the dense columns, so the padding is at the end
        rows = [{"hidden0.weight": embedded + n, "hidden0.scale": embedded + n} for n in n_inputs]
        self.parameters.draw(keys, rows)
        if self._embedding is not None:
            self._embedding.silence((OTHER, MISSING))

    def forward(self, x: Tensor, codes: Tensor | None, pool: MaskPool | None = None) -> Tensor:
        """Map dense columns and codes to logits.

        Parameters
        ----------
        x : Tensor of shape (M, B, n_inputs)
        codes : Tensor of shape (M, B, Q), or None without embedded columns
        pool : MaskPool, optional
            Dropout masks: given in training only.

        Returns
        -------
        Tensor of shape (M, k, C, B)
            Overwritten by the next call.
        """
        if self._embedding is not None:
            assert codes is not None
            x = torch.cat([self._embedding.forward(codes), x], dim=2)
        rows = x.shape[1] * self.spec.k
        for layer in self._hidden:
            mask = None if pool is None else pool.mask(rows, self.spec.width)
            x = layer.forward(x, mask, pool is not None)
        return self._heads.forward(x, pool is not None)

    def backward(self, gradient: Tensor) -> None:
        """Write all parameters' gradients from that of the logits, ``(M, k, C, B)``."""
        back = self._heads.backward(gradient)
        for layer in reversed(self._hidden):
            is_first = layer is self._hidden[0]
            need = not is_first or self._embedding is not None
            result = layer.backward(back, need)
            if result is not None:
                back = result
        if self._embedding is not None:
            self._embedding.backward(back[:, :, : self._embedding.columns * self._embedding.dim])

    @torch.inference_mode()
    def predict(self, x: Tensor, codes: Tensor | None, *, chunk: int | None = None) -> Tensor:
        """Return logits without dropout, a chunk of rows at a time.

        Parameters
        ----------
        x : Tensor of shape (F, n, n_inputs)
            M is a multiple of F: members side by side share rows.
        codes : Tensor of shape (F, n, Q), or None
        chunk : int, optional
            Rows at once; by default so many that activations stay in the cache.

        Returns
        -------
        Tensor of shape (M, n, k, C)
        """
        n, shared = x.shape[1], self.members // x.shape[0]
        if chunk is None:
            wide = self.members * self.spec.k * self.spec.width
            chunk = min(max(CACHED // wide // 64 * 64, 64), 4096)
        out = torch.empty(
            (self.members, n, self.spec.k, self.spec.n_classes),
            dtype=self.dtype,
            device=self.device,
        )
        for start in range(0, n, chunk):
            part = slice(start, min(start + chunk, n))
            some = _repeated(x[:, part], shared)
            some_codes = None if codes is None else _repeated(codes[:, part], shared)
            # (M, k, C, B) -> (M, B, k, C)
            out[:, part] = self.forward(some, some_codes).permute(0, 3, 1, 2)
        return out

    def state(self) -> dict[str, np.ndarray]:
        """Copy the parameters out, as ``{name: (members, *shape)}``."""
        return self.parameters.to_arrays()

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Copy the parameters in from what `state` gave.

        Raises
        ------
        ArtifactError
            Where a parameter is missing or has another shape.
        """
        for p in self.parameters.wanted:
            shape = (self.members, *p.shape)
            if p.name not in state or state[p.name].shape != shape:
                got = state[p.name].shape if p.name in state else "nothing"
                raise ArtifactError(f"Weights {p.name!r} must have shape {shape}, got {got}.")
        self.parameters.from_arrays(state)


def _repeated(rows: Tensor, times: int) -> Tensor:
    """Give each fold's rows to its members: (F, B, D) -> (F * times, B, D)."""
    return rows if times == 1 else rows.repeat_interleave(times, 0)


def build(
    spec: NetworkSpec,
    members: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Network:
    """Build an untrained pack of networks; all parameters are zero until drawn or loaded."""
    return Network(spec, members, dtype=dtype, device=torch.device(device))
