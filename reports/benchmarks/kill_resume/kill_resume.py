"""Kill searches by SIGKILL, workers included, resume them, and count what was lost.

Each search runs as a user starts it (``python -m autoimb search``, two workers). It is killed at a
random moment between its first finished trial and its export, then resumed. Counted are finished
trials that are missing or changed after the resume, trials left RUNNING in the study, strategies
that were kept twice, and resumes that did not export.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pandas as pd

from autoimb import load
from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.machine import environment
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("trials", "seed", "number"))
DATA = cases.ROOT / "examples" / "data" / "hpc_data" / "hpc_data.csv.gz"
TARGET = "class"
N_ROWS = 500
PATIENCE = 600.0  # seconds that anything may take before the script gives up


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--searches", type=int, default=20)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--seed", type=int, default=cases.SEED)


def run(options: Namespace) -> None:
    """Kill and resume as many searches as are missing."""
    known = ROWS.known(again=options.again)
    key = {"trials": options.trials, "seed": options.seed}
    numbers = range(1, options.searches + 1)
    missing = [key | {"number": n} for n in numbers if ROWS.key(key | {"number": n}) not in known]
    if not missing:
        return
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        table = folder / "table.csv"
        pd.read_csv(DATA).sample(N_ROWS, random_state=options.seed).to_csv(table, index=False)
        whole = folder / "whole"
        longest = span(command(table, whole, **key), project.Run(whole))
        tries = 0
        while missing:
            tries += 1
            path = folder / f"run{tries}"
            words = command(table, path, trials=options.trials, seed=options.seed + tries)
            after = chance.uniform(0.0, longest)
            found = killed_and_resumed(words, project.Run(path), after=after)
            if found is None:  # it had exported before the kill
                longest = after
                continue
            ROWS.append([missing.pop(0) | found])
            print(len(missing), "left", found, file=sys.stderr, flush=True)


def command(table: Path, run: Path, *, trials: int, seed: int) -> list[str]:
    """Return what a user types; the same to start and to resume."""
    words = ["--target", TARGET, "--trials", str(trials), "--jobs", str(cases.JOBS)]
    words += ["--seed", str(seed), "--out", str(run), "--quiet", "--resume"]
    return [sys.executable, "-m", "autoimb", "search", str(table), *words]


def first_trial(process: subprocess.Popen[bytes], run: project.Run) -> float:
    """Wait for the first finished trial and return the time."""
    end = time.monotonic() + PATIENCE
    while not run.finished():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"the search in {run.path} ended before its first trial")
        time.sleep(0.02)
    return time.monotonic()


def span(words: list[str], run: project.Run) -> float:
    """Let a search end, and return the seconds between its first finished trial and its export."""
    process = subprocess.Popen(words, start_new_session=True, env=environment())
    began = first_trial(process, run)
    if process.wait(PATIENCE) != 0:
        raise SystemExit(f"the search in {run.path} failed")
    return run.pipeline.stat().st_mtime - time.time() + time.monotonic() - began


def killed_and_resumed(words: list[str], run: project.Run, *, after: float) -> Row | None:
    """Kill a search and resume it; None where it was faster than the kill."""
    process = subprocess.Popen(words, start_new_session=True, env=environment())
    first_trial(process, run)
    time.sleep(after)
    os.killpg(process.pid, signal.SIGKILL)  # the search, its server and its workers
    process.wait()
    if run.pipeline.exists():
        return None
    before = run.finished()
    resumed = subprocess.run(words, check=False, timeout=PATIENCE, env=environment())
    now = run.finished()
    strategies = {
        (record.strategy, record.apart) for record in run.records() if record.number in now
    }
    return {
        "after": round(after, 2),
        "at_kill": len(before),
        "kept": len(now),
        "lost": sum(now.get(number) != content for number, content in before.items()),
        "running": run.left_running(),
        "twice": len(now) - len(strategies),
        "exported": resumed.returncode == 0 and load(run.pipeline) is not None,
    }


def render(rows: list[Row]) -> str:
    """Write what became of each search."""
    trials = sorted({row["trials"] for row in rows})
    wrong = sum(row["lost"] + row["running"] + row["twice"] for row in rows)
    head = ["killed after (s)", "finished then", "finished in the end", "lost", "left running"]
    lines = [
        "# Killed and resumed",
        "",
        f"{len(rows)} searches of {' or '.join(map(str, trials))} trials with two workers on "
        f"{N_ROWS} rows of {DATA.parent.name}, each killed by SIGKILL (workers included) and "
        f"resumed: {sum(row['exported'] for row in rows)} exported, {wrong} trials lost, left "
        "running or kept twice.",
        "",
        *written.table([*head, "kept twice", "exported"], map(cells, rows)),
    ]
    return "\n".join([*lines, *foot("kill_resume", rows)])


def cells(row: Row) -> list[object]:
    """Write a search."""
    counts = [row[name] for name in ("at_kill", "kept", "lost", "running", "twice")]
    return [f"{row['after']:.2f}", *counts, "yes" if row["exported"] else "NO"]
