"""The first trials of a study: controls, then one imbalance method at a time on the best control.

The module also lists the trials of matched duels: each method of a space, added to one control.

The policy defines the trials. The first network is fast, so that a result is available soon; the
others were selected on public tables by ``reports/benchmarks/portfolio``, such that the first n of
them have minimal regret for every n.
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

# Imbalance methods in the order in which they helped most often; all others come last
# (reports/benchmarks/methods/methods.md).
_METHOD_ORDER = (
    *("random_over", "focal", "power", "batch_balancing", "logit_adjusted", "effective_number"),
    *("smote", "self_paced", "tomek_links", "random_under", "balanced_bagging", "smote_tomek"),
    *("smote_enn", "cluster_centroids"),
)


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
    return _control(space) | _flat("network", network.name, network.values)


def first_methods(
    space: Space, best: Strategy, policy: SearchPolicy = DEFAULT_POLICY
) -> list[dict[str, Any]]:
    """Return parameters to enqueue for one imbalance method at a time on the best network.

    These are the policy's methods in the space, followed by the samplers of imbalanced-learn in the
    space. If the space has only ensembles of which some draw balanced rows, methods that act on
    rows and their weights are omitted, since such an ensemble would replace them.
    """
    network = _flat("network", best.network.name, best.network.values)
    ensembles = space.names("ensemble")
    only_balanced_ensembles = CONTROL["ensemble"] not in ensembles and any(
        draws_balanced_rows(name) for name in ensembles
    )
    samplers: list[FirstMethod] = [
        {"resampling": (name, {})} for name in space.names("resampling") if is_sampler(name)
    ]
    trials = []
    for method in [*policy.suggestions.first_methods, *samplers]:
        if only_balanced_ensembles and {"resampling", "class_weight"} & method.keys():
            continue
        if all(name in space.names(component) for component, (name, _) in method.items()):
            flat: dict[str, Any] = _control(space, without=method)
            for component, (name, params) in method.items():
                flat |= _flat(component, name, params)
            trials.append(flat | network)
    return trials


def matched_control_of(space: Space, strategy: Strategy) -> dict[str, Any] | None:
    """Return parameters to enqueue for the matched control of a balanced ensemble.

    The control is the same strategy with an ensemble of the same size on unbalanced rows. None if
    the ensemble does not draw balanced rows, or the space lacks the ensemble of the control.
    """
    control = ENSEMBLE.make(strategy.ensemble).matched_control
    if control is None or control.name not in space.names("ensemble"):
        return None
    return _with_option(strategy, "ensemble", control)


def duels_of(
    space: Space, control: Strategy, policy: SearchPolicy = DEFAULT_POLICY
) -> list[dict[str, Any]]:
    """Return parameters to enqueue for matched duels: a control, then the control with one method.

    Each method of the space occurs once, in the order of the policy, with its parameters in the
    policy's first methods or else the low ends of its ranges. A balanced ensemble follows its
    matched control, and is omitted if the space lacks that control.
    """
    listed: dict[tuple[str, str], Mapping[str, Value]] = {}
    for entry in policy.suggestions.first_methods:
        for component, (name, params) in entry.items():
            listed.setdefault((component, name), params)
    places = {name: place for place, name in enumerate(_METHOD_ORDER)}
    ordered = sorted(methods_of(space), key=lambda method: places.get(method[1], len(places)))
    trials = [_with_option(control, "ensemble", control.ensemble)]
    for component, name in ordered:
        option = COMPONENTS[component][name]
        values = listed.get((component, name), option.lowest)
        method = Choice(name, tuple((key, values[key]) for key in option.ranges))
        if component == "ensemble":
            matched = ENSEMBLE.make(method).matched_control
            if matched is None or matched.name not in space.names("ensemble"):
                continue
            trials.append(_with_option(control, "ensemble", matched))
        trials.append(_with_option(control, component, method))
    # Several ensembles may have the same matched control, which is listed only once.
    return [trial for place, trial in enumerate(trials) if trial not in trials[:place]]


def methods_of(space: Space) -> list[tuple[str, str]]:
    """Return the imbalance methods of a space as pairs of component and option."""
    return [
        (component, name)
        for component, control in CONTROL.items()
        for name in space.names(component)
        if name not in (control, "costs") and (component != "ensemble" or draws_balanced_rows(name))
    ]


def _with_option(strategy: Strategy, component: str, choice: Choice) -> dict[str, Any]:
    """Return parameters to enqueue for a strategy with another option of a component."""
    flat: dict[str, Any] = {}
    for name in COMPONENTS:
        component_choice = choice if name == component else getattr(strategy, name)
        flat |= _flat(name, component_choice.name, component_choice.values)
    return flat


def _control(space: Space, without: Mapping[str, object] | None = None) -> dict[str, Any]:
    controls = {
        component: name for component, name in CONTROL.items() if component not in (without or {})
    }
    return {
        component: name for component, name in controls.items() if name in space.names(component)
    }


def _flat(component: str, name: str, params: Mapping[str, Value]) -> dict[str, Any]:
    ranges = COMPONENTS[component][name].ranges
    values = {
        f"{component}.{name}.{key}": _clipped(params[key], bounds) for key, bounds in ranges.items()
    }
    return {component: name} | values


def _clipped(value: Value, bounds: Range) -> Value:
    """Return a value that is at least the low end of its range, as scaled strengths may not be."""
    return max(float(value), bounds.low) if isinstance(bounds, Float) else value
