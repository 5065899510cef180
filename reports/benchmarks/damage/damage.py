"""Read damaged and forged files in processes of their own, and see what becomes of them.

A pipeline and a RUN folder of a small search are damaged in thousands of ways. A file must be
refused by `ArtifactError` or predict as before, and a command on a RUN end with its documented exit
status, without a traceback and without a write outside the RUN. Twenty cases share a process that
is forked from one that has imported everything; what it takes beyond that one's memory counts for
each of them.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import make_classification

from autoimb import load
from autoimb.cli import main
from autoimb.errors import ArtifactError
from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.damage.extremes import FORGED_EXTREMES, VALID_EXTREMES, extreme
from reports.benchmarks.damage.folders import damage_folder
from reports.benchmarks.damage.mutations import damaged, forged
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("part", "first", "kind"))
PARTS = {"damaged": 10_000, "forged": 1_000, "run": 2_000, "resumed": 100}
EXTREME = "extreme"
EXTREMES = VALID_EXTREMES | FORGED_EXTREMES
MOST_MB, MOST_SECONDS = 300, 2.0  # beside twice the size of the whole file
TOGETHER, KEPT = 20, 500  # cases that share a process, and that are kept together
SAFE = 2**32  # bytes of address space that a process may take: no bomb hurts the machine

FINE = ("refused", "the same", "status 0", "status 2")
Outcome = tuple[str, str]  # what became of it, and why that is wrong


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--parts", default=",".join([*PARTS, EXTREME]), help="these parts: a,b")
    parser.add_argument("--share", type=float, default=1.0, help="of all cases of a part")
    parser.add_argument("--seed", type=int, default=cases.SEED)


def run(options: Namespace) -> None:
    """Try what is missing."""
    known = ROWS.known(again=options.again)
    there = {(row["part"], row["first"]) for row in ROWS.read() if ROWS.key(row) in known}
    missing = []
    parts = options.parts.split(",")
    extremes = [] if EXTREME not in parts else list(EXTREMES)
    extremes = [kind for kind in extremes if (EXTREME, list(EXTREMES).index(kind)) not in there]
    for part in parts:
        if part == EXTREME:
            continue
        number = max(int(PARTS[part] * options.share), 1)
        for first in range(options.seed, options.seed + number, KEPT):
            if (part, first) not in there:
                missing.append((part, range(first, min(first + KEPT, options.seed + number))))
    if not missing and not extremes:
        return
    with tempfile.TemporaryDirectory() as place:
        found = Found(Path(place))
        for part, cases_of_part in missing:
            ROWS.append(rows_of(part, found, cases_of_part))
            print(part, cases_of_part, flush=True)
        for kind in extremes:
            ROWS.append([extreme_row(found, kind)])
            print(ROWS.read()[-1], flush=True)


class Found:
    """What a small search left: its RUN, its table, and what its pipeline predicts.

    Parameters
    ----------
    place : Path
        A folder for all of it.
    """

    def __init__(self, place: Path) -> None:
        self.place, self.run, self.cases = place, place / "whole", place / "cases"
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


def rows_of(part: str, found: Found, numbers: range) -> list[Row]:
    """Try the cases of a part; a row for each kind."""
    prepare, work = ATTEMPTS[part]
    became: dict[str, list[Tried]] = defaultdict(list)
    still = forked([lambda: ("", "")])[0].mb
    for start in range(0, len(numbers), TOGETHER):
        together = numbers[start : start + TOGETHER]
        for case in together:
            (found.cases / str(case)).mkdir(parents=True)
        kinds = [prepare(found, case) for case in together]
        tried = forked([partial(work, found, case) for case in together])
        for case, kind, own in zip(together, kinds, tried, strict=True):
            became[kind].append(own)
            if own.became not in FINE:
                print(part, case, kind, own, flush=True)
        shutil.rmtree(found.cases)
    large = MOST_MB + 2 * len(found.content) / 2**20
    return [
        {
            "part": part,
            "first": numbers[0],
            "kind": kind,
            "tried": len(own),
            "became": dict(sorted(Counter(each.became for each in own).items())),
            "wrong": sorted({each.wrong for each in own if each.wrong})[:5],
            "seconds": round(max(each.seconds for each in own), 2),
            "too_slow": sum(each.seconds > MOST_SECONDS for each in own),
            "mb": round(max(each.mb for each in own) - still),
            "too_large": sum(each.mb - still > large for each in own),
        }
        for kind, own in became.items()
    ]


@dataclass(frozen=True)
class Tried:
    """What became of a case, and why that is wrong; CPU time, and the most resident memory."""

    became: str
    wrong: str
    seconds: float
    mb: float


def forked(work: Sequence[Callable[[], Outcome]]) -> list[Tried]:
    """Do some things one after the other in a process of their own."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (taken + SAFE, taken + SAFE))
        with os.fdopen(writer, "w") as file:
            for each in work:
                start = time.process_time()
                outcome = outcome_of(each)
                file.write(json.dumps([*outcome, time.process_time() - start]) + "\n")
                file.flush()
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        said = [json.loads(line) for line in file]
    _, _, usage = os.wait4(process, 0)
    said += [["killed", "killed", 0.0]] * (len(work) - len(said))
    return [Tried(*each, mb=usage.ru_maxrss / 1024) for each in said]


def outcome_of(work: Callable[[], Outcome]) -> Outcome:
    """Do something; an error that leaves it is wrong."""
    try:
        return work()
    except BaseException as error:
        line = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__} in {Path(line.filename).name}:{line.lineno}"
        return "another error", said


def damaged_file(found: Found, case: int) -> str:
    """Damage the file of a pipeline."""
    kind, content = damaged(found.content, case)
    (found.cases / str(case) / "pipeline.autoimb").write_bytes(content)
    return kind


def forged_file(found: Found, case: int) -> str:
    """Forge the file of a pipeline."""
    kind, parts = forged(found.parts, case)
    project.write_artifact(found.cases / str(case) / "pipeline.autoimb", *parts)
    return kind


def damaged_run(found: Found, case: int) -> str:
    """Damage a copy of the RUN."""
    run = found.cases / str(case) / "run"
    shutil.copytree(found.run, run)
    return damage_folder(run, found.outside, case)


def read(found: Found, case: int) -> Outcome:
    """Load a pipeline and predict."""
    try:
        pipeline = load(found.cases / str(case) / "pipeline.autoimb")
    except ArtifactError:
        return "refused", ""
    proba = pipeline.predict_proba(found.rows)
    return ("the same", "") if np.array_equal(proba, found.proba) else ("other answers", "other")


def extreme_row(found: Found, kind: str) -> Row:
    """Load an extreme file, valid or forged."""
    case = list(EXTREMES).index(kind)
    path = found.cases / str(case) / "pipeline.autoimb"
    path.parent.mkdir(parents=True)
    project.write_artifact(path, *extreme(found.parts, EXTREMES[kind]))
    still = forked([lambda: ("", "")])[0].mb
    (tried,) = forked([partial(loaded, path)])
    size = path.stat().st_size / 2**20
    shutil.rmtree(path.parent)
    wanted = "loaded" if kind in VALID_EXTREMES else "refused"
    wrong = [] if tried.became == wanted else [tried.wrong or tried.became]
    return {
        "part": EXTREME,
        "first": case,
        "kind": kind,
        "became": {tried.became: 1},
        "wrong": wrong,
        "seconds": round(tried.seconds, 2),
        "mb": round(tried.mb - still),
        "file_mb": round(size),
        "too_large": int(tried.mb - still > max(MOST_MB, 2 * size)),
    }


def loaded(path: Path) -> Outcome:
    """Load a pipeline."""
    try:
        load(path)
    except ArtifactError as error:
        return "refused", str(error)
    return "loaded", ""


def looked_at(found: Found, case: int) -> Outcome:
    """Look at a RUN by one of three commands."""
    own = found.cases / str(case)
    run, out = str(own / "run"), str(own / "out.autoimb")
    commands = (["status", run], ["report", run], ["export", run, "-o", out])
    return commanded(found, own, commands[case // 6 % 3])  # each after six kinds of damage


def gone_on(found: Found, case: int) -> Outcome:
    """Go on with a RUN, or train its winner again."""
    own = found.cases / str(case)
    run, out = str(own / "run"), str(own / "out.autoimb")
    resumed = [*found.search, "--out", run, "--resume"]
    trained = ["refit", run, str(found.table), "-o", out]
    return commanded(found, own, resumed if case // 6 % 2 else trained)


def commanded(found: Found, own: Path, words: list[str]) -> Outcome:
    """Run a command, and say its exit status, or what it did that it should not."""
    before = contents(found)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main(words)
    beside = {path.name for path in own.iterdir()} - {"run", "out.autoimb"}
    if contents(found) != before or beside:
        return "wrote elsewhere", "wrote elsewhere"
    if "Traceback" in said.getvalue() or status not in (0, 2):
        return f"status {status}", said.getvalue()[-200:]
    return f"status {status}", ""


def contents(found: Found) -> dict[str, str]:
    """Return what lies outside of the cases, each file with its hash."""
    files = [path for path in found.place.rglob("*") if path.is_file()]
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if not path.is_relative_to(found.cases)
    }


ATTEMPTS: dict[str, tuple[Callable[[Found, int], str], Callable[[Found, int], Outcome]]] = {
    "damaged": (damaged_file, read),
    "forged": (forged_file, read),
    "run": (damaged_run, looked_at),
    "resumed": (damaged_run, gone_on),
}


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
        f"{TOGETHER} cases share a process, forked from one that has imported everything: seconds "
        "are of CPU and of a case, memory is beyond that process's and of all of them. Too large "
        f"is more than {MOST_MB} MB and twice the whole file.",
        "",
    ]
    for part, title in words.items():
        own = [row for row in rows if row["part"] == part]
        if own:
            kinds = [summed([row for row in own if row["kind"] == kind]) for kind in kinds_of(own)]
            tried, wrong = (sum(map(count, own)) for count in (_tried, _wrong))
            lines += [f"## {title}", "", f"{tried:,} cases, {wrong} wrong.", ""]
            lines += [*written.table(head, map(cells, kinds)), ""]
    extremes = [row for row in rows if row["part"] == EXTREME]
    if extremes:
        told = "Each file is loaded in a process of its own. Too large is more than the larger of "
        told += f"{MOST_MB} MB and twice the file."
        columns = ["file", "MB", "became", "wrong", "s", "most MB", "too large"]
        table = written.table(columns, map(extreme_cells, extremes))
        lines += ["## Extreme artifacts, valid and forged", "", told, "", *table, ""]
    return "\n".join([*lines[:-1], *foot("damage", rows)])


def extreme_cells(row: Row) -> list[object]:
    """Write an extreme file."""
    about = (EXTREMES[row["kind"]].__doc__ or "").rstrip(".")
    became, wrong = ", ".join(row["became"]), "; ".join(row["wrong"]) or "none"
    return [about, row["file_mb"], became, wrong, row["seconds"], row["mb"], row["too_large"]]


def kinds_of(rows: list[Row]) -> list[str]:
    """Return the kinds of damage, in their order."""
    return list(dict.fromkeys(row["kind"] for row in rows))


def summed(rows: list[Row]) -> Row:
    """Put the rows of a kind together."""
    became: Counter[str] = Counter()
    for row in rows:
        became.update(row["became"])
    counts = {name: sum(row[name] for row in rows) for name in ("tried", "too_slow", "too_large")}
    most = {name: max(row[name] for row in rows) for name in ("seconds", "mb")}
    wrong = sorted({each for row in rows for each in row["wrong"]})
    return {"kind": rows[0]["kind"], "became": became, "wrong": wrong} | counts | most


def _tried(row: Row) -> int:
    return int(row["tried"])


def _wrong(row: Row) -> int:
    return sum(count for name, count in row["became"].items() if name not in FINE)


def cells(row: Row) -> list[object]:
    """Write the cases of a kind."""
    became = ", ".join(f"{count} {name}" for name, count in row["became"].items())
    wrong = "; ".join(row["wrong"]) or "none"
    limits = [f"{row['seconds']:.2f}", row["too_slow"], row["mb"], row["too_large"]]
    return [row["kind"], row["tried"], became, wrong, *limits]
