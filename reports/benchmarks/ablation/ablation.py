"""What each part of the search is worth: searches without it, all else equal.

``run`` trains the whole and each variant on 70 % of every table, as processes of their own, and
scores the other 30 % by average precision. Each starts with networks that were learned without the
family of the table.
"""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.machine import environment
from reports.benchmarks.portfolio.lists import learned, measured
from reports.benchmarks.portfolio.portfolio import ROWS as NETWORKS
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("data", "variant", "seed", "time"))
WHOLE = "everything"
VARIANTS: dict[str, str | None] = {  # by the part that they are without
    WHOLE: None,
    "no portfolio": "portfolio",
    "no blend": "blend",
    "mlp only": "other networks",
    "no embeddings": "embeddings",
    "no methods": "methods",
    "no pruning": "pruning",
    "no rungs": "rungs",
    "no fresh folds": "fresh folds",
    "methods after networks": "early methods",
    "no partners": "partners",
}


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_data(parser)
    cases.add_again(parser)
    parser.add_argument("--time", type=float, default=cases.SHORT, help="seconds of each search")
    parser.add_argument("--seed", type=int, default=cases.SEED)
    parser.add_argument("--one", choices=VARIANTS, help="run and print this on the table of --only")


def run(options: Namespace) -> None:
    """Search with every variant and table that is missing."""
    if options.one:
        path = cases.paths(options)[0]
        print(json.dumps(searched(options.one, path, seconds=options.time, seed=options.seed)))
        raise SystemExit
    known = ROWS.known(again=options.again)
    for variant in VARIANTS:
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
    """Search, and score the test rows: macro average precision, of the rarer class of two."""
    train, test = cases.split(path, seed)
    quick = project.network_of(project.first_networks()[0])
    scores = measured(NETWORKS.read()).drop(index=cases.family_of(path.stem), errors="ignore")
    networks = [json.loads(one) for one in learned(scores, quick=quick)]
    table = train.drop(columns="target"), train["target"]
    without = VARIANTS[variant]
    result = project.search(table, seconds=seconds, seed=seed, networks=networks, without=without)
    proba = result.pipeline.predict_proba(test.drop(columns="target"))
    score = cases.average_precision(test["target"].to_numpy(), proba, result.pipeline.classes)
    return {"score": score, "trials": len(result.records)}


def beside(scores: pd.DataFrame, trials: pd.DataFrame) -> list[str]:
    """Write each variant's rank, normalised score and difference from the whole as a table."""
    span = (scores.max(axis=1) - scores.min(axis=1)).clip(lower=1e-12)
    normal = scores.sub(scores.min(axis=1), axis=0).div(span, axis=0)
    ranks = written.ranks(scores).sort_values()

    def cells() -> Iterator[list[str]]:
        for name in ranks.index:
            gap = scores[WHOLE] - scores[name]
            low, high = written.interval(gap)
            less = [f"{gap.mean():+.4f} ({low:+.4f} to {high:+.4f})", f"{written.beaten(gap):.0%}"]
            own = [name, f"{ranks[name]:.2f}", f"{normal[name].mean():.3f}"]
            own += [f"{scores[name].mean():.4f}", *(["", ""] if name == WHOLE else less)]
            yield [*own, f"{trials[name].median():.0f}"]

    head = ["variant", "mean rank", "mean normalised score", "mean"]
    head += ["less than everything by (95 %)", "everything wins", "trials"]
    return written.table(head, cells())


def render(rows: list[Row]) -> str:
    """Write the variants beside each other, on all tables and on the larger ones."""
    lines = ["# Without a part", ""]
    for seconds, own in pd.DataFrame(rows).groupby("time"):
        index = ["data", "seed"]
        scores = own.pivot_table(index=index, columns="variant", values="score").dropna()
        trials = own.pivot_table(index=index, columns="variant", values="trials")
        sizes = scores.index.get_level_values("data").map(cases.TABLES["rows"])
        large = sizes >= cases.SMALL
        lines += [
            f"Average precision on {len(scores)} test sets after searches of {seconds:g} s with "
            "two workers. Normalised: 1 is the best variant on a table, 0 the worst.",
            "",
            *beside(scores, trials),
            "",
        ]
        if large.any():
            title = f"## The {large.sum()} tables of {cases.SMALL:,} rows or more"
            lines += [title, "", *beside(scores[large], trials[large]), ""]
    return "\n".join([*lines[:-1], *foot("ablation", rows)])
