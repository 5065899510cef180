"""Limits of the user on the size and speed of the result, applied to the search space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from autoimb.errors import OptionError
from autoimb.evaluation.limits import Limits
from autoimb.policy import SearchPolicy
from autoimb.space.draw import Space
from autoimb.space.ensemble import ENSEMBLE
from autoimb.space.network.component import NETWORK
from autoimb.space.option import Choice, OneOf, Option
from autoimb.space.portfolio import listed_networks, only_network

__all__ = ["check_limits", "networks_within", "options_beyond"]


def networks_within(
    space: Space, limits: Limits, policy: SearchPolicy
) -> list[tuple[str, dict[str, Any]]]:
    """Return the first networks to enqueue, each with the name of its plan.

    They keep the limits; if none does, the smallest network of the space is returned.
    """
    ensemble = _smallest_ensemble(space)
    listed = [
        (f"network.{i}", only_network(space, network))
        for i, network in enumerate(listed_networks(space, policy))
        if limits.broken(network, ensemble) is None
    ]
    return listed or [("network.smallest", only_network(space, _smallest_network(space, limits)))]


def options_beyond(space: Space, limits: Limits) -> Iterator[tuple[str, str]]:
    """Yield networks and ensembles that break a limit even at their smallest, with the reason."""
    network, ensemble = _smallest_network(space, limits), _smallest_ensemble(space)
    for name in space.names("network"):
        smallest = min(_shapes(NETWORK[name]), key=lambda shape: limits.excess(shape, ensemble))
        reason = limits.broken(smallest, ensemble)
        if reason is not None:
            yield f"network {name}", reason
    for name in space.names("ensemble"):
        reason = limits.broken(network, _lowest(ENSEMBLE[name]))
        if reason is not None:
            yield f"ensemble {name}", reason


def check_limits(space: Space, limits: Limits) -> None:
    """Check that a strategy of the space keeps the limits.

    Raises
    ------
    OptionError
        If none does; the message names the smallest strategy, its size and the limit.
    """
    if space.only is not None:
        network, ensemble = space.only.network, space.only.ensemble
    else:
        network, ensemble = _smallest_network(space, limits), _smallest_ensemble(space)
    reason = limits.broken(network, ensemble)
    if reason is not None:
        smallest = "strategy=" if space.only is not None else "The smallest strategy of the search"
        raise OptionError(
            f"{smallest} breaks a limit, {network} with the ensemble {ensemble}. {reason} "
            "Give a larger limit, or leave it out."
        )


def _smallest_ensemble(space: Space) -> Choice:
    """Return the ensemble of a space with the fewest networks."""
    lowest = [_lowest(ENSEMBLE[name]) for name in space.names("ensemble")]
    ensembles = [ENSEMBLE.make(choice) for choice in lowest]
    sizes = [ensemble.members * ensemble.rounds for ensemble in ensembles]
    return lowest[int(np.argmin(sizes))]


def _smallest_network(space: Space, limits: Limits) -> Choice:
    """Return the network of a space whose largest excess over a limit is the smallest."""
    ensemble = _smallest_ensemble(space)
    shapes = (shape for name in space.names("network") for shape in _shapes(NETWORK[name]))
    return min(shapes, key=lambda shape: limits.excess(shape, ensemble))


def _lowest(option: Option[Any]) -> Choice:
    return Choice(option.name, tuple(option.lowest.items()))


def _shapes(option: Option[Any]) -> list[Choice]:
    """Return a network option at the low end of its ranges, with each embedding."""
    embeddings = option.ranges["embedding"]
    assert isinstance(embeddings, OneOf)
    lowest = ({**option.lowest, "embedding": value} for value in embeddings.values)
    return [Choice(option.name, tuple(params.items())) for params in lowest]
