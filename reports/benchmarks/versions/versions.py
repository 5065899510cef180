"""Run the tests with the oldest and with the newest releases that `pyproject.toml` admits.

For each a virtual environment is made. The oldest release of a package is the lower bound that
stands there, of the `dev` extra too; what these packages need themselves is the newest that they
admit.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.cases import ROOT
from reports.benchmarks.machine import environment
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("releases"))
RELEASES = ("oldest", "newest")


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--releases", default=",".join(RELEASES), help="these: a,b")
    parser.add_argument("--folder", type=Path, help="of the environments, which then stay there")
    parser.add_argument("--free", default="", help="packages without their lower bound: a,b")
    parser.add_argument("--tests", nargs="+", default=["tests"], help="files of tests; or all")


def run(options: Namespace) -> None:
    """Make the environments that are missing, and run the tests in each."""
    known = ROWS.known(again=options.again)
    missing = [each for each in options.releases.split(",") if (each,) not in known]
    with tempfile.TemporaryDirectory() as place:
        for releases in missing:
            bounds = oldest_releases(asked(), options.free.split(","))
            folder = (options.folder or Path(place)) / releases
            python = made(folder, bounds if releases == "oldest" else [])
            ROWS.append([{"releases": releases} | tested(python, options.tests)])


def asked() -> list[Requirement]:
    """Return what `pyproject.toml` asks for, with the `dev` extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [
        Requirement(each)
        for each in (*project["dependencies"], *project["optional-dependencies"]["dev"])
    ]


def oldest_releases(requirements: Sequence[Requirement], free: Sequence[str] = ()) -> list[str]:
    """Return a constraint for each requirement that has a lower bound and is not left free."""
    return [
        f"{each.name}=={bound.version}"
        for each in requirements
        for bound in each.specifier
        if bound.operator == ">=" and each.name not in free
    ]


def made(folder: Path, constraints: Sequence[str]) -> Path:
    """Make an environment, unless it is there; its Python is returned."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    bounds = folder / "constraints.txt"
    bounds.write_text("\n".join(constraints), encoding="utf-8")
    install = [str(python), "-m", "pip", "install", "-q", "-c", str(bounds), f"{ROOT}[dev]"]
    subprocess.run(install, check=True)
    return python


def tested(python: Path, tests: Sequence[str]) -> Row:
    """Run tests with what is installed beside a Python."""
    listed = subprocess.run(
        [str(python), "-m", "pip", "list", "--format=json"], check=True, capture_output=True
    )
    releases = {
        canonicalize_name(each["name"]): each["version"] for each in json.loads(listed.stdout)
    }
    with tempfile.TemporaryDirectory() as place:
        results, began = Path(place) / "results.xml", time.monotonic()
        command = [str(python), "-m", "pytest", f"--junitxml={results}", *tests]
        subprocess.run(command, cwd=ROOT, env=environment(), check=False)
        cases_run = list(ElementTree.parse(results).iter("testcase"))
    failed = [each for each in cases_run if {"failure", "error"} & {child.tag for child in each}]
    return {
        "installed": {each.name: releases[canonicalize_name(each.name)] for each in asked()},
        "tests": list(tests),
        "ran": len(cases_run),
        "failed": sorted(f"{each.get('classname')}::{each.get('name')}" for each in failed),
        "seconds": round(time.monotonic() - began),
    }


def render(rows: list[Row]) -> str:
    """Write which releases were installed, and what failed with them."""
    named = {row["releases"]: row for row in rows}
    lines = ["# The oldest and the newest releases", ""]
    for releases, row in named.items():
        which = "all tests" if row["tests"] == ["tests"] else f"`{' '.join(row['tests'])}`"
        failed = ", ".join(f"`{each}`" for each in row["failed"]) or "none"
        lines += [
            f"With the {releases}: {row['ran']:,} tests ({which}) in {row['seconds']:,} s; failed: "
            f"{failed}.",
            "",
        ]
    packages = sorted({name for row in rows for name in row["installed"]}, key=str.lower)
    lines += written.table(
        ["package", *named],
        ([name, *(row["installed"].get(name, "") for row in named.values())] for name in packages),
    )
    return "\n".join([*lines, *foot("versions", rows)])
