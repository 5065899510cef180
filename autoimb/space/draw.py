"""Conversion of an Optuna trial to a strategy, the only module that calls ``suggest_*``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor
from typing import TYPE_CHECKING

from autoimb.errors import OptionError
from autoimb.space.components import COMPONENTS, CONTROL
from autoimb.space.ensemble import ENSEMBLE, draws_balanced_rows
from autoimb.space.option import Choice, Float, Int, Range, Value
from autoimb.space.strategy import STRENGTHS, Strategy, option_of

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

    from autoimb.data.profile import Profile

__all__ = ["Space", "draw", "infeasible"]


@dataclass(frozen=True)
class Space:
    """Options from which a study may choose; fixed during the study.

    Attributes
    ----------
    allowed : tuple of (str, tuple of str)
        Allowed options of each component, in the order of the components.
    only : Strategy or None
        The only strategy to evaluate, in which case nothing is drawn.
    """

    allowed: tuple[tuple[str, tuple[str, ...]], ...]
    only: Strategy | None = None

    @classmethod
    def restricted(
        cls, components: Mapping[str, Sequence[str]] | None = None, *, costs: bool = False
    ) -> Space:
        """Build the space of the options that the user named.

        Combinations without effect are excluded only here: if an ensemble draws balanced rows,
        resampling and class weights have nothing to balance.

        Parameters
        ----------
        components : mapping of component to option names, optional
            Names of existing options; other components have every option that is searched by
            default.
        costs : bool
            Whether the user specified costs, which are then the class weights.

        Raises
        ------
        OptionError
            If components exclude each other.
        """
        components = components or {}
        allowed: dict[str, tuple[str, ...]] = {}
        for component in COMPONENTS.values():
            searched = (option.name for option in component if option.searched)
            allowed[component.name] = tuple(dict.fromkeys(components.get(component.name, searched)))
        if costs:
            allowed["class_weight"] = ("costs",)
        allowed["ensemble"] = _possible_ensembles(allowed)
        return cls(tuple(allowed.items()))

    @classmethod
    def of(cls, strategy: Strategy) -> Space:
        """Build the space that contains only one strategy.

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
        """Return whether the user specified costs, which are then the class weights."""
        return self.names("class_weight") == ("costs",)

    @property
    def min_networks(self) -> int:
        """Number of networks that the smallest allowed ensemble trains from scratch in a fold.

        It is 1 for a single strategy, which thus has the same work as in a search, and the same
        score.
        """
        if self.only is not None:
            return 1
        options = [ENSEMBLE[name] for name in self.names("ensemble")]
        smallest = [option.code(**option.lowest) for option in options]
        return min(
            ensemble.members * (1 if ensemble.continues else ensemble.rounds)
            for ensemble in smallest
        )


def _possible_ensembles(allowed: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    balance_unchanged = all(
        _idle(component, allowed[component]) for component in ("resampling", "class_weight")
    )
    ensembles = tuple(
        n for n in allowed["ensemble"] if balance_unchanged or not draws_balanced_rows(n)
    )
    if not ensembles:
        raise OptionError(
            f"The ensemble {allowed['ensemble'][0]!r} draws its own balanced rows, so it goes only "
            f"with resampling 'none' and class_weight 'none'; got resampling "
            f"{list(allowed['resampling'])} and class_weight {list(allowed['class_weight'])}."
        )
    return ensembles


def _idle(component: str, names: tuple[str, ...]) -> str | None:
    """Return the allowed option that leaves the class balance unchanged, if there is one."""
    return next((n for n in (CONTROL[component], "costs") if n in names), None)


def draw(trial: BaseTrial, space: Space) -> Strategy:
    """Draw a strategy.

    The strengths of two imbalance methods that shift the balance sum to at most 1: larger draws are
    multiplied by the same factor. ``draw(FixedTrial(trial.params)) == strategy``.

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
    return _within_one(Strategy(**drawn))


def _choice(trial: BaseTrial, component: str, space: Space) -> Choice:
    name = trial.suggest_categorical(component, space.names(component))
    option = COMPONENTS[component][name]
    params = tuple(
        (key, _suggest(trial, f"{component}.{name}.{key}", bounds))
        for key, bounds in option.ranges.items()
    )
    return Choice(name, params)


def _suggest(trial: BaseTrial, name: str, bounds: Range) -> Value:
    """Return a trial's suggestion for one parameter within its range."""
    if isinstance(bounds, Float):
        return trial.suggest_float(name, bounds.low, bounds.high, log=bounds.log)
    if isinstance(bounds, Int):
        return trial.suggest_int(name, bounds.low, bounds.high, log=bounds.log)
    value = trial.suggest_categorical(name, bounds.values)
    assert value is not None  # No range contains None.
    return value


def _within_one(strategy: Strategy) -> Strategy:
    total = sum(strategy.strengths)
    if len(strategy.strengths) < 2 or total <= 1.0:
        return strategy
    shrunk = {}
    for component in CONTROL:
        choice: Choice = getattr(strategy, component)
        # Rounding down to four digits keeps the sum at most 1.
        params = tuple(
            (key, floor(float(value) / total * 1e4) / 1e4 if key in STRENGTHS else value)
            for key, value in choice.params
        )
        shrunk[component] = Choice(choice.name, params)
    return replace(strategy, **shrunk)


def infeasible(strategy: Strategy, profile: Profile) -> str | None:
    """Return why a strategy cannot run on the table, or None if all its options can."""
    options = (option_of(*choice) for choice in strategy.choices.items())
    return next((s for s in (o.feasible(profile) for o in options) if s is not None), None)
