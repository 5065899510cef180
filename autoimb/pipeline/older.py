"""Files of older formats, given the form of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from autoimb.assessment.calibration import Calibrator
from autoimb.assessment.decision.threshold import ThresholdCounts
from autoimb.data.encoding.levels import levels_to_arrays
from autoimb.data.encoding.screening import Screen
from autoimb.errors import ArtifactError
from autoimb.fields import check_arrays
from autoimb.pipeline.container import FORMAT, Arrays, below, under
from autoimb.pipeline.contents import OLD_ROWS

__all__ = ["arrays_of_today", "manifest_of_today"]


def manifest_of_today(manifest: dict[str, Any]) -> dict[str, Any]:
    """Give the plain values of an older format the form of today."""
    if manifest["format"] >= FORMAT:
        return manifest
    none = {"statistics": [], "integers": [], "repeated": False, "n_classes": 0}
    encoders = [dict(each) | none for each in manifest["encoders"]]
    for each in encoders:
        del each["levels"]  # arrays today
    # the first files of format 1 did not say whether they were confirmed
    strategies = [{"trees": [], "confirmed": False} | each for each in manifest["strategies"]]
    identity = Calibrator.identity(len(manifest["classes"]["labels"]))
    today = {"encoders": encoders, "strategies": strategies, "calibrator": identity.to_json()}
    return manifest | today


def arrays_of_today(manifest: Mapping[str, Any], arrays: Arrays) -> Arrays:
    """Give the arrays of an older format, whose plain values are given, the form of today."""
    if manifest["format"] >= FORMAT:
        return arrays
    added: Arrays = {
        "value_column": np.empty(0, dtype=np.int64),
        "value": np.empty(0, dtype=np.float64),
        "repeated": np.empty(0, dtype=np.uint64),
        "statistics": np.empty((0, 1), dtype=np.float32),
    }
    if manifest["format"] < 2:
        added["spike_column"] = np.empty(0, dtype=np.int64)
        added["spike_value"] = np.empty(0, dtype=np.float32)
    for number, encoder in enumerate(manifest["encoders"]):
        prefix, levels = f"encoders.{number}", levels_to_arrays(encoder["levels"])
        every = Screen.every(len(arrays[f"{prefix}.center"]), len(encoder["levels"]))
        arrays = arrays | under(prefix, added | levels | every.to_arrays())
    rows = below("oof", arrays)
    check_arrays(OLD_ROWS, rows, "oof")
    y, proba, n_classes = rows["y"], rows["proba"], len(manifest["classes"]["labels"])
    fits = proba.shape == (len(y), n_classes) and rows["weight"].shape == y.shape
    if not fits or y.max(initial=0) >= n_classes:
        raise ArtifactError("The out-of-fold rows don't fit the classes.")
    counts = ThresholdCounts.of(y, proba, manifest["positive"], weight=rows["weight"])
    others = {name: own for name, own in arrays.items() if not name.startswith("oof.")}
    return others | under("thresholds", {"cuts": counts.cuts, "counts": counts.counts})
