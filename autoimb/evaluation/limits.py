"""Size and prediction time of deployed pipelines, and the user's limits on them.

Bytes and seconds are counted: before training from the networks of a strategy, afterwards from its
arrays. No clock is read, so the same strategies keep the limits on every machine (law 8). The size
and time of the finished pipeline are measured once and reported with the limits
(`reports/design/deployment-limits.md`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from autoimb.data.dataset import Dataset
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.schema import Columns
from autoimb.errors import InfeasibleError, OptionError
from autoimb.evaluation.workload import MIN_TREES
from autoimb.nn.network import NetworkSpec, build
from autoimb.partners.trees import FittedTrees
from autoimb.pipeline.artifact import strategy_arrays
from autoimb.pipeline.fitted import FittedPipeline, FittedStrategy
from autoimb.policy import SearchPolicy
from autoimb.space.components import CONTROL
from autoimb.space.draw import Space
from autoimb.space.ensemble import ENSEMBLE
from autoimb.space.network import NETWORK
from autoimb.space.option import Choice, OneOf, Option
from autoimb.space.portfolio import listed_networks, only_network
from autoimb.space.strategy import Strategy
from autoimb.training.inputs import network_spec
from autoimb.training.parts import Parts
from autoimb.training.plan import Outline, Plan

__all__ = [
    "MEGABYTE",
    "ROWS",
    "Deployment",
    "Footprint",
    "Limits",
    "check_limits",
    "counted_seconds",
    "deployable_trees",
    "limits_beyond",
    "networks_within",
    "options_beyond",
    "timed",
]

# Multiplications of a network per second of prediction on one thread
# (reports/design/deployment-limits.md).
_PRODUCTS_PER_SECOND = 40e9
# Element-wise values of a network per second of prediction on one thread
# (reports/design/deployment-limits.md).
_VALUES_PER_SECOND = 200e6
# Nodes from the roots of trees to leaves per second of prediction on one thread: those in the tops
# of trees, and those below (reports/design/deployment-limits.md).
_TOP_NODES_PER_SECOND = 300e6
_DEEP_NODES_PER_SECOND = 60e6

MEGABYTE = 1_000_000  # bytes
ROWS = 1_000  # rows that prediction times refer to

_ENTRY = 128  # approximate bytes of the entry of an array in a file
_MAX_TIMINGS = 5  # largest number of timed predictions
_MAX_TIMED_SECONDS = 0.1  # seconds after which no further prediction is timed


@dataclass(frozen=True)
class Footprint:
    """Size and prediction time of a pipeline or of a part of it.

    Attributes
    ----------
    bytes : float
        Size of the file.
    seconds : float
        Time that one thread takes to predict a thousand rows.
    """

    bytes: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Footprint) -> Footprint:
        return Footprint(self.bytes + other.bytes, self.seconds + other.seconds)


@dataclass(frozen=True, eq=False)
class Deployment:
    """Quantities from which the footprint of a strategy is counted, also before training.

    Attributes
    ----------
    encoder : Encoder
        Encoder of the whole table; the encoders of the folds have about the same size.
    outline : Outline
    n_classes : int
    folds : int
        Number of folds whose networks are deployed.
    fixed : Footprint
        Footprint that all pipelines have in common: encoders, schema and thresholds.
    """

    encoder: Encoder
    outline: Outline
    n_classes: int
    folds: int
    fixed: Footprint

    @classmethod
    def of(cls, dataset: Dataset, plan: Plan) -> Deployment:
        """Count the part of the footprint that does not depend on a strategy.

        Parameters
        ----------
        dataset : Dataset
            Sees: all rows, for the sizes of the encoders.
        plan : Plan
        """
        rows, data = np.arange(len(dataset.y)), dataset
        encoder = Encoder.fit(data.columns, rows, layout=data.layout, y=data.y, weight=data.weight)
        folds = 1 if plan.folds.deploys_last else len(plan.folds.folds)
        columns = data.columns.numbers.shape[1] + data.columns.codes.shape[1]
        # The file also has the schema, and class counts for up to a thousand thresholds.
        schema_bytes = _ENTRY * (columns + 16) + 8 * ROWS * (data.n_classes + 1)
        read_seconds = ROWS * columns * (1 + folds) / _VALUES_PER_SECOND
        return cls(
            encoder=encoder,
            outline=plan.outline,
            n_classes=data.n_classes,
            folds=folds,
            fixed=Footprint(folds * _encoder_bytes(encoder) + schema_bytes, read_seconds),
        )

    def planned_footprint(self, network: Choice, ensemble: Choice) -> Footprint:
        """Count the footprint of a strategy's networks before training, without encoders."""
        shape = ENSEMBLE.make(ensemble)
        spec = network_spec(
            NETWORK.make(network),
            kind=network.name,
            encoders=[self.encoder],
            outline=self.outline,
            n_classes=self.n_classes,
        )
        parameters = build(spec, 1, device="meta").parameters.declared
        networks = self.folds * shape.members * shape.rounds
        numbers = 4 * sum(prod(p.shape) for p in parameters) + 8 * (2 + self.n_classes)
        written = shape.rounds * (_ENTRY * (len(parameters) + 3) + len(msgspec.json.encode(spec)))
        return Footprint(networks * numbers + written, networks * _network_seconds(spec))

    def fitted_footprint(self, fitted: FittedStrategy) -> Footprint:
        """Count the footprint of a fitted strategy, without encoders."""
        size = _bytes(strategy_arrays(fitted)) + len(msgspec.json.encode(fitted.part()))
        return Footprint(size, counted_seconds(fitted))


def counted_seconds(fitted: FittedStrategy) -> float:
    """Count the seconds that a fitted strategy takes for a thousand rows, without encoders."""
    networks = sum(len(pack.fold) * _network_seconds(pack.spec) for pack in fitted.packs)
    return networks + sum(map(_tree_seconds, fitted.trees))


def _network_seconds(spec: NetworkSpec) -> float:
    """Count the seconds that a network takes for a thousand rows."""
    products = spec.products(spec.n_inputs) / _PRODUCTS_PER_SECOND
    return ROWS * (products + spec.values / _VALUES_PER_SECOND)


def _tree_seconds(trees: FittedTrees) -> float:
    """Count the seconds that the trees of a fold take for a thousand rows."""
    top, deep = trees.path_nodes
    return ROWS * (top / _TOP_NODES_PER_SECOND + deep / _DEEP_NODES_PER_SECOND)


@dataclass(frozen=True)
class Limits:
    """Limits on the footprint of the result of a search.

    Attributes
    ----------
    maximum : Footprint
        Largest footprint; infinite where the user set no limit.
    deployment : Deployment or None
        Quantities from which footprints are counted; None without limits, where nothing is counted.
    """

    maximum: Footprint = field(default_factory=lambda: Footprint(math.inf, math.inf))
    deployment: Deployment | None = None

    @classmethod
    def of(
        cls, dataset: Dataset, plan: Plan, *, seconds: float | None, megabytes: float | None
    ) -> Limits:
        """Return the limits of a study; None is no limit. See `Deployment.of`."""
        if seconds is None and megabytes is None:
            return cls()
        maximum = Footprint(
            math.inf if megabytes is None else MEGABYTE * megabytes,
            math.inf if seconds is None else seconds,
        )
        return cls(maximum, Deployment.of(dataset, plan))

    def planned_footprint(self, network: Choice, ensemble: Choice) -> Footprint:
        """Count the footprint of a network and an ensemble, deployed alone, before training."""
        if self.deployment is None:
            return Footprint()
        return self.deployment.fixed + self.deployment.planned_footprint(network, ensemble)

    def fitted_footprint(self, strategies: Iterable[FittedStrategy]) -> Footprint:
        """Count the footprint of fitted strategies that are deployed together."""
        if self.deployment is None:
            return Footprint()
        return sum(map(self.deployment.fitted_footprint, strategies), self.deployment.fixed)

    def broken_by(self, strategy: Strategy) -> str | None:
        """Return the reason why a strategy alone breaks a limit before training, or None."""
        return None if strategy.is_partner else self.broken(strategy.network, strategy.ensemble)

    def broken(self, network: Choice, ensemble: Choice) -> str | None:
        """Return the reason why a network and an ensemble break a limit, or None."""
        return self._broken(self.planned_footprint(network, ensemble))

    def broken_by_fitted(self, fitted: FittedStrategy) -> str | None:
        """Return the reason why a fitted strategy alone breaks a limit, or None."""
        return self._broken(self.fitted_footprint([fitted]))

    def _broken(self, footprint: Footprint) -> str | None:
        beyond = limits_beyond(
            self._asked | {"bytes": footprint.bytes, "seconds": footprint.seconds}
        )
        return None if beyond is None else f"Deployed alone it would take {beyond}."

    def shares(self, fitted: FittedStrategy) -> tuple[float, float]:
        """Return the shares of bytes and seconds that a strategy takes.

        The shares refer to the limits minus the fixed footprint, which all strategies have in
        common.
        """
        if self.deployment is None:
            return 0.0, 0.0
        footprint, fixed = self.deployment.fitted_footprint(fitted), self.deployment.fixed
        # The lower bounds avoid division by zero where the encoders alone break a limit.
        n_bytes = max(self.maximum.bytes - fixed.bytes, 1.0)
        seconds = max(self.maximum.seconds - fixed.seconds, 1e-9)
        return footprint.bytes / n_bytes, footprint.seconds / seconds

    def excess(self, network: Choice, ensemble: Choice) -> float:
        """Return the larger of a strategy's ratios of bytes and of seconds to the limits."""
        footprint = self.planned_footprint(network, ensemble)
        return max(footprint.bytes / self.maximum.bytes, footprint.seconds / self.maximum.seconds)

    def deployed(self, pipeline: FittedPipeline) -> dict[str, float | None]:
        """Return the counted footprint of a pipeline and the limits, as plain values.

        Parameters
        ----------
        pipeline : FittedPipeline

        Returns
        -------
        dict of str to float or None
            ``rows``: the number of rows that seconds refer to; ``max_seconds``, ``max_bytes``: the
            limits; ``counted_seconds``, ``counted_bytes``: the footprint that is compared with the
            limits. Values are None where there is no limit.
        """
        counted: dict[str, float | None] = {"counted_seconds": None, "counted_bytes": None}
        if self.deployment is not None:
            footprint = self.fitted_footprint(pipeline.strategies)
            counted = {"counted_seconds": footprint.seconds, "counted_bytes": footprint.bytes}
        return {"rows": ROWS} | counted | self._asked

    @property
    def _asked(self) -> dict[str, float | None]:
        """The limits as plain values; None where a limit is infinite."""
        asked = {"max_seconds": self.maximum.seconds, "max_bytes": self.maximum.bytes}
        return {name: limit if math.isfinite(limit) else None for name, limit in asked.items()}


def deployable_trees(
    fold: int, grown: FittedTrees, *, parts: Parts, plan: Plan, limits: Limits
) -> int:
    """Count how many of the deep trees of a fold are deployed.

    They may take half of what the rest of a file takes: a third of the limits of the user, or else
    half of the first networks, as many as a blend may have.

    Parameters
    ----------
    fold : int
    grown : FittedTrees
        The trees of the fold.
    parts : Parts
        The folds of the study, for the encoder of the fold.
    plan : Plan
    limits : Limits

    Returns
    -------
    int

    Raises
    ------
    InfeasibleError
        If they are too few.
    """
    folds = 1 if plan.folds.deploys_last else len(plan.folds.folds)
    n_bytes = limits.maximum.bytes / (3 * folds)
    if math.isinf(n_bytes):
        encoder, n_classes = parts.encoder(fold), len(grown.baseline)
        fixed = Footprint(_encoder_bytes(encoder))
        deployment = Deployment(encoder, plan.outline, n_classes, folds=1, fixed=fixed)
        first = plan.policy.suggestions.first_networks[: plan.policy.result.max_blended]
        networks = (Choice(name, tuple(params.items())) for name, params in first)
        single = Choice(CONTROL["ensemble"])
        planned = (deployment.planned_footprint(network, single) for network in networks)
        n_bytes = sum(planned, fixed).bytes / 2
    shares = (
        n_bytes / _bytes(grown.to_arrays()),
        limits.maximum.seconds / (3 * folds) / _tree_seconds(grown),
    )
    number = int(min(1.0, *shares) * grown.n_trees)
    if folds * number < MIN_TREES:
        raise InfeasibleError(
            f"there is room for {folds * number} deep trees, at least {MIN_TREES} are needed"
        )
    return number


def limits_beyond(deployed: Mapping[str, float | None]) -> str | None:
    """Describe how a pipeline exceeds its limits, or return None where it keeps them.

    Parameters
    ----------
    deployed : mapping of str to float or None
        ``bytes`` and ``seconds`` of the pipeline, and the limits as returned by `Limits.deployed`.
    """
    exceeded = []
    size, max_bytes = deployed.get("bytes"), deployed.get("max_bytes")
    if size is not None and max_bytes is not None and size > max_bytes:
        mb, largest = size / MEGABYTE, max_bytes / MEGABYTE
        exceeded.append(f"{mb:.3g} MB, where max_artifact_mb is {largest:.3g}")
    seconds, max_seconds = deployed.get("seconds"), deployed.get("max_seconds")
    if seconds is not None and max_seconds is not None and seconds > max_seconds:
        exceeded.append(
            f"{seconds:.3g} s for {ROWS:,} rows, where max_predict_seconds is {max_seconds:.3g}"
        )
    return " and ".join(exceeded) or None


def timed(pipeline: FittedPipeline, columns: Columns) -> float:
    """Return the seconds that one thread takes to predict a thousand rows by a pipeline.

    Processor time is measured, so other programs do not change the result.

    Parameters
    ----------
    pipeline : FittedPipeline
    columns : Columns
        Parsed rows, at least one; they are repeated up to a thousand. The time of parsing a table
        is not included.

    Returns
    -------
    float
        Minimum over up to five timings; fewer where predictions take long.
    """
    rows = columns.take(np.arange(ROWS) % columns.n_rows)
    times: list[float] = []
    while len(times) < _MAX_TIMINGS and sum(times) < _MAX_TIMED_SECONDS:
        started = time.thread_time()
        pipeline.calibrator.apply(pipeline.blended(rows))
        times.append(time.thread_time() - started)
    return min(times)


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


def _encoder_bytes(encoder: Encoder) -> int:
    """Count the bytes of an encoder in a file."""
    return _bytes(encoder.to_arrays()) + len(msgspec.json.encode(encoder.layout))


def _bytes(arrays: Mapping[str, NDArray[Any]]) -> int:
    """Count the bytes of arrays in a file."""
    return sum(array.nbytes + _ENTRY for array in arrays.values())
