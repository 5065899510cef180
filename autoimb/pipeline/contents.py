"""Arrays of an artifact, and checks that its parts fit each other.

The tables below and those of `autoimb.partners` describe ``weights.safetensors``; other arrays are
refused. The plain values are described in `autoimb.pipeline.manifest`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.arrays import MAX_LOGIT, Array
from autoimb.assessment.decision import DecisionRule
from autoimb.data.encoding.encoder import MAX_BINS, Encoder
from autoimb.data.encoding.levels import LEVEL_ARRAYS
from autoimb.data.schema import Schema
from autoimb.errors import ArtifactError
from autoimb.nn.spec import NetworkSpec
from autoimb.pipeline.fitted import FittedPipeline, FittedStrategy

__all__ = [
    "ENCODER_ARRAYS",
    "PACK_ARRAYS",
    "RANGE_ARRAYS",
    "THRESHOLD_ARRAYS",
    "check_fit",
    "count_numbers",
]

# The letters are those of the shapes in `Encoder`, `Statistics` and `FittedMemberPack`.
ENCODER_ARRAYS = LEVEL_ARRAYS | {
    "read_numbers": Array("int64", "p", low=0),
    "read_categories": Array("int64", "q", low=0),
    "center": Array("float64", "p"),
    "factor": Array("float64", "p", low=0),
    "bins": Array("int64", "p", low=1, high=MAX_BINS),
    "edges": Array("float32"),
    "indicator": Array("int64", "p", low=-1),
    "seen": Array("uint8", "q.", low=0, high=1),
    "onehot_mean": Array("float32", low=0, high=1),
    "value_column": Array("int64", "v", low=0),
    "value": Array("float64", "v"),
    "repeated": Array("uint64"),
    "statistics": Array("float32", ".."),
}

PACK_ARRAYS = {
    "fold": Array("int64", "M", low=0),
    "weight": Array("float64", "M", low=0),
    "log_prior": Array("float64", "MC", -MAX_LOGIT, MAX_LOGIT),
    "state.*": Array("float32", None),
}

THRESHOLD_ARRAYS = {
    "cuts": Array("float64", ".", -MAX_LOGIT, MAX_LOGIT),
    "counts": Array("float64", ".C", low=0),
}

RANGE_ARRAYS = {"low": Array("float64", "p"), "high": Array("float64", "p")}


def count_numbers(schema: Schema) -> int:
    """Return the number of numeric features of a table."""
    features = (column for column in schema.features if column.kind != "categorical")
    return sum(len(column.numbers) for column in features)


def check_fit(pipeline: FittedPipeline) -> None:
    """Check that the parts of a pipeline fit each other.

    Raises
    ------
    ArtifactError
        If they do not; the message names the rule.
    """
    n_classes, names = len(pipeline.classes), pipeline.schema.names
    n_categories = sum(column.kind == "categorical" for column in pipeline.schema.features)
    n_numbers = count_numbers(pipeline.schema)
    weights, cuts = pipeline.weights, pipeline.thresholds.cuts
    _need(len(set(names)) == len(names), "columns of different names")
    _need(
        len(pipeline.strategies) == len(weights) and sum(weights) > 0,
        "one weight for each strategy, not all of them 0",
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
    low, high = pipeline.ranges
    _need(len(low) == n_numbers and bool((low <= high).all()), "the range of each number")
    _need(
        len(pipeline.thresholds.counts) == len(cuts) + 1 and bool((np.diff(cuts) > 0).all()),
        "counts between thresholds that rise",
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
    n_read, n_levels = len(encoder.bins), len(encoder.levels)
    n_edges = encoder.bins + 1  # of each column
    if not encoder.screen.fits(n_numbers, n_categories) or len(encoder.edges) != n_edges.sum():
        return False
    # True for an edge that follows another one of its column.
    inside = np.ones(len(encoder.edges), dtype=bool)
    inside[np.cumsum(n_edges) - n_edges] = False
    indicators = np.unique(encoder.indicator[encoder.indicator >= 0])
    layout = encoder.layout
    return (
        all(
            _are_positions(p, n_levels) for p in (layout.onehot, layout.embedded, layout.statistics)
        )
        and _are_positions(layout.integers, n_read)
        and _are_shares(encoder.onehot_mean, encoder.onehot_widths)
        and bool((np.diff(encoder.edges, prepend=-np.inf) > 0)[inside].all())
        and np.array_equal(indicators, np.arange(len(indicators)))
        and bool(np.isin(encoder.statistics.value_column, layout.integers).all())
        and bool((np.diff(encoder.statistics.value_column) >= 0).all())
    )


def _are_shares(values: NDArray[Any], widths: Sequence[int]) -> bool:
    """Return whether values sum to 1 within each part, for parts of the given widths."""
    if len(values) != sum(widths):
        return False
    parts = np.split(values, np.cumsum(widths, dtype=np.int64))[:-1]
    return all(abs(part.sum() - 1) < 1e-3 for part in parts)


def _are_positions(columns: tuple[int, ...], n_columns: int) -> bool:
    rising = list(columns) == sorted(set(columns))
    return rising and (not columns or columns[-1] < n_columns)
