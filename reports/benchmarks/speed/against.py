"""Trials of this checkout and of another one, in turn and in one run, on the same tables."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.machine import environment
from reports.benchmarks.rows import Row, Rows, by, commit_of, foot
from reports.benchmarks.speed.strategies import STRATEGIES, Described, name_of, simulated

__all__ = ["AGAINST", "Process", "answer", "ask", "asked", "checkout", "render", "run"]

SIDES = by("commit", "against", "rows", "strategy", "repeat")
TRIAL = Path(__file__).with_name("trial.py")
Process = subprocess.Popen[str]  # answers for a checkout
AGAINST = Rows(Path(__file__).with_suffix(".jsonl"), SIDES)


@contextmanager
def checkout(root: Path, script: Path = TRIAL) -> Iterator[Process]:
    """Start what answers for a checkout: by default what evaluates its strategies."""
    command = [sys.executable, "-P", str(script)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, env=environment(root), cwd=root
    ) as process:
        yield process


def ask(process: Process, **words: Any) -> None:
    """Ask a checkout."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(words) + "\n")
    process.stdin.flush()


def answer(process: Process) -> dict[str, float]:
    """Wait for an answer: what was measured, by name."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"the other process ended with {process.wait()}")
    found: dict[str, float] = json.loads(line)
    return found


def asked(process: Process, **words: Any) -> dict[str, float]:
    """Ask a checkout, and wait for its answer."""
    ask(process, **words)
    return answer(process)


def run(sizes: Sequence[int], other: Path, *, repeats: int) -> None:
    """Evaluate every strategy in both checkouts, one right after the other."""
    theirs = commit_of(other)
    with (
        tempfile.TemporaryDirectory() as folder,
        checkout(cases.ROOT) as mine,
        checkout(other.resolve()) as against,
    ):
        for rows in sizes:
            table = simulated(rows, Path(folder))
            for process in (mine, against):  # what a first trial loads is not measured
                asked(process, table=str(table), strategy=STRATEGIES[0], fresh=True)
            for repeat in range(repeats):
                AGAINST.append(
                    {"rows": rows, "strategy": name_of(one), "repeat": repeat, "against": theirs}
                    | pair(one, table, (mine, against), turn=number + repeat, fresh=not number)
                    for number, one in enumerate(STRATEGIES)
                )


def pair(
    one: Described,
    table: Path,
    processes: tuple[Process, Process],
    *,
    turn: int,
    fresh: bool,
) -> Row:
    """Evaluate a strategy in both, every other time the second one first."""
    row: Row = {}
    sides = list(zip(("", "against_"), processes))
    for side, process in sides[:: -1 if turn % 2 else 1]:
        found = asked(process, table=str(table), strategy=one, fresh=fresh)
        row |= {f"{side}{name}": value for name, value in found.items()}
    print(name_of(one), row, file=sys.stderr, flush=True)
    return row


def render() -> list[str]:
    """Write the ratios of each two commits, the least seconds of the repeats counting."""
    rows = AGAINST.read()
    lines: list[str] = []
    for (mine, theirs), own in (
        pd.DataFrame(rows).groupby(["commit", "against"], sort=False) if rows else ()
    ):
        found = own.groupby(["rows", "strategy"], sort=False)[["seconds", "against_seconds"]].min()
        same = (own["score"] - own["against_score"]).abs().groupby(own["rows"]).max()
        lines += [
            "",
            f"## Commit {mine} against {theirs}",
            "",
            f"Each strategy in both, one right after the other; the least seconds of "
            f"{own['repeat'].nunique()}. Below 1 the first is faster.",
            "",
            *written.table(
                ["rows", "seconds", "against", "ratio (geometric mean)", "from", "to", "scores"],
                (ratios(rows, each, same[rows]) for rows, each in found.groupby("rows")),
            ),
        ]
    return lines + (foot("speed", rows)[:-1] if rows else [])


def ratios(rows: Any, found: pd.DataFrame, same: float) -> list[str]:
    """Write the ratio of all strategies on tables of a size."""
    ratio = found["seconds"] / found["against_seconds"]
    mean = float(np.exp(np.log(ratio).mean()))
    scores = "equal" if same == 0 else f"differ by up to {same:.4f}"
    seconds = [f"{found[name].sum():.2f}" for name in ("seconds", "against_seconds")]
    return [
        f"{rows:,}",
        *seconds,
        f"**{mean:.3f}**",
        f"{ratio.min():.3f}",
        f"{ratio.max():.3f}",
        scores,
    ]
