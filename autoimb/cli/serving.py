"""Commands that need a pipeline only: predict, evaluate, inspect."""

from __future__ import annotations

import json
import math
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoimb.cli.arguments import (
    AsJson,
    Data,
    MaxMemory,
    Out,
    Pipeline,
    Target,
    Weight,
    listed,
)
from autoimb.cli.terminal import say
from autoimb.errors import OptionError, TargetError
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
    keep: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Columns of DATA to copy to OUT, before the predictions."),
    ] = None,
    guard_formulas: Annotated[
        bool,
        typer.Option(
            "--guard-formulas",
            help="Put an apostrophe before labels, and text that is copied, which a spreadsheet "
            "would compute, as =1+1.",
        ),
    ] = False,
) -> None:
    """Predict each row of DATA.

    OUT ends in .csv, .csv.gz or .parquet, or is - for CSV on the standard output; it gets the
    columns prediction and proba_<class>. Levels that training did not have and values outside its
    range are counted on stderr.
    """
    import joblib
    import torch

    from autoimb.cli.tables import (
        STANDARD_OUTPUT,
        cells_of_piece,
        in_order,
        read_chunks,
        writer,
    )

    fitted = _load(pipeline, threshold)
    output = _Output(fitted, tuple(listed(keep) or ()), guard_formulas=guard_formulas)
    write = writer(out)
    torch.set_num_threads(1)  # each of the threads that predict
    threads = min(joblib.cpu_count(), MOST_THREADS)
    cells = cells_of_piece(threads)
    with closing(read_chunks(data, fitted, cells=cells, keep=output.keep)) as chunks:
        n_rows = write(in_order(output.of, chunks, threads=threads))
    for line in output.unfamiliar.lines():
        say(line, err=True)
    say(f"{n_rows} rows -> {out}", err=str(out) == STANDARD_OUTPUT)


def evaluate(
    pipeline: Pipeline,
    data: Data,
    target: Target,
    threshold: Threshold = None,
    weight: Weight = None,
    max_memory: MaxMemory = None,
    as_json: AsJson = False,
) -> None:
    """Score the pipeline on labelled rows.

    By every metric, with its 95 % interval; the rows should be ones that the search never saw. JSON
    has the decision rule and the confusion matrix as well.
    """
    import numpy as np

    from autoimb.assessment.judge import Judge
    from autoimb.assessment.metrics import (
        EXPECTED_COST,
        confusion_counts,
        get_metric,
        metric_names,
    )
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
    values, intervals = {}, {}
    one_group = np.zeros(len(codes), dtype=np.int64)
    costs = fitted.cost_matrix
    for name in metric_names() if costs is None else (*metric_names(), EXPECTED_COST):
        metric = get_metric(
            name,
            n_classes=len(fitted.classes_),
            positive=fitted.positive,
            classes=fitted.classes_,
            costs=costs,
        )
        judge = Judge(metric, codes, one_group, weights)
        score = judge.score(proba, labels)
        values[name], *intervals[name] = judge.interval(score.value, score.error)
    summary = fitted.inspect()
    positive, drawn_from = summary["positive"], rows.class_counts
    n_positive = int((codes == fitted.positive).sum())
    if as_json:
        confusion = confusion_counts(codes, labels, n_classes=len(fitted.classes_), weight=weights)
        found = {
            "rows": len(codes),
            "drawn_from": None if drawn_from is None else sum(drawn_from.values()),
            "positive": positive,
            "positive_rows": n_positive,
            "rule": summary["rule"],
            "threshold": summary["threshold"],
            "metrics": {name: _known(value) for name, value in values.items()},
            "intervals": {name: [_known(end) for end in ends] for name, ends in intervals.items()},
            "confusion": {"classes": summary["classes"], "true_by_predicted": confusion.tolist()},
        }
        say(json.dumps(found, indent=2, ensure_ascii=False))
        return
    whole = "" if drawn_from is None else f" drawn from {sum(drawn_from.values())}"
    say(f"{len(codes)} rows{whole}, {n_positive} of class {positive}")
    for name, value in values.items():
        low, high = intervals[name]
        ends = "" if math.isnan(low) else f"  {low:.4f} to {high:.4f}"
        say(f"{name:<20} {value:.4f}{ends}")


def _known(value: float) -> float | None:
    """Return a number that JSON can hold; None for NaN."""
    return None if math.isnan(value) else value


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


class _Output:
    """What is written for rows.

    Parameters
    ----------
    fitted : FittedPipeline
    keep : tuple of str
        Columns that are copied.
    guard_formulas : bool
        Whether what a spreadsheet would compute gets an apostrophe.

    Attributes
    ----------
    unfamiliar : Unfamiliar
        Counts of what training did not have.
    """

    def __init__(
        self, fitted: FittedPipeline, keep: tuple[str, ...], *, guard_formulas: bool
    ) -> None:
        from autoimb.pipeline.unfamiliar import Unfamiliar

        self.keep, self.unfamiliar = keep, Unfamiliar(fitted)
        self._fitted, self._guards = fitted, guard_formulas
        self._proba = [f"proba_{label}" for label in fitted.classes_]
        for name in keep:
            if keep.count(name) > 1 or name in ("prediction", *self._proba):
                raise OptionError(f"--keep {name}: the output would have two columns {name!r}.")
        self._labels = self._guarded(_labels(fitted))

    def of(self, frame: pd.DataFrame) -> pa.Table:
        """Predict the rows of a piece."""
        import pyarrow as pa

        from autoimb.cli.tables import kept_columns
        from autoimb.data.schema import parse

        rows = parse(frame, self._fitted.schema)
        self.unfamiliar.add(rows)
        proba = self._fitted.proba_of(rows)
        kept = kept_columns(frame, self.keep, self._fitted)
        columns: dict[str, Any] = {name: self._guarded(values) for name, values in kept.items()}
        columns["prediction"] = self._labels.take(pa.array(self._fitted.rule.apply(proba)))
        for name, values in zip(self._proba, proba.T):
            columns[name] = pa.array(values)
        return pa.table(columns)

    def _guarded(self, values: pa.Array) -> pa.Array:
        import pyarrow as pa

        texts = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
        if not (self._guards and texts):
            return values
        return pa.array([cell and no_formula(cell) for cell in values.to_pylist()], pa.string())


def _labels(fitted: FittedPipeline) -> pa.Array:
    """Return what is written for each class."""
    import pyarrow as pa

    try:
        return pa.array(fitted.classes_)
    except (OverflowError, pa.ArrowInvalid):  # whole numbers beyond 64 bits
        return pa.array([str(label) for label in fitted.classes_])
