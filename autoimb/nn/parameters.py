"""All parameters of a pack in one flat vector, so that one optimizer call steps them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import torch
from torch import Tensor

__all__ = ["Parameter", "Parameters"]

Init = Literal["uniform", "zeros", "signs", "normal"]


@dataclass(frozen=True)
class Parameter:
    """What a layer asks for: one array a member.

    Attributes
    ----------
    name : str
        Unique within the network; the key in an artifact.
    shape : tuple of int
        Without the member axis.
    init : {"uniform", "zeros", "signs", "normal"}
        ``uniform`` draws from ±scale/sqrt(inputs in use), ``normal`` from N(0, scale²).
    decay : bool
        Whether weight decay applies.
    scale : float
        Factor of ``uniform``, ``normal`` and ``signs``.
    padded : bool
        The first axis may be wider than a member's own input; the rest starts, and stays, at zero.
    inputs : int
        The axis of the shape that is summed over.
    """

    name: str
    shape: tuple[int, ...]
    init: Init
    decay: bool = True
    scale: float = 1.0
    padded: bool = False
    inputs: int = -2


class Parameters:
    """The values and gradients of every layer of a pack.

    Decayed parameters come first, so that ``decayed`` splits the flat vectors in two. Every
    parameter is one contiguous segment ``(members, *shape)``, which is what the batched matrix
    products need to write their results in place.

    Parameters
    ----------
    wanted : sequence of Parameter
        In the order in which they are drawn.
    members : int
        Length of the leading axis.
    dtype, device
        Of all arrays.
    """

    def __init__(
        self, wanted: Sequence[Parameter], members: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.wanted = tuple(wanted)
        self.members = members
        ordered = [p for p in wanted if p.decay] + [p for p in wanted if not p.decay]
        self._spans: dict[str, tuple[int, int, tuple[int, ...]]] = {}
        start = 0
        for p in ordered:
            stop = start + members * prod(p.shape)
            self._spans[p.name] = (start, stop, (members, *p.shape))
            start = stop
        self.decayed = sum(members * prod(p.shape) for p in wanted if p.decay)
        self.values = torch.zeros(start, dtype=dtype, device=device)
        self.gradients = torch.zeros_like(self.values)

    def value(self, name: str) -> Tensor:
        """Return the view ``(members, *shape)`` of one parameter."""
        return self._view(self.values, name)

    def gradient(self, name: str) -> Tensor:
        """Return the view ``(members, *shape)`` of one parameter's gradient."""
        return self._view(self.gradients, name)

    def _view(self, flat: Tensor, name: str) -> Tensor:
        start, stop, shape = self._spans[name]
        return flat[start:stop].view(shape)

    def copy_members(self, source: Tensor, target: Tensor, members: slice) -> None:
        """Copy the values of members that stand side by side from one flat vector to another."""
        for name in self._spans:
            self._view(target, name)[members].copy_(self._view(source, name)[members])

    def draw(self, keys: Sequence[Sequence[int]], rows: Sequence[Mapping[str, int]]) -> None:
        """Draw every member's start from its own random stream.

        A member's numbers depend on its key and its own widths alone, never on the pack.

        Parameters
        ----------
        keys : sequence of sequences of int, of length members
            Seeds, e.g. ``(seed, fold, member)``.
        rows : sequence of mappings, of length members
            For padded parameters, how many rows of the first axis the member really uses.
        """
        for member, (key, used) in enumerate(zip(keys, rows)):
            random = np.random.default_rng([*key, 0])
            for p in self.wanted:
                shape = (used.get(p.name, p.shape[0]), *p.shape[1:]) if p.padded else p.shape
                drawn = _drawn(p, shape, random)
                where = self.value(p.name)[member][tuple(slice(0, n) for n in shape)]
                where.copy_(torch.from_numpy(drawn))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Copy every parameter out, as ``{name: (members, *shape)}``."""
        return {p.name: self.value(p.name).cpu().numpy().copy() for p in self.wanted}

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Copy values in from what `to_arrays` gave."""
        for p in self.wanted:
            self.value(p.name).copy_(torch.from_numpy(np.ascontiguousarray(arrays[p.name])))


def _drawn(p: Parameter, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    if p.init == "zeros":
        return np.zeros(shape)
    if p.init == "signs":
        return np.asarray(p.scale * random.choice(np.array([-1.0, 1.0]), shape))
    if p.init == "normal":
        return np.asarray(random.normal(0.0, p.scale, shape))
    bound = p.scale / np.sqrt(max(shape[p.inputs], 1))
    return np.asarray(random.uniform(-bound, bound, shape))
