"""Planned trials of a study: the learned list of first networks, and the matched duels.

A control has no imbalance method; a duel adds one method of the space to a control. The policy
lists the first networks, which are controls. The first one is fast, so that a result is available
soon. The others were selected on public tables by ``reports/benchmarks/portfolio``, such that the
first n of them have minimal regret for every n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.space.components import COMPONENTS, CONTROL
from autoimb.space.draw import Space
from autoimb.space.ensemble import ENSEMBLE, draws_balanced_rows
from autoimb.space.option import Choice, Float, Value
from autoimb.space.strategy import Strategy

__all__ = [
    "duels_of",
    "first_networks",
    "listed_networks",
    "methods_of",
    "only_network",
]

# Imbalance methods with their parameters in duels, in the order in which they helped most often;
# all others come last (reports/benchmarks/methods/methods.md).
_METHODS: dict[str, dict[str, Value]] = {
    "random_over": {"strength": 0.5},
    "focal": {"gamma": 1.0},
    "power": {"tau": 0.5},
    "batch_balancing": {"strength": 0.3, "floor": 1},
    "logit_adjusted": {"tau": 0.5},
    "effective_number": {"beta_complement": 1e-3},
    "smote": {"strength": 0.5, "k_neighbors": 5},
    "self_paced": {"rounds": 8, "strength": 0.8},
    "tomek_links": {"strength": 1.0},
    "random_under": {"strength": 0.5},
    "balanced_bagging": {"members": 8, "strength": 0.8},
    "smote_tomek": {"strength": 0.5, "k_neighbors": 5, "cleaning": 1.0},
    "smote_enn": {"strength": 0.5, "k_neighbors": 5, "cleaning": 1.0},
    "cluster_centroids": {"strength": 0.8},
}


def first_networks(space: Space, policy: SearchPolicy = DEFAULT_POLICY) -> list[dict[str, Any]]:
    """Return parameters to enqueue for controls: networks without any imbalance method.

    If the user excluded the control's option of a component, the study draws the component.
    """
    return [only_network(space, network) for network in listed_networks(space, policy)]


def listed_networks(space: Space, policy: SearchPolicy = DEFAULT_POLICY) -> list[Choice]:
    """Return the networks that `first_networks` enqueues."""
    return [
        Choice(name, tuple((key, params[key]) for key in COMPONENTS["network"][name].ranges))
        for name, params in policy.suggestions.first_networks
        if name in space.names("network")
    ]


def only_network(space: Space, network: Choice) -> dict[str, Any]:
    """Return parameters to enqueue for a network without any imbalance method."""
    control = {name: option for name, option in CONTROL.items() if option in space.names(name)}
    return control | _flat({"network": network})


def duels_of(space: Space, control: Strategy) -> list[dict[str, Any]]:
    """Return parameters to enqueue for matched duels: a control, then the control with one method.

    Each method of the space occurs once, with the listed parameters or else the low ends of its
    ranges. A balanced ensemble follows its matched control, and is omitted if the space lacks that
    control.
    """
    places = {name: place for place, name in enumerate(_METHODS)}
    ordered = sorted(methods_of(space), key=lambda method: places.get(method[1], len(places)))
    strategies = [control]
    for component, name in ordered:
        option = COMPONENTS[component][name]
        values = _METHODS.get(name, option.lowest)
        method = Choice(name, tuple((key, values[key]) for key in option.ranges))
        if component == "ensemble":
            matched = ENSEMBLE.make(method).matched_control
            if matched is None or matched.name not in space.names("ensemble"):
                continue
            strategies.append(replace(control, ensemble=matched))
        strategies.append(replace(control, **{component: method}))
    # Several ensembles may have the same matched control, which is listed only once.
    return [_flat(strategy.choices) for strategy in dict.fromkeys(strategies)]


def methods_of(space: Space) -> list[tuple[str, str]]:
    """Return the imbalance methods of a space as pairs of component and option."""
    return [
        (component, name)
        for component, control in CONTROL.items()
        for name in space.names(component)
        if name not in (control, "costs") and (component != "ensemble" or draws_balanced_rows(name))
    ]


def _flat(choices: Mapping[str, Choice]) -> dict[str, Any]:
    """Return the parameters to enqueue for choices by component."""
    flat: dict[str, Any] = {}
    for component, choice in choices.items():
        flat[component] = choice.name
        for key, bounds in COMPONENTS[component][choice.name].ranges.items():
            value = choice.values[key]
            # Strengths of two methods are scaled down, which may move them below their ranges.
            if isinstance(bounds, Float):
                value = max(float(value), bounds.low)
            flat[f"{component}.{choice.name}.{key}"] = value
    return flat
