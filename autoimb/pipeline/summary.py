"""What a pipeline says about itself: one summary for the file, the pipeline and the estimator."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autoimb.assessment.decision.rule import DecisionRule
from autoimb.assessment.uncertainty import expected_in_words
from autoimb.data.schema import Schema
from autoimb.version import __version__

__all__ = ["in_words", "plain_labels", "stamp", "summarise"]


def summarise(
    *,
    format: int,
    info: Mapping[str, Any],
    schema: Schema,
    labels: list[Any],
    positive: int,
    strategies: Iterable[tuple[float, str, dict[str, Any]]],
    rule: DecisionRule,
) -> dict[str, Any]:
    """Gather what `autoimb.pipeline.artifact.inspect` returns.

    Parameters
    ----------
    format : int
        Of the file.
    info : mapping
        Metric, score, created, versions.
    schema : Schema
    labels : list
        The classes as plain values.
    positive : int
        Code of the positive class.
    strategies : iterable of (float, str, dict)
        Weight, description and JSON of each.
    rule : DecisionRule

    Returns
    -------
    dict
        Plain values.
    """
    return {
        "format": format,
        "info": dict(info),
        "target": schema.target,
        "classes": labels,
        "positive": labels[positive],
        "columns": {column.name: column.kind for column in schema.columns},
        "strategies": [
            {"weight": weight, "description": description, "strategy": strategy}
            for weight, description, strategy in strategies
        ],
        "rule": rule.name,
    }


def in_words(summary: Mapping[str, Any]) -> str:
    """Say in a few lines what predicts what, and how, from what `summarise` gathered."""
    labels = ", ".join(str(label) for label in summary["classes"])
    lines = [
        f"predicts {summary['target'] or 'the target'} ({labels}; positive class "
        f"{summary['positive']}) from {len(summary['columns'])} columns"
    ]
    strategies = summary["strategies"]
    if len(strategies) == 1:
        lines.append(f"strategy: {strategies[0]['description']}")
    else:
        lines += [f"strategy, weight {s['weight']:.2f}: {s['description']}" for s in strategies]
    lines.append(f"decision rule: {summary['rule']}")
    info = summary["info"]
    if {"metric", "score", "interval"} <= info.keys():
        lines.append(expected_in_words(info["metric"], info["score"], *info["interval"]))
    elif {"metric", "score", "error"} <= info.keys():
        lines.append("{metric} {score:.4f} ± {error:.4f}, out of fold".format_map(info))
    return "\n".join(lines)


def stamp() -> dict[str, Any]:
    """Return when and by which versions something is made.

    ``SOURCE_DATE_EPOCH`` of the environment, seconds since 1970, takes the place of the clock where
    files are to be the same to the byte (reproducible-builds.org).
    """
    seconds = os.environ.get("SOURCE_DATE_EPOCH", "")
    created = datetime.fromtimestamp(int(seconds), UTC) if seconds.isdigit() else datetime.now(UTC)
    versions = {"autoimb": __version__, "numpy": np.__version__, "torch": torch.__version__}
    return {
        "created": created.isoformat(timespec="seconds"),
        "versions": versions | {"python": platform.python_version()},
    }


def plain_labels(classes: NDArray[Any]) -> list[Any]:
    """Write labels as plain values, dates as text."""
    labels: list[Any] = (classes.astype(str) if classes.dtype.kind == "M" else classes).tolist()
    return labels
