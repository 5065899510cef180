"""One `.autoimb` file: a zip of plain values, arrays and their checksums; nothing in it runs.

Format 1
--------
``manifest.json`` holds plain values (schema, classes, strategies, decision rule, versions);
``weights.safetensors``, stored as it is, holds every array under a dotted name such as
``strategies.0.packs.0.state.heads.bias``; ``SHA256SUMS`` holds the checksums of both, as
``sha256sum`` writes them. What the two may hold is said in `autoimb.pipeline.contents`, and nothing
else is read. No training row is in a file: out-of-fold rows are counts between thresholds, and of
tables there are statistics, the range of each number rounded outwards to two digits, and values and
levels that at least 3 rows have. The bytes depend on the pipeline alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.calibration import Calibrator
from autoimb.assessment.decision.rule import DecisionRule
from autoimb.assessment.decision.threshold import ThresholdCounts
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.schema import Columns, Schema
from autoimb.errors import ArtifactError
from autoimb.fields import check_arrays
from autoimb.nn.network import NetworkSpec, build
from autoimb.partners.trees import FittedTrees
from autoimb.pipeline.container import FORMAT, Arrays, below, opened, packed, under, write
from autoimb.pipeline.contents import (
    ENCODER_ARRAYS,
    MANIFEST,
    PACK_ARRAYS,
    RANGE_ARRAYS,
    STRATEGY,
    THRESHOLD_ARRAYS,
    TREES_ARRAYS,
    check_fit,
    check_sections,
)
from autoimb.pipeline.fitted import FittedMemberPack, FittedPipeline, FittedStrategy
from autoimb.pipeline.summary import plain_labels, stamp, summarise

__all__ = [
    "FORMAT",
    "ArtifactError",
    "artifact_bytes",
    "inspect",
    "load",
    "pack_strategy",
    "save",
    "unpack_strategy",
]

# dtypes of class labels: flags, numbers, texts of a length, objects, dates
_LABEL_DTYPE = re.compile(r"[<>|](b1|[iu][1248]|f[248]|U(?P<most>\d{1,5})|O|M8\[\d{0,9}\w{1,2}\])")
_MOST_TEXT = 2**24  # characters of all labels, each as long as the longest


def save(pipeline: FittedPipeline, path: str | PathLike[str]) -> None:
    """Write a pipeline to one file: whole, or not at all.

    Parameters
    ----------
    pipeline : FittedPipeline
        What to write. ``created`` and ``versions`` are added to its ``info`` where missing.
    path : path-like
        By custom ``*.autoimb``; an existing file is replaced, missing folders are made.
    """
    write(Path(path), *_to_parts(pipeline))


def artifact_bytes(pipeline: FittedPipeline) -> int:
    """Return how many bytes `save` writes."""
    return len(packed(*_to_parts(pipeline)))


def load(path: str | PathLike[str]) -> FittedPipeline:
    """Read a pipeline; nothing from the file is executed.

    Parameters
    ----------
    path : path-like
        A file that `save` wrote.

    Returns
    -------
    FittedPipeline
        All its parts are what they say and fit each other.

    Raises
    ------
    ArtifactError
        Where the file is missing, damaged, of another format, or its parts don't fit. It takes
        less memory than 300 MB and twice the file to find out.
    """
    with opened(path) as container:
        manifest, arrays = container.manifest, container.arrays()
        MANIFEST(manifest, "manifest")
        check_sections(manifest, arrays)
        pipeline = _from_parts(manifest, arrays)
        check_fit(pipeline)
        _check_answer(pipeline)
    return pipeline


def inspect(path: str | PathLike[str]) -> dict[str, Any]:
    """Read what a file says about itself, without building the pipeline.

    Parameters
    ----------
    path : path-like
        A file that `save` wrote.

    Returns
    -------
    dict
        Plain values: format, info (metric, score, created, versions), target, classes, positive
        (a label), columns (name -> kind), strategies (weight, description and strategy of each),
        rule, bytes.
        `FittedPipeline.inspect` says the same without a file, but for its bytes.

    Raises
    ------
    ArtifactError
        As in `load`.
    """
    with opened(path) as container:
        manifest = container.manifest
        MANIFEST(manifest, "manifest")
        summary = summarise(
            format=manifest["format"],
            info=manifest["info"],
            schema=Schema.from_json(manifest["schema"]),
            labels=manifest["classes"]["labels"],
            positive=manifest["positive"],
            strategies=[
                (weight, each["description"], each["strategy"])
                for weight, each in zip(manifest["weights"], manifest["strategies"])
            ],
            rule=DecisionRule.from_json(manifest["rule"]),
        )
        return summary | {"bytes": Path(path).stat().st_size}


def pack_strategy(fitted: FittedStrategy) -> tuple[dict[str, Any], Arrays]:
    """Take a fitted strategy apart.

    Parameters
    ----------
    fitted : FittedStrategy
        One trial's.

    Returns
    -------
    values : dict
        JSON-able.
    arrays : dict of str to ndarray
        By dotted name.
    """
    packs = []
    arrays: Arrays = {}
    for number, pack in enumerate(fitted.packs):
        packs.append({"spec": pack.spec.to_json(), "focal_gamma": pack.focal_gamma})
        own = {"fold": pack.fold, "weight": pack.weight, "log_prior": pack.log_prior}
        arrays |= under(f"packs.{number}", own | under("state", pack.state))
    for number, fold in enumerate(fitted.trees):
        arrays |= under(f"trees.{number}", fold.to_arrays())
    values = {
        "strategy": fitted.strategy,
        "description": fitted.description,
        "packs": packs,
        "calibrator": fitted.calibrator.to_json(),
        "class_costs": None if fitted.class_costs is None else list(fitted.class_costs),
        "rung": fitted.rung,
        "confirmed": fitted.confirmed,
        "trees": [{"numbers": fold.reader.numbers, "bagged": fold.bagged} for fold in fitted.trees],
    }
    return values, arrays


def unpack_strategy(
    values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> FittedStrategy:
    """Put together what `pack_strategy` took apart.

    Parameters
    ----------
    values : mapping
        JSON-able.
    arrays : mapping of str to ndarray
        By dotted name.

    Returns
    -------
    FittedStrategy

    Raises
    ------
    ArtifactError
        Where a value or an array is not what `pack_strategy` gives.
    """
    STRATEGY(values, "strategy")
    costs = values["class_costs"]
    packs, of_packs = [], _numbered("packs", arrays)
    for number, pack in enumerate(values["packs"]):
        own = of_packs[str(number)]
        check_arrays(PACK_ARRAYS, own, f"packs.{number}")
        spec, state = NetworkSpec.from_json(pack["spec"]), below("state", own)
        fitted = FittedMemberPack(
            spec=spec,
            fold=own["fold"],
            weight=own["weight"],
            log_prior=own["log_prior"],
            focal_gamma=float(pack["focal_gamma"]),
            state=state,
        )
        if spec.depth > len(state):
            raise ArtifactError(f"A network of depth {spec.depth} has {len(state)} arrays.")
        # on the meta device nothing is allocated, whatever sizes the file claims
        build(spec, len(fitted.fold), device="meta").load(state)
        packs.append(fitted)
    trees, of_trees = [], _numbered("trees", arrays)
    for number, fold in enumerate(values["trees"]):
        own = of_trees[str(number)]
        check_arrays(TREES_ARRAYS, own, f"trees.{number}")
        trees.append(FittedTrees.from_arrays(own, **fold))
    return FittedStrategy(
        strategy=dict(values["strategy"]),
        description=str(values["description"]),
        packs=tuple(packs),
        calibrator=Calibrator.from_json(values["calibrator"]),
        class_costs=None if costs is None else tuple(map(float, costs)),
        rung=float(values["rung"]),
        confirmed=values["confirmed"],
        trees=tuple(trees),
    )


def _to_parts(pipeline: FittedPipeline) -> tuple[dict[str, Any], Arrays]:
    thresholds = {"cuts": pipeline.thresholds.cuts, "counts": pipeline.thresholds.counts}
    ranges = dict(zip(RANGE_ARRAYS, pipeline.ranges))
    arrays = under("thresholds", thresholds) | under("ranges", ranges)
    strategies = []
    for number, strategy in enumerate(pipeline.strategies):
        values, own = pack_strategy(strategy)
        strategies.append(values)
        arrays |= under(f"strategies.{number}", own)
    for number, encoder in enumerate(pipeline.encoders):
        arrays |= under(f"encoders.{number}", encoder.to_arrays())
    manifest = {
        "format": FORMAT,
        "info": stamp() | pipeline.info,
        "schema": pipeline.schema.to_json(),
        "classes": {"dtype": pipeline.classes.dtype.str, "labels": plain_labels(pipeline.classes)},
        "positive": int(pipeline.positive),
        "encoders": [encoder.to_json() for encoder in pipeline.encoders],
        "strategies": strategies,
        "weights": [float(weight) for weight in pipeline.weights],
        "calibrator": pipeline.calibrator.to_json(),
        "rule": pipeline.rule.to_json(),
    }
    return manifest, arrays


def _from_parts(manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> FittedPipeline:
    encoders, of_encoders = [], _numbered("encoders", arrays)
    for number, values in enumerate(manifest["encoders"]):
        own = of_encoders[str(number)]
        check_arrays(ENCODER_ARRAYS, own, f"encoders.{number}")
        encoders.append(Encoder.from_parts(values, own))
    of_strategies = _numbered("strategies", arrays)
    thresholds = below("thresholds", arrays)
    check_arrays(THRESHOLD_ARRAYS, thresholds, "thresholds")
    ranges = below("ranges", arrays)
    check_arrays(RANGE_ARRAYS, ranges, "ranges")
    if ranges["low"].shape != ranges["high"].shape:
        raise ArtifactError("Ranges need a lowest and a highest value of each number.")
    return FittedPipeline(
        schema=Schema.from_json(manifest["schema"]),
        classes=_classes(manifest["classes"]),
        positive=int(manifest["positive"]),
        encoders=tuple(encoders),
        strategies=tuple(
            unpack_strategy(values, of_strategies[str(number)])
            for number, values in enumerate(manifest["strategies"])
        ),
        weights=tuple(float(weight) for weight in manifest["weights"]),
        calibrator=Calibrator.from_json(manifest["calibrator"]),
        rule=DecisionRule.from_json(manifest["rule"]),
        thresholds=ThresholdCounts(thresholds["cuts"], thresholds["counts"]),
        ranges=np.stack([ranges[name] for name in RANGE_ARRAYS]),
        info=dict(manifest["info"]),
    )


def _check_answer(pipeline: FittedPipeline) -> None:
    """Refuse a pipeline that has no answer to a row of missing values."""
    kept = pipeline.schema.kept
    names = tuple(column.name for column in kept if column.kind == "categorical")
    numbers = tuple(name for c in kept if c.kind != "categorical" for name in c.numbers)
    blended = pipeline.blended(
        Columns(
            numbers=np.full((1, len(numbers)), np.nan),
            codes=np.full((1, len(names)), -1, dtype=np.int32),
            vocabularies=((),) * len(names),
            number_names=numbers,
            category_names=names,
        )
    )
    answer = pipeline.calibrator.apply(blended)
    pipeline.rule.apply(answer)
    if answer.shape != (1, len(pipeline.classes)) or not np.isfinite(answer).all():
        raise ArtifactError(f"The parts don't fit: the answer to a row is {answer}.")


def _classes(values: Mapping[str, Any]) -> NDArray[Any]:
    """Read labels: such that they would be written as they are."""
    labels, dtype = values["labels"], _LABEL_DTYPE.fullmatch(values["dtype"])
    if dtype is None or int(dtype["most"] or 0) * len(labels) > _MOST_TEXT:
        raise ArtifactError(f"Classes can't be {len(labels)} of dtype {values['dtype']!r}.")
    classes = np.array(labels, dtype=values["dtype"])
    again = plain_labels(classes)
    if classes.ndim != 1 or again != labels or list(map(type, again)) != list(map(type, labels)):
        raise ArtifactError(f"Classes of dtype {values['dtype']!r} can't be such values.")
    if len(set(labels)) < len(labels):
        raise ArtifactError("Classes must differ.")
    return classes


def _numbered(kind: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Arrays]:
    """Group the arrays of parts of a kind by the part's number: once, however many there are."""
    found: dict[str, Arrays] = defaultdict(dict)
    for name, own in arrays.items():
        first, _, rest = name.partition(".")
        number, _, last = rest.partition(".")
        if first == kind:
            found[number][last] = own
    return found
