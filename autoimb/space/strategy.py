"""The strategy: the one value that crosses the middle of the program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from autoimb.errors import OptionError
from autoimb.space.components import COMPONENTS, CONTROL
from autoimb.space.ensemble import draws_balanced_rows
from autoimb.space.option import Choice, Option
from autoimb.space.partner import PARTNER
from autoimb.space.resampling.samplers import is_sampler, sampler_parts, sampler_text

__all__ = ["Strategy", "option_of", "partner"]


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
            wanted = list(option_of(component.name, choice).ranges)
            if [key for key, _ in choice.params] != wanted:
                raise OptionError(
                    f"The {component.name} option {choice.name!r} takes the parameters "
                    f"{wanted}, got {[key for key, _ in choice.params]}."
                )

    @property
    def is_partner(self) -> bool:
        """Whether a partner stands in the network's place: then it is no control and no method."""
        return self.network.name in PARTNER.names

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
        return not methods and not self.is_partner

    @property
    def exact(self) -> bool:
        """Whether every prior shift of the strategy is known by formula (law 4)."""
        return all(option_of(component, getattr(self, component)).exact for component in COMPONENTS)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {field.name: _choice_json(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Strategy:
        """Build from what `to_json` gave."""
        return cls(**{component: _choice_of(values[component]) for component in COMPONENTS})

    def describe(self) -> str:
        """Return one line in words: the imbalance methods, then the network and its size."""
        methods = [getattr(self, component).brief for component in self.methods]
        if self.is_partner:
            return f"trees, {self.network.brief}"
        shape = self.network.values
        sizes = "×".join(str(shape[key]) for key in ("k", "width", "depth") if key in shape)
        embedding = shape.get("embedding", "none")
        how = "" if embedding == "none" else f", {embedding}"
        return (
            f"{' + '.join(methods) or 'no imbalance method'} on {self.network.name} ({sizes}{how})"
        )


def _choice_json(choice: Choice) -> dict[str, Any]:
    """Write the class and the parameters of a sampler apart, as those of any option."""
    if is_sampler(choice.name):
        name, params = sampler_parts(choice.name)
        return {"name": name, "params": params}
    return {"name": choice.name, "params": choice.values}


def _choice_of(values: Mapping[str, Any]) -> Choice:
    name, params = values["name"], values["params"]
    if is_sampler(name):
        return Choice(sampler_text(name, params))
    return Choice(name, tuple(params.items()))


def option_of(component: str, choice: Choice) -> Option[Any]:
    """Return the option that a strategy chose in a component; a partner's where it is one's."""
    if component == "network" and choice.name in PARTNER.names:
        return PARTNER[choice.name]
    return COMPONENTS[component][choice.name]


def partner(name: str, *, costs: bool) -> Strategy:
    """Write a partner as records hold it: as a control with the partner in the network's place.

    Parameters
    ----------
    name : str
        Of an option of `PARTNER`.
    costs : bool
        Whether the user gave costs: then they are its class weights.
    """
    control = {component: Choice(option) for component, option in CONTROL.items()}
    if costs:
        control["class_weight"] = Choice("costs")
    return Strategy(**control, network=Choice(name))
