"""Checked request of the user, as one frozen value."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
from sklearn.utils import check_random_state

from autoimb.assessment.costs import GivenCosts, Matrix, read_matrix, read_weights
from autoimb.assessment.metrics import canonical_metric
from autoimb.budget import check_budget
from autoimb.errors import OptionError, check_choice, choices
from autoimb.policy import DEFAULT_POLICY
from autoimb.runtime.pool import LOCAL, Backend
from autoimb.space.components import COMPONENTS
from autoimb.space.partner import MAX_LEAF_ROWS, PARTNER
from autoimb.space.reading import read_option, read_strategy
from autoimb.space.resampling.component import RESAMPLING
from autoimb.space.resampling.samplers import checked_labels
from autoimb.space.strategy import Strategy
from autoimb.text import shown

__all__ = [
    "CHANGEABLE",
    "Request",
    "chosen_partners",
    "class_costs",
    "read_request",
    "restricted_components",
]

Components = tuple[tuple[str, tuple[str, ...]], ...]

SCHEDULES = ("asynchronous", "synchronous")
BLENDS = ("small", "accurate")
# Fields that may change when a search is resumed.
CHANGEABLE = (
    *("time_budget", "n_trials", "n_jobs", "schedule", "backend"),
    *("verbose", "data", "max_memory", "allow_many_classes"),
)
_SEEDS = 2**64


@dataclass(frozen=True)
class Request:
    """Request of one search.

    Parameters
    ----------
    target : str or None
        Name of the target column; None if the labels were passed separately.
    metric : str or callable
        A name from ``autoimb.assessment.metrics.METRICS``, a scikit-learn scorer (or its name),
        or ``callable(y_true, probabilities)``.
    time_budget : float or None
        Wall-clock seconds for everything.
    n_trials : int or None
        Number of strategies to try. At least one of the two limits is set.
    n_jobs : int
        Worker processes, resolved (never -1).
    cv : object
        None (planned from the counts), a number of folds, or a splitter.
    groups : tuple of str
        Names of the columns of groups; empty without groups, or if they were passed separately.
    time : tuple of str
        Names of the columns with the time of observation; empty as with groups.
    gap : float, str or None
        Minimum time between training rows and the later rows that they score.
    keep_time : bool
        Whether the parts of dates that count time are features, although `time` orders the rows.
    random_state : int
        Seed of the search.
    pos_label : object
        The positive class, or None for the rarest.
    components : tuple of (str, tuple of str)
        Components restricted to some of their options.
    strategy : Strategy or None
        Strategy to evaluate, without a search.
    costs : tuple, str or None
        The user's costs: one weight a class (in the order of the sorted classes), a matrix
        (true class × predicted class), or ``"balanced"``.
    cost_in_loss : bool
        Whether a matrix weighs the loss as well.
    verbose : int
        Verbosity; 0 is silent.
    data : str
        Name of the table, for the report.
    weight : str or None
        Name of the column of row weights; None without weights, or if they were passed separately.
    partners : tuple of str
        Tree models that may share the blend, from ``autoimb.space.partner.PARTNER``; empty if
        `strategy` is set.
    min_samples_leaf : int
        Minimum number of training rows in a leaf of a tree.
    blend : {"small", "accurate"}
        Whether a blend that predicts faster replaces the best one if it is as good.
    holdout : float or None
        Share of the rows that are held out for a test.
    max_predict_seconds : float or None
        Maximum seconds that the result needs for a thousand rows, on one thread.
    max_artifact_mb : float or None
        Maximum size of its file, in megabytes of 1,000,000 bytes.
    max_memory : int or None
        Bytes that the search may take.
    schedule : {"asynchronous", "synchronous"}
        Whether a free worker starts the next trial at once, or waits until all are free.
    backend : str
        Name of the backend that runs the trials.
    allow_many_classes : bool
        Whether more than 20 numbers may be classes.

    Raises
    ------
    BudgetError, OptionError
        On a value that no search can use.
    """

    target: str | None = None
    metric: str | Callable[..., Any] = "average_precision"
    time_budget: float | None = 300.0
    n_trials: int | None = None
    n_jobs: int = 1
    cv: object = None
    groups: tuple[str, ...] = ()
    time: tuple[str, ...] = ()
    gap: float | str | None = None
    keep_time: bool = False
    random_state: int = 0
    pos_label: object = None
    components: Components = ()
    strategy: Strategy | None = None
    costs: GivenCosts | str | None = None
    cost_in_loss: bool = False
    verbose: int = 0
    data: str = "table"
    weight: str | None = None
    partners: tuple[str, ...] = ()
    min_samples_leaf: int = 1
    blend: str = BLENDS[0]
    holdout: float | None = None
    max_predict_seconds: float | None = None
    max_artifact_mb: float | None = None
    max_memory: int | None = None
    schedule: str = SCHEDULES[0]
    backend: str = LOCAL.name
    allow_many_classes: bool = False

    def __post_init__(self) -> None:
        check_budget(self.time_budget, self.n_trials)
        if self.strategy is not None:
            _check_alone(self.strategy, self.components, costs=self.weighs_loss)
        if self.cost_in_loss and self.cost_matrix is None:
            raise OptionError(
                "cost_in_loss=True needs a cost_matrix= that weighs the loss; "
                f"got cost_matrix=None and class_weight={shown(self.costs)}."
            )
        if self.holdout is not None and not 0 < self.holdout < 1:
            raise OptionError(f"holdout must be a share between 0 and 1, got {self.holdout}.")
        for name in ("max_predict_seconds", "max_artifact_mb"):
            limit: Any = getattr(self, name)
            number = isinstance(limit, int | float) and limit is not True
            if limit is not None and not (number and 0 < limit < math.inf):
                raise OptionError(f"{name} must be a number above 0, or None; got {shown(limit)}.")
        rows: Any = self.min_samples_leaf
        if not (isinstance(rows, int) and rows is not True and 1 <= rows <= MAX_LEAF_ROWS):
            raise OptionError(
                f"min_samples_leaf must be a whole number from 1 to {MAX_LEAF_ROWS:,}; "
                f"got {shown(rows)}."
            )
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("blend", self.blend, BLENDS)
        if self.synchronous and (self.n_trials is None or self.time_budget is not None):
            raise OptionError(
                "schedule='synchronous' promises the same answer once more, which no clock may "
                "decide: give n_trials and time_budget=None; got "
                f"n_trials={self.n_trials} and time_budget={shown(self.time_budget)}."
            )

    @property
    def weighs_loss(self) -> bool:
        """True if the user's costs weigh the loss: class weights, or a matrix on request."""
        return self.costs is not None and (self.cost_in_loss or self.cost_matrix is None)

    @property
    def cost_matrix(self) -> Matrix | None:
        """Costs if they are a matrix, else None."""
        is_matrix = isinstance(self.costs, tuple) and isinstance(self.costs[0], tuple)
        return cast(Matrix, self.costs) if is_matrix else None

    @property
    def synchronous(self) -> bool:
        """True if trials start together and are awaited together."""
        return self.schedule == "synchronous"

    def to_json(self) -> dict[str, Any]:
        """Return the request as plain JSON; callables and splitters become their names."""
        metric = self.metric
        if not isinstance(metric, str):
            metric = str(getattr(metric, "__name__", type(metric).__name__))
        return {field.name: getattr(self, field.name) for field in fields(self)} | {
            "metric": metric,
            "cv": _plain(self.cv),
            "pos_label": _plain(self.pos_label),
            "strategy": None if self.strategy is None else self.strategy.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Request:
        """Read the result of `to_json`; a callable metric or a splitter is not restored."""
        values = dict(data)
        components = tuple((name, tuple(options)) for name, options in values["components"])
        values |= {"components": components, "costs": _tuples(values["costs"])}
        for name in ("partners", "groups", "time"):
            values[name] = tuple(values[name])
        if values["strategy"] is not None:
            values["strategy"] = Strategy.from_json(values["strategy"])
        return cls(**values)


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
    if parameters.get("n_jobs") == 0:
        raise OptionError("n_jobs must not be 0: give a number of workers, or -1 for all cores.")
    costs = class_costs(parameters.get("class_weight"), classes, parameters.get("cost_matrix"))
    asked = {component: parameters.get(component) for component in COMPONENTS}
    if costs is not None:
        asked["class_weight"] = None
    components = restricted_components(asked)
    resampling = dict(components).get(RESAMPLING.name, ())
    names = {field.name for field in fields(Request)} & parameters.keys()
    values = {name: parameters[name] for name in names} | {
        "n_jobs": backend.workers(parameters.get("n_jobs")),
        "backend": backend.name,
        "random_state": _seed(parameters.get("random_state")),
        "components": components,
        "costs": costs,
        "metric": canonical_metric(parameters.get("metric", Request.metric)),
        "partners": chosen_partners(parameters.get("partners", "auto")),
    }
    if parameters.get("strategy") is not None:
        strategy = read_strategy(parameters["strategy"])
        resampling = (strategy.resampling.name,)
        n_trials = parameters.get("n_trials")
        # A single strategy is one trial.
        n_trials = 1 if n_trials is None else n_trials
        values |= {"strategy": strategy, "partners": (), "n_trials": n_trials}
    for name in resampling:
        checked_labels(name, classes)
    return Request(**{name: _as_python(value) for name, value in values.items()})


def restricted_components(asked: Mapping[str, Any]) -> Components:
    """Check the options that the user allows for each component.

    Parameters
    ----------
    asked : mapping of str to str, sampler, list of them or None
        A name, several names or None (the searched options) for each component. Samplers of
        imbalanced-learn are instances or class names.

    Returns
    -------
    tuple of (str, tuple of str)
        The restricted components only, in the order of ``COMPONENTS``.

    Raises
    ------
    OptionError
        If an option is unknown; the message names the component and its options.
    """
    components = []
    for component, names in asked.items():
        if names is None:
            continue
        is_list = isinstance(names, Iterable) and not isinstance(names, str)
        listed = tuple(names) if is_list else (names,)
        if not listed:
            raise OptionError(f"{component} is an empty list: give at least one option, or None.")
        options = tuple(read_option(component, name) for name in listed)
        if component == "class_weight" and "costs" in options:
            raise OptionError(
                "class_weight='costs' lacks the costs: give 'balanced' or a weight for each class, "
                "or cost_matrix= of true × predicted class with cost_in_loss=True."
            )
        components.append((component, options))
    return tuple(components)


def chosen_partners(asked: str | Sequence[str] | None) -> tuple[str, ...]:
    """Check the partners that the user allows.

    Parameters
    ----------
    asked : "auto", str, list of str or None
        ``"auto"`` selects those that a search tries by default, None none.

    Returns
    -------
    tuple of str

    Raises
    ------
    OptionError
        If a partner is unknown; the message names the known ones.
    """
    if asked is None:
        return ()
    names = (asked,) if isinstance(asked, str) else tuple(asked)
    if names == ("auto",):
        return DEFAULT_POLICY.suggestions.partners
    for name in names:
        if name not in PARTNER.names:
            raise OptionError(choices("partner", name, ["auto", *PARTNER.names]))
    return tuple(dict.fromkeys(names))


def class_costs(
    class_weight: object, classes: Iterable[object], cost_matrix: object = None
) -> GivenCosts | str | None:
    """Return the costs of the user, or None without costs.

    Parameters
    ----------
    class_weight : None, "balanced", dict, str or list of str
        A dict gives the weight of some classes (others weigh 1). Names restrict the component of
        class weights and are no costs.
    classes : iterable of object
        The sorted classes.
    cost_matrix : array-like of shape (C, C) or None
        Costs by true (row) and predicted (column) class, in the order of the sorted classes.

    Returns
    -------
    tuple, str or None
        None if names restrict the component, or there are no costs.

    Raises
    ------
    OptionError
        If a class is unknown, a shape or value is invalid, or both kinds of costs are set.
    """
    labels = list(classes)
    if cost_matrix is not None:
        if class_weight is not None:
            raise OptionError(
                "cost_matrix= takes the place of class_weight=: give one of them and leave the "
                f"other one None; got class_weight={class_weight!r} beside a cost matrix."
            )
        return read_matrix(cost_matrix, labels)
    if class_weight is None or _is_names(class_weight):
        return "balanced" if class_weight == "balanced" else None
    if isinstance(class_weight, Mapping):
        return read_weights(class_weight, labels)
    raise OptionError(
        "class_weight must be a name, a list of names, 'balanced' or a dict of class to weight, "
        f"and a matrix of costs, of shape ({len(labels)}, {len(labels)}), goes into cost_matrix=; "
        f"got {shown(class_weight)}."
    )


def _check_alone(strategy: Strategy, components: Components, *, costs: bool) -> None:
    """Check that components and costs are compatible with a single strategy."""
    if components:
        names = ", ".join(f"{component}={list(names)}" for component, names in components)
        raise OptionError(
            f"strategy= is evaluated as it is, so no component can be restricted beside it: leave "
            f"{', '.join(component for component, _ in components)} None; got {names}."
        )
    if costs != (strategy.class_weight.name == "costs"):
        presence = "such costs were given" if costs else "no such costs were given"
        raise OptionError(
            "A strategy has the class weight 'costs' where costs weigh the loss (class_weight= as "
            "'balanced' or a dict, cost_matrix= with cost_in_loss=True), and only there; "
            f"{presence} and its class weight is {strategy.class_weight.name!r}."
        )


def _is_names(value: object) -> bool:
    if isinstance(value, str):
        return True
    return isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value)


def _plain(value: object) -> object:
    """Return a JSON value for a splitter or a label of any type."""
    value = _as_python(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return "given splits" if isinstance(value, Iterable) else str(value)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _as_python(value: object) -> Any:
    """Convert a number of NumPy to Python, for full precision and JSON."""
    return value.item() if isinstance(value, np.generic) else value


def _seed(random_state: int | np.random.RandomState | None) -> int:
    if not isinstance(random_state, (int, np.integer)):
        return int(check_random_state(random_state).randint(2**31 - 1))
    if not 0 <= random_state < _SEEDS:
        raise OptionError(f"random_state must be from 0 to 2^64 - 1, got {shown(random_state)}.")
    return int(random_state)
