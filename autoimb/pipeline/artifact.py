"""One `.autoimb` file: a zip of ``manifest.json`` and ``weights.safetensors``; nothing in it runs.

Format 4
--------
``manifest.json`` holds plain values (schema, classes, encoders' vocabularies, strategies, decision
rule, versions); ``weights.safetensors``, stored as it is, holds every array under a dotted name
such as ``strategies.0.packs.0.state.heads.bias``. The bytes depend on the pipeline alone.

Format 1 had no spikes of numbers (``encoders.0.spike_value`` and the like); formats 1 and 2 had no
trees (``strategies.0.trees.0.feature`` and the like) and no statistics of levels; formats 1 to 3
had no calibrator of the whole (``calibrator``). Encoders read all columns in files that don't say
which (``encoders.0.read_numbers`` and ``read_categories``).

To change the format: raise `FORMAT`, let `load` turn the old manifest into the new one, and keep a
file of the old format under ``tests/`` with a test that reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autoimb.assessment.calibration import Calibrator
from autoimb.assessment.decision.rule import DecisionRule
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.encoding.screening import Screen
from autoimb.data.schema import Schema
from autoimb.errors import ArtifactError
from autoimb.nn.network import NetworkSpec, build
from autoimb.partners.trees import FittedTrees
from autoimb.pipeline.container import (
    FORMAT,
    Arrays,
    opened,
    read_arrays,
    read_manifest,
    write,
)
from autoimb.pipeline.fitted import FittedMemberPack, FittedPipeline, FittedStrategy
from autoimb.pipeline.summary import plain_labels, stamp, summarise

__all__ = ["FORMAT", "ArtifactError", "inspect", "load", "pack_strategy", "save", "unpack_strategy"]

_LABEL_KINDS = "biufUOM"  # numpy kinds a class label can have
_TEXT_LIMIT = 10_000  # characters of a class label


def save(pipeline: FittedPipeline, path: str | PathLike[str]) -> None:
    """Write a pipeline to one file: whole, or not at all.

    Parameters
    ----------
    pipeline : FittedPipeline
        What to write. ``created`` and ``versions`` are added to its ``info`` where missing.
    path : path-like
        By custom ``*.autoimb``; an existing file is replaced, missing folders are made.
    """
    manifest, arrays = _to_parts(replace(pipeline, info=stamp() | pipeline.info))
    write(Path(path), manifest, arrays)


def load(path: str | PathLike[str]) -> FittedPipeline:
    """Read a pipeline; nothing from the file is executed.

    Parameters
    ----------
    path : path-like
        A file that `save` wrote.

    Returns
    -------
    FittedPipeline
        It has predicted one row of missing values, so that all its parts fit.

    Raises
    ------
    ArtifactError
        Where the file is missing, damaged, of a newer format, or its parts don't fit.
    """
    with opened(path) as archive:
        manifest = read_manifest(archive)
        arrays = read_arrays(archive)
        pipeline = _from_parts(*_of_today(manifest, arrays))
        _check(pipeline)
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
        rule, bytes. `FittedPipeline.inspect` says the same without a file, but for its bytes.

    Raises
    ------
    ArtifactError
        As in `load`.
    """
    with opened(path) as archive:
        manifest = read_manifest(archive)
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
        arrays |= _under(f"packs.{number}", own | _under("state", pack.state))
    for number, fold in enumerate(fitted.trees):
        arrays |= _under(f"trees.{number}", fold.to_arrays())
    values = {
        "strategy": fitted.strategy,
        "description": fitted.description,
        "packs": packs,
        "calibrator": fitted.calibrator.to_json(),
        "tilt": None if fitted.class_costs is None else list(fitted.class_costs),
        "work": fitted.rung,
        "confirmed": fitted.confirmed,
        "trees": [fold.to_json() for fold in fitted.trees],
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
        Where an array has another shape than the network needs, or arrays are no trees.
    """
    packs = []
    for number, pack in enumerate(values["packs"]):
        own = _below(f"packs.{number}", arrays)
        spec, state = NetworkSpec.from_json(pack["spec"]), _below("state", own)
        fitted = FittedMemberPack(
            spec=spec,
            fold=own["fold"].astype(np.int64),
            weight=own["weight"].astype(np.float64),
            log_prior=own["log_prior"].astype(np.float64),
            focal_gamma=float(pack["focal_gamma"]),
            state=state,
        )
        if spec.depth > len(state):
            raise ArtifactError(f"A network of depth {spec.depth} has {len(state)} arrays.")
        # on the meta device nothing is allocated, whatever sizes the file claims
        build(spec, len(fitted.fold), device="meta").load(state)
        packs.append(fitted)
    return FittedStrategy(
        strategy=dict(values["strategy"]),
        description=str(values["description"]),
        packs=tuple(packs),
        calibrator=Calibrator.from_json(values["calibrator"]),
        class_costs=None if values["tilt"] is None else tuple(float(t) for t in values["tilt"]),
        rung=float(values["work"]),
        confirmed=bool(values.get("confirmed", False)),  # not in the first files of format 1
        trees=tuple(
            FittedTrees.from_parts(fold, _below(f"trees.{number}", arrays))
            for number, fold in enumerate(values["trees"])
        ),
    )


def _to_parts(pipeline: FittedPipeline) -> tuple[dict[str, Any], Arrays]:
    codes, proba, weight = pipeline.oof
    arrays: Arrays = {"oof.y": codes, "oof.proba": proba, "oof.weight": weight}
    strategies = []
    for number, strategy in enumerate(pipeline.strategies):
        values, own = pack_strategy(strategy)
        strategies.append(values)
        arrays |= _under(f"strategies.{number}", own)
    for number, encoder in enumerate(pipeline.encoders):
        arrays |= _under(f"encoders.{number}", encoder.to_arrays())
    manifest = {
        "format": FORMAT,
        "info": pipeline.info,
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


def _of_today(manifest: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
    """Give the parts of an older format what it had no need of."""
    added: Arrays = {}
    if manifest["format"] < 2:
        added["spike_column"] = np.empty(0, dtype=np.int64)
        added["spike_value"] = np.empty(0, dtype=np.float32)
    if manifest["format"] < 3:
        added["value_column"] = np.empty(0, dtype=np.int64)
        added["value"] = np.empty(0, dtype=np.float64)
        added["repeated"] = np.empty(0, dtype=np.uint64)
        added["statistics"] = np.empty((0, 1), dtype=np.float32)
        none = {"statistics": [], "integers": [], "repeated": False, "n_classes": 0}
        manifest = manifest | {
            "encoders": [each | none for each in manifest["encoders"]],
            "strategies": [{"trees": []} | each for each in manifest["strategies"]],
        }
    if manifest["format"] < 4:
        identity = Calibrator.identity(len(manifest["classes"]["labels"]))
        manifest = manifest | {"calibrator": identity.to_json()}
    for number, each in enumerate(manifest["encoders"]):
        prefix = f"encoders.{number}"
        every = Screen.every(len(arrays[f"{prefix}.center"]), len(each["levels"]))
        arrays = _under(prefix, every.to_arrays()) | arrays | _under(prefix, added)
    return manifest, arrays


def _from_parts(manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> FittedPipeline:
    return FittedPipeline(
        schema=Schema.from_json(manifest["schema"]),
        classes=_classes(manifest["classes"]),
        positive=int(manifest["positive"]),
        encoders=tuple(
            Encoder.from_parts(values, _below(f"encoders.{number}", arrays))
            for number, values in enumerate(manifest["encoders"])
        ),
        strategies=tuple(
            unpack_strategy(values, _below(f"strategies.{number}", arrays))
            for number, values in enumerate(manifest["strategies"])
        ),
        weights=tuple(float(weight) for weight in manifest["weights"]),
        calibrator=Calibrator.from_json(manifest["calibrator"]),
        rule=DecisionRule.from_json(manifest["rule"]),
        oof=(arrays["oof.y"], arrays["oof.proba"], arrays["oof.weight"]),
        info=dict(manifest["info"]),
    )


def _check(pipeline: FittedPipeline) -> None:
    """Refuse parts that don't fit each other, by counts and then by a dry run."""
    n_classes = len(pipeline.classes)
    codes, proba, weight = pipeline.oof
    kept = pipeline.schema.kept
    n_categories = sum(column.kind == "categorical" for column in kept)
    n_numbers = sum(len(c.numbers) for c in kept if c.kind != "categorical")
    folds = {int(f) for s in pipeline.strategies for pack in s.packs for f in pack.fold}
    rules = {
        "at least one strategy, with one weight each": 0
        < len(pipeline.strategies)
        == len(pipeline.weights),
        "a positive class among the classes": 0 <= pipeline.positive < n_classes,
        "one encoder a fold": folds <= set(range(len(pipeline.encoders))),
        "encoders of its own columns": all(
            each.center.shape == each.factor.shape == each.bins.shape == each.indicator.shape
            and each.screen.fits(n_numbers, n_categories)
            and each.screen.numbers.shape == each.center.shape
            and len(each.screen.categories) == len(each.levels)
            and each.spike_column.shape == each.spike_value.shape
            and np.isin(each.spike_column, np.arange(len(each.center))).all()
            for each in pipeline.encoders
        ),
        "networks or trees in each strategy": all(
            bool(each.packs) != bool(each.trees) for each in pipeline.strategies
        ),
        "trees of its own columns": all(
            (len(each.reader.levels), each.reader.numbers) == (n_categories, n_numbers)
            and len(each.log_prior) == n_classes
            for strategy in pipeline.strategies
            for each in strategy.trees
        ),
        "out-of-fold rows of one shape": proba.shape == (*codes.shape, n_classes)
        and weight.shape == codes.shape,
    }
    for wanted, holds in rules.items():
        if not holds:
            raise ArtifactError(f"The parts don't fit: a pipeline has {wanted}.")
    blank = pd.DataFrame({name: [None] for name in pipeline.schema.names}, dtype=object)
    answer = pipeline.predict_proba(blank)
    pipeline.rule.apply(answer)
    if answer.shape != (1, n_classes) or not np.isfinite(answer).all():
        raise ArtifactError(f"The parts don't fit: the answer to a row is {answer}.")


def _classes(values: Mapping[str, Any]) -> NDArray[Any]:
    dtype, labels = np.dtype(values["dtype"]), values["labels"]
    text = dtype.itemsize // 4 if dtype.kind == "U" else 0
    if dtype.kind not in _LABEL_KINDS or text > _TEXT_LIMIT or len(labels) < 2:
        raise ArtifactError(f"Classes can't be {labels!r} of dtype {dtype.str!r}.")
    return np.array(labels, dtype=dtype)


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    return {f"{prefix}.{name}": values for name, values in arrays.items()}


def _below(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    start = prefix + "."
    return {name[len(start) :]: own for name, own in arrays.items() if name.startswith(start)}
