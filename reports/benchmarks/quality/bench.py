"""Runs of the bench that trains autoimb and its peers on the same splits, as its README says.

autoimb is not run by the bench's own file for it, but by ``peer.py``, which hands first networks to
the search.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from reports.benchmarks import cases, project
from reports.benchmarks.machine import environment
from reports.benchmarks.portfolio.lists import learned, measured
from reports.benchmarks.portfolio.portfolio import ROWS as NETWORKS
from reports.benchmarks.rows import Rows

__all__ = ["adopt", "run_autoimb", "run_peers"]


def run_autoimb(tables: Sequence[str], rows: Rows, *, options: Namespace) -> None:
    """Run autoimb family by family, with first networks that were learned without it."""
    scores = measured(NETWORKS.read())
    quick = project.network_of(project.first_networks()[0])
    waiting = list(tables)
    while waiting:
        family = set(cases.family_of(waiting[0]))
        own, waiting = (
            [name for name in waiting if (name in family) == inside] for inside in (True, False)
        )
        networks = learned(scores.drop(index=family, errors="ignore"), quick=quick)
        with tempfile.TemporaryDirectory() as folder:
            bench = _with_own_peer(options.bench, Path(folder), networks)
            _run(["autoimb"], own, rows, options=options, bench=bench)


def run_peers(
    systems: Sequence[str], tables: Sequence[str], rows: Rows, *, options: Namespace
) -> None:
    """Run peers on tables; each has its Python in ``PY_SYSTEM``."""
    _run(systems, tables, rows, options=options, bench=options.bench)


def adopt(bench: Path, rows: Rows) -> None:
    """Take in what the bench's own results have of peers, and a file has not."""
    known = rows.known()
    for file in sorted((bench / "results").glob("*.jsonl")):
        found = map(json.loads, file.read_text(encoding="utf-8").splitlines())
        rows.take(row for row in found if row["system"] != "autoimb" and rows.key(row) not in known)


def _with_own_peer(bench: Path, folder: Path, networks: Sequence[str]) -> Path:
    """Copy the bench with our file for autoimb, and beside it the first networks it reads."""
    peers = folder / "peers"
    peers.mkdir()
    shutil.copyfile(bench / "run.py", folder / "run.py")
    shutil.copyfile(bench / "peers" / "common.py", peers / "common.py")
    shutil.copyfile(Path(__file__).with_name("peer.py"), peers / "peer_autoimb.py")
    text = f"[{', '.join(networks)}]\n"
    (peers / "first_networks.json").write_text(text, encoding="utf-8")
    return folder


def _run(
    systems: Sequence[str], tables: Sequence[str], rows: Rows, *, options: Namespace, bench: Path
) -> None:
    """Run systems on tables, and add the rows of each table as it ends."""
    for table in tables:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "rows.jsonl"
            command = [sys.executable, str(bench.resolve() / "run.py")]
            command += ["--data", str(options.data.resolve()), "--out", str(out)]
            command += ["--systems", ",".join(systems), "--only", table]
            command += ["--metric", options.metric, "--time", f"{options.time:g}"]
            command += ["--seed", str(options.seed)]
            subprocess.run(command, check=True, cwd=cases.ROOT, env=environment())
            rows.append(map(json.loads, out.read_text(encoding="utf-8").splitlines()))
