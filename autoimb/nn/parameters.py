"""All parameters of a pack in one flat vector, so that one optimizer call steps them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """What a layer asks for: one array a member.

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
        The axis of the shape that is summed over.
    rate : float
        Factor of the learning rate; 0 is never trained.
    fan : int
        The inputs that are summed over where no axis of the shape says so; 0 where one does.
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


@dataclass(frozen=True)
class Segment:
    """Parameters that are stepped alike: one stretch of the flat vectors.

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
    """The values and gradients of every layer of a pack.

    Decayed parameters come first, and those of one learning rate side by side, so that the
    ``segments`` to be stepped alike are few. Every parameter is one contiguous stretch
    ``(members, *shape)``, which is what the batched matrix products need to write their results
    in place.

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
        self._spans: dict[str, tuple[int, int, tuple[int, ...]]] = {}
        self.segments: list[Segment] = []
        start = 0
        by_step = sorted(wanted, key=lambda p: (not p.decay, p.rate))
        for (kept, rate), alike in groupby(by_step, key=lambda p: (p.decay, p.rate)):
            first = start
            for p in alike:
                stop = start + members * prod(p.shape)
                self._spans[p.name] = (start, stop, (members, *p.shape))
                start = stop
            if rate:
                self.segments.append(Segment(slice(first, start), kept, rate))
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

    def draw(self, keys: Sequence[Key], inputs: Sequence[Mapping[str, int]]) -> None:
        """Draw every member's start from its own random stream.

        A member's numbers depend on its key and its own widths alone, never on the pack.

        Parameters
        ----------
        keys : sequence of Key, of length members
        inputs : sequence of mappings, of length members
            For the parameters of the first layer, how many inputs the member really uses.
        """
        for member, (key, used) in enumerate(zip(keys, inputs)):
            random = key.stream(Purpose.FIRST_WEIGHTS)
            for p in self.wanted:
                drawn = _drawn(p, used.get(p.name), random)
                where = self.value(p.name)[member][tuple(slice(0, n) for n in drawn.shape)]
                where.copy_(torch.from_numpy(drawn))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Copy every parameter out, as ``{name: (members, *shape)}``."""
        return {p.name: self.value(p.name).cpu().numpy().copy() for p in self.wanted}

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Copy values in from what `to_arrays` gave."""
        for p in self.wanted:
            self.value(p.name).copy_(torch.from_numpy(np.ascontiguousarray(arrays[p.name])))


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
