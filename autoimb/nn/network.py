"""A packed network: built from its description, trained in place, read out as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoimb.data.encoding.levels import MISSING, OTHER
from autoimb.errors import ArtifactError
from autoimb.nn.dropout import MaskPool
from autoimb.nn.hidden import hidden_layers, published
from autoimb.nn.layers import Buffers, Embedding, Heads
from autoimb.nn.ntk import SLOW, ScaledFront, ScaledHeads, ScaledLinear
from autoimb.nn.parameters import Parameters
from autoimb.nn.periodic import Periodic
from autoimb.nn.spec import PUBLISHED, NetworkSpec
from autoimb.randomness import Key, Purpose

__all__ = ["Network", "NetworkSpec", "build"]

CACHED = 2**18  # numbers of one layer's activations that stay in the cache


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
        rate = SLOW if spec.body == "scaled" else 1.0
        self._periodic = Periodic("periodic", spec.periodic, rate=rate) if spec.periodic else None
        self._hidden, incoming = hidden_layers(spec)
        self._heads = (
            ScaledHeads("heads", spec.width, n_classes=spec.n_classes, incoming=incoming)
            if spec.body == "scaled"
            else Heads("heads", spec.width, k=spec.k, n_classes=spec.n_classes, incoming=incoming)
        )
        before = [each for each in (self._embedding, self._periodic) if each is not None]
        layers = [*before, *self._hidden, self._heads]
        wanted = [p for layer in layers for p in layer.wanted()]
        if spec.body in PUBLISHED:
            wanted = [published(p, spec.width) for p in wanted]
        self.parameters = Parameters(wanted, members, dtype=dtype, device=device)
        self._buffers = Buffers(dtype, device)
        for layer in layers:
            layer.bind(self.parameters, self._buffers)

    def draw(
        self,
        keys: Sequence[Key],
        n_inputs: Sequence[int],
        features: Sequence[NDArray[np.int64]] | None = None,
    ) -> None:
        """Draw every member's start; see `Parameters.draw`.

        Parameters
        ----------
        keys : sequence of Key, of length members
        n_inputs : sequence of int, of length members
            The dense columns that each member's own fold has; the padding starts at zero.
        features : sequence of int64 arrays (n_inputs,), of length members, optional
            The feature that each of them comes from, numbers first; by default its own.
        """
        spec, columns = self.spec, len(self.spec.cardinalities)
        # what is embedded stands before the dense columns, so the padding is at the end
        before = np.concatenate(
            [
                np.repeat(-1 - np.arange(columns), spec.embedding_dim),
                np.repeat(np.arange(spec.periodic), Periodic.DIM),
            ]
        )
        dense = features or [np.arange(n) for n in n_inputs]
        used = [np.concatenate([before, own]) for own in dense]
        names = [p.name for p in self.parameters.wanted if p.name.startswith("hidden0.")]
        self.parameters.draw(keys, [dict.fromkeys(names, each) for each in used])
        if self._embedding is not None:
            self._embedding.silence((OTHER, MISSING))

    @torch.inference_mode()
    def init_from_rows(self, x: Tensor, codes: Tensor | None, keys: Sequence[Key]) -> None:
        """Let the drawn start look at training rows, where the network's kind wants it to.

        Parameters
        ----------
        x : Tensor of shape (M, n, n_inputs)
            Each member's own rows.
        codes : Tensor of shape (M, n, Q), or None
        keys : sequence of Key, of length members
        """
        streams = [key.stream(Purpose.FIRST_BIASES) for key in keys]
        x = self._inputs(x, codes)
        for layer in (*self._hidden, self._heads):
            if isinstance(layer, ScaledFront | ScaledLinear | ScaledHeads):
                x = layer.init_from_rows(x, streams)

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
        x = self._inputs(x, codes)
        for layer in self._hidden:
            x = layer.forward(x, pool)
        return self._heads.forward(x, pool)

    def _inputs(self, x: Tensor, codes: Tensor | None) -> Tensor:
        """Put what is embedded before the dense columns: (M, B, embedded + n_inputs)."""
        parts = [x]
        if self._periodic is not None:
            parts.insert(0, self._periodic.forward(x[:, :, : self.spec.periodic]))
        if self._embedding is not None:
            assert codes is not None
            parts.insert(0, self._embedding.forward(codes))
        if len(parts) == 1:
            return x
        width = self.spec.embedded + x.shape[2]
        return torch.cat(parts, 2, out=self._buffers.get("inputs", *x.shape[:2], width))

    def backward(self, gradient: Tensor) -> None:
        """Write all parameters' gradients from that of the logits, ``(M, k, C, B)``."""
        back = self._heads.backward(gradient)
        for layer in self._hidden[:0:-1]:
            back = _given(layer.backward(back, True))
        inputs = self._hidden[0].backward(back, bool(self.spec.embedded))
        split = self.spec.embedding_dim * len(self.spec.cardinalities)
        if self._embedding is not None:
            self._embedding.backward(_given(inputs)[:, :, :split])
        if self._periodic is not None:
            self._periodic.backward(_given(inputs)[:, :, split : self.spec.embedded])

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
            wide = self.members * max(
                self.spec.k * self.spec.widest, self.spec.periodic * Periodic.FREQUENCIES
            )
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


def _given(gradient: Tensor | None) -> Tensor:
    assert gradient is not None  # it was asked for
    return gradient


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
