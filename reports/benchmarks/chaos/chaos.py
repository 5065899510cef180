"""Kill searches at random moments, fill their disk, and count the losses.

Each search runs as a user starts it (``python -m autoimb search --resume``, two workers). Its
driver, a worker, their server or all of them get SIGKILL at a random moment between their start and
the last file, or as soon as a result is being written; then it is gone on with, and in the end left
alone. Other searches meet a disk that is full at some share of what they need, and a folder that
can be read only. Counted are finished trials that are missing, changed or there twice, processes
and tables that are left, and searches whose last resume gives no pipeline that predicts.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from sklearn.datasets import make_classification

from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.chaos.attacked import VICTIMS, Attacked, Ended, children
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("part", "number"))
SIZES = ("256k", "1m", "24k")  # of disks that get full: by trials, by results, by the table
ROOM = "256m"  # of a disk that is not full
LARGE = 5_000  # bytes of a result
WEIGHTS = {"driver": 3, "worker": 10, "server": 1, "all": 2}
Begun = Callable[[Attacked, "subprocess.Popen[bytes]"], bool]


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--minutes", type=float, default=10.0, help="of kills")
    parser.add_argument("--at-once", type=int, default=1, help="searches that are killed")
    parser.add_argument("--parts", default=",".join(PARTS), help="these parts: a,b")
    parser.add_argument("--seed", type=int, default=cases.SEED, help="of the first search")


def run(options: Namespace) -> None:
    """Run the parts that have no rows."""
    known = ROWS.known(again=options.again)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        table = write_table(folder)
        for part in options.parts.split(","):
            if (part, options.seed) not in known:
                for number, row in enumerate(PARTS[part](folder, table, options), options.seed):
                    ROWS.append([{"part": part, "number": number} | row])
                    print(part, number, row, file=sys.stderr, flush=True)


def write_table(folder: Path) -> Path:
    """Write a table so small that kills, and no training, are what a search is busy with."""
    x, y = make_classification(
        160, 4, n_informative=2, n_redundant=0, weights=[0.7], random_state=0
    )
    frame = pd.DataFrame(x).rename(columns=lambda name: f"n{name}")
    frame.assign(rare=y).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def attacked(folder: Path, table: Path, name: str, seed: int) -> Attacked:
    """Make a search that has not begun."""
    run, temporary = project.Run(folder / name), folder / f"{name}-tmp"
    return Attacked(table, run, temporary, seed)


# --- kills ----------------------------------------------------------------------------------------


def kills(folder: Path, table: Path, options: Namespace) -> Iterator[Row]:
    """Kill searches, some at a time, until the minutes are over; a row each."""
    end, numbers = time.monotonic() + 60 * options.minutes, itertools.count()

    def stream() -> list[Row]:
        rows = []
        while time.monotonic() < end:
            number = next(numbers)
            search = attacked(folder, table, f"kills{number}", options.seed + number)
            chance = random.Random(options.seed + number)
            counts = Counter(
                victim for phase in PHASES for victim in killed(search, chance, *phase)
            )
            rows.append({"kills": dict(counts)} | search.outcome(search.resume()))
        return rows

    with ThreadPoolExecutor(options.at_once) as threads:
        for found in [threads.submit(stream) for _ in range(options.at_once)]:
            yield from found.result()


def killed(
    search: Attacked, chance: random.Random, phase: str, seconds: float, begun: Begun
) -> Iterator[str]:
    """Start a search, kill some of it, and what is left of it; yield each that was killed."""
    process = search.start()
    search.wait_for(process, lambda: begun(search, process))
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.0, seconds))
        (victim,) = chance.choices(VICTIMS, [WEIGHTS[one] for one in VICTIMS])
        if search.kill(process, victim, chance):
            yield f"{victim} ({phase})"
        if victim in ("driver", "all"):
            break
    search.finish(process)


def is_writing(search: Attacked) -> bool:
    """Whether a result is being written: a draft that is larger than what a search begins with."""
    with contextlib.suppress(OSError):  # renamed meanwhile
        return any(path.stat().st_size > LARGE for path in search.run.path.glob(".*.tmp"))
    return False


# a search is started and killed once for each: from when on, and within how many seconds
PHASES: tuple[tuple[str, float, Begun], ...] = (
    *4 * [("starting", 30.0, lambda *_: True)],
    *3 * [("trials", 10.0, lambda _, process: bool(children(process.pid)["worker"]))],
    *2 * [("writing", 0.0, lambda search, _: is_writing(search))],
)


# --- disks ----------------------------------------------------------------------------------------


def full_disk(folder: Path, table: Path, options: Namespace) -> Iterator[Row]:
    """Give a search a disk that is full after some of its files, then room."""
    for size in SIZES:
        with disk(folder / "disk", size) as place:
            search = attacked(place, table, "run", options.seed)
            search.temporary = folder / "full-tmp"
            hindered = search.resume()
            mount(place, f"remount,size={ROOM}")
            yield {"size": size} | hindrance(search, hindered)


def read_only(folder: Path, table: Path, options: Namespace) -> Iterator[Row]:
    """Go on with a killed search in a folder that can be read only, then in one that can't."""
    for number in range(2):
        with disk(folder / "disk", ROOM) as place:
            search = attacked(place, table, "run", options.seed + number)
            search.temporary = folder / "read-tmp"
            interrupted(search, random.Random(number))
            mount(place, "remount,ro")
            hindered = search.resume()
            mount(place, "remount,rw")
            yield hindrance(search, hindered)


def interrupted(search: Attacked, chance: random.Random) -> None:
    """Kill a search after some of its trials."""
    process, trials = search.start(), chance.randint(2, 5)
    search.wait_for(process, lambda: len(search.run.finished()) >= trials)
    search.kill(process, "driver", chance)
    search.finish(process)


def hindrance(search: Attacked, hindered: Ended) -> Row:
    """Go on with a search that was hindered; say how that ended, and what it said."""
    said = {"status": hindered.status, "then": hindered.said}
    return said | search.outcome(search.resume())


@contextlib.contextmanager
def disk(place: Path, size: str) -> Iterator[Path]:
    """Mount a disk of some bytes, in memory."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def mount(place: Path, how: str) -> None:
    """Change how a disk is mounted."""
    subprocess.run(["mount", "-o", how, str(place)], check=True)


PARTS: dict[str, Callable[[Path, Path, Namespace], Iterator[Row]]] = {
    "kills": kills,
    "full disk": full_disk,
    "read-only folder": read_only,
}


# --- the report -----------------------------------------------------------------------------------


def render(rows: list[Row]) -> str:
    """Write what became of the searches."""
    lines = ["# Kills, full disks and damage at any moment", ""]
    for part in PARTS:
        own = [row for row in rows if row["part"] == part]
        if own:
            lines += [f"## {part.capitalize()}", "", *section(own), ""]
    return "\n".join([*lines[:-1], *foot("chaos", rows)])


def section(rows: list[Row]) -> list[str]:
    """Write a part: its sums, then a line a search."""
    counts = Counter[str]()
    for row in rows:
        counts.update(row.get("kills", {}))
    shown = ", ".join(f"{count} {victim}" for victim, count in sorted(counts.items()))
    sums = {name: sum(row[name] for row in rows) for name in ("lost", "doubled", "running", "left")}
    head = ["kept", "lost", "doubled", "left running", "files left", "exported"]
    hindered = "then" in rows[0]
    if hindered:
        head = ["size" if "size" in rows[0] else "search", "exit status", "said", *head]
    first = "1 search" if len(rows) == 1 else f"{len(rows)} searches"
    return [
        f"{first}{f', {counts.total()} kills ({shown})' if counts else ''}: "
        f"{sum(row['exported'] for row in rows)} exported in the end; finished trials lost "
        f"{sums['lost']}, doubled {sums['doubled']}; trials or processes left running "
        f"{sums['running']}, files left {sums['left']}.",
        "",
        *written.table(head, [cells(row, hindered=hindered) for row in rows]),
    ]


def cells(row: Row, *, hindered: bool) -> list[object]:
    """Write a search."""
    counts = [row[name] for name in ("kept", "lost", "doubled", "running", "left")]
    counts.append("yes" if row["exported"] else "NO")
    if not hindered:
        return counts
    return [row.get("size", row["number"] + 1), row["status"], row["then"], *counts]
