"""The strategy: the one value that crosses the middle of the program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from autoimb.errors import OptionError
from autoimb.space.option import Value
from autoimb.space.rooms import PLAIN, ROOMS

__all__ = ["Choice", "Strategy"]

_SAID = ("variant", "embedding")  # of a network, which its description names, but for "none"


@dataclass(frozen=True)
class Choice:
    """An option of a room with its parameters.

    Attributes
    ----------
    name : str
    params : tuple of (str, value)
        In the order of the option's ranges.
    """

    name: str
    params: tuple[tuple[str, Value], ...] = ()

    @property
    def values(self) -> dict[str, Value]:
        """The parameters by name."""
        return dict(self.params)

    def __str__(self) -> str:
        inside = ", ".join(f"{k}={_short(v)}" for k, v in self.params)
        return f"{self.name}({inside})" if inside else self.name


@dataclass(frozen=True)
class Strategy:
    """One choice in each room; frozen, comparable, JSON-able.

    Raises
    ------
    OptionError
        Where a room has no such option, or the option no such parameter.
    """

    resampling: Choice
    class_weight: Choice
    loss: Choice
    ensemble: Choice
    network: Choice

    def __post_init__(self) -> None:
        for room in ROOMS.values():
            choice: Choice = getattr(self, room.name)
            wanted = list(room[choice.name].ranges)
            if [key for key, _ in choice.params] != wanted:
                raise OptionError(
                    f"The {room.name} option {choice.name!r} takes the parameters "
                    f"{wanted}, got {[key for key, _ in choice.params]}."
                )

    @property
    def levers(self) -> tuple[str, ...]:
        """The rooms in which the strategy does something against the imbalance."""
        return tuple(room for room, plain in PLAIN.items() if getattr(self, room).name != plain)

    @property
    def exact(self) -> bool:
        """Whether every prior shift of the strategy is known by formula (law 4)."""
        return all(room[getattr(self, name).name].exact for name, room in ROOMS.items())

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        chosen = {f.name: getattr(self, f.name) for f in fields(self)}
        return {room: {"name": c.name, "params": c.values} for room, c in chosen.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Strategy:
        """Build from what `to_json` gave."""
        made = {
            room: Choice(values[room]["name"], tuple(values[room]["params"].items()))
            for room in ROOMS
        }
        return cls(**made)

    def describe(self) -> str:
        """Return one line in words: the levers, then the network and its size."""
        levers = [str(getattr(self, room)) for room in self.levers]
        shape = self.network.values
        sizes = "×".join(str(shape[key]) for key in ("k", "width", "depth") if key in shape)
        how = "".join(f", {shape[key]}" for key in _SAID if shape.get(key, "none") != "none")
        return f"{' + '.join(levers) or 'no lever'} on {self.network.name} ({sizes}{how})"


def _short(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
