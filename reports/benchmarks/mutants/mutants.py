"""Change one thing in what scores and in what is searched, and see whether a test fails.

Mutants are drawn by a seed from all of them. Each is tried in a copy of the checkout, against the
tests that run the changed line (`coverage run` leaves which), or, where importing runs it, any line
of the module; those of the file with the most of them first, the fastest first, until one fails. A
mutant that no test fails on survives. Those that were looked at are in `looked_at.json`, by their
module and line.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from queue import SimpleQueue

from coverage import CoverageData

from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.cases import ROOT
from reports.benchmarks.coverage.contexts import TESTS
from reports.benchmarks.machine import environment
from reports.benchmarks.mutants.mutations import OPERATORS, Mutant, mutants
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("seed", "number"))
LOOKED_AT = Path(__file__).with_name("looked_at.json")
MUTATED = ("autoimb/assessment", "autoimb/space")
COPIED = (
    "autoimb",
    "tests",
    "examples",
    "reports",
    "README.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "pyproject.toml",
)
SLACK, SLOWER = 30.0, 5.0  # seconds beside a multiple of those that the tests took
KILLED = ("failed", "time", "died")
IMPORTING = ""  # the context of what runs before any test
# It reads what importing makes, and runs none of its lines.
MADE = "tests/test_docs.py::test_a_generated_page"


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=cases.JOBS, help="how many at once")
    parser.add_argument("--survivors", action="store_true", help="those that survived once more")
    parser.add_argument("--most", type=float, default=60.0, help="seconds of tests for a mutant")
    parser.add_argument("--seed", type=int, default=cases.SEED)


def run(options: Namespace) -> None:
    """Try the mutants that are missing."""
    known = ROWS.known(again=options.again)
    if options.survivors:
        known -= {ROWS.key(row) for row in ROWS.read() if row["became"] not in KILLED}
    drawn = list(enumerate(draw(options.mutants, options.seed)))
    missing = [(number, each) for number, each in drawn if (options.seed, number) not in known]
    if not missing:
        return
    seen = Seen(options.most)
    with ExitStack() as stack, ThreadPoolExecutor(options.jobs) as threads:
        places = [stack.enter_context(tempfile.TemporaryDirectory()) for _ in range(options.jobs)]
        free = SimpleQueue[Copy]()
        for place in places:
            free.put(stack.enter_context(closing(Copy(Path(place)))))
        trying = [threads.submit(lent, free, seen, number, *one) for number, one in missing]
        for ended in as_completed(trying):
            row = ended.result()
            ROWS.append([{"seed": options.seed} | row])
            print(row["number"], row["became"], row["module"], row["line"], flush=True)
        ROWS.append([{"seed": options.seed} | control(free.get(), seen, options.seed)])


def lent(free: SimpleQueue[Copy], seen: Seen, number: int, module: str, mutant: Mutant) -> Row:
    """Try a mutant in a copy that no other uses."""
    copy = free.get()
    try:
        return tried(copy, seen, module, mutant, number=number)
    finally:
        free.put(copy)


def draw(count: int, seed: int) -> list[tuple[str, Mutant]]:
    """Draw mutants of the modules, each as likely as any other."""
    paths = sorted(path for folder in MUTATED for path in (ROOT / folder).rglob("*.py"))
    listed = [
        (path.relative_to(ROOT).as_posix(), mutant)
        for path in paths
        for mutant in mutants(path.read_bytes())
    ]
    return random.Random(seed).sample(listed, min(count, len(listed)))


class Seen:
    """Which tests run which lines, and how long each took; of those that passed.

    Parameters
    ----------
    most : float
        Seconds of tests for one mutant, the fastest of them.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._data = CoverageData(str(ROOT / ".coverage"))
        self._data.read()
        if not self._data.measured_files():
            raise SystemExit("nothing says which tests run a line: run `coverage` first")
        found = json.loads(TESTS.read_text(encoding="utf-8"))
        self.seconds = {name: own["seconds"] for name, own in found.items() if own["passed"]}

    def tests(self, module: str, mutant: Mutant) -> list[str]:
        """Return the tests that may see a mutant, the fastest first."""
        ran = self._data.contexts_by_lineno(module)
        names = {name for at in range(mutant.first, mutant.last + 1) for name in ran.get(at, ())}
        if mutant.imported or names == {IMPORTING}:
            names = {name for contexts in ran.values() for name in contexts}
            names |= {name for name in self.seconds if name.startswith(MADE)}
        chosen, total = [], 0.0
        for name in sorted(names & self.seconds.keys(), key=lambda one: (self.seconds[one], one)):
            total += self.seconds[name]
            if total > self._most:
                break
            chosen.append(name)
        return chosen

    def limit(self, tests: Sequence[str]) -> float:
        """Return the processor time after which a run of tests is taken for one without end."""
        return SLACK + SLOWER * sum(self.seconds[name] for name in tests)


class Copy:
    """A copy of the checkout, whose modules may be changed, and a process that tests it.

    Parameters
    ----------
    place : Path
        An empty folder for it.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, place / name)
            else:
                shutil.copy2(ROOT / name, place / name)
        own = place / "tmp"  # what a test leaves that was killed goes with the copy
        own.mkdir()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "reports.benchmarks.mutants.warm"],
            cwd=place,
            env=environment(place) | {"TMPDIR": str(own)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    @contextmanager
    def changed(self, module: str, mutant: Mutant, number: int) -> Iterator[None]:
        """Put a mutant in the place of a module as long as it lasts."""
        path = self._place / module
        source, before = path.read_bytes(), path.stat()
        path.write_bytes(mutant.of(source))
        os.utime(path, (number, number))  # bytecode that is kept goes by size and whole seconds
        try:
            yield
        finally:
            path.write_bytes(source)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def run(self, tests: Sequence[str], limit: float) -> tuple[str, str]:
        """Run tests; see `warm.attempt`."""
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answers is not None
        asked.write(json.dumps({"tests": tests, "limit": limit}) + "\n")
        asked.flush()
        became, failed = json.loads(answers.readline())
        if became == "broken":
            raise SystemExit(failed)
        return became, failed


def tried(copy: Copy, seen: Seen, module: str, mutant: Mutant, *, number: int) -> Row:
    """Run the tests that may see a mutant until one fails; the file with the most of them first."""
    tests, began = seen.tests(module, mutant), time.monotonic()
    became, failed = "survived", ""
    files = Counter(name.partition("::")[0] for name in tests).most_common(1)
    near = [name for name in tests if name.startswith(tuple(f"{file}::" for file, _ in files))]
    far = [name for name in tests if name not in set(near)]
    with copy.changed(module, mutant, number):
        for some in filter(None, (near, far)):
            ended, failed = copy.run(some, seen.limit(some))
            if ended != "passed":
                became = ended
                break
    return {
        "number": number,
        "module": module,
        "line": mutant.line,
        "text": mutant.text,
        "operator": mutant.operator,
        "before": mutant.before,
        "after": mutant.after,
        "tests": len(tests),
        "became": became,
        "by": failed,
        "seconds": round(time.monotonic() - began, 1),
    }


def control(copy: Copy, seen: Seen, seed: int) -> Row:
    """Run the tests that saw a mutant once more, without one."""
    saw = {row["by"] for row in ROWS.read() if row["seed"] == seed and row["became"] == "failed"}
    tests = sorted(saw & seen.seconds.keys())
    became, failed = copy.run(tests, seen.limit(tests))
    return {"number": None, "tests": len(tests), "became": became, "by": failed}


def render(rows: list[Row]) -> str:
    """Write the shares that were killed, and what was found on looking at each survivor."""
    controls = [row for row in rows if row["number"] is None]
    tried_ones = [row for row in rows if row["number"] is not None]
    survivors = [row for row in tried_ones if row["became"] not in KILLED]
    looked_at = {_key(one): one for one in json.loads(LOOKED_AT.read_text(encoding="utf-8"))}
    found = [(row, looked_at.get(_key(row))) for row in survivors]
    equivalent = sum(one is not None and one["equivalent"] for _, one in found)
    head = ["", "mutants", "killed", "by time or a crash", "survived", "% killed"]
    killed, count = len(tried_ones) - len(survivors), len(tried_ones)
    lines = [
        "# Mutants",
        "",
        f"{count} mutants of `{'` and `'.join(MUTATED)}`, drawn by a seed: {killed} were killed, "
        f"{_percent(killed, count)} %. Of the {len(survivors)} that survived {equivalent} are "
        f"equivalent; of all others {_percent(killed, count - equivalent)} % were killed. Texts "
        "are not mutated. Modules, lines and tests are named as at the commits below; they may "
        "have been moved, renamed or removed since.",
        "",
        *(_control(row) for row in controls),
        "",
        *written.table(head, [_cells(name, tried_ones, "operator") for name in OPERATORS]),
        "",
        *written.table(head, [_cells(name, tried_ones, "module") for name in MUTATED]),
        "",
        "## Survivors",
        "",
        *written.table(
            ["", "operator", "before", "after", "tests", "equivalent", "found"],
            (_looked_at(row, one) for row, one in found),
        ),
    ]
    return "\n".join([*lines, *foot("mutants", rows)])


def _key(row: Row) -> tuple[str, ...]:
    return row["module"], row["text"], row["before"], row["after"]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else "-"


def _control(row: Row) -> str:
    ended = "all pass" if row["became"] == "passed" else f"`{row['by']}` fails"
    return f"Without a mutant the {row['tests']} tests that killed one were run once more: {ended}."


def _cells(name: str, rows: Sequence[Row], field: str) -> list[object]:
    own = Counter(row["became"] for row in rows if row[field].startswith(name))
    killed, count = sum(own[each] for each in KILLED), own.total()
    return [name, count, killed, own["time"] + own["died"], count - killed, _percent(killed, count)]


def _looked_at(row: Row, one: Row | None) -> list[object]:
    code = (f"`{' '.join(row[each].split())}`".replace("|", "\\|") for each in ("before", "after"))
    said = ("yes" if one["equivalent"] else "no", one["found"]) if one else ("", "not looked at")
    return [f"{row['module']}:{row['line']}", row["operator"], *code, row["tests"], *said]
