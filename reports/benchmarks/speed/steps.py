"""Training steps of twelve networks, frozen: this checkout against another one, and its products.

The networks are those that a search began with at commit 40cc758 (``networks.json``), with the
folds and rows a step of that commit. Both checkouts step in turn; of the repeats the least seconds
of the processor count, so that other programs on its cores hardly matter.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.rows import Row, Rows, by, commit_of, foot
from reports.benchmarks.speed.against import Process, asked, checkout
from reports.benchmarks.speed.stepping import NETWORKS
from reports.benchmarks.speed.strategies import simulated

__all__ = ["STEPS", "render", "run"]

STEPS = Rows(Path(__file__).with_suffix(".jsonl"), by("commit", "against", "rows", "network"))
FOLDS_AND_BATCH = {1_000: (5, 32), 10_000: (5, 64), 50_000: (3, 128)}
TIMED = ("seconds", "torch", "compiled", "against_seconds")
HEAD = ["network", *(f"{rows:,}" for rows in FOLDS_AND_BATCH)]


def name_of(number: int) -> str:
    """Write a network in words."""
    own = NETWORKS[number]["params"]
    copies = f"{own['k']} × " if "k" in own else ""
    words = [f"{copies}{own['width']} × {own['depth']}", own["activation"], own["embedding"]]
    if own["dropout"]:
        words.append(f"dropout {own['dropout']}")
    return f"{number + 1}. {NETWORKS[number]['name']} {', '.join(words)}"


def run(sizes: Sequence[int], other: Path, *, repeats: int) -> None:
    """Time every network in both checkouts, in turn."""
    unknown = set(sizes) - set(FOLDS_AND_BATCH)
    if unknown:
        known = ", ".join(map(str, FOLDS_AND_BATCH))
        raise SystemExit(f"--steps has tables of {known} rows, not of {sorted(unknown)}")
    theirs, other = commit_of(other), other.resolve()
    script = Path(__file__).with_name("stepping.py").relative_to(cases.ROOT)
    with (
        tempfile.TemporaryDirectory() as folder,
        checkout(cases.ROOT, cases.ROOT / script) as mine,
        checkout(other, other / script) as against,
    ):
        for rows in sizes:
            folds, batch = FOLDS_AND_BATCH[rows]
            table = {"table": str(simulated(rows, Path(folder))), "folds": folds, "batch": batch}
            STEPS.append(
                {"rows": rows, "network": number, "against": theirs}
                | least((mine, against), repeats, table | {"network": number})
                for number in range(len(NETWORKS))
            )


def least(processes: tuple[Process, Process], repeats: int, words: dict[str, Any]) -> Row:
    """Time a network in both checkouts, in turn; return the least of the repeats."""
    mine, against = processes
    found = []
    for _ in range(repeats):
        own = asked(mine, **words, bare=True)
        theirs = asked(against, **words, bare=False)
        found.append(own | {"against_seconds": theirs["seconds"]})
    row: Row = {name: min(each[name] for each in found) for name in TIMED}
    print(name_of(words["network"]), row, file=sys.stderr, flush=True)
    return row


def render() -> list[str]:
    """Write the ratios of each two commits, and the shares of the bare products."""
    rows, lines = STEPS.read(), []
    groups = pd.DataFrame(rows).groupby(["commit", "against"], sort=False) if rows else ()
    for (mine, theirs), own in groups:
        frame = own.assign(
            ratio=own["against_seconds"] / own["seconds"],
            of_torch=own["torch"] / own["seconds"],
            of_compiled=own["compiled"] / own["seconds"],
        )
        lines += [
            "",
            f"## Training steps: commit {mine} against {theirs}",
            "",
            "How many times as fast a step is, by rows of the table; then the share of a step that "
            "its dense products take alone, forward and both backward, as torch computes them and "
            "as the step does. Above 100 % the whole step is faster than torch's products.",
            "",
            *written.table(HEAD, times(frame)),
            "",
            *written.table(
                [*HEAD[:1], *(f"{each}, torch / own" for each in HEAD[1:])], shares(frame)
            ),
        ]
    return lines + (foot("speed", rows)[:-1] if rows else [])


def times(frame: pd.DataFrame) -> Iterator[list[str]]:
    """Write how many times as fast each network steps, and the geometric mean."""
    table = frame.pivot(index="network", columns="rows", values="ratio").reindex(
        columns=list(FOLDS_AND_BATCH)
    )
    for number, own in table.iterrows():
        yield [name_of(int(str(number))), *(f"{ratio:.2f}" for ratio in own)]
    yield ["**geometric mean**", *(f"**{each:.2f}**" for each in np.exp(np.log(table).mean()))]
    yield ["**least**", *(f"**{each:.2f}**" for each in table.min())]


def shares(frame: pd.DataFrame) -> Iterator[list[str]]:
    """Write the shares of the bare products."""
    for number, own in frame.groupby("network"):
        by_rows = own.set_index("rows").reindex(list(FOLDS_AND_BATCH))
        yield [
            name_of(int(str(number))),
            *(f"{a:.0%} / {b:.0%}" for a, b in zip(by_rows["of_torch"], by_rows["of_compiled"])),
        ]
