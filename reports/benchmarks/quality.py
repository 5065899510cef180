"""How well a minute of autoimb predicts, beside what its users would pick instead.

``python reports/benchmarks/quality.py --bench BENCH --data DATA`` lets BENCH's ``run.py`` train
systems on 70 % of every Parquet file of DATA (last column ``target``) and score the other 30 %, as
processes of their own, and appends to ``quality.jsonl``; what is there already is not run again.
autoimb starts with networks that were learned without the family of the table (``INDEX.csv``).
Peers' rows are also read from ``BENCH/results``. It writes ``quality.md``: all seeds together, what
more seconds give, and a section for each metric and seed that was run beside peers. ``--render``
runs nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from portfolio import LIST, PICKED, measured, write

HERE = Path(__file__).resolve().parent
SCORES = {
    "average_precision": ["ap"],
    "balanced_accuracy": ["bacc", "gmean"],
    "f1": ["f1"],
}
SMALL, LARGE = 3_000, 15_000  # training rows
SECONDS = 60.0  # of the searches that are held against peers


def run(options: argparse.Namespace, index: pd.DataFrame, raw: Path) -> None:
    """Let the bench run what is missing: autoimb family by family, peers on all tables at once."""
    tables = options.only.split(",") if options.only else list(index.index)
    peers = [system for system in options.systems.split(",") if system != "autoimb"]
    if "autoimb" in options.systems.split(","):
        scores = measured([json.loads(line) for line in (HERE / "portfolio.jsonl").open()])
        for _, family in index.loc[tables].groupby("family", sort=False):
            others = scores.drop(index=index.index[index["family"].isin(family["family"])])
            with tempfile.TemporaryDirectory() as folder:
                shutil.copytree(LIST.parents[1], Path(folder) / "autoimb")
                write(others, PICKED, Path(folder) / "autoimb" / "space" / LIST.name)
                bench(options, ["autoimb"], list(family.index), raw=raw, path=folder)
    if peers:
        bench(options, peers, tables, raw=raw)


def bench(
    options: argparse.Namespace, systems: list[str], tables: list[str], *, raw: Path, path: str = ""
) -> None:
    """Run systems on tables, with packages from a path first."""
    command = [sys.executable, str(options.bench / "run.py"), "--data", str(options.data)]
    command += ["--systems", ",".join(systems), "--time", f"{options.time:g}"]
    command += ["--metric", options.metric, "--seed", str(options.seed), "--out", str(raw)]
    command += ["--only", ",".join(tables)]
    subprocess.run(command, check=True, env=os.environ | ({"PYTHONPATH": path} if path else {}))


def collected(files: list[Path]) -> pd.DataFrame:
    """Read all rows; of several for a system, set, metric, seed and time, the last."""
    frame = pd.DataFrame([json.loads(line) for file in files for line in file.open()])
    same = ["data", "system", "metric", "seed", "time"]
    return frame.drop_duplicates(same, keep="last")


def ranks(scores: pd.DataFrame) -> pd.Series:
    """Mean rank over the sets that every system has; 1 is best."""
    return scores.dropna().rank(axis=1, ascending=False).mean()


def wins(scores: pd.DataFrame, peer: str) -> tuple[float, float, int]:
    """Return the share of sets won (a tie is half a win), the mean gain, and how many sets."""
    both = scores[["autoimb", peer]].dropna()
    gap = both["autoimb"] - both[peer]
    return float((gap > 0).mean() + 0.5 * (gap == 0).mean()), float(gap.mean()), len(gap)


def render(
    frame: pd.DataFrame, index: pd.DataFrame, *, title: str, score: str, seconds: float
) -> list[str]:
    """Write ranks, wins, gaps by size and every set's scores as Markdown."""
    scores = frame.pivot_table(index="data", columns="system", values=score)
    scores = scores[scores["autoimb"].notna()]
    peers = [name for name in ranks(scores).sort_values().index if name != "autoimb"]
    mine = frame[frame["system"] == "autoimb"]
    failed = mine[mine[score].isna()]["data"]
    full = scores.dropna()
    lines = [
        f"## {title}",
        "",
        f"{len(scores)} sets, of which {len(full)} have every system. Runs of autoimb that failed: "
        f"{len(failed)}; the longest took {(mine['wall'] / seconds).max():.2f} of its budget, "
        "start of Python included.",
        "",
        "| system | mean rank | mean | autoimb wins | mean gain of autoimb | sets |",
        "|---|---|---|---|---|---|",
    ]
    for name in ["autoimb", *peers]:
        row = f"| {name} | {ranks(scores)[name]:.2f} | {full[name].mean():.4f} |"
        if name != "autoimb":
            share, gain, count = wins(scores, name)
            row += f" {share:.0%} | {gain:+.4f} | {count} |"
        lines.append(row if name != "autoimb" else row + " | | |")
    rows = mine.set_index("data")["n"].reindex(scores.index)
    kinds = {
        f"below {SMALL:,} training rows": rows < SMALL,
        f"{SMALL:,} to {LARGE:,}": (rows >= SMALL) & (rows < LARGE),
        f"from {LARGE:,} on": rows >= LARGE,
        "numbers only": index["n_categorical"].reindex(scores.index) == 0,
        "with categories": index["n_categorical"].reindex(scores.index) > 0,
    }
    lines += ["", f"| sets | {' | '.join(peers)} |", f"|---|{'---|' * len(peers)}"]
    for kind, inside in kinds.items():
        cells = [wins(scores[inside], peer) for peer in peers]
        shown = " | ".join(f"{share:.0%} ({gain:+.3f})" for share, gain, _ in cells)
        lines.append(f"| {kind}: {inside.sum()} | {shown} |")
    lines += [
        "",
        f"| set | rows | autoimb | {' | '.join(peers)} |",
        f"|---|{'---|' * (len(peers) + 2)}",
    ]
    for name, row in scores.iterrows():
        best = row.max()
        cells = [
            "" if np.isnan(row[s]) else f"**{row[s]:.4f}**" if row[s] == best else f"{row[s]:.4f}"
            for s in ["autoimb", *peers]
        ]
        lines.append(f"| {name} | {rows[name]:,} | {' | '.join(cells)} |")
    return [*lines, ""]


def together(rows: pd.DataFrame) -> list[str]:
    """Write ranks and wins on each metric, over all sets and seeds, as Markdown."""
    lines = ["| asked for | scored by | runs | mean rank of autoimb, next | autoimb wins |"]
    lines.append("|---|---|---|---|---|")
    for metric, frame in rows.groupby("metric", sort=False):
        for score in SCORES[metric]:
            scores = frame.pivot_table(index=["data", "seed"], columns="system", values=score)
            scores = scores[scores["autoimb"].notna()]
            order = ranks(scores).sort_values()
            peers = [name for name in order.index if name != "autoimb"]
            won = ", ".join(f"{peer} {wins(scores, peer)[0]:.0%}" for peer in peers)
            lines.append(
                f"| {metric} | {score} | {len(scores.dropna())} | {order['autoimb']:.2f} of "
                f"{len(order)}, {peers[0]} {order[peers[0]]:.2f} | {won} |"
            )
    return [*lines, ""]


def longer(rows: pd.DataFrame) -> list[str]:
    """Write what more seconds give autoimb, on the sets that were run with all of them."""
    scores = rows.pivot_table(index=["data", "seed"], columns="time", values="ap").dropna()
    gains = scores.diff(axis=1)
    lines = ["| seconds | mean | more than with the row before by |", "|---|---|---|"]
    for seconds, own in scores.items():
        gain = gains[seconds]
        more = "" if gain.isna().all() else f"{gain.mean():+.4f} ± {gain.sem():.4f}"
        lines.append(f"| {seconds:g} | {own.mean():.4f} | {more} |")
    whole = scores.iloc[:, -1] - scores.iloc[:, 0]
    lines += ["", f"First to last: {whole.mean():+.4f} ± {whole.sem():.4f}, {len(whole)} runs."]
    return [*lines, ""]


def main() -> None:
    """Read the command line, run what is missing, write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bench", type=Path, required=True, help="folder of run.py and results/")
    parser.add_argument("--data", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--metric", choices=SCORES, default="average_precision")
    parser.add_argument("--time", type=float, default=SECONDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="these sets: a,b")
    parser.add_argument("--systems", default="autoimb", help="a,b; Python in PY_SYSTEM")
    parser.add_argument("--render", action="store_true", help="run nothing")
    options = parser.parse_args()
    raw = HERE / "quality.jsonl"
    index = pd.read_csv(options.data / "INDEX.csv").set_index("name")
    if not options.render:
        run(options, index, raw)
    rows = collected([*sorted((options.bench / "results").glob("*.jsonl")), raw])
    mine = rows[rows["system"] == "autoimb"]
    text = f"# Quality\n\n## All seeds together, {SECONDS:g} s\n\n"
    text += "\n".join(together(rows[rows["time"] == SECONDS])) + "\n"
    ranked = mine[mine["metric"] == "average_precision"]
    if ranked["time"].nunique() > 1:
        text += "## Longer searches, average precision\n\n" + "\n".join(longer(ranked)) + "\n"
    for (metric, seconds, seed), frame in rows.groupby(["metric", "time", "seed"], sort=False):
        if "autoimb" in set(frame["system"]) and frame["system"].nunique() > 1:
            for score in SCORES[metric]:
                title = f"{metric}, {seconds:g} s, seed {seed}"
                title += "" if score == SCORES[metric][0] else f": {score} of the same runs"
                lines = render(frame, index, title=title, score=score, seconds=seconds)
                text += "\n".join(lines) + "\n"
    (HERE / "quality.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
