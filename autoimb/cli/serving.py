"""Commands that need a pipeline only: predict, evaluate, inspect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from autoimb.cli.terminal import as_text, say
from autoimb.errors import OptionError, TargetError
from autoimb.text import no_formula

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from autoimb.pipeline.fitted import FittedPipeline
    from autoimb.pipeline.unfamiliar import Unfamiliar

__all__ = ["evaluate", "inspect", "predict"]

MAX_THREADS = 8  # of prediction: each has its own networks, and the rows that it encodes


def predict(
    pipeline: Path,
    data: Path,
    out: Path,
    threshold: str | float | None = None,
    keep: Sequence[str] | None = None,
    guard_formulas: bool = False,
) -> None:
    """Predict each row of DATA.

    OUT ends in .csv, .csv.gz or .parquet, or is - for CSV on the standard output; it gets the
    columns prediction and proba_<class>. Levels that training did not have and values outside its
    range are counted on stderr.
    """
    import joblib
    import torch

    from autoimb.cli.tables import STANDARD_OUTPUT, cells_of_piece, in_order, read_chunks, writer
    from autoimb.pipeline.unfamiliar import Unfamiliar

    fitted = _load(pipeline, threshold)
    copied = keep or ()
    columns = [*copied, "prediction", *_probability_names(fitted)]
    for name in copied:
        if columns.count(name) > 1:
            raise OptionError(f"--keep {name}: the output would have two columns {name!r}.")
    unfamiliar = Unfamiliar(fitted)
    write = writer(out)
    torch.set_num_threads(1)  # in each of the threads that predict
    threads = min(joblib.cpu_count(), MAX_THREADS)
    work = partial(
        _predictions, fitted=fitted, keep=copied, guard=guard_formulas, unfamiliar=unfamiliar
    )
    cells = cells_of_piece(threads)
    with closing(read_chunks(data, fitted, cells=cells, keep=copied)) as chunks:
        n_rows = write(in_order(work, chunks, threads=threads))
    for line in unfamiliar.lines():
        say(line, err=True)
    say(f"{n_rows} rows -> {out}", err=str(out) == STANDARD_OUTPUT)


def _probability_names(fitted: FittedPipeline) -> list[str]:
    return [f"proba_{label}" for label in fitted.classes_]


def _predictions(
    frame: pd.DataFrame,
    *,
    fitted: FittedPipeline,
    keep: Sequence[str],
    guard: bool,
    unfamiliar: Unfamiliar,
) -> pa.Table:
    """Predict a piece of the rows, and count in `unfamiliar` what training did not have.

    The columns to keep are copied; `guard` puts an apostrophe before formulas.
    """
    import pyarrow as pa

    from autoimb.cli.tables import copied_columns
    from autoimb.data.schema import parse

    rows = parse(frame, fitted.schema)
    unfamiliar.add(rows)
    proba = fitted.proba_of(rows)
    columns = copied_columns(frame, keep, fitted)
    try:
        labels = pa.array(fitted.classes_)
    except (OverflowError, pa.ArrowInvalid):  # whole numbers beyond 64 bits
        labels = pa.array([str(label) for label in fitted.classes_])
    if guard:
        columns = {name: _guarded(values) for name, values in columns.items()}
        labels = _guarded(labels)
    columns["prediction"] = labels.take(pa.array(fitted.rule.apply(proba)))
    probabilities = zip(_probability_names(fitted), map(pa.array, proba.T))
    return pa.table(columns | dict(probabilities))


def _guarded(values: pa.Array) -> pa.Array:
    """Put an apostrophe before the formulas in a column of text."""
    import pyarrow as pa

    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return values
    return pa.array([cell and no_formula(cell) for cell in values.to_pylist()], pa.string())


def evaluate(
    pipeline: Path,
    data: Path,
    target: str,
    threshold: str | float | None = None,
    weight: str | None = None,
    max_memory: str | None = None,
    as_json: bool = False,
) -> None:
    """Score the pipeline on labelled rows.

    By every metric, with its 95 % interval; the rows should be ones that the search never saw. JSON
    has the decision rule and the confusion matrix as well.
    """
    import numpy as np

    from autoimb.assessment.judge import Judge
    from autoimb.assessment.metrics import EXPECTED_COST, confusion_counts, get_metric, metric_names
    from autoimb.data.sample import read, reweighted
    from autoimb.data.target import match_labels

    fitted = _load(pipeline, threshold)
    classes, costs = fitted.classes_, fitted.cost_matrix
    rows = read(data, target, max_memory=max_memory, weight=weight)
    frame, y, weights = reweighted(rows)
    codes = match_labels(y, classes)
    if len(set(codes.tolist())) < 2:
        raise TargetError(f"{target} has one class in {data}: no metric says anything on it.")
    proba = fitted.predict_proba(frame)
    labels = fitted.rule.apply(proba)
    scores = {}
    one_group = np.zeros(len(codes), dtype=np.int64)
    for name in (*metric_names(), *([] if costs is None else [EXPECTED_COST])):
        metric = get_metric(
            name, n_classes=len(classes), positive=fitted.positive, classes=classes, costs=costs
        )
        judge = Judge(metric, codes, one_group, weights)
        score = judge.score(proba, labels)
        scores[name] = judge.interval(score.value, score.error)
    summary = fitted.inspect()
    positive = summary["positive"]
    n_positive = int((codes == fitted.positive).sum())
    n_drawn_from = None if rows.class_counts is None else sum(rows.class_counts.values())
    if as_json:
        confusion = confusion_counts(codes, labels, n_classes=len(classes), weight=weights)
        finite = {name: [None if math.isnan(v) else v for v in s] for name, s in scores.items()}
        result = {
            "rows": len(codes),
            "drawn_from": n_drawn_from,
            "positive": positive,
            "positive_rows": n_positive,
            "rule": summary["rule"],
            "threshold": summary["threshold"],
            "metrics": {name: value for name, (value, *_) in finite.items()},
            "intervals": {name: interval for name, (_, *interval) in finite.items()},
            "confusion": {"classes": summary["classes"], "true_by_predicted": confusion.tolist()},
        }
        say(as_text(result))
        return
    whole = "" if n_drawn_from is None else f" drawn from {n_drawn_from}"
    say(f"{len(codes)} rows{whole}, {n_positive} of class {positive}")
    for name, (value, low, high) in scores.items():
        interval = "" if math.isnan(low) else f"  {low:.4f} to {high:.4f}"
        say(f"{name:<20} {value:.4f}{interval}")


def inspect(pipeline: Path) -> None:
    """Print a summary of the pipeline as JSON."""
    from autoimb.pipeline.artifact import inspect as read_summary

    say(as_text(read_summary(pipeline)))


def _load(path: Path, threshold: str | float | None) -> FittedPipeline:
    from autoimb.pipeline.artifact import load

    fitted = load(path)
    return fitted if threshold is None else fitted.with_threshold(threshold)
