"""The first trials of a study: controls, and one imbalance method at a time on the best of them.

And those of matched duels: each method of a space, put into one control.

Which they are is the policy's. The first network is a quick one, so that there soon is a result;
the others were picked on public tables by ``reports/benchmarks/portfolio``, such that every first n
of them leave the least regret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoimb.policy import DEFAULT_POLICY, FirstMethod, SearchPolicy
from autoimb.space.components import COMPONENTS, CONTROL
from autoimb.space.draw import Space
from autoimb.space.ensemble import ENSEMBLE, draws_balanced_rows
from autoimb.space.option import Choice, Float, Range, Value
from autoimb.space.resampling.samplers import is_sampler
from autoimb.space.strategy import Strategy

__all__ = [
    "duels_of",
    "first_methods",
    "first_networks",
    "listed_networks",
    "matched_control_of",
    "methods_of",
    "only_network",
]


def first_networks(space: Space, policy: SearchPolicy = DEFAULT_POLICY) -> list[dict[str, Any]]:
    """Return parameters to enqueue for controls: networks without any imbalance method.

    A component from which the user took the control's option is left open: the study draws it.
    """
    return [only_network(space, network) for network in listed_networks(space, policy)]


def listed_networks(space: Space, policy: SearchPolicy = DEFAULT_POLICY) -> list[Choice]:
    """Return the networks of `first_networks`."""
    return [
        Choice(name, tuple((key, params[key]) for key in COMPONENTS["network"][name].ranges))
        for name, params in policy.first_networks
        if name in space.names("network")
    ]


def only_network(space: Space, network: Choice) -> dict[str, Any]:
    """Return parameters to enqueue for a network without any imbalance method."""
    return _control(space) | _flat("network", network.name, network.values)


def first_methods(
    space: Space, best: Strategy, policy: SearchPolicy = DEFAULT_POLICY
) -> list[dict[str, Any]]:
    """Return parameters to enqueue for one imbalance method at a time on the best network so far.

    Those of the policy that the space has, then the samplers of imbalanced-learn in the space.
    Where an ensemble that draws its own rows may be drawn instead of a single network, methods on
    the rows and their weights would be taken back, and are left out.
    """
    network = _flat("network", best.network.name, best.network.values)
    ensembles = space.names("ensemble")
    own_rows = CONTROL["ensemble"] not in ensembles and any(
        draws_balanced_rows(name) for name in ensembles
    )
    samplers: list[FirstMethod] = [
        {"resampling": (name, {})} for name in space.names("resampling") if is_sampler(name)
    ]
    trials = []
    for method in [*policy.first_methods, *samplers]:
        if own_rows and {"resampling", "class_weight"} & method.keys():
            continue
        if all(name in space.names(component) for component, (name, _) in method.items()):
            flat: dict[str, Any] = _control(space, without=method)
            for component, (name, params) in method.items():
                flat |= _flat(component, name, params)
            trials.append(flat | network)
    return trials


def matched_control_of(space: Space, strategy: Strategy) -> dict[str, Any] | None:
    """Return parameters to enqueue for the matched control of a balanced ensemble.

    The same strategy with an ensemble that is as large and leaves the rows as they are; None where
    the ensemble is none that draws balanced rows, or the space lacks the ensemble of its control.
    """
    control = ENSEMBLE.make(strategy.ensemble).matched_control
    if control is None or control.name not in space.names("ensemble"):
        return None
    return _put_in(strategy, "ensemble", control)


def duels_of(
    space: Space, control: Strategy, policy: SearchPolicy = DEFAULT_POLICY
) -> list[dict[str, Any]]:
    """Return parameters to enqueue for matched duels: a control, then it with one method put in.

    Each method of the space once, in the order of the policy, with the parameters that it has first
    among the first methods, or else the low end of its ranges. Before a balanced ensemble comes its
    matched control; where the space lacks that, the ensemble is left out.
    """
    listed: dict[tuple[str, str], Mapping[str, Value]] = {}
    for entry in policy.first_methods:
        for component, (name, params) in entry.items():
            listed.setdefault((component, name), params)
    places = {name: place for place, name in enumerate(policy.duel_order)}
    ordered = sorted(methods_of(space), key=lambda method: places.get(method[1], len(places)))
    trials = [_put_in(control, "ensemble", control.ensemble)]
    for component, name in ordered:
        option = COMPONENTS[component][name]
        values = listed.get((component, name), option.lowest)
        method = Choice(name, tuple((key, values[key]) for key in option.ranges))
        if component == "ensemble":
            matched = ENSEMBLE.make(method).matched_control
            if matched is None or matched.name not in space.names("ensemble"):
                continue
            trials.append(_put_in(control, "ensemble", matched))
        trials.append(_put_in(control, component, method))
    return [trial for place, trial in enumerate(trials) if trial not in trials[:place]]


def methods_of(space: Space) -> list[tuple[str, str]]:
    """Return the imbalance methods of a space, (component, option): what a control has none of."""
    return [
        (component, name)
        for component, control in CONTROL.items()
        for name in space.names(component)
        if name not in (control, "costs") and (component != "ensemble" or draws_balanced_rows(name))
    ]


def _put_in(strategy: Strategy, component: str, choice: Choice) -> dict[str, Any]:
    """Return parameters to enqueue for a strategy with another option of a component."""
    flat: dict[str, Any] = {}
    for name in COMPONENTS:
        own = choice if name == component else getattr(strategy, name)
        flat |= _flat(name, own.name, own.values)
    return flat


def _control(space: Space, without: Mapping[str, object] | None = None) -> dict[str, Any]:
    kept = {
        component: name for component, name in CONTROL.items() if component not in (without or {})
    }
    return {component: name for component, name in kept.items() if name in space.names(component)}


def _flat(component: str, name: str, params: Mapping[str, Value]) -> dict[str, Any]:
    ranges = COMPONENTS[component][name].ranges
    values = {f"{component}.{name}.{key}": _within(params[key], own) for key, own in ranges.items()}
    return {component: name} | values


def _within(value: Value, bounds: Range) -> Value:
    """Return a strength that gave way to another one's to its range."""
    return max(float(value), bounds.low) if isinstance(bounds, Float) else value
