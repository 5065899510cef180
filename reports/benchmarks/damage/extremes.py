"""Extreme files, and what loading each takes: a whole pipeline with one part that is huge.

A part is huge by its numbers, or because few numbers make a reader allocate many. Forged files
claim more than they hold, or hold what no reader should build.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from reports.benchmarks import project
from reports.benchmarks.damage.mutations import Arrays, Parts

__all__ = ["FORGED_EXTREMES", "VALID_EXTREMES", "extreme"]

Change = Callable[[dict[str, Any], Arrays], None]
PACK = "strategies.0.packs.0"


def _network(manifest: dict[str, Any], arrays: Arrays, **changes: Any) -> None:
    """Replace all strategies by one network of the first fold."""
    n_classes = len(manifest["classes"]["labels"])
    spec = {
        "kind": "mlp",
        "width": 64,
        "depth": 1,
        "k": 1,
        "activation": "relu",
        "dropout": 0.0,
        "embedding_dim": 4,
        "ple": False,
        "n_inputs": 128,
        "cardinalities": [100] * len(manifest["encoders"][0]["embedded"]),
        "n_classes": n_classes,
        "body": "plain",
        "periodic": 0,
    } | changes
    strategy = manifest["strategies"][0] | {"trees": [], "class_costs": None}
    strategy["packs"] = [{"spec": spec, "focal_gamma": 0.0}]
    manifest["strategies"], manifest["weights"] = [strategy], [1.0]
    for name in [name for name in arrays if name.startswith("strategies.")]:
        del arrays[name]
    arrays[f"{PACK}.fold"] = np.zeros(1, dtype=np.int64)
    arrays[f"{PACK}.weight"] = np.ones(1)
    arrays[f"{PACK}.log_prior"] = np.zeros((1, n_classes))
    for name, shape in project.network_shapes(spec).items():
        arrays[f"{PACK}.state.{name}"] = np.zeros(shape, dtype=np.float32)


def _levels(arrays: Arrays, text: bytes) -> None:
    arrays["encoders.0.levels"] = np.frombuffer(text, dtype=np.uint8)


def wide_tabm(manifest: dict[str, Any], arrays: Arrays) -> None:
    """Hold TabM of width 4,096 with 64 copies."""
    _network(manifest, arrays, kind="tabm", k=64, width=4096, depth=3)


def wide_first(manifest: dict[str, Any], arrays: Arrays) -> None:
    """Hold TabM whose scaled weights are far larger than the file."""
    _network(manifest, arrays, kind="tabm", k=256, width=2**12, depth=1, n_inputs=256)


def wide_mlp(manifest: dict[str, Any], arrays: Arrays) -> None:
    """Hold a wide network."""
    _network(manifest, arrays, width=6000, depth=2)


def deep(manifest: dict[str, Any], arrays: Arrays) -> None:
    """Hold 256 layers."""
    _network(manifest, arrays, width=64, depth=256)


def residual(manifest: dict[str, Any], arrays: Arrays) -> None:
    """Hold wide residual blocks."""
    _network(manifest, arrays, width=2048, depth=2, body="residual")


def many_levels(manifest: dict[str, Any], arrays: Arrays) -> None:
    """Hold 1,300,000 levels in a column that no network reads."""
    layout = manifest["encoders"][0]
    levels = msgspec.json.decode(arrays["encoders.0.levels"].data)
    # The statistics of these columns precede those of numbers.
    rows = sum(len(levels[j]) + 2 for j in layout.get("statistics", ()))
    arrays["encoders.0.statistics"] = arrays["encoders.0.statistics"][rows:]
    if layout["onehot"]:
        arrays["encoders.0.onehot_mean"] = np.empty(0, dtype=np.float32)
    layout |= {"onehot": [], "embedded": [], "statistics": []}
    _network(manifest, arrays)
    levels = [[f"{number:07}" for number in range(1_300_000)], *([[]] * (len(levels) - 1))]
    _levels(arrays, msgspec.json.encode(levels))


def many_values(manifest: dict[str, Any], _: Arrays) -> None:
    """Hold nearly as many plain values as a file may have."""
    manifest["info"]["versions"] = {str(number): "" for number in range(480_000)}


def many_thresholds(_: dict[str, Any], arrays: Arrays) -> None:
    """Hold millions of thresholds."""
    counts = arrays["thresholds.counts"]
    cuts = np.linspace(-1e3, 1e3, 8_000_000)
    arrays["thresholds.cuts"] = cuts
    arrays["thresholds.counts"] = np.ones((len(cuts) + 1, counts.shape[1]))


def millions_of_levels(_: dict[str, Any], arrays: Arrays) -> None:
    """Hold millions of levels of one letter, which would take 20 times their bytes."""
    _levels(arrays, b"[[" + b'"a",' * 12_000_000 + b'"a"]]')


def wide_levels(_: dict[str, Any], arrays: Arrays) -> None:
    """Hold a long level that one character makes four times as long in memory."""
    _levels(arrays, msgspec.json.encode([["a" * 300_000_000 + "\U0001f600"]]))


def empty_columns(_: dict[str, Any], arrays: Arrays) -> None:
    """Hold millions of columns without a level."""
    _levels(arrays, b"[" + b"[]," * 50_000_000 + b"[]]")


def nested_levels(_: dict[str, Any], arrays: Arrays) -> None:
    """Hold lists in lists in place of levels."""
    _levels(arrays, b"[" * 50_000_000)


def claimed_network(manifest: dict[str, Any], arrays: Arrays) -> None:
    """Claim a network of 250 GB."""
    _network(manifest, arrays)
    manifest["strategies"][0]["packs"][0]["spec"] |= {"width": 2**14, "depth": 2**8}


def claimed_inputs(manifest: dict[str, Any], arrays: Arrays) -> None:
    """Claim 2**31 inputs."""
    _network(manifest, arrays)
    manifest["strategies"][0]["packs"][0]["spec"]["n_inputs"] = 2**31


def claimed_values(_: dict[str, Any], arrays: Arrays) -> None:
    """Hold values of a column that the table lacks."""
    arrays["encoders.0.value_column"] = np.full(10_000_000, 10**6)
    arrays["encoders.0.value"] = np.zeros(10_000_000)


def long_ranges(_: dict[str, Any], arrays: Arrays) -> None:
    """Hold ranges of millions of numbers that the table lacks."""
    arrays["ranges.low"] = arrays["ranges.high"] = np.zeros(12_000_000)


VALID_EXTREMES: dict[str, Change] = {
    change.__name__: change
    for change in (
        wide_tabm,
        wide_first,
        wide_mlp,
        deep,
        residual,
        many_levels,
        many_values,
        many_thresholds,
    )
}
FORGED_EXTREMES: dict[str, Change] = {
    change.__name__: change
    for change in (
        millions_of_levels,
        wide_levels,
        empty_columns,
        nested_levels,
        claimed_network,
        claimed_inputs,
        claimed_values,
        long_ranges,
    )
}


def extreme(parts: Parts, change: Change) -> Parts:
    """Return the plain values and the arrays of a pipeline after a change."""
    manifest, arrays = copy.deepcopy(parts[0]), dict(parts[1])
    change(manifest, arrays)
    return manifest, arrays
