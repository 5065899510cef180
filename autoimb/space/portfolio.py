"""The first trials of a study: networks without a lever, and one lever at a time on the best.

The networks stand in ``first_networks.json``. The first is a quick one, so that there soon is a
result; the others were picked on public tables by ``reports/benchmarks/portfolio.py``, such that
every first n of them leave the least regret.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoimb.space.draw import Space
from autoimb.space.option import Float, Range, Value
from autoimb.space.rooms import PLAIN, ROOMS
from autoimb.space.strategy import Strategy

__all__ = ["BEFORE_LEVERS", "first_levers", "first_networks", "unbalanced_twin"]

_NETWORKS: tuple[tuple[str, dict[str, Value]], ...] = tuple(
    (entry["name"], entry["params"])
    for entry in json.loads(Path(__file__).with_name("first_networks.json").read_text("utf-8"))
)
BEFORE_LEVERS = 13  # of them; the others come when every lever was tried
_LEVERS: tuple[dict[str, tuple[str, dict[str, Value]]], ...] = (
    {"class_weight": ("power", {"tau": 0.5})},
    {"loss": ("logit_adjusted", {"tau": 0.5})},
    {"ensemble": ("balanced_bagging", {"members": 8, "strength": 0.8})},
    {"resampling": ("batch_balancing", {"strength": 0.3, "floor": 1})},
    {"resampling": ("random_over", {"strength": 0.5})},
    {"resampling": ("random_under", {"strength": 0.5})},
    {"loss": ("focal", {"gamma": 1.0})},
    {"resampling": ("smote", {"strength": 0.5, "k_neighbors": 5})},
    {"ensemble": ("bagging", {"members": 8})},
    {"ensemble": ("self_paced", {"rounds": 8, "strength": 0.8})},
    {"ensemble": ("snapshot", {"rounds": 4})},
    {"class_weight": ("effective_number", {"beta_complement": 1e-3})},
    {"resampling": ("near_miss", {"strength": 0.5, "version": 2, "n_neighbors": 3})},
    {"ensemble": ("boosting", {"rounds": 3})},
    {"loss": ("logit_adjusted", {"tau": 1.0})},
    {"class_weight": ("power", {"tau": 1.0})},
    {"loss": ("focal", {"gamma": 2.0})},
    {"resampling": ("random_under", {"strength": 1.0})},
    {"resampling": ("tomek_links", {"strength": 1.0})},
    {"resampling": ("smote_enn", {"strength": 0.5, "k_neighbors": 5, "cleaning": 1.0})},
    {"resampling": ("smote_tomek", {"strength": 0.5, "k_neighbors": 5, "cleaning": 1.0})},
    {"resampling": ("cluster_centroids", {"strength": 0.8})},
)


def first_networks(space: Space) -> list[dict[str, Any]]:
    """Return parameters to enqueue for networks without any lever.

    A room from which the user took the plain option is left open: the study draws it.
    """
    plain = _plain(space)
    return [
        plain | _flat("network", name, params)
        for name, params in _NETWORKS
        if name in space.names("network")
    ]


def first_levers(space: Space, best: Strategy) -> list[dict[str, Any]]:
    """Return parameters to enqueue for one lever at a time on the best network so far.

    Where an ensemble that draws its own rows may be drawn instead of a single network, levers on
    the rows and their weights would be taken back, and are left out.
    """
    network = _flat("network", best.network.name, best.network.values)
    ensembles = space.names("ensemble")
    own_rows = PLAIN["ensemble"] not in ensembles and any(
        ROOMS["ensemble"][name].samples_rows for name in ensembles
    )
    trials = []
    for lever in _LEVERS:
        if own_rows and {"resampling", "class_weight"} & lever.keys():
            continue
        if all(name in space.names(room) for room, (name, _) in lever.items()):
            flat: dict[str, Any] = _plain(space, without=lever)
            for room, (name, params) in lever.items():
                flat |= _flat(room, name, params)
            trials.append(flat | network)
    return trials


def unbalanced_twin(space: Space, strategy: Strategy) -> dict[str, Any] | None:
    """Return parameters to enqueue for what a balanced ensemble is held against.

    The same strategy with an ensemble that is as large and leaves the rows as they are; None where
    the ensemble is none that draws balanced rows, or its twin was taken from the space.
    """
    of = ROOMS["ensemble"][strategy.ensemble.name].twin
    if of is None:
        return None
    name, params = of(strategy.ensemble.values)
    if name not in space.names("ensemble"):
        return None
    flat: dict[str, Any] = _flat("ensemble", name, params)
    for room in ROOMS:
        if room != "ensemble":
            choice = getattr(strategy, room)
            flat |= _flat(room, choice.name, choice.values)
    return flat


def _plain(space: Space, without: Mapping[str, object] | None = None) -> dict[str, Any]:
    kept = {room: name for room, name in PLAIN.items() if room not in (without or {})}
    return {room: name for room, name in kept.items() if name in space.names(room)}


def _flat(room: str, name: str, params: Mapping[str, Value]) -> dict[str, Any]:
    ranges = ROOMS[room][name].ranges
    values = {f"{room}.{name}.{key}": _within(params[key], own) for key, own in ranges.items()}
    return {room: name} | values


def _within(value: Value, bounds: Range) -> Value:
    """Return a strength that gave way to another one's to its range."""
    return max(float(value), bounds.low) if isinstance(bounds, Float) else value
