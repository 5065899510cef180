"""`.autoimb` files: zip files of plain values, arrays and their checksums, without code.

Format 1
--------
``manifest.json`` holds plain values (schema, classes, strategies, decision rule, versions), see
`autoimb.pipeline.manifest`; ``weights.safetensors`` holds every array under a dotted name such as
``strategies.0.packs.0.state.heads.bias``, see `autoimb.pipeline.contents`; ``SHA256SUMS`` holds the
checksums of both, as ``sha256sum`` writes them. No training row is in a file: out-of-fold rows are
counts between thresholds, and of tables there are statistics, the range of each number rounded
outwards to two digits, and values and levels that at least 3 rows have. The bytes depend on the
pipeline alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from autoimb.arrays import Array, Arrays, check_arrays
from autoimb.assessment.decision import ThresholdCounts
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.encoding.levels import levels_memory
from autoimb.errors import ArtifactError
from autoimb.files import write_file
from autoimb.partners.trees import FittedTrees
from autoimb.pipeline.container import opened, packed
from autoimb.pipeline.contents import (
    ENCODER_ARRAYS,
    PACK_ARRAYS,
    RANGE_ARRAYS,
    THRESHOLD_ARRAYS,
    check_fit,
    count_numbers,
)
from autoimb.pipeline.fitted import FittedMemberPack, FittedPipeline, FittedStrategy
from autoimb.pipeline.manifest import LabelPart, Manifest, PackPart, StrategyPart, read_manifest
from autoimb.pipeline.summary import plain_labels, stamp, summarise

__all__ = [
    "artifact_bytes",
    "inspect",
    "load",
    "save",
    "strategy_arrays",
    "strategy_of",
]

# Types of class labels: booleans, numbers, texts of a length, objects, dates.
_LABEL_DTYPE = re.compile(
    r"[<>|](b1|[iu][1248]|f[248]|U(?P<length>\d{1,5})|O|M8\[\d{0,9}\w{1,2}\])"
)
_MAX_TEXT = 2**24  # characters of all labels, each counted with the length of the longest
_MAX_LEVELS = 10**9  # bytes of all levels as strings: about ten million, in all folds

# Names of arrays are that of a section, such as "thresholds" or "encoders.0", and one within it.
_NAME = re.compile(r"([a-z]+(?:\.\d+)?)\.(.+)")


def save(pipeline: FittedPipeline, path: str | PathLike[str]) -> None:
    """Write a pipeline to one file, completely or, after an error, not at all.

    Parameters
    ----------
    pipeline : FittedPipeline
        ``created`` and ``versions`` are added to its ``info`` if missing.
    path : path-like
        By convention ``*.autoimb``; an existing file is replaced, missing folders are created.
    """
    write_file(path, _content(pipeline))


def artifact_bytes(pipeline: FittedPipeline) -> int:
    """Return how many bytes `save` writes."""
    return len(_content(pipeline))


def load(path: str | PathLike[str]) -> FittedPipeline:
    """Read a pipeline; nothing from the file is executed.

    Parameters
    ----------
    path : path-like
        A file that `save` wrote.

    Returns
    -------
    FittedPipeline
        Its parts are checked and fit each other.

    Raises
    ------
    ArtifactError
        If the file is missing, damaged or of another format, or its parts don't fit. Beside the
        imported packages and the levels of categorical columns, loading takes at most 300 MB or
        twice the size of the file, whichever is more.
    """
    with opened(path) as container:
        pipeline = _pipeline(read_manifest(container.manifest()), container.arrays())
        check_fit(pipeline)
    return pipeline


def inspect(path: str | PathLike[str]) -> dict[str, Any]:
    """Read the description in a file, without building the pipeline.

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
        `FittedPipeline.inspect` returns the same without a file, except ``bytes``.

    Raises
    ------
    ArtifactError
        As in `load`.
    """
    with opened(path) as container:
        return summarise(read_manifest(container.manifest())) | {"bytes": Path(path).stat().st_size}


# --- writing -------------------------------------------------------------------------------------


def _content(pipeline: FittedPipeline) -> bytes:
    """Return the bytes of a file."""
    thresholds = {"cuts": pipeline.thresholds.cuts, "counts": pipeline.thresholds.counts}
    ranges = dict(zip(RANGE_ARRAYS, pipeline.ranges))
    arrays = _under("thresholds", thresholds) | _under("ranges", ranges)
    for number, strategy in enumerate(pipeline.strategies):
        arrays |= _under(f"strategies.{number}", strategy_arrays(strategy))
    for number, encoder in enumerate(pipeline.encoders):
        arrays |= _under(f"encoders.{number}", encoder.to_arrays())
    _check_levels(arrays)
    return packed(pipeline.manifest(stamp() | pipeline.info), arrays)


def strategy_arrays(fitted: FittedStrategy) -> Arrays:
    """Return the arrays of a fitted strategy by dotted name, without `FittedStrategy.part`."""
    arrays: Arrays = {}
    for number, pack in enumerate(fitted.packs):
        members = {"fold": pack.fold, "weight": pack.weight, "log_prior": pack.log_prior}
        arrays |= _under(f"packs.{number}", members | _under("state", pack.state))
    for number, trees in enumerate(fitted.trees):
        arrays |= _under(f"trees.{number}", trees.to_arrays())
    return arrays


def _check_levels(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Check the levels of all encoders and trees, which take more memory than their bytes."""
    size = sum(levels_memory(text) for name, text in arrays.items() if name.endswith(".levels"))
    if size > _MAX_LEVELS:
        raise ArtifactError(
            f"The levels of its categorical columns take {size:,} bytes as strings; the limit is "
            f"{_MAX_LEVELS:,}. Leave out columns with a name for almost each row."
        )


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    return {f"{prefix}.{name}": values for name, values in arrays.items()}


# --- reading -------------------------------------------------------------------------------------


def _pipeline(manifest: Manifest, arrays: Arrays) -> FittedPipeline:
    _check_levels(arrays)
    sections = _sections(arrays)
    encoders = [
        Encoder.from_arrays(_taken(sections, f"encoders.{number}", ENCODER_ARRAYS), layout)
        for number, layout in enumerate(manifest.encoders)
    ]
    strategies = [
        strategy_of(part, sections.pop(f"strategies.{number}", {}), f"strategies.{number}")
        for number, part in enumerate(manifest.strategies)
    ]
    n_classes = len(manifest.classes.labels)
    thresholds = _taken(sections, "thresholds", THRESHOLD_ARRAYS, C=n_classes)
    ranges = _taken(sections, "ranges", RANGE_ARRAYS, p=count_numbers(manifest.schema))
    _check_empty(sections, "a pipeline")
    return FittedPipeline(
        schema=manifest.schema,
        classes=_classes(manifest.classes),
        positive=manifest.positive,
        encoders=tuple(encoders),
        strategies=tuple(strategies),
        weights=manifest.weights,
        calibrator=manifest.calibrator,
        rule=manifest.rule,
        thresholds=ThresholdCounts(thresholds["cuts"], thresholds["counts"]),
        ranges=np.stack([ranges[name] for name in RANGE_ARRAYS]),
        info=dict(manifest.info),
    )


def _sections(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Arrays]:
    """Group arrays by section."""
    sections: dict[str, Arrays] = defaultdict(dict)
    for name, values in arrays.items():
        section, rest = match.groups() if (match := _NAME.fullmatch(name)) else (name, "")
        sections[section][rest] = values
    return sections


def _taken(
    sections: dict[str, Arrays], name: str, table: Mapping[str, Array], **lengths: int
) -> Arrays:
    """Remove a section and return its arrays, which are checked to be those of a table."""
    check_arrays(table, arrays := sections.pop(name, {}), name, **lengths)
    return arrays


def _check_empty(sections: Mapping[str, Arrays], place: str) -> None:
    for name in sections:
        raise ArtifactError(f"{place} has no array {name!r}.")


def strategy_of(part: StrategyPart, arrays: Arrays, place: str = "strategy") -> FittedStrategy:
    """Build a fitted strategy from its description and the arrays of `strategy_arrays`.

    Parameters
    ----------
    part : StrategyPart
    arrays : dict of str to ndarray
    place : str
        Name of the strategy in errors.

    Raises
    ------
    ArtifactError
        If the arrays do not match the description.
    """
    sections = _sections(arrays)
    packs = [
        _pack(pack, sections.pop(f"packs.{number}", {}), f"{place}.packs.{number}")
        for number, pack in enumerate(part.packs)
    ]
    trees = [
        FittedTrees.from_arrays(
            sections.pop(f"trees.{number}", {}),
            f"{place}.trees.{number}",
            numbers=fold.numbers,
            bagged=fold.bagged,
        )
        for number, fold in enumerate(part.trees)
    ]
    _check_empty(sections, place)
    return FittedStrategy(**structs.asdict(part) | {"packs": tuple(packs), "trees": tuple(trees)})


def _pack(part: PackPart, arrays: Arrays, name: str) -> FittedMemberPack:
    check_arrays(PACK_ARRAYS, arrays, name, C=part.spec.n_classes)
    state = {
        key.removeprefix("state."): values
        for key, values in arrays.items()
        if key.startswith("state.")
    }
    if part.spec.depth > len(state):
        raise ArtifactError(f"A network of depth {part.spec.depth} has {len(state)} arrays.")
    from autoimb.nn.network import build  # imports torch, which `inspect` does not need

    # The meta device allocates nothing, whatever sizes the file claims.
    build(part.spec, len(arrays["fold"]), device="meta").check(state)
    return FittedMemberPack(
        spec=part.spec,
        fold=arrays["fold"],
        weight=arrays["weight"],
        log_prior=arrays["log_prior"],
        focal_gamma=part.focal_gamma,
        state=state,
    )


def _classes(part: LabelPart) -> NDArray[Any]:
    """Return the labels as an array, whose plain values must be the same labels."""
    labels, dtype = part.labels, _LABEL_DTYPE.fullmatch(part.dtype)
    if dtype is None or int(dtype["length"] or 0) * len(labels) > _MAX_TEXT:
        raise ArtifactError(f"Classes can't be {len(labels)} of dtype {part.dtype!r}.")
    classes = np.array(labels, dtype=part.dtype)
    written = plain_labels(classes)
    if written != labels or list(map(type, written)) != list(map(type, labels)):
        raise ArtifactError(f"Classes of dtype {part.dtype!r} can't be such values.")
    if len(set(labels)) < len(labels):
        raise ArtifactError("Classes must differ.")
    return classes
