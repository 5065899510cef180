"""The strategy: the one value that crosses the middle of the program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from autoimb.errors import OptionError
from autoimb.space.components import COMPONENTS, CONTROL
from autoimb.space.ensemble import draws_balanced_rows
from autoimb.space.option import Choice

__all__ = ["Strategy"]

_SAID = ("variant", "embedding")  # of a network, which its description names, but for "none"


@dataclass(frozen=True)
class Strategy:
    """One choice in each component; frozen, comparable, JSON-able.

    Raises
    ------
    OptionError
        Where a component has no such option, or the option no such parameter.
    """

    resampling: Choice
    class_weight: Choice
    loss: Choice
    ensemble: Choice
    network: Choice

    def __post_init__(self) -> None:
        for component in COMPONENTS.values():
            choice: Choice = getattr(self, component.name)
            wanted = list(component[choice.name].ranges)
            if [key for key, _ in choice.params] != wanted:
                raise OptionError(
                    f"The {component.name} option {choice.name!r} takes the parameters "
                    f"{wanted}, got {[key for key, _ in choice.params]}."
                )

    @property
    def methods(self) -> tuple[str, ...]:
        """The components in which the strategy does something against the imbalance."""
        return tuple(
            component
            for component, control in CONTROL.items()
            if getattr(self, component).name != control
        )

    @property
    def is_control(self) -> bool:
        """Whether the strategy does nothing against the imbalance.

        Costs that the user gave are none of its doing, and an ensemble on rows as they are is but
        a larger network.
        """
        methods = set(self.methods)
        if not draws_balanced_rows(self.ensemble.name):
            methods.discard("ensemble")
        if self.class_weight.name == "costs":
            methods.discard("class_weight")
        return not methods

    @property
    def exact(self) -> bool:
        """Whether every prior shift of the strategy is known by formula (law 4)."""
        return all(
            component[getattr(self, name).name].exact for name, component in COMPONENTS.items()
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        chosen = {f.name: getattr(self, f.name) for f in fields(self)}
        return {component: {"name": c.name, "params": c.values} for component, c in chosen.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Strategy:
        """Build from what `to_json` gave."""
        made = {
            component: Choice(values[component]["name"], tuple(values[component]["params"].items()))
            for component in COMPONENTS
        }
        return cls(**made)

    def describe(self) -> str:
        """Return one line in words: the imbalance methods, then the network and its size."""
        methods = [getattr(self, component).brief for component in self.methods]
        shape = self.network.values
        sizes = "×".join(str(shape[key]) for key in ("k", "width", "depth") if key in shape)
        how = "".join(f", {shape[key]}" for key in _SAID if shape.get(key, "none") != "none")
        return (
            f"{' + '.join(methods) or 'no imbalance method'} on {self.network.name} ({sizes}{how})"
        )
