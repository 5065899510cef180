"""How well a minute of autoimb predicts, beside what its users would pick instead.

``run --bench BENCH`` lets BENCH's ``run.py`` train systems on 70 % of every table and score the
other 30 %, as processes of their own. autoimb starts with networks that were learned without the
family of the table. Rows of peers that stand in ``BENCH/results`` are taken over to
``peers.jsonl``. The report has all seeds together, what other seconds give, and a section for each
metric and seed that was run beside peers. What searches reported stands beside what their test
rows gave (``judged.py``).
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.quality.judged import judged
from reports.benchmarks.rows import Row, Rows, by, foot, sources

KEY = by("data", "system", "metric", "seed", "time")
ROWS = Rows(Path(__file__).with_suffix(".jsonl"), KEY)
PEERS = Rows(Path(__file__).with_name("peers.jsonl"), KEY)  # that came with the bench
SCORES = {
    "average_precision": ["ap"],
    "balanced_accuracy": ["bacc", "gmean"],
    "f1": ["f1"],
}


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_data(parser)
    cases.add_again(parser)
    parser.add_argument("--bench", type=Path, default=cases.BENCH, help="of run.py and results/")
    parser.add_argument("--metric", choices=SCORES, default="average_precision")
    parser.add_argument("--time", type=float, default=cases.MINUTE)
    parser.add_argument("--seed", type=int, default=cases.SEED)
    parser.add_argument("--systems", default="autoimb", help="a,b; Python in PY_SYSTEM")


def run(options: Namespace) -> None:
    """Let the bench run what is missing."""
    from reports.benchmarks.quality.bench import adopt, run_autoimb, run_peers

    adopt(options.bench, PEERS)
    for system in options.systems.split(","):
        again = options.again and system == "autoimb"  # peers are of no commit
        known = ROWS.known(again=again) | PEERS.known()
        tables = [
            path.stem
            for path in cases.paths(options)
            if (path.stem, system, options.metric, options.seed, options.time) not in known
        ]
        if system == "autoimb":
            run_autoimb(tables, ROWS, options=options)
        else:
            run_peers([system], tables, ROWS, options=options)


def against(scores: pd.DataFrame, peer: str) -> tuple[float, float, int]:
    """Return the share of sets won (a tie is half a win), the mean gain, and how many sets."""
    both = scores[["autoimb", peer]].dropna()
    gap = both["autoimb"] - both[peer]
    return written.beaten(gap), float(gap.mean()), len(gap)


def by_system(frame: pd.DataFrame, index: str | list[str], score: str) -> pd.DataFrame:
    """Return the scores by system, where autoimb has one."""
    scores = frame.pivot_table(index=index, columns="system", values=score)
    return scores[scores["autoimb"].notna()]


def section(frame: pd.DataFrame, *, score: str, seconds: float) -> list[str]:
    """Write ranks, wins, gaps by size and every set's scores, of one metric, time and seed."""
    scores = by_system(frame, "data", score)
    ranks = written.ranks(scores)
    peers = [str(name) for name in ranks.sort_values().index if name != "autoimb"]
    mine = frame[frame["system"] == "autoimb"]
    rows = mine.set_index("data")["n"].reindex(scores.index)
    full = scores.dropna()
    head = ["system", "mean rank", "mean", "autoimb wins", "mean gain of autoimb", "sets"]
    return [
        f"{len(scores)} sets, of which {len(full)} have every system. Runs of autoimb that failed: "
        f"{mine[score].isna().sum()}; the longest took {(mine['wall'] / seconds).max():.2f} of its "
        f"budget, start of Python included. autoimb: {said(mine)}",
        "",
        *written.table(head, beside(scores, ranks, peers)),
        "",
        *written.table(["sets", *peers], by_kind(scores, rows, peers)),
        "",
        *written.table(["set", "rows", "autoimb", *peers], by_set(scores, rows, peers)),
        "",
    ]


def said(mine: pd.DataFrame) -> str:
    """Say where the rows of a section come from."""
    rows = mine.to_dict("records")
    text = sources([{k: v for k, v in row.items() if v == v} for row in rows])
    return text[0].lower() + text[1:]


def beside(scores: pd.DataFrame, ranks: pd.Series, peers: list[str]) -> Iterator[list[str]]:
    """Yield the rank and the mean of each system, and how often it is beaten."""
    full = scores.dropna()
    for name in ["autoimb", *peers]:
        own = [name, f"{ranks[name]:.2f}", f"{full[name].mean():.4f}"]
        if name == "autoimb":
            yield [*own, "", "", ""]
        else:
            share, gain, count = against(scores, name)
            yield [*own, f"{share:.0%}", f"{gain:+.4f}", str(count)]


def by_kind(scores: pd.DataFrame, rows: pd.Series, peers: list[str]) -> Iterator[list[str]]:
    """Yield wins over each peer on tables of a size, and with and without categories."""
    categories = cases.TABLES["n_categorical"].reindex(scores.index)
    small, large = cases.SMALL, cases.LARGE
    kinds = {
        f"below {small:,} training rows": rows < small,
        f"{small:,} to {large:,}": (rows >= small) & (rows < large),
        f"from {large:,} on": rows >= large,
        "numbers only": categories == 0,
        "with categories": categories > 0,
    }
    for kind, inside in kinds.items():
        found = [against(scores[inside], peer) for peer in peers]
        shown = [f"{share:.0%} ({gain:+.3f})" for share, gain, _ in found]
        yield [f"{kind}: {inside.sum()}", *shown]


def by_set(scores: pd.DataFrame, rows: pd.Series, peers: list[str]) -> Iterator[list[str]]:
    """Yield the scores on each set, the best in bold."""
    for name, row in scores.iterrows():
        best = row.max()

        def shown(value: float, best: float = best) -> str:
            text = "" if np.isnan(value) else f"{value:.4f}"
            return f"**{text}**" if value == best else text

        cells = [shown(row[system]) for system in ["autoimb", *peers]]
        yield [str(name), f"{rows[name]:,}", *cells]


def together(rows: pd.DataFrame) -> Iterator[list[str]]:
    """Yield ranks and wins on each metric, over all sets and seeds.

    A peer that was not run with every seed has no rank, so that no seed is left out for it; it is
    named last, with the runs that it has.
    """
    for metric, frame in rows.groupby("metric", sort=False):
        seeds = frame.groupby("system")["seed"].nunique()
        for score in SCORES[str(metric)]:
            scores = by_system(frame, ["data", "seed"], score)
            whole = scores[[name for name in scores if seeds[name] == seeds["autoimb"]]]
            order = written.ranks(whole).sort_values()
            peers = [name for name in order.index if name != "autoimb"]
            rank = f"{order['autoimb']:.2f} of {len(order)}, {peers[0]} {order[peers[0]]:.2f}"
            won = [f"{peer} {against(scores, peer)[0]:.0%}" for peer in peers]
            for peer in scores.columns.difference(whole.columns):
                share, _, count = against(scores, peer)
                won.append(f"{peer} {share:.0%} of {count} runs")
            yield [str(metric), score, str(len(whole.dropna())), rank, ", ".join(won)]


def other_lengths(rows: pd.DataFrame) -> list[str]:
    """Write what other seconds than a minute give autoimb, on the sets that were run with both."""
    scores = rows.pivot_table(index=["data", "seed"], columns="time", values="ap")
    cells = []
    for seconds in scores.columns.drop(cases.MINUTE):
        both = scores[[seconds, cases.MINUTE]].dropna()
        gain = both[seconds] - both[cases.MINUTE]
        low, high = written.interval(gain)
        own = [f"{seconds:g}", str(len(both)), *(f"{mean:.4f}" for mean in both.mean())]
        cells.append([*own, written.paired(gain), f"{low:+.4f} to {high:+.4f}"])
    head = ["seconds", "runs", "mean", f"with {cases.MINUTE:g} s", "gain over that", "95 %"]
    return [
        "## Shorter and longer searches, average precision",
        "",
        *written.table(head, cells),
        "",
    ]


def render(rows: list[Row]) -> str:
    """Write all seeds together, longer searches, and each metric and seed beside peers."""
    frame = pd.DataFrame([*PEERS.read(), *rows]).drop_duplicates(
        ["data", "system", "metric", "seed", "time"], keep="last"
    )
    head = ["asked for", "scored by", "runs", "mean rank of autoimb, next", "autoimb wins"]
    minute = frame[frame["time"] == cases.MINUTE]
    beside = minute.groupby(["metric", "seed"])["system"].transform("nunique") > 1
    lines = ["# Quality", "", f"## All seeds together, {cases.MINUTE:g} s", ""]
    lines += [*written.table(head, together(minute[beside])), ""]
    ranked = frame[(frame["system"] == "autoimb") & (frame["metric"] == "average_precision")]
    lines += other_lengths(ranked) if ranked["time"].nunique() > 1 else []
    first = {metric: scores[0] for metric, scores in SCORES.items()}
    lines += judged(minute[minute["system"] == "autoimb"], first)
    for (metric, seconds, seed), own in frame.groupby(["metric", "time", "seed"], sort=False):
        if "autoimb" in set(own["system"]) and own["system"].nunique() > 1:
            for score in SCORES[metric]:
                title = f"## {metric}, {seconds:g} s, seed {seed}"
                title += "" if score == SCORES[metric][0] else f": {score} of the same runs"
                lines += [title, "", *section(own, score=score, seconds=seconds)]
    return "\n".join([*lines[:-1], *foot("quality", rows)])
