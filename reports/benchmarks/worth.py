"""Simulated tables: what every strategy of our space is worth on one, without training."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from zlib import crc32

import numpy as np

from reports.benchmarks import project

__all__ = ["NOISE", "worth_on"]

NOISE = 0.01  # standard error of a simulated score


def worth_on(seed: int) -> Callable[[project.Strategy], float]:
    """Return what a strategy is worth on a simulated table."""
    return partial(_worth, seed)


def _worth(seed: int, strategy: project.Strategy) -> float:
    """Add up the worth of options, of parameters, and of options together."""
    normal = partial(_normal, seed)
    places = project.places_of(strategy)
    names = {component: name for component, (name, _) in places.items()}
    total = 0.0
    for component, (name, own) in places.items():
        total += 0.02 * normal(component, name)
        total += 0.01 * normal(component, name, names["network"], names["ensemble"])
        for parameter, place in own.items():
            if isinstance(place, float):
                best = (1 + np.tanh(normal(component, name, parameter))) / 2
                total -= 0.06 * (place - best) ** 2
            else:
                total += 0.01 * normal(component, name, parameter, place)
    return total


def _normal(seed: int, *words: object) -> float:
    """Return the same number for the same words."""
    key = crc32("|".join(map(str, words)).encode())
    return float(np.random.default_rng([seed, key]).normal())
