"""Parameters of a pack in one flat vector, so that few optimizer calls update them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoimb.randomness import Key, Purpose

__all__ = ["Parameter", "Parameters", "Segment"]

Init = Literal["uniform", "zeros", "ones", "fan", "signs", "normal"]


@dataclass(frozen=True)
class Parameter:
    """Declaration of a parameter of a layer: one array per member.

    Attributes
    ----------
    name : str
        Unique within the network; the key in an artifact.
    shape : tuple of int
        Without the member axis.
    init : {"uniform", "zeros", "ones", "fan", "signs", "normal"}
        ``uniform`` draws from ±scale/sqrt(inputs in use), ``normal`` from N(0, scale²); ``fan`` is
        1/sqrt(inputs in use).
    decay : bool
        Whether weight decay applies.
    scale : float
        Factor of ``uniform``, ``normal`` and ``signs``.
    padded : bool
        The first axis may be wider than a member's own input; the rest starts, and stays, at zero.
    inputs : int
        Axis of the shape that is summed over.
    rate : float
        Factor of the learning rate; 0 is never trained.
    fan : int
        Number of inputs that are summed over if no axis of the shape has that length; else 0.
    """

    name: str
    shape: tuple[int, ...]
    init: Init
    decay: bool = True
    scale: float = 1.0
    padded: bool = False
    inputs: int = -2
    rate: float = 1.0
    fan: int = 0

    def within(self, prefix: str) -> Parameter:
        """Return the declaration with a name that has a prefix."""
        return replace(self, name=f"{prefix}.{self.name}")


@dataclass(frozen=True)
class Segment:
    """Parameters with the same optimizer settings: one slice of the flat vectors.

    Attributes
    ----------
    part : slice
    decay : bool
    rate : float
        Factor of the learning rate.
    """

    part: slice
    decay: bool
    rate: float


class Parameters:
    """Values and gradients of the parameters of all layers of a pack.

    Decayed parameters come first, and those of the same learning rate are adjacent, so that there
    are few ``segments``. Every parameter is one contiguous slice, of shape ``(members, *shape)``,
    so that batched matrix products can write their results in place.

    Parameters
    ----------
    declared : sequence of Parameter
        In the order in which they are drawn.
    members : int
        Length of the leading axis.
    dtype, device
        Type and device of all arrays.
    """

    def __init__(
        self,
        declared: Sequence[Parameter],
        members: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.declared = tuple(declared)
        self.members = members
        self._spans: dict[str, tuple[int, int, tuple[int, ...]]] = {}
        self.segments: list[Segment] = []
        start = 0
        # Parameters of the same decay and learning rate become one segment; a rate of 0 has none.
        by_step = sorted(declared, key=lambda p: (not p.decay, p.rate))
        for (decay, rate), alike in groupby(by_step, key=lambda p: (p.decay, p.rate)):
            first = start
            for p in alike:
                stop = start + members * prod(p.shape)
                self._spans[p.name] = (start, stop, (members, *p.shape))
                start = stop
            if rate:
                self.segments.append(Segment(slice(first, start), decay, rate))
        self.values = torch.zeros(start, dtype=dtype, device=device)
        self.gradients = torch.zeros(start, dtype=dtype, device=device)
        self._values = self._views(self.values)
        self._gradients = self._views(self.gradients)

    def value(self, name: str) -> Tensor:
        """Return the view ``(members, *shape)`` of one parameter."""
        return self._values[name]

    def gradient(self, name: str) -> Tensor:
        """Return the view ``(members, *shape)`` of one parameter's gradient."""
        return self._gradients[name]

    def _views(self, flat: Tensor) -> dict[str, Tensor]:
        return {
            name: flat[start:stop].view(shape) for name, (start, stop, shape) in self._spans.items()
        }

    @torch.no_grad()
    def copy_members(self, source: Tensor, target: Tensor, members: slice) -> None:
        """Copy the values of consecutive members from one flat vector to another."""
        for into, values in zip(self._views(target).values(), self._views(source).values()):
            into[members] = values[members]

    @torch.no_grad()
    def draw(self, keys: Sequence[Key], inputs: Sequence[Mapping[str, int]]) -> None:
        """Draw the initial parameters of every member from the random stream of the member.

        A member's parameters depend on its key and its widths, not on the pack.

        Parameters
        ----------
        keys : sequence of Key, of length members
        inputs : sequence of mappings, of length members
            Number of inputs that the member uses, by the name of a parameter of the first layer.
        """
        for member, (key, used) in enumerate(zip(keys, inputs)):
            random = key.stream(Purpose.FIRST_WEIGHTS)
            for p in self.declared:
                drawn = _drawn(p, used.get(p.name), random)
                view = self.value(p.name)[member][tuple(slice(0, n) for n in drawn.shape)]
                view.copy_(torch.from_numpy(drawn))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Copy every parameter out, as ``{name: (members, *shape)}``."""
        return {p.name: self.value(p.name).detach().cpu().numpy().copy() for p in self.declared}

    @torch.no_grad()
    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set the values from the arrays that `to_arrays` returned."""
        for p in self.declared:
            # Arrays of a file are read-only, so that a tensor can't share their memory.
            self.value(p.name).copy_(torch.tensor(arrays[p.name]))


def _drawn(p: Parameter, used: int | None, random: np.random.Generator) -> NDArray[np.float64]:
    fan = used if used is not None else p.fan or p.shape[p.inputs]
    rows = used if used is not None and p.padded else p.shape[0]
    shape = (rows, *p.shape[1:])
    fixed = {"zeros": 0.0, "ones": 1.0, "fan": 1.0 / np.sqrt(max(fan, 1))}
    if p.init in fixed:
        return np.full(shape, fixed[p.init])
    if p.init == "signs":
        return np.asarray(p.scale * random.choice(np.array([-1.0, 1.0]), shape))
    if p.init == "normal":
        return np.asarray(random.normal(0.0, p.scale, shape))
    bound = p.scale / np.sqrt(max(fan, 1))
    return np.asarray(random.uniform(-bound, bound, shape))
