"""How well a minute of autoimb predicts, beside what its users would pick instead.

``python reports/benchmarks/quality.py --bench BENCH --data DATA`` lets BENCH's ``run.py`` train
autoimb on 70 % of every Parquet file of DATA (last column ``target``) and score the other 30 %, as
processes of their own, and appends to ``quality.jsonl``; what is there already is not run again.
The peers' rows are read from ``BENCH/results``, from runs of the same seed, time and metric. It
writes ``quality.md``. ``--render`` runs nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
SCORE = {"average_precision": "ap", "balanced_accuracy": "bacc", "f1": "f1"}
SMALL, LARGE = 3_000, 15_000  # training rows


def run(options: argparse.Namespace, raw: Path) -> None:
    """Let the bench run what is missing."""
    command = [sys.executable, str(options.bench / "run.py"), "--data", str(options.data)]
    command += ["--systems", "autoimb", "--time", f"{options.time:g}", "--seed", str(options.seed)]
    command += ["--metric", options.metric, "--out", str(raw)]
    if options.only:
        command += ["--only", options.only]
    subprocess.run(command, check=True)


def collected(files: list[Path], options: argparse.Namespace) -> pd.DataFrame:
    """Read the rows of one seed, time and metric; of several for a system and set, the last."""
    lines = [json.loads(line) for file in files for line in file.open()]
    frame = pd.DataFrame(lines)
    asked = (frame["seed"] == options.seed) & (frame["time"] == options.time)
    frame = frame[asked & (frame["metric"] == options.metric)]
    return frame.drop_duplicates(["data", "system"], keep="last")


def ranks(scores: pd.DataFrame) -> pd.Series:
    """Mean rank over the sets that every system has; 1 is best."""
    return scores.dropna().rank(axis=1, ascending=False).mean()


def wins(scores: pd.DataFrame, peer: str) -> tuple[float, float, int]:
    """Return the share of sets won (a tie is half a win), the mean gain, and how many sets."""
    both = scores[["autoimb", peer]].dropna()
    gap = both["autoimb"] - both[peer]
    return float((gap > 0).mean() + 0.5 * (gap == 0).mean()), float(gap.mean()), len(gap)


def render(frame: pd.DataFrame, index: pd.DataFrame, options: argparse.Namespace) -> list[str]:
    """Write ranks, wins, gaps by size and every set's scores as Markdown."""
    scores = frame.pivot_table(index="data", columns="system", values=SCORE[options.metric])
    scores = scores[scores["autoimb"].notna()]
    peers = [name for name in ranks(scores).sort_values().index if name != "autoimb"]
    mine = frame[frame["system"] == "autoimb"]
    failed = mine[mine[SCORE[options.metric]].isna()]["data"]
    full = scores.dropna()
    lines = [
        f"## {options.metric}, {options.time:g} s, seed {options.seed}",
        "",
        f"{len(scores)} sets, of which {len(full)} have every system. Runs of autoimb that failed: "
        f"{len(failed)}; the longest took {(mine['wall'] / options.time).max():.2f} of its budget, "
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


def main() -> None:
    """Read the command line, run what is missing, write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bench", type=Path, required=True, help="folder of run.py and results/")
    parser.add_argument("--data", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--metric", choices=SCORE, default="average_precision")
    parser.add_argument("--time", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="these sets: a,b")
    parser.add_argument("--render", action="store_true", help="run nothing")
    options = parser.parse_args()
    raw = HERE / "quality.jsonl"
    if not options.render:
        run(options, raw)
    files = [raw, *sorted((options.bench / "results").glob("*.jsonl"))]
    index = pd.read_csv(options.data / "INDEX.csv").set_index("name")
    text = "\n".join(["# Quality", "", *render(collected(files, options), index, options)])
    (HERE / "quality.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
