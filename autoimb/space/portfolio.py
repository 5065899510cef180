"""The first trials of a study: networks without a lever, then one lever at a time on the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoimb.space.draw import Space
from autoimb.space.option import Value
from autoimb.space.rooms import PLAIN, ROOMS
from autoimb.space.strategy import Strategy

__all__ = ["first_levers", "first_networks"]

_COMMON: dict[str, Value] = {
    "dropout": 0.1,
    "activation": "relu",
    "learning_rate": 4e-3,
    "weight_decay": 1e-2,
    "batch_factor": 1.0,
    "schedule": "constant",
}
# written by hand: first a quick one, so that there soon is a result; then small ones, which train
# to their end in a minute's search
_NETWORKS: tuple[tuple[str, dict[str, Value]], ...] = (
    ("mlp", {"width": 128, "depth": 1, "embedding": "none"}),
    ("mlp", {"width": 128, "depth": 2, "embedding": "ple"}),
    ("tabm", {"k": 4, "width": 48, "depth": 2, "embedding": "ple", "learning_rate": 1.2e-2}),
    ("tabm", {"k": 4, "width": 96, "depth": 1, "embedding": "ple"}),
    ("tabm", {"k": 4, "width": 64, "depth": 2, "embedding": "none"}),
)
_LEVERS: tuple[dict[str, tuple[str, dict[str, Value]]], ...] = (
    {"class_weight": ("power", {"tau": 0.5})},
    {"loss": ("logit_adjusted", {"tau": 0.5})},
    {"ensemble": ("balanced_bagging", {"members": 8, "strength": 0.8})},
    {"resampling": ("random_over", {"strength": 0.5})},
    {"resampling": ("random_under", {"strength": 0.5})},
    {"loss": ("focal", {"gamma": 1.0})},
    {"resampling": ("smote", {"strength": 0.5, "k_neighbors": 5})},
    {"ensemble": ("bagging", {"members": 3})},
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
        plain | _flat("network", name, _COMMON | params)
        for name, params in _NETWORKS
        if name in space.names("network")
    ]


def first_levers(space: Space, best: Strategy) -> list[dict[str, Any]]:
    """Return parameters to enqueue for one lever at a time on the best network so far."""
    network = _flat("network", best.network.name, best.network.values)
    trials = []
    for lever in _LEVERS:
        if all(name in space.names(room) for room, (name, _) in lever.items()):
            flat: dict[str, Any] = _plain(space, without=lever)
            for room, (name, params) in lever.items():
                flat |= _flat(room, name, params)
            trials.append(flat | network)
    return trials


def _plain(space: Space, without: Mapping[str, object] | None = None) -> dict[str, Any]:
    kept = {room: name for room, name in PLAIN.items() if room not in (without or {})}
    return {room: name for room, name in kept.items() if name in space.names(room)}


def _flat(room: str, name: str, params: Mapping[str, Value]) -> dict[str, Any]:
    ranges = ROOMS[room][name].ranges
    return {room: name} | {f"{room}.{name}.{key}": params[key] for key in ranges}
