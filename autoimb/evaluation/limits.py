"""What a pipeline takes where it is deployed, and the limits that the user sets to it.

Bytes and seconds are counted: of a strategy before it is trained from its networks, afterwards from
its arrays. No clock is read, so what keeps the limits is the same on every machine (law 8); what
the finished pipeline takes is measured once, and told beside them
(`reports/design/deployment-limits.md`).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.data.dataset import Dataset
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.schema import Columns
from autoimb.nn.network import NetworkSpec, build
from autoimb.pipeline.artifact import pack_strategy
from autoimb.pipeline.fitted import FittedPipeline, FittedStrategy
from autoimb.policy import SearchPolicy
from autoimb.space.ensemble import ENSEMBLE
from autoimb.space.network.component import NETWORK
from autoimb.space.option import Choice
from autoimb.space.strategy import Strategy
from autoimb.training.inputs import network_spec
from autoimb.training.plan import Outline, Plan

__all__ = ["MEGABYTE", "ROWS", "Deployment", "Footprint", "Limits", "limits_beyond", "timed"]

MEGABYTE = 1_000_000  # bytes
ROWS = 1_000  # that seconds are told for

_ENTRY = 128  # bytes, about, of an array's line in a file
_TIMED = 5  # times that prediction is timed at most
_LONG = 0.1  # seconds that it may take to be timed once more


@dataclass(frozen=True)
class Footprint:
    """What a pipeline or a part of it takes.

    Attributes
    ----------
    bytes : float
        Of its file.
    seconds : float
        Of one thread, that it needs for a thousand rows.
    """

    bytes: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Footprint) -> Footprint:
        return Footprint(self.bytes + other.bytes, self.seconds + other.seconds)


@dataclass(frozen=True, eq=False)
class Deployment:
    """How the strategies of a study are deployed, as far as it can be counted before training.

    Attributes
    ----------
    encoder : Encoder
        Of the whole table: no fold's is larger by much.
    outline : Outline
    n_classes : int
    folds : tuple of int
        Of each repeat whose networks are deployed.
    fixed : Footprint
        What every pipeline takes: its encoders, and what it says of itself.
    policy : SearchPolicy
    """

    encoder: Encoder
    outline: Outline
    n_classes: int
    folds: tuple[int, ...]
    fixed: Footprint
    policy: SearchPolicy

    @classmethod
    def of(cls, dataset: Dataset, plan: Plan, *, confirmed: bool) -> Deployment:
        """Count what does not depend on a strategy.

        Parameters
        ----------
        dataset : Dataset
            Sees: all rows, for the sizes of what is fitted.
        plan : Plan
        confirmed : bool
            Whether the best are trained on the splits that confirm.
        """
        rows, data = np.arange(len(dataset.y)), dataset
        encoder = Encoder.fit(data.columns, rows, layout=data.layout, y=data.y, weight=data.weight)
        repeats = plan.folds.confirming if confirmed else (0,)
        folds = tuple(len(plan.folds.repeat(number).folds) for number in repeats)
        encoders = plan.folds.offset(repeats[-1]) + folds[-1]
        if plan.folds.deploys_last:
            folds, encoders = (1,) * len(repeats), 1
        columns = data.columns.numbers.shape[1] + data.columns.codes.shape[1]
        own = _bytes(encoder.to_arrays()) + len(json.dumps(encoder.to_json()))
        # the schema, and counts between up to a thousand thresholds
        said = _ENTRY * (columns + 16) + 8 * ROWS * (data.n_classes + 1)
        read = ROWS * columns * (1 + encoders) / plan.policy.predicted_values_a_second
        return cls(
            encoder=encoder,
            outline=plan.effort.outline,
            n_classes=data.n_classes,
            folds=folds,
            fixed=Footprint(encoders * own + said, read),
            policy=plan.policy,
        )

    def before(self, network: Choice, ensemble: Choice) -> Footprint:
        """Count what the networks of a strategy will take, and their encoders not."""
        shape = ENSEMBLE.make(ensemble)
        spec = network_spec(
            NETWORK.make(network),
            kind=network.name,
            encoders=[self.encoder],
            outline=self.outline,
            n_classes=self.n_classes,
        )
        wanted = build(spec, 1, device="meta").parameters.wanted
        networks = sum(self.folds) * shape.members * shape.rounds
        packs = len(self.folds) * shape.rounds
        numbers = 4 * sum(prod(p.shape) for p in wanted) + 8 * (2 + self.n_classes)
        written = packs * (_ENTRY * (len(wanted) + 3) + len(json.dumps(spec.to_json())))
        return Footprint(networks * numbers + written, networks * self._seconds(spec))

    def after(self, fitted: FittedStrategy) -> Footprint:
        """Count what a fitted strategy takes, its encoders left out."""
        values, arrays = pack_strategy(fitted)
        networks = sum(len(pack.fold) * self._seconds(pack.spec) for pack in fitted.packs)
        visits = sum(fold.forest.visits for fold in fitted.trees)
        seconds = networks + ROWS * visits / self.policy.predicted_nodes_a_second
        return Footprint(_bytes(arrays) + len(json.dumps(values)), seconds)

    def _seconds(self, spec: NetworkSpec) -> float:
        """Count a network's seconds."""
        products = spec.products(spec.n_inputs) / self.policy.predicted_products_a_second
        return ROWS * (products + spec.values / self.policy.predicted_values_a_second)


@dataclass(frozen=True)
class Limits:
    """What the result of a search may take at most.

    Attributes
    ----------
    most : Footprint
        Infinite where the user gave no limit.
    deployment : Deployment or None
        What it is counted by; None where nothing is limited.
    """

    most: Footprint = field(default_factory=lambda: Footprint(math.inf, math.inf))
    deployment: Deployment | None = None

    def broken_by(self, strategy: Strategy) -> str | None:
        """Say which limit a strategy alone breaks, before it is trained; None where none."""
        return None if strategy.is_partner else self.broken(strategy.network, strategy.ensemble)

    def broken(self, network: Choice, ensemble: Choice) -> str | None:
        """Say the same of any strategy with this network and ensemble."""
        if self.deployment is None:
            return None
        return self._broken(self.deployment.before(network, ensemble))

    def broken_by_fitted(self, fitted: FittedStrategy) -> str | None:
        """Say which limit a fitted strategy alone breaks; None where none."""
        return None if self.deployment is None else self._broken(self.deployment.after(fitted))

    def shares(self, fitted: FittedStrategy) -> tuple[float, float]:
        """Return what a strategy takes of what the limits leave to all, of bytes and of seconds."""
        if self.deployment is None:
            return 0.0, 0.0
        own, fixed = self.deployment.after(fitted), self.deployment.fixed
        # a limit that the encoders alone break leaves nothing to divide by
        left = max(self.most.bytes - fixed.bytes, 1.0), max(self.most.seconds - fixed.seconds, 1e-9)
        return own.bytes / left[0], own.seconds / left[1]

    def excess(self, network: Choice, ensemble: Choice) -> float:
        """Return how many times its limit a strategy takes of what it takes most of."""
        if self.deployment is None:
            return 0.0
        whole = self.deployment.fixed + self.deployment.before(network, ensemble)
        return max(whole.bytes / self.most.bytes, whole.seconds / self.most.seconds)

    def deployed(self, pipeline: FittedPipeline) -> dict[str, float | None]:
        """Return what a pipeline is counted to need and may need, as plain values.

        Parameters
        ----------
        pipeline : FittedPipeline

        Returns
        -------
        dict of str to float or None
            ``rows`` that seconds are for; ``max_seconds``, ``max_bytes``: the limits, and
            ``counted_seconds``, ``counted_bytes``: by what they are kept; None where nothing is
            limited.
        """
        counted: tuple[float | None, float | None] = (None, None)
        if self.deployment is not None:
            parts = (self.deployment.after(fitted) for fitted in pipeline.strategies)
            whole = sum(parts, self.deployment.fixed)
            counted = (whole.seconds, whole.bytes)
        own = {"counted_seconds": counted[0], "counted_bytes": counted[1]}
        return {"rows": ROWS} | own | self._asked

    @property
    def _asked(self) -> dict[str, float | None]:
        """The limits as plain values."""
        asked = {"max_seconds": self.most.seconds, "max_bytes": self.most.bytes}
        return {name: own if math.isfinite(own) else None for name, own in asked.items()}

    def _broken(self, own: Footprint) -> str | None:
        assert self.deployment is not None
        whole = self.deployment.fixed + own
        said = limits_beyond(self._asked | {"bytes": whole.bytes, "seconds": whole.seconds})
        return None if said is None else f"Deployed alone it would take {said}."


def limits_beyond(deployed: Mapping[str, float | None]) -> str | None:
    """Say what a pipeline takes beyond its limits, with the limits; None where it keeps them.

    Parameters
    ----------
    deployed : mapping of str to float or None
        ``bytes``, ``seconds``, as they were measured, and the limits as `Limits.deployed` gives
        them.
    """
    said = []
    size, most = deployed.get("bytes"), deployed.get("max_bytes")
    if size is not None and most is not None and size > most:
        mb, largest = size / MEGABYTE, most / MEGABYTE
        said.append(f"{mb:.3g} MB, where max_artifact_mb is {largest:.3g}")
    seconds, longest = deployed.get("seconds"), deployed.get("max_seconds")
    if seconds is not None and longest is not None and seconds > longest:
        said.append(
            f"{seconds:.3g} s for {ROWS:,} rows, where max_predict_seconds is {longest:.3g}"
        )
    return " and ".join(said) or None


def timed(pipeline: FittedPipeline, columns: Columns) -> float:
    """Return the seconds of one thread that a pipeline needs for a thousand rows.

    Those of the processor: how much other programs do is no matter.

    Parameters
    ----------
    pipeline : FittedPipeline
    columns : Columns
        Rows as they were parsed, one at least; they are repeated. What parsing a table takes is
        not in the seconds.

    Returns
    -------
    float
        The least of a few times; of one where that is long.
    """
    rows = columns.take(np.arange(ROWS) % columns.n_rows)
    times: list[float] = []
    while len(times) < _TIMED and sum(times) < _LONG:
        started = time.thread_time()
        pipeline.calibrator.apply(pipeline.blended(rows))
        times.append(time.thread_time() - started)
    return min(times)


def _bytes(arrays: Mapping[str, NDArray[Any]]) -> int:
    return sum(own.nbytes + _ENTRY for own in arrays.values())
