"""The strategy: one option with its parameters for each component of the search space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoimb.errors import OptionError
from autoimb.space.components import COMPONENTS, CONTROL
from autoimb.space.ensemble import draws_balanced_rows
from autoimb.space.option import Choice, Option
from autoimb.space.partner import PARTNER

__all__ = ["STRENGTHS", "Strategy", "option_of", "partner"]

# The parameters that control how strongly an option shifts the class balance.
STRENGTHS = ("strength", "tau")


@dataclass(frozen=True)
class Strategy:
    """One choice in each component: immutable, comparable and convertible to JSON.

    Raises
    ------
    OptionError
        If a component lacks the option, or the option a parameter.
    """

    resampling: Choice
    class_weight: Choice
    loss: Choice
    ensemble: Choice
    network: Choice

    def __post_init__(self) -> None:
        for component, choice in self.choices.items():
            expected, names = list(option_of(component, choice).ranges), list(choice.values)
            if names != expected:
                raise OptionError(
                    f"The {component} option {choice.name!r} takes the parameters {expected}, got "
                    f"{names}."
                )

    @property
    def choices(self) -> dict[str, Choice]:
        """The choices by component."""
        return {component: getattr(self, component) for component in COMPONENTS}

    @property
    def is_partner(self) -> bool:
        """Return whether the strategy is a tree model (partner) instead of a network."""
        return self.network.name in PARTNER.names

    @property
    def methods(self) -> tuple[str, ...]:
        """The components in which the strategy has an imbalance method."""
        return tuple(
            component
            for component, control in CONTROL.items()
            if getattr(self, component).name != control
        )

    @property
    def is_control(self) -> bool:
        """Return whether the strategy has no imbalance method.

        Costs of the user are part of the problem, and an ensemble on unbalanced rows is just a
        larger network.
        """
        methods = set(self.methods)
        if not draws_balanced_rows(self.ensemble.name):
            methods.discard("ensemble")
        if self.class_weight.name == "costs":
            methods.discard("class_weight")
        return not methods and not self.is_partner

    @property
    def exact(self) -> bool:
        """Return whether every prior shift of the strategy has a closed form (law 4)."""
        return all(option_of(*choice).exact for choice in self.choices.items())

    @property
    def strengths(self) -> list[float]:
        """The strengths of the imbalance methods that shift the class balance."""
        return [
            float(value)
            for component in CONTROL
            for key, value in getattr(self, component).params
            if key in STRENGTHS
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the strategy as JSON-compatible values."""
        return {
            component: {"name": choice.name, "params": choice.values}
            for component, choice in self.choices.items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Strategy:
        """Build a strategy from the result of `to_json`."""
        choices = {
            component: Choice(values[component]["name"], tuple(values[component]["params"].items()))
            for component in COMPONENTS
        }
        return cls(**choices)

    def describe(self) -> str:
        """Return a one-line description: the imbalance methods, then the network and its size."""
        methods = [getattr(self, component).brief for component in self.methods]
        if self.is_partner:
            return f"trees, {self.network.name}"
        shape = self.network.values
        sizes = "×".join(str(shape[key]) for key in ("k", "width", "depth") if key in shape)
        embedding = shape.get("embedding", "none")
        how = "" if embedding == "none" else f", {embedding}"
        return (
            f"{' + '.join(methods) or 'no imbalance method'} on {self.network.name} ({sizes}{how})"
        )


def option_of(component: str, choice: Choice) -> Option[Any]:
    """Return the option of a strategy's choice in a component, or the partner's option."""
    if component == "network" and choice.name in PARTNER.names:
        return PARTNER[choice.name]
    return COMPONENTS[component][choice.name]


def partner(name: str, *, costs: bool, min_samples_leaf: int = 1) -> Strategy:
    """Return the strategy of a partner: a control with the partner in place of the network.

    Parameters
    ----------
    name : str
        Name of an option of `PARTNER`.
    costs : bool
        Whether the user specified costs, which are then the class weights.
    min_samples_leaf : int
        Minimum number of training rows in a leaf, where the option has a lower one.
    """
    control = {component: Choice(option) for component, option in CONTROL.items()}
    if costs:
        control["class_weight"] = Choice("costs")
    lowest = PARTNER[name].lowest["min_samples_leaf"]
    leaf_rows = max(int(lowest), min_samples_leaf)
    return Strategy(**control, network=Choice(name, (("min_samples_leaf", leaf_rows),)))
