"""Arrays of an artifact, and checks that its parts fit each other.

The tables below describe ``weights.safetensors``; other arrays are refused. The plain values are
described in `autoimb.pipeline.manifest`.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.decision import DecisionRule
from autoimb.data.encoding.encoder import MAX_BINS, Encoder
from autoimb.errors import ArtifactError
from autoimb.nn.spec import NetworkSpec
from autoimb.pipeline.container import Arrays
from autoimb.pipeline.fitted import FittedPipeline, FittedStrategy

__all__ = [
    "ENCODER_ARRAYS",
    "PACK_ARRAYS",
    "RANGE_ARRAYS",
    "THRESHOLD_ARRAYS",
    "TREES_ARRAYS",
    "Array",
    "check_arrays",
    "check_fit",
    "grouped",
    "numbered",
]

_LARGEST = sys.float_info.max  # the largest finite number
_MAX_LOGIT = 1e4  # logarithms of probabilities and of their ratios

# --- arrays --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Array:
    """Kind and range of an array.

    Attributes
    ----------
    dtype : str
        Name of a NumPy type.
    ndim : int or None
        Number of axes; None for any.
    low, high : float
        Range of every number, ends included; NaN is refused.
    """

    dtype: str
    ndim: int | None = 1
    low: float = -_LARGEST
    high: float = _LARGEST

    def check(self, values: NDArray[Any], name: str) -> None:
        """Raise an `ArtifactError` if an array is of another kind or outside the range."""
        if values.dtype != np.dtype(self.dtype):
            raise ArtifactError(f"{name} must be of {self.dtype}, got {values.dtype.name}.")
        if self.ndim is not None and values.ndim != self.ndim:
            raise ArtifactError(f"{name} must have {self.ndim} axes, got shape {values.shape}.")
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not (low >= self.low and high <= self.high):
            raise ArtifactError(
                f"{name} must be from {self.low:g} to {self.high:g}, got {low:g} to {high:g}."
            )


_LEVELS = {"levels": Array("uint8")}

ENCODER_ARRAYS = _LEVELS | {
    "read_numbers": Array("int64", low=0),
    "read_categories": Array("int64", low=0),
    "center": Array("float64"),
    "factor": Array("float64", low=0),
    "bins": Array("int64", low=1, high=MAX_BINS),
    "edges": Array("float32"),
    "indicator": Array("int64", low=-1),
    "seen": Array("uint8", 2, low=0, high=1),
    "onehot_mean": Array("float32", low=0, high=1),
    "value_column": Array("int64", low=0),
    "value": Array("float64"),
    "repeated": Array("uint64"),
    "statistics": Array("float32", 2),
}

PACK_ARRAYS = {
    "fold": Array("int64", low=0),
    "weight": Array("float64", low=0),
    "log_prior": Array("float64", 2, -_MAX_LOGIT, _MAX_LOGIT),
    "state.*": Array("float32", None),
}

TREES_ARRAYS = _LEVELS | {
    "tables.*": Array("float32", 2),
    "shares.*": Array("float32", low=0, high=1),
    "column": Array("int32", low=-1),
    "threshold": Array("float64", high=np.inf),  # infinite: only missing values go right
    "left": Array("uint8"),
    "answer": Array("float64", 2),
    "output": Array("int64", 2, low=0),
    "baseline": Array("float64", low=-np.inf),  # minus infinity: a class absent from training
    "log_prior": Array("float64", 1, -_MAX_LOGIT, _MAX_LOGIT),
}

THRESHOLD_ARRAYS = {
    "cuts": Array("float64", 1, -_MAX_LOGIT, _MAX_LOGIT),
    "counts": Array("float64", 2, low=0),
}

RANGE_ARRAYS = {"low": Array("float64"), "high": Array("float64")}


def check_arrays(table: Mapping[str, Array], arrays: Mapping[str, NDArray[Any]], name: str) -> None:
    """Check that arrays are those of a table and no others.

    Parameters
    ----------
    table : mapping of str to Array
        Arrays by name; ``state.*`` stands for any number of arrays with names in ``state.``.
    arrays : mapping of str to ndarray
    name : str
        Name, in errors, of the part that the arrays belong to.

    Raises
    ------
    ArtifactError
    """
    missing = [key for key in table if key not in arrays and not key.endswith(".*")]
    if missing:
        raise ArtifactError(f"{name} lacks the arrays {', '.join(missing)}.")
    for key, values in arrays.items():
        description = table.get(key) or table.get(re.sub(r"\..*", ".*", key))
        if description is None:
            raise ArtifactError(f"{name} has no array {key!r}.")
        description.check(values, f"{name}.{key}")


def grouped(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Arrays]:
    """Group arrays by the first part of their dotted name; the rest is the name in the group."""
    groups: dict[str, Arrays] = defaultdict(dict)
    for name, values in arrays.items():
        first, _, rest = name.partition(".")
        groups[first][rest] = values
    return groups


def numbered(arrays: Mapping[str, NDArray[Any]], count: int, name: str) -> list[Arrays]:
    """Return the arrays of each part of a list, in order.

    Raises
    ------
    ArtifactError
        If an array belongs to a part beyond ``count``.
    """
    groups = grouped(arrays)
    parts = [groups.pop(str(position), {}) for position in range(count)]
    for position in groups:
        raise ArtifactError(f"{name} has {count} parts, and arrays of a part {position!r}.")
    return parts


# --- consistency ---------------------------------------------------------------------------------


def check_fit(pipeline: FittedPipeline) -> None:
    """Check that the parts of a pipeline fit each other.

    Raises
    ------
    ArtifactError
        If they do not; the message names the rule.
    """
    n_classes, names = len(pipeline.classes), pipeline.schema.names
    features = pipeline.schema.features
    n_categories = sum(column.kind == "categorical" for column in features)
    n_numbers = sum(len(column.numbers) for column in features if column.kind != "categorical")
    weights, cuts = pipeline.weights, pipeline.thresholds.cuts
    _need(len(set(names)) == len(names), "columns of different names")
    _need(
        0 < len(pipeline.strategies) == len(weights) and sum(weights) > 0,
        "at least one strategy, with one weight each",
    )
    _need(pipeline.positive < n_classes, "a positive class among the classes")
    for encoder in pipeline.encoders:
        _need(_encodes(encoder, n_numbers, n_categories), "encoders of its own columns")
        _need(encoder.layout.n_classes in (0, n_classes), "encoders of its own classes")
    for strategy in pipeline.strategies:
        _check_strategy(strategy, pipeline.encoders, n_classes)
        for trees in strategy.trees:
            reads = (len(trees.reader.levels), trees.reader.numbers)
            _need(reads == (n_categories, n_numbers), "trees of its own columns")
    _need(len(pipeline.calibrator.bias) == n_classes, "a calibrator of its own classes")
    _need(_decides(pipeline.rule, n_classes), "a rule of its own classes")
    _need(
        pipeline.ranges.shape == (2, n_numbers)
        and bool((pipeline.ranges[0] <= pipeline.ranges[1]).all()),
        "the range of each number",
    )
    _need(
        pipeline.thresholds.counts.shape == (len(cuts) + 1, n_classes)
        and bool((np.diff(cuts) > 0).all()),
        "counts of its own classes between thresholds that rise",
    )


def _need(holds: bool, rule: str) -> None:
    if not holds:
        raise ArtifactError(f"The parts don't fit: a pipeline has {rule}.")


def _check_strategy(
    strategy: FittedStrategy, encoders: tuple[Encoder, ...], n_classes: int
) -> None:
    costs, trees = strategy.class_costs, strategy.trees
    _need(bool(strategy.packs) != bool(trees), "networks or trees in each strategy")
    _need(len(strategy.calibrator.bias) == n_classes, "calibrators of its own classes")
    _need(costs is None or (len(costs) == n_classes and sum(costs) > 0), "costs of its own classes")
    _need(all(len(fold.log_prior) == n_classes for fold in trees), "trees of its own classes")
    if trees:
        return
    folds = np.concatenate([pack.fold for pack in strategy.packs])
    _need(bool((folds < len(encoders)).all()), "one encoder a fold")
    weights = np.bincount(folds, np.concatenate([pack.weight for pack in strategy.packs]))
    _need(len(folds) > 0 and bool((weights[folds] > 0).all()), "members that count in each fold")
    for pack in strategy.packs:
        _need(pack.spec.n_classes == n_classes, "networks of its own classes")
        _need(
            all(_feeds(encoders[fold], pack.spec) for fold in set(pack.fold.tolist())),
            "networks as wide as what their encoders give",
        )


def _feeds(encoder: Encoder, spec: NetworkSpec) -> bool:
    """Return whether a network has room for the columns of an encoder."""
    levels = encoder.embedded_cardinalities
    return (
        encoder.width(ple=spec.ple) <= spec.n_inputs
        and len(levels) == len(spec.cardinalities)
        and all(a <= b for a, b in zip(levels, spec.cardinalities))
        and spec.periodic <= len(encoder.bins)
    )


def _decides(rule: DecisionRule, n_classes: int) -> bool:
    if rule.kind == "costs":
        sizes = None if rule.costs is None else [len(row) for row in rule.costs]
        return sizes == [n_classes] * n_classes and not rule.offsets
    return rule.costs is None and len(rule.offsets) == (n_classes if rule.kind == "offsets" else 0)


def _encodes(encoder: Encoder, n_numbers: int, n_categories: int) -> bool:
    """Return whether an encoder is consistent and fits a table of so many columns."""
    if not encoder.screen.fits(n_numbers, n_categories):
        return False
    n_numbers, n_categories = len(encoder.screen.numbers), len(encoder.screen.categories)
    layout, statistics = encoder.layout, encoder.statistics
    # Lengths come first, as the comparisons of values below rely on them.
    by_number = (encoder.center, encoder.factor, encoder.bins, encoder.indicator)
    if not (
        all(values.shape == (n_numbers,) for values in by_number)
        and encoder.reserved_seen.shape == (n_categories, 2)
        and len(encoder.levels) == n_categories
        and len(encoder.edges) == int(encoder.bins.sum()) + n_numbers
    ):
        return False
    # True for an edge that follows another one of its column.
    inside = np.ones(len(encoder.edges), dtype=bool)
    inside[np.cumsum(encoder.bins + 1) - encoder.bins - 1] = False
    indicators = np.unique(encoder.indicator[encoder.indicator >= 0])
    return (
        all(
            _positions(columns, n_categories)
            for columns in (layout.onehot, layout.embedded, layout.statistics)
        )
        and _positions(layout.integers, n_numbers)
        and _shares(encoder.onehot_mean, encoder.onehot_widths)
        and bool((np.diff(encoder.edges, prepend=-np.inf) > 0)[inside].all())
        and np.array_equal(indicators, np.arange(len(indicators)))
        and bool(np.isin(statistics.value_column, layout.integers).all())
        and bool((statistics.repeated[:-1] < statistics.repeated[1:]).all())
        and _rising(statistics.value_column, statistics.value)
    )


def _rising(column: NDArray[np.int64], values: NDArray[Any]) -> bool:
    """Return whether columns are sorted, and values strictly sorted within each."""
    steps = np.diff(column)
    return bool(((steps > 0) | ((steps == 0) & (np.diff(values) > 0))).all())


def _shares(values: NDArray[Any], widths: Sequence[int]) -> bool:
    """Return whether values sum to 1 within each part, for parts of the given widths."""
    if len(values) != sum(widths):
        return False
    parts = np.split(values, np.cumsum(widths, dtype=np.int64))[:-1]
    return all(abs(part.sum() - 1) < 1e-3 for part in parts)


def _positions(columns: tuple[int, ...], n_columns: int) -> bool:
    rising = list(columns) == sorted(set(columns))
    return rising and (not columns or columns[-1] < n_columns)
