"""Commands that need a pipeline only: predict, evaluate, inspect."""

from __future__ import annotations

import json
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoimb.cli.arguments import Data, MaxMemory, Out, Pipeline, Target, Weight
from autoimb.cli.terminal import say
from autoimb.errors import TargetError
from autoimb.text import no_formula

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from autoimb.pipeline.fitted import FittedPipeline

__all__ = ["evaluate", "inspect", "predict"]

MOST_THREADS = 8  # that predict: each has its own networks, and the rows that it encodes

Threshold = Annotated[
    str | None,
    typer.Option(
        "--threshold",
        metavar="RULE",
        help='Instead of the fitted rule (two classes): a probability, or "recall>=0.8", '
        '"precision>=0.5".',
    ),
]


def predict(
    pipeline: Pipeline,
    data: Data,
    out: Out,
    threshold: Threshold = None,
    guard_formulas: Annotated[
        bool,
        typer.Option(
            "--guard-formulas",
            help="Put an apostrophe before labels that a spreadsheet would compute, as =1+1.",
        ),
    ] = False,
) -> None:
    """Predict each row of DATA.

    OUT ends in .csv, .csv.gz or .parquet; it gets the columns prediction and proba_<class>.
    """
    import joblib
    import torch

    from autoimb.cli.tables import cells_of_piece, in_order, read_chunks, writer

    fitted = _load(pipeline, threshold)
    write = writer(out)
    torch.set_num_threads(1)  # each of the threads that predict
    threads = min(joblib.cpu_count(), MOST_THREADS)
    with closing(read_chunks(data, fitted, cells=cells_of_piece(threads))) as chunks:
        predicted = partial(_predicted, fitted, _labels(fitted, guard_formulas=guard_formulas))
        n_rows = write(in_order(predicted, chunks, threads=threads))
    say(f"{n_rows} rows -> {out}")


def evaluate(
    pipeline: Pipeline,
    data: Data,
    target: Target,
    threshold: Threshold = None,
    weight: Weight = None,
    max_memory: MaxMemory = None,
) -> None:
    """Score the pipeline on labelled rows.

    By every metric; the rows should be ones that the search never saw.
    """
    from autoimb.assessment.metrics import get_metric, metric_names
    from autoimb.data.sample import read, reweighted
    from autoimb.data.target import match_labels

    fitted = _load(pipeline, threshold)
    rows = read(data, target, max_memory=max_memory, weight=weight)
    frame, y, weights = reweighted(rows)
    codes = match_labels(y, fitted.classes_)
    if len(set(codes.tolist())) < 2:
        raise TargetError(f"{target} has one class in {data}: no metric says anything on it.")
    proba = fitted.predict_proba(frame)
    labels = fitted.rule.apply(proba)
    positive = fitted.classes_[fitted.positive]
    whole = "" if rows.class_counts is None else f" drawn from {sum(rows.class_counts.values())}"
    say(f"{len(codes)} rows{whole}, {int((codes == fitted.positive).sum())} of class {positive}")
    for name in metric_names():
        metric = get_metric(
            name,
            n_classes=len(fitted.classes_),
            positive=fitted.positive,
            classes=fitted.classes_,
        )
        say(f"{name:<20} {metric(codes, proba, labels, weight=weights):.4f}")


def inspect(pipeline: Pipeline) -> None:
    """Print what the pipeline is, as JSON."""
    from autoimb.pipeline.artifact import inspect as read_summary

    say(json.dumps(read_summary(pipeline), indent=2, ensure_ascii=False))


def _load(path: Path, threshold: str | None) -> FittedPipeline:
    from autoimb.pipeline.artifact import load

    fitted = load(path)
    if threshold is None:
        return fitted
    try:
        rule: str | float = float(threshold)
    except ValueError:
        rule = threshold
    return fitted.with_threshold(rule)


def _labels(fitted: FittedPipeline, *, guard_formulas: bool) -> pa.Array:
    """Return what is written for each class."""
    import pyarrow as pa

    try:
        labels: pa.Array = pa.array(fitted.classes_)
    except (OverflowError, pa.ArrowInvalid):  # whole numbers beyond 64 bits
        labels = pa.array([str(label) for label in fitted.classes_])
    if guard_formulas and pa.types.is_string(labels.type):
        return pa.array([no_formula(label) for label in labels.to_pylist()])
    return labels


def _predicted(fitted: FittedPipeline, labels: pa.Array, frame: pd.DataFrame) -> pa.Table:
    import pyarrow as pa

    proba = fitted.predict_proba(frame)
    columns: dict[str, Any] = {"prediction": labels.take(pa.array(fitted.rule.apply(proba)))}
    for code, label in enumerate(fitted.classes_):
        columns[f"proba_{label}"] = pa.array(proba[:, code])
    return pa.table(columns)
