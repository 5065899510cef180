"""What an artifact holds: each plain value and each array by name, with its kind and its range.

The tables are the schema of the format. What is not in them is refused, so something new has one
line here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from autoimb.data.encoding.encoder import MOST_BINS, Encoder
from autoimb.data.schema import KINDS
from autoimb.data.values import DATE_PARTS, DURATION, FORMATS, zone_named
from autoimb.errors import ArtifactError
from autoimb.fields import (
    Array,
    FieldError,
    among,
    each,
    fields,
    flag,
    integer,
    list_of,
    nothing_or,
    number,
    plain,
    text,
)
from autoimb.nn.plain import Activation
from autoimb.nn.spec import Body
from autoimb.pipeline.container import FORMAT
from autoimb.pipeline.fitted import FittedPipeline, FittedStrategy

__all__ = [
    "ENCODER_ARRAYS",
    "MANIFEST",
    "PACK_ARRAYS",
    "RANGE_ARRAYS",
    "STRATEGY",
    "THRESHOLD_ARRAYS",
    "TREES_ARRAYS",
    "check_fit",
    "check_sections",
]

Arrays = Mapping[str, NDArray[Any]]

# --- plain values --------------------------------------------------------------------------------

_COUNT = integer(0, 2**31)
_MOST_LOGIT = 1e4  # offsets and biases, which are logarithms of probabilities and of their ratios


def _scalar(value: Any, name: str) -> None:
    plain(value, name, 1)


def _info(value: Any, name: str) -> None:
    """Check what a file says beside: anything plain, but what is shown has its kind."""
    each(plain, most=100)(value, name)
    for key in _SHOWN.keys() & value.keys():
        _SHOWN[key](value[key], f"{name}.{key}")


def _zone(value: Any, name: str) -> None:
    """Check the name of a time zone, or that it is empty."""
    text(100)(value, name)
    try:
        if value:
            zone_named(value)
    except ValueError:
        raise FieldError(name, "a time zone that this machine knows, or empty", value) from None


_SHOWN = {
    "metric": text(),
    "score": number(undefined=True),
    "error": number(undefined=True),
    "interval": list_of(number(undefined=True), least=2, most=2),
    "estimate": text(),
    "created": text(),
    "versions": each(text(), most=100),
    "verdict": text(),
}

_COLUMN = fields(
    {
        "name": text(),
        "kind": among(KINDS),
        "parts": list_of(among(DATE_PARTS), most=20),
        "form": among(("", DURATION, *FORMATS)),
        "zone": _zone,
    }
)

_ENCODER = fields(
    {
        "onehot": list_of(_COUNT),
        "embedded": list_of(_COUNT),
        "statistics": list_of(_COUNT),
        "integers": list_of(_COUNT, most=256),
        "repeated": flag,
        "n_classes": _COUNT,
    }
)

_NETWORK = fields(
    {
        "kind": text(100),
        "width": integer(1, 2**14),
        "depth": integer(1, 2**8),
        "k": integer(1, 2**8),
        "activation": among(get_args(Activation)),
        "dropout": number(0, 1),
        "embedding_dim": integer(1, 2**12),
        "ple": flag,
        "n_inputs": _COUNT,
        "cardinalities": list_of(_COUNT),
        "n_classes": integer(2, 2**20),
        "body": among(get_args(Body)),
        "periodic": _COUNT,
    }
)

_CALIBRATOR = fields(
    {
        "slope": number(1e-6, 1e6),
        "bias": list_of(number(-_MOST_LOGIT, _MOST_LOGIT), least=2),
    }
)

STRATEGY = fields(
    {
        "strategy": each(fields({"name": text(100), "params": each(plain, most=100)}), most=20),
        "description": text(),
        "packs": list_of(fields({"spec": _NETWORK, "focal_gamma": number(0, 100)})),
        "calibrator": _CALIBRATOR,
        "class_costs": nothing_or(list_of(number(0))),
        "rung": number(0, 1e6),
        "confirmed": flag,
        "trees": list_of(fields({"numbers": _COUNT, "bagged": flag})),
    }
)

_RULE = fields(
    {
        "kind": among(("argmax", "offsets", "costs")),
        "offsets": list_of(number(-_MOST_LOGIT, _MOST_LOGIT)),
        "costs": nothing_or(list_of(list_of(number()))),
        "name": text(),
    }
)

MANIFEST = fields(
    {
        "format": integer(FORMAT, FORMAT),
        "info": _info,
        "schema": fields(
            {
                "target": nothing_or(text()),
                "columns": list_of(_COLUMN),
                "optional": list_of(text()),
            }
        ),
        "classes": fields({"dtype": text(20), "labels": list_of(_scalar, least=2)}),
        "positive": _COUNT,
        "encoders": list_of(_ENCODER),
        "strategies": list_of(STRATEGY, least=1),
        "weights": list_of(number(0, 1e6), least=1),
        "calibrator": _CALIBRATOR,
        "rule": _RULE,
    }
)

# --- arrays --------------------------------------------------------------------------------------

_LEVELS = {
    "level_counts": Array("int64", low=0),
    "level_ends": Array("int64", low=0),
    "level_text": Array("uint8"),
}

ENCODER_ARRAYS = _LEVELS | {
    "read_numbers": Array("int64", low=0),
    "read_categories": Array("int64", low=0),
    "center": Array("float64"),
    "factor": Array("float64", low=0),
    "bins": Array("int64", low=1, high=MOST_BINS),
    "edges": Array("float32"),
    "spike_column": Array("int64", low=0),
    "spike_value": Array("float32"),
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
    "log_prior": Array("float64", 2, -_MOST_LOGIT, _MOST_LOGIT),
    "state.*": Array("float32", None),
}

TREES_ARRAYS = _LEVELS | {
    "tables.*": Array("float32", 2),
    "shares.*": Array("float32", low=0, high=1),
    "column": Array("int32", low=-1),
    "threshold": Array("float64", high=np.inf),  # of a split where only missing values go right
    "left": Array("uint8"),
    "answer": Array("float64", 2),
    "output": Array("int64", 2, low=0),
    "baseline": Array("float64", low=-np.inf),  # of a class that a fold's training lacked
    "log_prior": Array("float64", 1, -_MOST_LOGIT, _MOST_LOGIT),
}

THRESHOLD_ARRAYS = {
    "cuts": Array("float64", 1, -_MOST_LOGIT, _MOST_LOGIT),
    "counts": Array("float64", 2, low=0),
}

RANGE_ARRAYS = {"low": Array("float64"), "high": Array("float64")}


def check_sections(manifest: Mapping[str, Any], arrays: Arrays) -> None:
    """Refuse arrays that belong to no part of the manifest.

    Raises
    ------
    ArtifactError
    """
    sections = {"thresholds.", "ranges."} | {
        f"encoders.{place}." for place in range(len(manifest["encoders"]))
    }
    for place, strategy in enumerate(manifest["strategies"]):
        for part in ("packs", "trees"):
            own = range(len(strategy[part]))
            sections |= {f"strategies.{place}.{part}.{one}." for one in own}
    depths = {"encoders": 2, "strategies": 4}  # parts of a name that say the section
    for name in arrays:
        parts = name.split(".")
        section = ".".join(parts[: depths.get(parts[0], 1)]) + "."
        if section not in sections:
            raise ArtifactError(f"it holds an array {name!r}, which no part of it has.")


# --- what fits what ------------------------------------------------------------------------------


def check_fit(pipeline: FittedPipeline) -> None:
    """Refuse parts that don't fit each other.

    Raises
    ------
    ArtifactError
        It says what a pipeline has.
    """
    for wanted, holds in _rules(pipeline):
        if not holds:
            raise ArtifactError(f"The parts don't fit: a pipeline has {wanted}.")


def _rules(pipeline: FittedPipeline) -> Iterator[tuple[str, bool]]:
    """Say what makes parts a pipeline, each rule after those that it needs to be looked at."""
    n_classes, names = len(pipeline.classes), pipeline.schema.names
    kept = pipeline.schema.kept
    n_categories = sum(column.kind == "categorical" for column in kept)
    n_numbers = sum(len(c.numbers) for c in kept if c.kind != "categorical")
    yield "columns of different names", len(set(names)) == len(names)
    yield (
        "at least one strategy, with one weight each",
        0 < len(pipeline.strategies) == len(pipeline.weights) and sum(pipeline.weights) > 0,
    )
    yield "a positive class among the classes", 0 <= pipeline.positive < n_classes
    yield (
        "encoders of its own columns",
        all(_encodes(own, n_numbers, n_categories) for own in pipeline.encoders),
    )
    classes_told = {own.layout.n_classes for own in pipeline.encoders}
    yield "encoders of its own classes", classes_told <= {0, n_classes}
    for strategy in pipeline.strategies:
        yield from _rules_of(strategy, pipeline.encoders, n_classes)
        for own in strategy.trees:
            reads = (len(own.reader.levels), own.reader.numbers)
            yield "trees of its own columns", reads == (n_categories, n_numbers)
    yield "a calibrator of its own classes", len(pipeline.calibrator.bias) == n_classes
    yield "a rule of its own classes", _decides(pipeline, n_classes)
    yield (
        "the range of each number",
        pipeline.ranges.shape == (2, n_numbers)
        and bool((pipeline.ranges[0] <= pipeline.ranges[1]).all()),
    )
    yield (
        "counts of its own classes between thresholds that rise",
        pipeline.thresholds.counts.shape == (len(pipeline.thresholds.cuts) + 1, n_classes)
        and bool((np.diff(pipeline.thresholds.cuts) > 0).all()),
    )


def _encodes(own: Encoder, n_numbers: int, n_categories: int) -> bool:
    """Whether an encoder reads a table of so many columns, as one that was fitted does."""
    if not own.screen.fits(n_numbers, n_categories):
        return False
    n_numbers, n_categories = len(own.screen.numbers), len(own.screen.categories)
    layout, numbers = own.layout, (n_numbers,)
    if not (
        own.center.shape == own.factor.shape == own.bins.shape == own.indicator.shape == numbers
        and own.seen.shape == (n_categories, 2)
        and len(own.levels) == n_categories
        and own.spike_column.shape == own.spike_value.shape
        and len(own.edges) == int(own.bins.sum()) + n_numbers
    ):
        return False
    inside = np.ones(len(own.edges), dtype=bool)  # whether an edge follows one of its own column
    inside[np.cumsum(own.bins + 1) - own.bins - 1] = False
    shown = np.unique(own.indicator)
    return (
        all(
            _positions(columns, n_categories)
            for columns in (layout.onehot, layout.embedded, layout.statistics)
        )
        and _positions(layout.integers, n_numbers)
        and _shares(own.onehot_mean, own.onehot_widths)
        and bool((np.diff(own.edges, prepend=-np.inf) > 0)[inside].all())
        and bool((own.spike_column < n_numbers).all())
        and np.array_equal(shown[shown >= 0], np.arange(int((shown >= 0).sum())))
        and bool(np.isin(own.statistics.value_column, layout.integers).all())
        and bool((own.statistics.repeated[:-1] < own.statistics.repeated[1:]).all())
        and _rising(own.statistics.value_column, own.statistics.value)
        and _rising(own.spike_column, own.spike_value)
        and bool((np.bincount(own.spike_column, minlength=1) <= MOST_BINS).all())
    )


def _rising(column: NDArray[np.int64], values: NDArray[Any]) -> bool:
    """Whether columns rise, and values within each."""
    steps = np.diff(column)
    return bool(((steps > 0) | ((steps == 0) & (np.diff(values) > 0))).all())


def _shares(values: NDArray[Any], widths: Sequence[int]) -> bool:
    """Whether values are shares that sum to 1 in each of the parts of such widths."""
    if len(values) != sum(widths):
        return False
    parts = np.split(values, np.cumsum(widths, dtype=np.int64))[:-1]
    return all(abs(part.sum() - 1) < 1e-3 for part in parts)


def _positions(columns: tuple[int, ...], n_columns: int) -> bool:
    rising = list(columns) == sorted(set(columns))
    return rising and (not columns or columns[-1] < n_columns)


def _rules_of(
    strategy: FittedStrategy, encoders: tuple[Encoder, ...], n_classes: int
) -> Iterator[tuple[str, bool]]:
    yield "networks or trees in each strategy", bool(strategy.packs) != bool(strategy.trees)
    yield "calibrators of its own classes", len(strategy.calibrator.bias) == n_classes
    costs = strategy.class_costs
    yield (
        "costs of its own classes",
        costs is None or (len(costs) == n_classes and sum(costs) > 0),
    )
    yield (
        "trees of its own classes",
        all(len(own.log_prior) == n_classes for own in strategy.trees),
    )
    if not strategy.packs:
        return
    folds = np.concatenate([pack.fold for pack in strategy.packs])
    yield "one encoder a fold", bool((folds < len(encoders)).all())
    weights = np.bincount(folds, np.concatenate([pack.weight for pack in strategy.packs]))
    yield "members that count in each fold", len(folds) > 0 and bool((weights[folds] > 0).all())
    for pack in strategy.packs:
        spec, own = pack.spec, [encoders[fold] for fold in set(pack.fold.tolist())]
        yield "networks of its own classes", spec.n_classes == n_classes
        yield (
            "networks as wide as what their encoders give",
            all(
                each.width(ple=spec.ple) <= spec.n_inputs
                and len(each.embedded_cardinalities) == len(spec.cardinalities)
                and all(a <= b for a, b in zip(each.embedded_cardinalities, spec.cardinalities))
                and (not spec.periodic or spec.periodic <= len(each.bins))
                for each in own
            ),
        )


def _decides(pipeline: FittedPipeline, n_classes: int) -> bool:
    rule = pipeline.rule
    if rule.kind == "costs":
        return (
            rule.costs is not None and [len(row) for row in rule.costs] == [n_classes] * n_classes
        )
    wanted = {"offsets": (n_classes,), "argmax": (0, n_classes)}[rule.kind]
    return rule.costs is None and len(rule.offsets) in wanted
