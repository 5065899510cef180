"""Packed networks: built from a description, trained in place and exported as arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from autoimb.data.encoding.levels import MISSING_LEVEL, OTHER_LEVEL
from autoimb.errors import ArtifactError
from autoimb.nn.dropout import MaskPool
from autoimb.nn.kernels import training_kernels
from autoimb.nn.layers import Buffers, Embedding, Heads, Layer, Linear, SpreadLinear
from autoimb.nn.ntk import SLOW, ScaledHeads, ScaledLinear
from autoimb.nn.parameters import Parameters
from autoimb.nn.periodic import Periodic
from autoimb.nn.plain import PlainKernels
from autoimb.nn.residual import ActiveNorm, Block
from autoimb.nn.spec import FREQUENCIES, Activation, Body, NetworkSpec
from autoimb.randomness import Key, Purpose

__all__ = ["Network", "NetworkSpec", "build"]

CACHED = 2**18  # numbers of one layer's activations that stay in the cache


class Network:
    """Stack of packed layers: embeddings, hidden layers, heads.

    Parameters
    ----------
    spec : NetworkSpec
    members : int
        Number of networks of this shape in the pack.
    dtype, device
        Type and device of all arrays.
    training : bool
        Whether the network will be trained, for which a CPU uses compiled kernels.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        members: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
        training: bool,
    ) -> None:
        self.spec, self.members, self.dtype, self.device = spec, members, dtype, device
        self._embedding = (
            Embedding("embedding", spec.cardinalities, spec.embedding_dim)
            if spec.cardinalities
            else None
        )
        rate = SLOW if spec.body == "scaled" else 1.0
        self._periodic = Periodic("periodic", spec.periodic, rate=rate) if spec.periodic else None
        self._hidden, incoming = _hidden_layers(spec)
        self._heads = (
            ScaledHeads("heads", spec.width, n_classes=spec.n_classes, incoming=incoming)
            if spec.body == "scaled"
            else Heads("heads", spec.width, k=spec.k, n_classes=spec.n_classes, incoming=incoming)
        )
        embeddings = [part for part in (self._embedding, self._periodic) if part is not None]
        layers = [*embeddings, *self._hidden, self._heads]
        declared = [p for layer in layers for p in layer.declared_parameters()]
        self.parameters = Parameters(declared, members, dtype=dtype, device=device)
        kernels = training_kernels(dtype, device) if training else PlainKernels()
        self._buffers = Buffers(kernels, dtype, device)
        # The input buffer of the last call, and views of its columns.
        self._parts: tuple[Tensor, ...] = (torch.empty(0),) * 5
        for layer in layers:
            layer.bind(self.parameters, self._buffers)

    def draw(self, keys: Sequence[Key], n_inputs: Sequence[int]) -> None:
        """Draw the initial parameters of every member; see `Parameters.draw`.

        Parameters
        ----------
        keys : sequence of Key, of length members
        n_inputs : sequence of int, of length members
            Number of dense columns in each member's fold; weights of the padding start at zero.
        """
        names = [p.name for p in self.parameters.declared if p.name.startswith("hidden0.")]
        # Embedded columns precede the dense ones, so the padding is at the end.
        used = [self.spec.embedded + n for n in n_inputs]
        self.parameters.draw(keys, [dict.fromkeys(names, n) for n in used])
        if self._embedding is not None:
            self._embedding.silence((OTHER_LEVEL, MISSING_LEVEL))

    @torch.inference_mode()
    def init_from_rows(self, x: Tensor, codes: Tensor | None, keys: Sequence[Key]) -> None:
        """Adjust the initial parameters to training rows, if the kind of network does so.

        Parameters
        ----------
        x : Tensor of shape (M, n, n_inputs)
            Training rows of each member.
        codes : Tensor of shape (M, n, Q), or None
        keys : sequence of Key, of length members
        """
        streams = [key.stream(Purpose.FIRST_BIASES) for key in keys]
        x = self._inputs(x, codes, None)
        for layer in (*self._hidden, self._heads):
            if isinstance(layer, ScaledLinear | ScaledHeads):
                x = layer.init_from_rows(x, streams)

    def forward(
        self,
        x: Tensor,
        codes: Tensor | None,
        pool: MaskPool | None = None,
        *,
        chosen: Tensor | None = None,
    ) -> Tensor:
        """Map dense columns and codes to logits.

        Parameters
        ----------
        x : Tensor of shape (M, B, n_inputs), or (R, n_inputs)
        codes : Tensor of shape (M, B, Q), or (R, Q), or None without embedded columns
        pool : MaskPool, optional
            Dropout masks, for training only.
        chosen : int64 Tensor of shape (M * B,), optional
            Positions, among R rows that all members share, of the rows of each member; the first
            B positions belong to the first member.

        Returns
        -------
        Tensor of shape (M, k, C, B)
            Overwritten by the next call.
        """
        x = self._inputs(x, codes, chosen)
        for layer in self._hidden:
            x = layer.forward(x, pool)
        return self._heads.forward(x, pool)

    def _inputs(self, x: Tensor, codes: Tensor | None, chosen: Tensor | None) -> Tensor:
        """Return embedded columns followed by the dense ones: (M, B, embedded + n_inputs)."""
        spec, first = self.spec, self.spec.embedded
        if chosen is None and not first:
            return x
        batch = x.shape[1] if chosen is None else chosen.shape[0] // self.members
        inputs = self._buffers.get("inputs", self.members, batch, first + x.shape[-1])
        # The views are kept while the buffer stays the same, as slicing at every step takes time.
        if self._parts[0] is not inputs:
            split = spec.embedding_dim * len(spec.cardinalities)
            numbers = inputs[:, :, first : first + spec.periodic]
            columns = slice(split), slice(split, first), slice(first, None)
            self._parts = (inputs, *(inputs[:, :, part] for part in columns), numbers)
        _, vectors, waves, dense, numbers = self._parts
        self._buffers.kernels.place(x, chosen, dense)
        if self._embedding is not None:
            assert codes is not None
            self._embedding.forward(codes, chosen, vectors)
        if self._periodic is not None:
            self._periodic.forward(numbers, waves)
        return inputs

    def backward(self, gradient: Tensor) -> None:
        """Write all parameters' gradients from that of the logits, ``(M, k, C, B)``."""
        back = self._heads.backward(gradient)
        for layer in reversed(self._hidden):
            back = layer.backward(back)
        split = self.spec.embedding_dim * len(self.spec.cardinalities)
        if self._embedding is not None:
            self._embedding.backward(back[:, :, :split])
        if self._periodic is not None:
            self._periodic.backward(back[:, :, split:])

    @torch.inference_mode()
    def predict(self, x: Tensor, codes: Tensor | None, *, chunk: int | None = None) -> Tensor:
        """Return logits without dropout, a chunk of rows at a time.

        Parameters
        ----------
        x : Tensor of shape (F, n, n_inputs)
            M is a multiple of F: consecutive members share rows.
        codes : Tensor of shape (F, n, Q), or None
        chunk : int, optional
            Number of rows at a time; by default, activations stay in the cache.

        Returns
        -------
        Tensor of shape (M, n, k, C)
        """
        n, shared = x.shape[1], self.members // x.shape[0]
        if chunk is None:
            # Rows per chunk are a multiple of 64, between 64 and 4096.
            wide = self.members * max(
                self.spec.k * self.spec.widest, self.spec.periodic * FREQUENCIES
            )
            chunk = min(max(CACHED // wide // 64 * 64, 64), 4096)
        out = torch.empty(
            (self.members, n, self.spec.k, self.spec.n_classes),
            dtype=self.dtype,
            device=self.device,
        )
        for start in range(0, n, chunk):
            part = slice(start, min(start + chunk, n))
            chunk_x = _repeated(x[:, part], shared)
            chunk_codes = None if codes is None else _repeated(codes[:, part], shared)
            # (M, k, C, B) -> (M, B, k, C)
            out[:, part] = self.forward(chunk_x, chunk_codes).permute(0, 3, 1, 2)
        return out

    def state(self) -> dict[str, np.ndarray]:
        """Copy the parameters out, as ``{name: (members, *shape)}``."""
        return self.parameters.to_arrays()

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Set the parameters from the arrays that `state` returned.

        Raises
        ------
        ArtifactError
            If a parameter is missing, unknown or of another shape.
        """
        if unknown := state.keys() - {p.name for p in self.parameters.declared}:
            raise ArtifactError(f"A network has no weights {', '.join(sorted(unknown))}.")
        for p in self.parameters.declared:
            shape = (self.members, *p.shape)
            if p.name not in state or state[p.name].shape != shape:
                got = state[p.name].shape if p.name in state else "nothing"
                raise ArtifactError(f"Weights {p.name!r} must have shape {shape}, got {got}.")
        self.parameters.from_arrays(state)


def _repeated(rows: Tensor, times: int) -> Tensor:
    """Repeat each fold's rows for its members: (F, B, D) -> (F * times, B, D)."""
    return rows if times == 1 else rows.repeat_interleave(times, 0)


def build(
    spec: NetworkSpec,
    members: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    training: bool = False,
) -> Network:
    """Build an untrained pack of networks; all parameters are zero until drawn or loaded."""
    return Network(spec, members, dtype=dtype, device=torch.device(device), training=training)


# --- hidden layers -------------------------------------------------------------------------------


class _Common(TypedDict):
    """Arguments that most hidden layers have in common."""

    activation: Activation
    dropout: float


def _hidden_layers(spec: NetworkSpec) -> tuple[list[Layer], float]:
    """Return a network's hidden layers, and the factor 1/(1-p) of the last one's dropout."""
    rescaling = 1.0 / (1.0 - MaskPool.rounded(spec.dropout))
    layers = _BODIES[spec.body](spec, rescaling)
    return layers, 1.0 if spec.body == "residual" else rescaling


def _common(spec: NetworkSpec) -> _Common:
    return {"activation": spec.activation, "dropout": spec.dropout}


def _inputs(spec: NetworkSpec) -> int:
    return spec.embedded + spec.n_inputs


def _residual(spec: NetworkSpec, rescaling: float) -> list[Layer]:
    width, activation = spec.width, spec.activation
    blocks = [
        Block(f"block{i}", width, activation=activation, dropout=spec.dropout, rescaling=rescaling)
        for i in range(spec.depth)
    ]
    first = Linear("hidden0", _inputs(spec), width, activation=None, embedded=spec.embedded)
    return [first, *blocks, ActiveNorm("norm", width, activation=activation)]


def _scaled(spec: NetworkSpec, rescaling: float) -> list[Layer]:
    return [
        ScaledLinear(
            f"hidden{i}",
            spec.width if i else _inputs(spec),
            spec.width,
            **_common(spec),
            incoming=rescaling if i else 1.0,
            embedded=None if i else spec.embedded,
        )
        for i in range(spec.depth)
    ]


def _shared(spec: NetworkSpec, rescaling: float) -> list[Layer]:
    width, common = spec.width, _common(spec)
    later = [
        Linear(f"hidden{i}", width, width, incoming=rescaling, **common)
        for i in range(1, spec.depth)
    ]
    first: Layer
    if spec.k == 1:
        first = Linear("hidden0", _inputs(spec), width, embedded=spec.embedded, **common)
    else:
        first = SpreadLinear(
            "hidden0",
            _inputs(spec),
            width,
            embedded=spec.embedded,
            k=spec.k,
            # The initial distribution of the paper.
            spread="normal" if spec.ple or spec.periodic else "signs",
            **common,
        )
    return [first, *later]


_BODIES: Mapping[Body, Callable[[NetworkSpec, float], list[Layer]]] = {
    "plain": _shared,
    "residual": _residual,
    "scaled": _scaled,
}
