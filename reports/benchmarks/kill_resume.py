"""Kill searches by SIGKILL, workers included, resume them, and count what was lost.

Each search runs as a user starts it (``python -m autoimb search``, two workers). It is killed at a
random moment between its first finished trial and its export, then resumed. Counted are finished
trials that are missing or changed after the resume, trials left RUNNING in the study, strategies
that were kept twice, and resumes that did not export.

    python reports/benchmarks/kill_resume.py --searches 20 --trials 8
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import optuna
import pandas as pd

from autoimb import load
from autoimb.search.record import TrialRecord
from autoimb.search.run_folder import RunFolder

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "examples" / "data" / "hpc_data" / "hpc_data.csv.gz"
TARGET = "class"
ROWS = 500
PATIENCE = 600.0  # seconds that anything may take before the script gives up


@dataclass(frozen=True)
class Killed:
    """What became of one search."""

    after: float  # seconds between its first finished trial and the kill
    at_kill: int  # finished trials then
    kept: int
    lost: int
    running: int
    twice: int
    exported: bool


def command(table: Path, run: Path, *, trials: int, seed: int) -> list[str]:
    """Return what a user types; the same to start and to resume."""
    options = ["--target", TARGET, "--trials", str(trials), "--jobs", "2", "--seed", str(seed)]
    words = [sys.executable, "-m", "autoimb", "search", str(table), *options, "--out", str(run)]
    return [*words, "--quiet", "--resume"]


def records(run: Path) -> list[TrialRecord]:
    """Read the finished trials; one that was cut off is none."""
    if not (run / "run.json").is_file():
        return []
    return [record for record in RunFolder.view(run).records() if record.status != "killed"]


def files(run: Path) -> dict[int, bytes]:
    """Read the finished trials' files by number."""
    numbers = [record.number for record in records(run)]
    return {n: (run / "trials" / f"{n:04d}.safetensors").read_bytes() for n in numbers}


def first_trial(process: subprocess.Popen[bytes], run: Path) -> float:
    """Wait for the first finished trial and return the time."""
    end = time.monotonic() + PATIENCE
    while not records(run):
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"the search in {run} ended before its first trial")
        time.sleep(0.02)
    return time.monotonic()


def span(words: list[str], run: Path) -> float:
    """Let a search end, and return the seconds between its first finished trial and its export."""
    process = subprocess.Popen(words, start_new_session=True)
    began = first_trial(process, run)
    if process.wait(PATIENCE) != 0:
        raise SystemExit(f"the search in {run} failed")
    return (run / "pipeline.autoimb").stat().st_mtime - time.time() + time.monotonic() - began


def kill_and_resume(words: list[str], run: Path, *, after: float) -> Killed | None:
    """Kill a search and resume it; None where it was faster than the kill."""
    process = subprocess.Popen(words, start_new_session=True)
    first_trial(process, run)
    time.sleep(after)
    os.killpg(process.pid, signal.SIGKILL)  # the search, its server and its workers
    process.wait()
    if (run / "pipeline.autoimb").exists():
        return None
    before = files(run)
    resumed = subprocess.run(words, check=False, timeout=PATIENCE)
    now = files(run)
    folder = RunFolder.view(run)
    study = optuna.load_study(study_name=folder.study_name, storage=folder.storage())
    return Killed(
        after=after,
        at_kill=len(before),
        kept=len(now),
        lost=sum(now.get(number) != content for number, content in before.items()),
        running=sum(trial.state.name == "RUNNING" for trial in study.trials),
        twice=len(now) - len({record.strategy for record in records(run)}),
        exported=resumed.returncode == 0 and load(run / "pipeline.autoimb") is not None,
    )


def report(rows: list[Killed], trials: int) -> str:
    """Write the result as Markdown."""
    table = pd.DataFrame(rows)
    wrong = table["lost"].sum() + table["running"].sum() + table["twice"].sum()
    exported = int(table["exported"].sum())
    lines = [
        "# Killed and resumed",
        "",
        f"{len(rows)} searches of {trials} trials with two workers on {ROWS} rows of "
        f"{DATA.parent.name}, each killed by SIGKILL (workers included) and resumed: "
        f"{exported} exported, {wrong} trials lost, left running or kept twice.",
        "",
        "| killed after (s) | finished then | finished in the end | lost | left running | "
        "kept twice | exported |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.after:.2f} | {row.at_kill} | {row.kept} | {row.lost} | {row.running} | "
        f"{row.twice} | {'yes' if row.exported else 'NO'} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Kill, resume, count and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--searches", type=int, default=20)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    rows: list[Killed] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        table = folder / "table.csv"
        pd.read_csv(DATA).sample(ROWS, random_state=given.seed).to_csv(table, index=False)
        longest = span(
            command(table, folder / "whole", trials=given.trials, seed=given.seed), folder / "whole"
        )
        print(f"from the first finished trial to the export: {longest:.1f} s", flush=True)
        tries = 0
        while len(rows) < given.searches:
            tries += 1
            run = folder / f"run{tries}"
            words = command(table, run, trials=given.trials, seed=given.seed + tries)
            after = chance.uniform(0.0, longest)
            row = kill_and_resume(words, run, after=after)
            if row is None:  # it had exported before the kill
                longest = after
                continue
            rows.append(row)
            print(len(rows), row, flush=True)
    text = report(rows, given.trials)
    (HERE / "kill_resume.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
