"""Run all tests under coverage.py, workers and command lines included.

Counted are statements and branches, as `pyproject.toml` says. Compiled code is kept in a folder of
its own, so that what writes it is run; the bodies of kernels become machine code and are left out.
Beside the rows, `.coverage` and `.coverage_tests.json` stay in the checkout: which test runs which
line, from which `mutants` chooses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.cases import ROOT
from reports.benchmarks.coverage.contexts import TESTS
from reports.benchmarks.machine import environment
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("module"))
PLUGIN = "reports.benchmarks.coverage.contexts"
COUNTS = ("statements", "missed", "branches", "missed_branches")


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)


def run(options: Namespace) -> None:
    """Run all tests, unless that was done."""
    if not ROWS.known(again=options.again):
        tests()
        ROWS.append(measured())


def tests() -> None:
    """Run the tests, and put together what all of their processes have seen."""
    TESTS.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        run_as = environment() | {"NUMBA_CACHE_DIR": cache}
        command("erase", env=run_as)
        command("run", "-m", "pytest", "-p", PLUGIN, env=run_as)
        command("combine", "-q", env=run_as)


def command(*words: str, env: dict[str, str] | None = None) -> None:
    """Run a command of coverage.py in the checkout; whether tests passed is in what they leave."""
    subprocess.run([sys.executable, "-m", "coverage", *words], cwd=ROOT, env=env, check=False)


def measured() -> list[Row]:
    """Return a row for each module."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "coverage.json"
        command("json", "-q", "--fail-under=0", "-o", str(path))
        found = json.loads(path.read_text(encoding="utf-8"))["files"]
    outcomes = json.loads(TESTS.read_text(encoding="utf-8"))
    ran = {
        "tests": len(outcomes),
        "failed": sum(bool(own["failed"]) for own in outcomes.values()),
    }
    return [
        {
            "module": Path(name).as_posix(),
            "statements": own["summary"]["num_statements"],
            "missed": own["summary"]["missing_lines"],
            "branches": own["summary"]["num_branches"],
            "missed_branches": own["summary"]["missing_branches"],
            "lines": own["missing_lines"],
            "arcs": own["missing_branches"],
        }
        | ran
        for name, own in sorted(found.items())
    ]


def floor() -> float:
    """Return the share that `pyproject.toml` asks for, in per cent."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return float(asked["tool"]["coverage"]["report"]["fail_under"])


def summed(rows: Iterable[Row]) -> Row:
    """Put modules together: counts, and the shares that were run in per cent."""
    listed = list(rows)
    total = {name: sum(row[name] for row in listed) for name in COUNTS}
    return total | {
        "lines": _share(total["missed"], total["statements"]),
        "arcs": _share(total["missed_branches"], total["branches"]),
    }


def _share(missed: int, count: int) -> float:
    return 100.0 * (1.0 - missed / count) if count else 100.0


def render(rows: list[Row]) -> str:
    """Write the shares of the whole, of each folder, and of modules that are below the floor."""
    total, least = summed(rows), floor()
    folders: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        folders[os.path.dirname(row["module"])].append(row)
    below = [row for row in rows if min(_shares(row)) < least]
    lines = [
        "# What the tests run",
        "",
        f"{total['lines']:.1f} % of {total['statements']:,} statements, and {total['arcs']:.1f} % "
        f"of {total['branches']:,} branches, by {rows[0]['tests']:,} tests, of which "
        f"{rows[0]['failed']} failed.",
        f"The floor is {least:g} % of either.",
        "",
        *written.table(HEAD, ([name, *_cells([*own])] for name, own in sorted(folders.items()))),
        "",
        "## Modules below the floor",
        "",
        *written.table(HEAD, ([row["module"], *_cells([row])] for row in below)),
    ]
    return "\n".join([*lines, *foot("coverage", rows)])


HEAD = ("", "statements", "not run", "%", "branches", "not taken", "%")


def _shares(row: Row) -> tuple[float, float]:
    own = summed([row])
    return own["lines"], own["arcs"]


def _cells(rows: list[Row]) -> list[object]:
    own = summed(rows)
    first = [own["statements"], own["missed"], f"{own['lines']:.1f}"]
    return [*first, own["branches"], own["missed_branches"], f"{own['arcs']:.1f}"]
