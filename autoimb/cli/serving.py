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

if TYPE_CHECKING:
    from autoimb.pipeline.fitted import FittedPipeline

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

    from autoimb.cli import tables
    from autoimb.pipeline.unfamiliar import Unfamiliar

    fitted = _load(pipeline, threshold)
    keep = keep or ()
    columns = [*keep, "prediction", *tables.probability_names(fitted)]
    for name in keep:
        if columns.count(name) > 1:
            raise OptionError(f"--keep {name}: the output would have two columns {name!r}.")
    unfamiliar, write = Unfamiliar(fitted), tables.writer(out)
    torch.set_num_threads(1)  # in each of the threads that predict
    threads = min(joblib.cpu_count(), MAX_THREADS)
    work = partial(
        tables.predictions, pipeline=fitted, keep=keep, guard=guard_formulas, unfamiliar=unfamiliar
    )
    cells = tables.cells_of_piece(threads)
    with closing(tables.read_chunks(data, fitted, cells=cells, keep=keep)) as chunks:
        n_rows = write(tables.in_order(work, chunks, threads=threads))
    for line in unfamiliar.lines():
        say(line, err=True)
    say(f"{n_rows} rows -> {out}", err=str(out) == tables.STANDARD_OUTPUT)


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
    from autoimb.assessment.metrics import EXPECTED_COST, METRICS, confusion_counts, get_metric
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
    for name in (*METRICS, *([] if costs is None else [EXPECTED_COST])):
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
    source = "" if n_drawn_from is None else f" drawn from {n_drawn_from}"
    say(f"{len(codes)} rows{source}, {n_positive} of class {positive}")
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
