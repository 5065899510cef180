"""Summaries of a pipeline as values, text and HTML, for the file, pipeline and estimator."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.uncertainty import expected_in_words
from autoimb.pipeline.manifest import Manifest
from autoimb.text import BRIEF, harmless
from autoimb.version import __version__

__all__ = ["in_a_line", "in_a_table", "in_words", "plain_labels", "stamp", "summarise"]

_MAX_LABELS = 10  # labels in a table of a notebook


def summarise(manifest: Manifest) -> dict[str, Any]:
    """Return the values of `autoimb.pipeline.artifact.inspect`, except ``bytes``."""
    schema, labels, positive = manifest.schema, manifest.classes.labels, manifest.positive
    return {
        "format": manifest.format,
        "info": dict(manifest.info),
        "target": schema.target,
        "classes": labels,
        "positive": labels[positive],
        "columns": {column.name: column.kind for column in schema.columns},
        "strategies": [
            {
                "weight": float(weight),
                "description": strategy.description,
                "strategy": strategy.strategy,
            }
            for weight, strategy in zip(manifest.weights, manifest.strategies)
        ],
        "rule": manifest.rule.name,
        "threshold": manifest.rule.threshold(positive) if len(labels) == 2 else None,
    }


def in_words(summary: Mapping[str, Any]) -> str:
    """Describe classes, strategies, decision rule and score in a few lines, from a summary."""
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
    lines.append(f"decision rule: {_rule_in_words(summary)}")
    info = summary["info"]
    if {"metric", "score", "interval", "estimate"} <= info.keys():
        expected = info["metric"], info["score"], *info["interval"]
        lines.append(expected_in_words(*expected, estimate=info["estimate"]))
    elif {"metric", "score", "error"} <= info.keys():
        lines.append(
            f"{info['metric']} {_decimals(info['score'])} ± {_decimals(info['error'])}, out of fold"
        )
    return "\n".join(lines)


def in_a_line(summary: Mapping[str, Any]) -> str:
    """Write a summary as the repr of a pipeline, in fewer than 400 characters."""
    info = summary["info"]
    values = {
        "target": summary["target"],
        "classes": summary["classes"],
        "columns": len(summary["columns"]),
        "strategies": len(summary["strategies"]),
        "metric": info.get("metric"),
        "score": _rounded(info.get("score")),
        "interval": _rounded(info.get("interval")),
        "rule": summary["rule"],
        "threshold": _rounded(summary["threshold"]),
    }
    parts = (f"{name}={BRIEF.repr(value)}" for name, value in values.items() if value is not None)
    return f"FittedPipeline({', '.join(parts)})"


def _decimals(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _rounded(value: Any) -> Any:
    """Round a number, or the numbers of a list, to four digits."""
    if isinstance(value, list):
        return tuple(map(_rounded, value))
    return None if value is None else float(f"{value:.4g}")


def in_a_table(summary: Mapping[str, Any]) -> str:
    """Write a summary as an HTML table, for notebooks."""
    info, strategies = summary["info"], summary["strategies"]
    heaviest = max(strategies, key=lambda strategy: strategy["weight"])["description"]
    rows = {
        "Predicts": f"{summary['target'] or 'the target'}: {_labels_in_words(summary)}",
        "From": f"{len(summary['columns'])} columns",
    }
    if {"metric", "score"} <= info.keys():
        rows["Score"] = f"{info['metric']} {_decimals(info['score'])}, out of fold"
    if "interval" in info:
        rows["95 % interval"] = " to ".join(map(_decimals, info["interval"]))
    if "verdict" in info:
        rows["Verdict"] = info["verdict"]
    rows["Decision rule"] = _rule_in_words(summary)
    rows["Strategy"] = (
        heaviest if len(strategies) == 1 else f"a blend of {len(strategies)}, led by {heaviest}"
    )
    cells = (
        f'<tr><th style="text-align: left">{escape(name)}</th>'
        f'<td style="text-align: left">{escape(harmless(value))}</td></tr>'
        for name, value in rows.items()
    )
    return f"<table>{''.join(cells)}</table>"


def _labels_in_words(summary: Mapping[str, Any]) -> str:
    labels = [str(label) for label in summary["classes"][:_MAX_LABELS]]
    if len(summary["classes"]) > _MAX_LABELS:
        labels.append(f"... ({len(summary['classes'])} classes)")
    return f"{', '.join(labels)}; positive class {summary['positive']}"


def _rule_in_words(summary: Mapping[str, Any]) -> str:
    """Describe the decision rule, with the threshold if there are two classes."""
    if summary["threshold"] is None:
        return str(summary["rule"])
    return (
        f"{summary['positive']} from a probability of {summary['threshold']:.4g} on "
        f"({summary['rule']})"
    )


def stamp() -> dict[str, Any]:
    """Return the present time and the versions of the packages.

    The environment variable ``SOURCE_DATE_EPOCH``, in seconds since 1970, replaces the clock for
    reproducible files (reproducible-builds.org).
    """
    seconds = os.environ.get("SOURCE_DATE_EPOCH", "")
    created = datetime.fromtimestamp(int(seconds), UTC) if seconds.isdigit() else datetime.now(UTC)
    versions = {"autoimb": __version__, "numpy": np.__version__, "torch": version("torch")}
    return {
        "created": created.isoformat(timespec="seconds"),
        "versions": versions | {"python": platform.python_version()},
    }


def plain_labels(classes: NDArray[Any]) -> list[Any]:
    """Write labels as plain values, dates as text."""
    labels: list[Any] = (classes.astype(str) if classes.dtype.kind == "M" else classes).tolist()
    return labels
