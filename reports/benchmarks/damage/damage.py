"""Read damaged and forged files, each in a process of its own, and see what becomes of it.

A pipeline and a RUN folder of a small search are damaged in thousands of ways. A file must be
refused by `ArtifactError` or predict as before, and a command on a RUN end with its documented exit
status, without a traceback and without a write outside the RUN. Each process is forked from one
that has imported everything; its memory is what it takes beyond that one's.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import resource
import shutil
import tempfile
import time
import traceback
from argparse import ArgumentParser, Namespace
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import make_classification

from autoimb import load
from autoimb.cli import main
from autoimb.errors import ArtifactError
from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.damage.folders import damage_folder
from reports.benchmarks.damage.mutations import damaged, forged
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("part", "kind"))
PARTS = {"damaged": 10_000, "forged": 1_000, "run": 2_000, "resumed": 100}
MOST_MB, MOST_SECONDS = 300, 2.0  # beside twice the size of the whole file
SAFE = 2**32  # bytes of address space that a process may take: no bomb hurts the machine

Outcome = tuple[str, str]  # what became of it, and why that is wrong


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--parts", default=",".join(PARTS), help="these parts: a,b")
    parser.add_argument("--share", type=float, default=1.0, help="of all cases of a part")
    parser.add_argument("--seed", type=int, default=cases.SEED)


def run(options: Namespace) -> None:
    """Try what is missing."""
    known = ROWS.known(again=options.again)
    there = {row["part"] for row in ROWS.read() if ROWS.key(row) in known}
    parts = [part for part in options.parts.split(",") if part not in there]
    if not parts:
        return
    with tempfile.TemporaryDirectory() as place:
        found = Found(Path(place))
        for part in parts:
            number = max(int(PARTS[part] * options.share), 1)
            ROWS.append(rows_of(part, found, number=number, seed=options.seed))


class Found:
    """What a small search left: its RUN, its table, and what its pipeline predicts.

    Parameters
    ----------
    place : Path
        A folder for all of it.
    """

    def __init__(self, place: Path) -> None:
        self.place, self.run = place, place / "whole"
        self.table, self.outside = place / "table.csv", place / "outside"
        x, y = make_classification(400, 6, weights=[0.8], flip_y=0.1, random_state=0)
        table = pd.DataFrame(x).rename(columns=lambda name: f"n{name}")
        table["level"] = [f"level {int(abs(v) * 9) % 40}" for v in x[:, 0]]
        table["rare"] = y
        table.to_csv(self.table, index=False)
        self.search = ["search", str(self.table), "--target", "rare", "--quiet"]
        self.search += ["--n-trials", "3", "--n-jobs", "1", "--random-state", "0"]
        if main([*self.search, "--out", str(self.run)]):
            raise SystemExit("the search failed")
        self.artifact = self.run / "pipeline.autoimb"
        self.content = self.artifact.read_bytes()
        self.rows = table.drop(columns="rare")[:50]
        self.proba = load(self.artifact).predict_proba(self.rows)
        self.parts = project.artifact_parts(self.artifact)
        self.outside.mkdir()
        for name in ("report.html", "data.csv"):
            (self.outside / name).write_text(f"{name} of the user\n", encoding="utf-8")


def rows_of(part: str, found: Found, *, number: int, seed: int) -> list[Row]:
    """Try the cases of a part; a row for each kind."""
    attempt = {
        "damaged": damaged_file,
        "forged": forged_file,
        "run": damaged_run,
        "resumed": resumed_run,
    }[part]
    seconds, memory = defaultdict(list), defaultdict(list)
    became: dict[str, list[Outcome]] = defaultdict(list)
    still = forked(lambda: ("", ""))[2]
    for case in range(seed, seed + number):
        kind, work = attempt(found, case)
        outcome, took, most = forked(work)
        became[kind].append(outcome)
        seconds[kind].append(took)
        memory[kind].append(most - still)
        if outcome[0] not in ("refused", "the same", "0", "2"):
            print(part, case, kind, outcome, flush=True)
    size = len(found.content) / 2**20
    return [
        {
            "part": part,
            "kind": kind,
            "tried": len(own),
            "became": dict(sorted(Counter(name for name, _ in own).items())),
            "wrong": sorted({o[1] for o in own if o[1]})[:5],
            "seconds": round(max(seconds[kind]), 2),
            "too_slow": sum(took > MOST_SECONDS for took in seconds[kind]),
            "mb": round(max(memory[kind])),
            "too_large": sum(mb > MOST_MB + 2 * size for mb in memory[kind]),
            "seed": seed,
        }
        for kind, own in became.items()
    ]


def forked(work: Callable[[], Outcome]) -> tuple[Outcome, float, float]:
    """Do something in a process of its own.

    Returns
    -------
    outcome : (str, str)
    seconds, megabytes : float
        CPU time, and the most memory that was resident.
    """
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (taken + SAFE, taken + SAFE))
        outcome: Outcome = ("killed", "killed")
        start = time.process_time()
        try:
            outcome = work()
        except BaseException as error:
            line = traceback.extract_tb(error.__traceback__)[-1]
            said = f"{type(error).__name__} in {Path(line.filename).name}:{line.lineno}"
            outcome = ("another error", said)
        with os.fdopen(writer, "w") as file:
            json.dump([outcome, time.process_time() - start], file)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        said = file.read()
    _, _, usage = os.wait4(process, 0)
    ended, took = json.loads(said) if said else (("killed", "killed"), usage.ru_utime)
    return (ended[0], ended[1]), took, usage.ru_maxrss / 1024


def damaged_file(found: Found, case: int) -> tuple[str, Callable[[], Outcome]]:
    """Damage the file of a pipeline, and read it."""
    kind, content = damaged(found.content, case)
    path = found.place / "damaged.autoimb"
    path.write_bytes(content)
    return kind, lambda: read(found, path)


def forged_file(found: Found, case: int) -> tuple[str, Callable[[], Outcome]]:
    """Forge the file of a pipeline, and read it."""
    kind, parts = forged(found.parts, case)
    path = found.place / "forged.autoimb"
    project.write_artifact(path, *parts)
    return kind, lambda: read(found, path)


def read(found: Found, path: Path) -> Outcome:
    """Load a pipeline and predict."""
    try:
        pipeline = load(path)
    except ArtifactError:
        return "refused", ""
    proba = pipeline.predict_proba(found.rows)
    return ("the same", "") if np.array_equal(proba, found.proba) else ("other answers", "other")


def damaged_run(found: Found, case: int) -> tuple[str, Callable[[], Outcome]]:
    """Damage a RUN, and look at it by one of three commands."""
    run, kind = copied(found, case)
    out = found.place / "out.autoimb"
    commands = (["status", str(run)], ["report", str(run)], ["export", str(run), "-o", str(out)])
    words = commands[case // 6 % 3]  # each with each of six kinds of damage
    return f"{words[0]}, {kind}", lambda: commanded(found, words)


def resumed_run(found: Found, case: int) -> tuple[str, Callable[[], Outcome]]:
    """Damage a RUN, and go on with it, or train its winner again."""
    run, kind = copied(found, case)
    out = found.place / "out.autoimb"
    commands = (
        [*found.search, "--out", str(run), "--resume"],
        ["refit", str(run), str(found.table), "-o", str(out)],
    )
    words = commands[case // 6 % 2]
    return f"{words[0]}, {kind}", lambda: commanded(found, words)


def copied(found: Found, case: int) -> tuple[Path, str]:
    """Return a damaged copy of the RUN, and how it was damaged."""
    run = found.place / "run"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(found.run, run)
    return run, damage_folder(run, found.outside, case)


def commanded(found: Found, words: list[str]) -> Outcome:
    """Run a command, and say its exit status, or what it did that it should not."""
    before = dict(contents(found))
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main(words)
    if dict(contents(found)) != before:
        return "wrote elsewhere", "wrote elsewhere"
    if "Traceback" in said.getvalue() or status not in (0, 2):
        return f"status {status}", said.getvalue()[-200:]
    return str(status), ""


def contents(found: Found) -> Iterator[tuple[str, str]]:
    """Yield what lies outside of the RUN, each file with its hash."""
    for path in sorted(found.place.rglob("*")):
        inside = path.is_relative_to(found.place / "run") or path.name == "out.autoimb"
        if path.is_file() and not inside:
            yield str(path), hashlib.sha256(path.read_bytes()).hexdigest()


def render(rows: list[Row]) -> str:
    """Write what became of the cases."""
    words = {
        "damaged": "Artifacts with damaged bytes",
        "forged": "Artifacts that break the schema, with checksums that hold",
        "run": "Damaged RUN folders, looked at",
        "resumed": "Damaged RUN folders, gone on with",
    }
    head = ["damage", "cases", "became", "wrong", "most s", "over 2 s", "most MB", "too large"]
    lines = [
        "# Damaged and forged files",
        "",
        "Each case is read in a process of its own, forked from one that has imported everything: "
        "seconds are of CPU, memory is beyond that process's. Too large is more than "
        f"{MOST_MB} MB and twice the whole file.",
        "",
    ]
    for part, title in words.items():
        own = [row for row in rows if row["part"] == part]
        if own:
            tried, wrong = sum(row["tried"] for row in own), sum(map(_wrong, own))
            lines += [f"## {title}", "", f"{tried:,} cases, {wrong} wrong.", ""]
            lines += [*written.table(head, map(cells, own)), ""]
    return "\n".join([*lines[:-1], *foot("damage", rows)])


def _wrong(row: Row) -> int:
    fine = ("refused", "the same", "0", "2")
    return sum(count for name, count in row["became"].items() if name not in fine)


def cells(row: Row) -> list[object]:
    """Write the cases of a kind."""
    became = ", ".join(f"{count} {name}" for name, count in row["became"].items())
    wrong = "; ".join(row["wrong"]) or "none"
    limits = [f"{row['seconds']:.2f}", row["too_slow"], row["mb"], row["too_large"]]
    return [row["kind"], row["tried"], became, wrong, *limits]
