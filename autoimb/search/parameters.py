"""Conversion of the parameters of estimator and command line into a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from autoimb.assessment.metrics import canonical_metric
from autoimb.errors import OptionError
from autoimb.runtime.pool import LOCAL, Backend
from autoimb.search.request import (
    Request,
    chosen_partners,
    class_costs,
    resolve_jobs,
    restricted_components,
)
from autoimb.space.components import COMPONENTS
from autoimb.space.reading import read_strategy
from autoimb.space.resampling.component import RESAMPLING
from autoimb.space.resampling.samplers import checked_labels
from autoimb.text import shown

__all__ = ["read_callbacks", "read_request"]

SEEDS = 2**64


def read_request(
    parameters: Mapping[str, Any], classes: Iterable[object], *, backend: Backend = LOCAL
) -> Request:
    """Check the parameters of the user and return the request.

    Parameters
    ----------
    parameters : mapping of str to object
        Parameters of `AutoImbClassifier` and fields of a `Request`, by name; missing ones have
        their defaults.
    classes : iterable of object
        The sorted classes, for the costs.
    backend : Backend
        Backend whose workers `n_jobs` counts.

    Returns
    -------
    Request

    Raises
    ------
    BudgetError, OptionError
        On a value that no search can use.
    """
    costs = class_costs(parameters.get("class_weight"), classes, parameters.get("cost_matrix"))
    asked = {component: parameters.get(component) for component in COMPONENTS}
    if costs is not None:
        asked["class_weight"] = None
    strategy = parameters.get("strategy")
    read: dict[str, Any] = {
        "n_jobs": resolve_jobs(parameters.get("n_jobs"), backend),
        "backend": backend.name,
        "random_state": _seed(parameters.get("random_state")),
        "components": restricted_components(asked),
        "costs": costs,
        "strategy": None if strategy is None else read_strategy(strategy),
        "partners": chosen_partners(parameters.get("partners", "auto")) if strategy is None else (),
    }
    resampling = dict(read["components"]).get(RESAMPLING.name, ())
    if read["strategy"] is not None:
        resampling = (read["strategy"].resampling.name,)
    for name in resampling:
        checked_labels(name, classes)
    names = {field.name for field in fields(Request)}
    values = {name: value for name, value in parameters.items() if name in names} | read
    if "metric" in values:
        values["metric"] = canonical_metric(values["metric"])
    return Request(**{name: _as_python(value) for name, value in values.items()})


def read_callbacks(callbacks: object) -> tuple[Callable[..., object], ...]:
    """Check the callbacks and return them as a tuple.

    Raises
    ------
    OptionError
        If they are not a sequence of callables.
    """
    if callbacks is None:
        return ()
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise OptionError(
            "callbacks must be a list of functions, each called with an event; "
            f"got {shown(callbacks)}."
        )
    return tuple(callbacks)


def _as_python(value: object) -> Any:
    """Convert a number of NumPy to Python, for full precision and JSON."""
    return value.item() if isinstance(value, np.generic) else value


def _seed(random_state: int | np.random.RandomState | None) -> int:
    if not isinstance(random_state, (int, np.integer)):
        return int(check_random_state(random_state).randint(2**31 - 1))
    if not 0 <= random_state < SEEDS:
        raise OptionError(f"random_state must be from 0 to 2^64 - 1, got {shown(random_state)}.")
    return int(random_state)
