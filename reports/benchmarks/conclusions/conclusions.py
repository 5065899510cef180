"""What small blends, tree models and weights are worth: one search, concluded in several ways.

``run`` searches 70 % of each table once, with one worker, and makes a pipeline from the same trials
in every way. The other 30 % of the table scores them, so the ways differ by nothing else.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("data", "seed", "time", "way"))
DEFAULT = "small"
WAYS = {
    DEFAULT: project.Way(),
    "accurate": project.Way(blend="accurate"),
    "no deep trees": project.Way(without=("deep_extra_trees",)),
    "no forest of small trees": project.Way(without=("forest",)),
    "no boosted trees": project.Way(without=("small_trees", "medium_trees", "large_trees")),
    "weights for few rare rows": project.Way(few_rare_rows=0),
}
PREDICTED = 10_000  # rows at most, of which the time is taken


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_data(parser)
    cases.add_again(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], metavar="N")
    parser.add_argument("--time", type=float, default=cases.MINUTE, help="seconds of each search")


def run(options: Namespace) -> None:
    """Search every table and split that is missing."""
    known = ROWS.known(again=options.again)
    for seed in options.seeds:
        for path in sorted(cases.paths(options)):
            case: Row = {"data": path.stem, "seed": seed, "time": options.time}
            if ROWS.key({**case, "way": DEFAULT}) in known:
                continue
            rows = [case | row for row in concluded(path, seconds=options.time, seed=seed)]
            ROWS.append(rows)
            print(*rows, sep="\n", file=sys.stderr, flush=True)


def concluded(path: Path, *, seconds: float, seed: int) -> list[Row]:
    """Search a table, and measure the pipeline of each way on the test rows."""
    train, test = cases.split(path, seed)
    y = test.pop("target").astype(str).to_numpy()
    table = train.drop(columns="target"), train["target"]
    results = project.conclusions(table, WAYS, seconds=seconds, seed=seed)
    rows: list[Row] = []
    for way, result in results.items():
        pipeline, measured = result.pipeline, test.iloc[:PREDICTED]
        classes = pipeline.classes.astype(str)
        pipeline.predict_proba(measured.iloc[:10])  # networks are built at the first prediction
        with threadpool_limits(1):
            begin = time.process_time()
            pipeline.predict_proba(measured)
            seconds_of_rows = time.process_time() - begin
        proba = pipeline.predict_proba(test)
        rows.append(
            {
                "way": way,
                "score": cases.average_precision(y, proba, classes),
                "reported": result.selection.reported.value,
                "log_loss": float(log_loss(y, proba, labels=list(classes))),
                "predict": 1_000 * seconds_of_rows / len(measured),
                "bytes": project.artifact_bytes(pipeline),
                "partners": result.selection.partner_share,
                "strategies": len(result.selection.weights),
            }
        )
    return rows


def render(rows: list[Row]) -> str:
    """Write the difference of each way from the default, over the tables where they differ."""
    lines = ["# One search, concluded in several ways", ""]
    for seconds, own in pd.DataFrame(rows).groupby("time") if rows else ():
        index = ["data", "seed"]
        score, loss, predict, size = (
            own.pivot_table(index=index, columns="way", values=value)
            for value in ("score", "log_loss", "predict", "bytes")
        )
        lines += [
            f"## {seconds:g} s",
            "",
            f"Average precision {score[DEFAULT].mean():.4f} on {len(score)} held-out parts by the "
            f'default, `blend="{DEFAULT}"`. The others less the default, with standard errors '
            "over tables; geometric means of the ratios of time to predict and of file size.",
            "",
        ]
        cells = []
        for way in (way for way in WAYS if way in score and way != DEFAULT):
            gap = (score[way] - score[DEFAULT]).dropna()
            far = gap[gap.abs() > 0.005].groupby("data").mean().sort_values()
            ratios = [np.exp(np.log(part[way] / part[DEFAULT]).mean()) for part in (predict, size)]
            cells.append(
                [
                    way,
                    written.paired(gap),
                    written.paired((loss[way] - loss[DEFAULT]).dropna()),
                    *(f"{ratio:.2f}" for ratio in ratios),
                    ", ".join(f"{name} {value:+.3f}" for name, value in far.items()),
                ]
            )
        head = ["way", "average precision", "log-loss", "time", "size", "beyond .005"]
        lines += [*written.table(head, cells), ""]
    return "\n".join([*lines, *foot("conclusions", rows)])
