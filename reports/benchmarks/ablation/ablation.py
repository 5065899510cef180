"""What each part of the search is worth: searches without it, all else equal.

``run`` trains the whole and each variant on 70 % of every table, as processes of their own, and
scores the other 30 % by average precision. Each starts with networks that were learned without the
family of the table. What a part costs whoever predicts is measured on the way: the size of the file
and the processor time of so many rows.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.machine import environment
from reports.benchmarks.portfolio.lists import learned, measured
from reports.benchmarks.portfolio.portfolio import ROWS as NETWORKS
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("data", "variant", "seed", "time"))
WHOLE = "everything"
COSTS = {"bytes": "size of the file", "predicting": "time to predict"}
PREDICTED = 2_000  # rows at least, of which the time is taken
VARIANTS: dict[str, str | None] = {  # by the part that they are without
    WHOLE: None,
    "no portfolio": "portfolio",
    "no blend": "blend",
    "mlp only": "other networks",
    "no embeddings": "embeddings",
    "no methods": "methods",
    "no partners": "partners",
    "no statistics of levels": "statistics of levels",
    "no statistics of rows": "statistics of rows",
    "no screening": "screening",
}


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_data(parser)
    cases.add_again(parser)
    parser.add_argument("--time", type=float, default=cases.SHORT, help="seconds of each search")
    parser.add_argument("--seed", type=int, default=cases.SEED)
    parser.add_argument("--variants", default=",".join(VARIANTS), help="of them: a,b")
    parser.add_argument("--one", choices=VARIANTS, help="run and print this on the table of --only")


def run(options: Namespace) -> None:
    """Search with every variant and table that is missing."""
    if options.one:
        path = cases.paths(options)[0]
        print(json.dumps(searched(options.one, path, seconds=options.time, seed=options.seed)))
        raise SystemExit
    known = ROWS.known(again=options.again)
    for variant in options.variants.split(","):
        for path in sorted(cases.paths(options)):
            row = {"data": path.stem, "variant": variant}
            row |= {"seed": options.seed, "time": options.time}
            if ROWS.key(row) not in known:
                row |= in_a_process(variant, path, options)
                ROWS.append([row])
                print(*row.values(), file=sys.stderr, flush=True)


def in_a_process(variant: str, path: Path, options: Namespace) -> Row:
    """Search in a process of its own."""
    words = ["ablation", "run", "--data", str(options.data.resolve()), "--only", path.stem]
    words += ["--time", f"{options.time:g}", "--seed", str(options.seed), "--one", variant]
    command = [sys.executable, "-m", "reports.benchmarks", *words]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment(), cwd=cases.ROOT
    )
    found: Row = json.loads(done.stdout.splitlines()[-1])
    return found


def searched(variant: str, path: Path, *, seconds: float, seed: int) -> Row:
    """Search, and score the test rows: macro average precision, of the rarer class of two.

    There is no score of a table that is encoded alike without the part: it is of no use there.
    """
    train, test = cases.split(path, seed)
    table, without = (train.drop(columns="target"), train["target"]), VARIANTS[variant]
    if project.encodes_alike(table, without=without):
        return {"score": None, "trials": None} | dict.fromkeys(COSTS)
    quick = project.network_of(project.first_networks()[0])
    scores = measured(NETWORKS.read()).drop(index=cases.family_of(path.stem), errors="ignore")
    networks = [json.loads(one) for one in learned(scores, quick=quick)]
    result = project.search(table, seconds=seconds, seed=seed, networks=networks, without=without)
    rows = test.drop(columns="target")
    proba = result.pipeline.predict_proba(rows)
    score = cases.average_precision(test["target"].to_numpy(), proba, result.pipeline.classes)
    return {
        "score": score,
        "trials": len(result.records),
        "bytes": project.artifact_bytes(result.pipeline),
        "predicting": predicting(result.pipeline, rows),
    }


def predicting(pipeline: project.FittedPipeline, rows: pd.DataFrame) -> float:
    """Return the least processor time of three predictions, in seconds for a thousand rows."""
    many = pd.concat([rows] * -(-PREDICTED // len(rows)), ignore_index=True)

    def taken() -> float:
        begin = time.process_time()
        pipeline.predict_proba(many)
        return time.process_time() - begin

    return 1_000 * min(taken() for _ in range(3)) / len(many)


def beside(scores: pd.DataFrame, trials: pd.DataFrame) -> list[str]:
    """Write how much less each variant has than the whole, on the tables where its part acts."""
    gaps = {name: (scores[WHOLE] - scores[name]).dropna() for name in scores if name != WHOLE}
    order = sorted((name for name in gaps if len(gaps[name])), key=lambda name: -gaps[name].mean())

    def cells() -> Iterator[list[str]]:
        for name in order:
            gap = gaps[name]
            low, high = written.interval(gap)
            own = [name, str(len(gap)), f"{scores[name].mean():.4f}", written.paired(gap)]
            own += [f"{low:+.4f} to {high:+.4f}", f"{written.beaten(gap):.0%}"]
            yield [*own, f"{trials.loc[gap.index, name].median():.0f}"]

    head = ["variant", "tables", "mean", "less than everything by", "95 %", "everything wins"]
    return written.table([*head, "trials"], cells())


def costs(own: pd.DataFrame) -> list[str]:
    """Write how many times a variant's file and time to predict the whole's are."""
    index = ["data", "seed"]
    frames = [own.pivot_table(index=index, columns="variant", values=cost) for cost in COSTS]

    def cells() -> Iterator[list[str]]:
        for name in frames[0].columns.drop(WHOLE):
            ratios = [(frame[WHOLE] / frame[name]).dropna() for frame in frames]
            yield [name, *(f"{np.exp(np.log(r).mean()):.2f} ({r.max():.2f})" for r in ratios)]

    return [
        "How many times the variant's the size of the file and the processor time to predict are "
        "with everything: geometric mean, and most.",
        "",
        *written.table(["variant", *COSTS.values()], cells()),
        "",
    ]


def render(rows: list[Row]) -> str:
    """Write what is lost without each part, on all tables and on the larger ones."""
    lines = ["# Without a part", ""]
    for seconds, own in pd.DataFrame(rows).groupby("time"):
        index = ["data", "seed"]
        scores = own.pivot_table(index=index, columns="variant", values="score")
        trials = own.pivot_table(index=index, columns="variant", values="trials")
        whole = scores[WHOLE].dropna()
        sizes = scores.index.get_level_values("data").map(cases.TABLES["rows"])
        large = sizes >= cases.SMALL
        lines += [
            f"Average precision on {len(whole)} test sets after searches of {seconds:g} s with "
            f"two workers: {whole.mean():.4f} with everything, {trials[WHOLE].median():.0f} trials "
            "in the median. Differences are paired, over the tables where a part acts; their "
            "errors and intervals are those of the mean over tables.",
            "",
            *beside(scores, trials),
            "",
        ]
        if large.any():
            title = f"## The {large.sum()} tables of {cases.SMALL:,} rows or more"
            lines += [title, "", *beside(scores[large], trials[large]), ""]
        if COSTS.keys() <= set(own.columns):
            lines += costs(own.dropna(subset=list(COSTS)))
    return "\n".join([*lines[:-1], *foot("ablation", rows)])
