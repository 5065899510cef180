"""The first trials of a study: controls, and one imbalance method at a time on the best of them.

Which they are is the policy's. The first network is a quick one, so that there soon is a result;
the others were picked on public tables by ``reports/benchmarks/portfolio``, such that every first n
of them leave the least regret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.space.components import COMPONENTS, CONTROL
from autoimb.space.draw import Space
from autoimb.space.ensemble import ENSEMBLE, draws_balanced_rows
from autoimb.space.option import Float, Range, Value
from autoimb.space.strategy import Strategy

__all__ = ["first_methods", "first_networks", "matched_control_of"]


def first_networks(space: Space, policy: SearchPolicy = DEFAULT_POLICY) -> list[dict[str, Any]]:
    """Return parameters to enqueue for controls: networks without any imbalance method.

    A component from which the user took the control's option is left open: the study draws it.
    """
    control = _control(space)
    return [
        control | _flat("network", name, params)
        for name, params in policy.first_networks
        if name in space.names("network")
    ]


def first_methods(
    space: Space, best: Strategy, policy: SearchPolicy = DEFAULT_POLICY
) -> list[dict[str, Any]]:
    """Return parameters to enqueue for one imbalance method at a time on the best network so far.

    Where an ensemble that draws its own rows may be drawn instead of a single network, methods on
    the rows and their weights would be taken back, and are left out.
    """
    network = _flat("network", best.network.name, best.network.values)
    ensembles = space.names("ensemble")
    own_rows = CONTROL["ensemble"] not in ensembles and any(
        draws_balanced_rows(name) for name in ensembles
    )
    trials = []
    for method in policy.first_methods:
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
    flat: dict[str, Any] = _flat("ensemble", control.name, control.values)
    for component in COMPONENTS:
        if component != "ensemble":
            choice = getattr(strategy, component)
            flat |= _flat(component, choice.name, choice.values)
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
