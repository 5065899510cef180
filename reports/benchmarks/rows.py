"""Rows of measurements, kept as JSON lines: each carries the commit, versions and cores.

What is there already is not run again. Of several rows that measure the same, the last counts.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import autoimb
from reports.benchmarks.cases import ROOT

__all__ = ["BEFORE", "Row", "Rows", "by", "commit_of", "foot", "provenance", "sources"]

Row = dict[str, Any]
BEFORE = "before commits were kept"
PACKAGES = ("torch", "numpy", "pandas", "scikit-learn", "optuna", "imbalanced-learn", "skorch")
# what a measurement depends on: code, and not the rows and reports that it leaves
CODE = ("autoimb", "reports/benchmarks", ":(exclude,glob)**/*.jsonl", ":(exclude,glob)**/*.md")


def by(*fields: str) -> Callable[[Row], Hashable]:
    """Return what tells rows apart by some fields."""
    return lambda row: tuple(row.get(field) for field in fields)


@dataclass(frozen=True)
class Rows:
    """The rows of a file.

    Attributes
    ----------
    path : Path
    key : callable
        What a row measures; rows with the same key replace each other.
    """

    path: Path
    key: Callable[[Row], Hashable]

    def read(self) -> list[Row]:
        """Return the rows, of several that measure the same the last."""
        found: dict[Hashable, Row] = {}
        for row in self._all():
            found.pop(self.key(row), None)
            found[self.key(row)] = row
        return list(found.values())

    def known(self, *, again: bool = False) -> set[Hashable]:
        """Return the keys of what is there; to run it `again`, only what this commit left."""
        commit = provenance()["commit"]
        return {self.key(row) for row in self._all() if not again or row.get("commit") == commit}

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows as they are measured, each with where it comes from."""
        self.take(row | provenance() for row in rows)

    def take(self, rows: Iterable[Row]) -> None:
        """Add rows that were measured elsewhere, as they are."""
        with self.path.open("a", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")
                file.flush()

    def collect(self, jobs: Iterable[Any], *, n_jobs: int = -1) -> None:
        """Run joblib's delayed jobs side by side, and add the rows of each as it ends."""
        from joblib import Parallel

        for rows in Parallel(n_jobs, return_as="generator_unordered")(jobs):
            self.append(rows)
            print(*{row["data"] for row in rows}, len(rows), file=sys.stderr, flush=True)

    def _all(self) -> list[Row]:
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]


@cache
def provenance() -> Row:
    """Return what every new row carries."""
    versions = {"python": platform.python_version(), "autoimb": autoimb.__version__}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"commit": commit_of(ROOT), "versions": versions, "cores": os.cpu_count()}


def commit_of(root: Path) -> str:
    """Describe the commit of a checkout, with ``+changes`` where its code is not as committed."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        described = git("describe", "--always", "--abbrev=7")
        dirty = git("status", "--porcelain", "--untracked-files=all", "--", *CODE)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described + ("+changes" if dirty else "")


def sources(rows: Sequence[Row]) -> str:
    """Say which commits the rows of a table come from."""
    counts = Counter(row.get("commit", BEFORE) for row in rows)
    named = {commit: commit if commit == BEFORE else f"commit {commit}" for commit in counts}
    if len(counts) == 1:
        return f"Its {len(rows):,} rows are from {named[next(iter(counts))]}."
    parts = ", ".join(f"{count:,} from {named[commit]}" for commit, count in counts.items())
    return f"Its {len(rows):,} rows are from several commits: {parts}."


def foot(question: str, rows: Sequence[Row]) -> list[str]:
    """End a report: the command, the commits of the rows, the machine and the versions."""
    cores = sorted({row["cores"] for row in rows if "cores" in row})
    versions: dict[str, list[str]] = {}
    for row in rows:
        for package, own in row.get("versions", {}).items():
            if own not in versions.setdefault(package, []):
                versions[package].append(own)
    machine = [f"{' and '.join(map(str, cores))} cores"] if cores else []
    machine += [f"{package} {' and '.join(own)}" for package, own in versions.items()]
    where = f" {', '.join(machine)}." if machine else ""
    return ["", f"`python -m reports.benchmarks {question} run`. {sources(rows)}{where}", ""]
