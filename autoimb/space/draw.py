"""From an Optuna trial to a strategy: the only place where ranges meet ``suggest_*``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor
from typing import TYPE_CHECKING, Any

from autoimb.errors import OptionError, choices
from autoimb.space.components import COMPONENTS, CONTROL
from autoimb.space.ensemble import ENSEMBLE, draws_balanced_rows
from autoimb.space.option import Choice, Float, Int, Option, Profile, Range, Value
from autoimb.space.strategy import Strategy, option_of

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

__all__ = ["STRENGTHS", "Space", "draw", "infeasible", "suggest"]

# the parameters that say how strongly an option shifts the classes' balance
STRENGTHS = ("strength", "tau")


@dataclass(frozen=True)
class Space:
    """The options that a study may choose from; fixed for its whole life.

    Attributes
    ----------
    allowed : tuple of (str, tuple of str)
        Each component's options, in the components' order.
    only : Strategy or None
        The one strategy to try, as it is: nothing is drawn.
    """

    allowed: tuple[tuple[str, tuple[str, ...]], ...]
    only: Strategy | None = None

    @classmethod
    def restricted(
        cls, components: Mapping[str, Sequence[str]] | None = None, *, costs: bool = False
    ) -> Space:
        """Build from what the user named.

        Combinations that make no sense are excluded here and nowhere else: an ensemble that draws
        balanced rows leaves resampling and class weights nothing to do.

        Parameters
        ----------
        components : mapping of component to option names, optional
            Components that are not named keep every option that is searched by default.
        costs : bool
            Whether the user gave costs: then they are the class weights.

        Raises
        ------
        OptionError
            For an unknown name, an empty list, or components that exclude each other.
        """
        named = {component: tuple(names) for component, names in (components or {}).items()}
        for unknown in (component for component in named if component not in COMPONENTS):
            raise OptionError(choices("component", unknown, COMPONENTS))
        allowed: dict[str, tuple[str, ...]] = {}
        for component in COMPONENTS.values():
            names = named.get(component.name, tuple(o.name for o in component if o.searched))
            if not names:
                raise OptionError(
                    f"The component {component.name!r} needs an option, got an empty list."
                )
            for name in names:
                component[name]  # raises for an unknown one
            allowed[component.name] = tuple(dict.fromkeys(names))
        if costs:
            allowed["class_weight"] = ("costs",)
        allowed["ensemble"] = _possible_ensembles(allowed)
        return cls(tuple(allowed.items()))

    @classmethod
    def of(cls, strategy: Strategy) -> Space:
        """Build the space that is one strategy.

        Raises
        ------
        OptionError
            For options that exclude each other.
        """
        named = {component: (getattr(strategy, component).name,) for component in COMPONENTS}
        return replace(cls.restricted(named), only=strategy)

    def names(self, component: str) -> tuple[str, ...]:
        """Return the allowed options of a component."""
        return dict(self.allowed)[component]

    @property
    def costs(self) -> bool:
        """Whether the user gave costs, which are then the class weights."""
        return self.names("class_weight") == ("costs",)

    @property
    def least_networks(self) -> int:
        """How many networks a fold the smallest allowed ensemble trains from their start.

        One strategy alone is given the work that it has among others, so that it scores the same.
        """
        if self.only is not None:
            return 1
        options = [ENSEMBLE[name] for name in self.names("ensemble")]
        smallest = [option.code(**option.lowest) for option in options]
        return min(one.members * (1 if one.continues else one.rounds) for one in smallest)


def _possible_ensembles(allowed: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    idle_before = all(
        _idle(component, allowed[component]) for component in ("resampling", "class_weight")
    )
    left = tuple(n for n in allowed["ensemble"] if idle_before or not draws_balanced_rows(n))
    if not left:
        raise OptionError(
            f"The ensemble {allowed['ensemble'][0]!r} draws its own balanced rows, so it goes only "
            f"with resampling 'none' and class_weight 'none'; got resampling "
            f"{list(allowed['resampling'])} and class_weight {list(allowed['class_weight'])}."
        )
    return left


def _idle(component: str, names: tuple[str, ...]) -> str | None:
    """Return the option that leaves the rows alone, if it is allowed; costs stay what they are."""
    return next((n for n in (CONTROL[component], "costs") if n in names), None)


def draw(trial: BaseTrial, space: Space) -> Strategy:
    """Draw a strategy.

    Strengths of two imbalance methods that shift the balance sum to at most 1: where they were
    drawn larger, both shrink by the same factor. ``draw(FixedTrial(trial.params)) == strategy``.

    Parameters
    ----------
    trial : optuna.trial.BaseTrial
    space : Space

    Returns
    -------
    Strategy
    """
    if space.only is not None:
        return space.only
    drawn = {"network": _choice(trial, "network", space)}
    drawn["ensemble"] = _choice(trial, "ensemble", space)
    balanced = draws_balanced_rows(drawn["ensemble"].name)
    for component in ("resampling", "class_weight"):
        idle = _idle(component, space.names(component))
        if balanced and idle is not None:
            drawn[component] = Choice(idle)
        else:
            drawn[component] = _choice(trial, component, space)
    drawn["loss"] = _choice(trial, "loss", space)
    return Strategy(**_within_one(drawn))


def _choice(trial: BaseTrial, component: str, space: Space) -> Choice:
    name = trial.suggest_categorical(component, space.names(component))
    option = COMPONENTS[component][name]
    params = tuple(
        (key, suggest(trial, f"{component}.{name}.{key}", bounds))
        for key, bounds in option.ranges.items()
    )
    return Choice(name, params)


def suggest(trial: BaseTrial, name: str, bounds: Range) -> Value:
    """Ask a trial for one value of a range, all of the range's fields passed on."""
    if isinstance(bounds, Float):
        return trial.suggest_float(name, bounds.low, bounds.high, log=bounds.log)
    if isinstance(bounds, Int):
        return trial.suggest_int(name, bounds.low, bounds.high, log=bounds.log)
    value = trial.suggest_categorical(name, bounds.values)
    assert value is not None  # no range holds None
    return value


def _within_one(drawn: dict[str, Choice]) -> dict[str, Choice]:
    strengths = [
        float(value)
        for component in CONTROL
        for key, value in drawn[component].params
        if key in STRENGTHS
    ]
    total = sum(strengths)
    if len(strengths) < 2 or total <= 1.0:
        return drawn
    shrunk = dict(drawn)
    for component in CONTROL:
        params = tuple(
            (key, floor(float(value) / total * 1e4) / 1e4 if key in STRENGTHS else value)
            for key, value in drawn[component].params
        )
        shrunk[component] = Choice(drawn[component].name, params)
    return shrunk


def infeasible(strategy: Strategy, profile: Profile) -> str | None:
    """Return None where every option of a strategy can run on the table, else the sentence."""
    options: list[Option[Any]] = [
        option_of(component, getattr(strategy, component)) for component in COMPONENTS
    ]
    return next((s for s in (o.feasible(profile) for o in options) if s is not None), None)
