"""Packed networks: built from a description, trained in place and exported as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from autoimb.data.encoding.levels import MISSING_LEVEL, OTHER_LEVEL
from autoimb.errors import ArtifactError
from autoimb.nn.code import training_code
from autoimb.nn.dropout import MaskPool
from autoimb.nn.layers import (
    SLOW,
    Block,
    Dense,
    Embedding,
    Heads,
    Norm,
    Periodic,
    RowLayer,
    Workspace,
)
from autoimb.nn.parameters import Parameters
from autoimb.nn.spec import FREQUENCIES, NetworkSpec
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
        Whether the network will be trained: by compiled code where there is such code, otherwise
        by torch's automatic differentiation.
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
        tangent = spec.body == "scaled"
        self._embedding = (
            Embedding("embedding", spec.cardinalities, spec.embedding_dim)
            if spec.cardinalities
            else None
        )
        rate = SLOW if tangent else 1.0
        self._periodic = Periodic("periodic", spec.periodic, rate=rate) if spec.periodic else None
        self._hidden = _hidden_layers(spec)
        self._heads = Heads(
            "heads", spec.width, k=spec.k, n_classes=spec.n_classes, tangent=tangent
        )
        embeddings = [part for part in (self._embedding, self._periodic) if part is not None]
        layers = [*embeddings, *self._hidden, self._heads]
        declared = [p for layer in layers for p in layer.declared]
        self.parameters = Parameters(declared, members, dtype=dtype, device=device)
        code = training_code(device, dtype) if training else None
        self._space = None if code is None else Workspace(code)
        self._trained = [p.name for p in declared if p.rate] if training and code is None else []
        for layer in layers:
            layer.bind(self.parameters, self._space)
        for name in self._trained:
            self.parameters.value(name).requires_grad_()

    @torch.no_grad()
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

    @torch.no_grad()
    def init_from_rows(
        self, x: Tensor, codes: Tensor | None, chosen: Tensor, keys: Sequence[Key]
    ) -> None:
        """Adjust the initial parameters to training rows, if the kind of network does so.

        Parameters
        ----------
        x, codes, chosen
            Training rows of each member, as in `forward`.
        keys : sequence of Key, of length members
        """
        if self.spec.body != "scaled":
            return
        streams = [key.stream(Purpose.FIRST_BIASES) for key in keys]
        x = self._inputs(*self._rows(x, codes, chosen))
        for layer in self._hidden:
            assert isinstance(layer, Dense)
            x = layer.init_from_rows(x, streams)
        self._heads.init_from_rows(x, streams)

    def forward(
        self, x: Tensor, codes: Tensor | None, chosen: Tensor, pool: MaskPool | None = None
    ) -> Tensor:
        """Map dense columns and codes to logits.

        Parameters
        ----------
        x : Tensor of shape (R, n_inputs)
        codes : Tensor of shape (R, Q), or None without embedded columns
        chosen : int64 Tensor of shape (M * B,)
            Positions, among R rows that all members share, of the rows of each member; the first
            B positions belong to the first member.
        pool : MaskPool, optional
            Dropout masks, for training only.

        Returns
        -------
        Tensor of shape (M, k, C, B)
            Overwritten by the next call.
        """
        if self._space is not None:
            return torch.from_numpy(self._compute(self._space, x, codes, chosen, pool))
        with torch.set_grad_enabled(pool is not None and bool(self._trained)):
            self._logits = self._defined(*self._rows(x, codes, chosen), pool)
        return self._logits.detach()

    def _rows(
        self, x: Tensor, codes: Tensor | None, chosen: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Return the rows of each member: (M, B, n_inputs), and their codes (M, B, Q)."""
        dense = x[chosen].view(self.members, -1, x.shape[1])
        return dense, None if codes is None else codes[chosen].view(*dense.shape[:2], -1)

    def _defined(self, dense: Tensor, levels: Tensor | None, pool: MaskPool | None) -> Tensor:
        """Return the logits (M, k, C, B) of rows (M, B, n_inputs) by torch's operations."""
        h = self._inputs(dense, levels)
        for layer in self._hidden:
            h = layer.forward(h, pool)
        return self._heads.forward(h)

    def _inputs(self, dense: Tensor, levels: Tensor | None) -> Tensor:
        """Return embedded columns followed by the dense ones: (M, B, embedded + n_inputs)."""
        parts = [dense]
        if self._periodic is not None:
            parts.insert(0, self._periodic.vectors(dense[:, :, : self.spec.periodic]))
        if self._embedding is not None:
            assert levels is not None
            parts.insert(0, self._embedding.vectors(levels))
        return dense if len(parts) == 1 else torch.cat(parts, 2)

    def _compute(
        self,
        space: Workspace,
        x: Tensor,
        codes: Tensor | None,
        chosen: Tensor,
        pool: MaskPool | None,
    ) -> np.ndarray:
        """Return the logits by compiled code; for the parameters see `forward`."""
        first, split, rows = self.spec.embedded, self.spec.embedded_levels, chosen.numpy()
        h = space.get("inputs", self.members, len(rows) // self.members, first + x.shape[1])
        space.code.place(x.numpy(), rows, first, h)
        if self._embedding is not None:
            assert codes is not None
            self._embedding.write(codes.numpy(), rows, h)
        if self._periodic is not None:
            self._periodic.write(h, first, split)
        for layer in self._hidden:
            h = layer.compute(h, pool)
        return self._heads.compute(h)

    def backward(self, gradient: Tensor) -> None:
        """Write all parameters' gradients from that of the logits of the last `forward`.

        Parameters
        ----------
        gradient : Tensor of shape (M, k, C, B)
            May be overwritten.
        """
        if self._space is None:
            values = [self.parameters.value(name) for name in self._trained]
            gradients = torch.autograd.grad(self._logits, values, gradient)
            for name, computed in zip(self._trained, gradients):
                self.parameters.gradient(name).copy_(computed)
            return
        back = self._heads.backward(gradient.numpy())
        for layer in reversed(self._hidden):
            back = layer.backward(back)
        if self._embedding is not None:
            self._embedding.backward(back)
        if self._periodic is not None:
            self._periodic.backward(back)

    @torch.no_grad()
    def predict(
        self,
        x: Tensor,
        codes: Tensor | None,
        *,
        source: Tensor | None = None,
        chunk: int | None = None,
    ) -> Tensor:
        """Return logits without dropout, a chunk of rows at a time.

        Parameters
        ----------
        x : Tensor of shape (F, n, n_inputs)
        codes : Tensor of shape (F, n, Q), or None
        source : int64 Tensor of shape (M,), optional
            Which of the F tables each member reads; by default, M is a multiple of F, and
            consecutive members share a table.
        chunk : int, optional
            Number of rows at a time; by default, activations stay in the cache.

        Returns
        -------
        Tensor of shape (M, n, k, C)
        """
        (folds, n, _), spec = x.shape, self.spec
        tables = torch.arange(folds, device=self.device)
        if source is None:
            source = tables.repeat_interleave(self.members // folds)
        if chunk is None:
            # Rows per chunk are a multiple of 64, between 64 and 4096.
            wide = self.members * max(spec.k * spec.widest, spec.periodic * FREQUENCIES)
            chunk = min(max(CACHED // wide // 64 * 64, 64), 4096)
        shape = (self.members, n, spec.k, spec.n_classes)
        out = torch.empty(shape, dtype=self.dtype, device=self.device)
        # Members that read a table each need no copy of its rows.
        read = slice(None) if source.equal(tables) else source
        for start in range(0, n, chunk):
            rows = slice(start, min(start + chunk, n))
            if self._space is None:
                levels = None if codes is None else codes[read, rows]
                logits = self._defined(x[read, rows], levels, None)
            else:
                places = n * source[:, None] + torch.arange(n)[rows]
                flat = None if codes is None else codes.flatten(0, 1)
                logits = self.forward(x.flatten(0, 1), flat, places.view(-1))
            # (M, k, C, B) -> (M, B, k, C)
            out[:, rows] = logits.permute(0, 3, 1, 2)
        return out

    def state(self) -> dict[str, np.ndarray]:
        """Copy the parameters out, as ``{name: (members, *shape)}``."""
        return self.parameters.to_arrays()

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Set the parameters from the arrays that `state` returned, see `check`."""
        self.check(state)
        self.parameters.from_arrays(state)

    def freeze(self) -> None:
        """Prepare the network for predictions only: its parameters no longer change."""
        for layer in self._hidden:
            layer.freeze()

    def check(self, state: Mapping[str, np.ndarray]) -> None:
        """Check that arrays are the parameters of such a network.

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


def _hidden_layers(spec: NetworkSpec) -> list[RowLayer]:
    """Return a network's hidden layers."""
    width, activation, n_in = spec.width, spec.activation, spec.embedded + spec.n_inputs
    if spec.body == "residual":
        return [
            Dense("hidden0", n_in, width, embedded=spec.embedded),
            *(Block(f"block{i}", width, activation=activation) for i in range(spec.depth)),
            Norm("norm", width, activation=activation),
        ]
    tangent = spec.body == "scaled"
    first = Dense(
        "hidden0",
        n_in,
        width,
        activation=activation,
        embedded=spec.embedded,
        k=spec.k,
        # The initial distribution of the TabM paper.
        spread="normal" if spec.ple or spec.periodic else "signs",
        tangent=tangent,
    )
    return [
        first,
        *(
            Dense(f"hidden{i}", width, width, activation=activation, tangent=tangent)
            for i in range(1, spec.depth)
        ),
    ]
