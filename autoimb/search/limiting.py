"""What keeps the limits that the user sets to the result, and comes first for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from autoimb.data.dataset import Dataset
from autoimb.errors import OptionError
from autoimb.evaluation.limits import MEGABYTE, Deployment, Footprint, Limits
from autoimb.policy import SearchPolicy
from autoimb.search.request import Request
from autoimb.space.draw import Space
from autoimb.space.ensemble import ENSEMBLE
from autoimb.space.network.component import NETWORK
from autoimb.space.option import Choice, OneOf, Option
from autoimb.space.portfolio import listed_networks, only_network
from autoimb.training.plan import Plan

__all__ = ["check_limits", "limits_of", "networks_within", "options_beyond"]


def limits_of(
    request: Request, dataset: Dataset, plan: Plan, *, time_budget: float | None
) -> Limits:
    """Count by what the limits of a request are kept, where it has any.

    Parameters
    ----------
    request : Request
    dataset : Dataset
    plan : Plan
    time_budget : float or None
        Seconds that the study was planned for.
    """
    seconds, megabytes = request.max_predict_seconds, request.max_artifact_mb
    if seconds is None and megabytes is None:
        return Limits()
    # a number of trials alone confirms none, nor does one strategy alone
    confirmed = time_budget is not None and request.strategy is None
    return Limits(
        maximum=Footprint(
            math.inf if megabytes is None else MEGABYTE * megabytes,
            math.inf if seconds is None else seconds,
        ),
        deployment=Deployment.of(dataset, plan, confirmed=confirmed),
    )


def networks_within(
    space: Space, limits: Limits, policy: SearchPolicy
) -> list[tuple[str, dict[str, Any]]]:
    """Return the first networks to enqueue, each with the name of its plan.

    Those that keep the limits; where none does, the smallest of the space.
    """
    ensemble = _smallest_ensemble(space)
    listed = [
        (f"network.{i}", only_network(space, own))
        for i, own in enumerate(listed_networks(space, policy))
        if limits.broken(own, ensemble) is None
    ]
    return listed or [("network.smallest", only_network(space, _smallest_network(space, limits)))]


def options_beyond(space: Space, limits: Limits) -> Iterator[tuple[str, str]]:
    """Yield networks and ensembles that break a limit at their smallest, and how."""
    network, ensemble = _smallest_network(space, limits), _smallest_ensemble(space)
    for name in space.names("network"):
        own = min(_shapes(NETWORK[name]), key=lambda shape: limits.excess(shape, ensemble))
        reason = limits.broken(own, ensemble)
        if reason is not None:
            yield f"network {name}", reason
    for name in space.names("ensemble"):
        reason = limits.broken(network, _lowest(ENSEMBLE[name]))
        if reason is not None:
            yield f"ensemble {name}", reason


def check_limits(space: Space, limits: Limits) -> None:
    """Refuse limits that no strategy of a space keeps.

    Raises
    ------
    OptionError
        Naming the smallest strategy, what it would take, and the limit.
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
    made = [ENSEMBLE.make(choice) for choice in lowest]
    return lowest[int(np.argmin([own.members * own.rounds for own in made]))]


def _smallest_network(space: Space, limits: Limits) -> Choice:
    """Return the network of a space that takes the least of what it takes most of."""
    ensemble = _smallest_ensemble(space)
    shapes = (shape for name in space.names("network") for shape in _shapes(NETWORK[name]))
    return min(shapes, key=lambda shape: limits.excess(shape, ensemble))


def _lowest(option: Option[Any]) -> Choice:
    return Choice(option.name, tuple(option.lowest.items()))


def _shapes(option: Option[Any]) -> list[Choice]:
    """Return a network option at the low end of its ranges, once with each embedding."""
    embeddings = option.ranges["embedding"]
    assert isinstance(embeddings, OneOf)
    lowest = ({**option.lowest, "embedding": value} for value in embeddings.values)
    return [Choice(option.name, tuple(own.items())) for own in lowest]
