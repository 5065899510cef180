"""What asking for the next strategy costs in a long search, and what a shorter history loses.

``run`` searches our own space for simulated scores, with the sampler seeing all strategies that
were tried, or the best and the newest of them; and times an ask after 5,000. A simulated table
gives each option a worth, each parameter of it a best value, and some pairs of options a worth
together; a score is their sum, and noise.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd

from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("shown", "seed", "tried"))
# the best and the newest that the sampler sees; all of them first
SHOWN: dict[str, tuple[int, int]] = {"all": (0, 10**6), "window": (25, 475)}
RANDOM = (0, 9)  # of fewer than ten the sampler learns nothing
LOOKS = (500, 750, 1_000)  # strategies, after which the best is looked at
LONG, ASKS = 5_000, 20  # strategies of a long search, and how many asks are timed after them
NOISE = 0.01  # standard error of a simulated score
TOLD = {
    "best": "worth of the strategy with the best score",
    "mean": "mean worth of the strategies since the look before",
}


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--first", type=int, default=0, help="the first seed")


def run(options: Namespace) -> None:
    """Search and time what is missing."""
    known = ROWS.known(again=options.again)
    seeds = range(options.first, options.first + options.seeds)
    for seed, shown in product(seeds, SHOWN):
        if (shown, seed, LOOKS[-1]) not in known:
            found = [{"shown": shown, "seed": seed} | look for look in search(shown, seed)]
            ROWS.append(found)
            print(*found[-1].values(), file=sys.stderr, flush=True)
    if any((shown, options.first, LONG) not in known for shown in SHOWN):
        ROWS.append(asks(options.first))


def search(shown: str, seed: int) -> Iterator[Row]:
    """Yield what was found after so many strategies as in `LOOKS`.

    Yields
    ------
    dict
        Worth of the strategy with the best score, and the mean worth of those since the look
        before.
    """
    asking, worth = project.Asking(seed, SHOWN[shown]), simulated(seed)
    noise, drawn = np.random.default_rng([seed, 1]), list[tuple[float, float]]()
    before = 0
    for tried in LOOKS:
        while len(drawn) < tried:
            number, strategy = asking.ask()
            own = worth(strategy)
            score = own + NOISE * float(noise.normal())
            asking.tell(number, strategy, score)
            drawn.append((score, own))
        since = [own for _, own in drawn[before:]]
        yield {"tried": tried, "best": max(drawn)[1], "mean": float(np.mean(since))}
        before = tried


def asks(seed: int) -> list[Row]:
    """Return the milliseconds of asks after a long search, of the processor's time."""
    history, random = project.Asking(seed, RANDOM), np.random.default_rng(seed)
    for _ in range(LONG):
        number, strategy = history.ask()
        history.tell(number, strategy, float(random.normal()))
    rows = []
    for shown, window in SHOWN.items():
        asking, spent = project.Asking(seed, window, history.storage), []
        for _ in range(ASKS):
            started = time.process_time()
            number, _ = asking.ask()
            spent.append(round(1e3 * (time.process_time() - started), 1))
            asking.forget(number)
        rows.append({"shown": shown, "seed": seed, "tried": LONG, "milliseconds": spent})
    return rows


def simulated(seed: int) -> Callable[[project.Strategy], float]:
    """Return what a strategy is worth on a simulated table."""

    def normal(*words: object) -> float:
        """Return the same number for the same words."""
        key = crc32("|".join(map(str, words)).encode())
        return float(np.random.default_rng([seed, key]).normal())

    def worth(strategy: project.Strategy) -> float:
        """Add up the worth of options, of parameters, and of options together."""
        places = project.places_of(strategy)
        names = {component: name for component, (name, _) in places.items()}
        total = 0.0
        for component, (name, own) in places.items():
            total += 0.02 * normal(component, name)
            total += 0.01 * normal(component, name, names["network"], names["ensemble"])
            for parameter, place in own.items():
                if isinstance(place, float):
                    best = (1 + np.tanh(normal(component, name, parameter))) / 2
                    total -= 0.06 * (place - best) ** 2
                else:
                    total += 0.01 * normal(component, name, parameter, place)
        return total

    return worth


def render(rows: list[Row]) -> str:
    """Write what an ask takes, and what the window gains or loses."""
    spent = {row["shown"]: np.median(row["milliseconds"]) for row in rows if row["tried"] == LONG}
    looks = pd.DataFrame([row for row in rows if row["tried"] != LONG])
    found = looks.pivot_table(index=["tried", "seed"], columns="shown", values=["best", "mean"])
    head = ["after", "", *SHOWN, "window less all"]
    lines = []
    for tried, (name, told) in product(LOOKS, TOLD.items()):
        own = found.loc[tried, name].dropna()
        means = [f"{own[shown].mean():.4f}" for shown in SHOWN]
        lines.append([f"{tried:,}", told, *means, written.paired(own["window"] - own["all"])])
    best, newest = SHOWN["window"]
    return "\n".join(
        [
            "# Asking in a long search",
            "",
            f"An ask after {LONG:,} strategies takes {spent['all']:.0f} ms of the processor where "
            f"the sampler sees all of them, and {spent['window']:.0f} ms where it sees a window: "
            f"the newest {newest} and the best {best} of those before them; medians of {ASKS}.",
            "",
            f"What is found on {looks['seed'].nunique()} simulated tables, the mean; the error of "
            "a difference is over tables. So much higher as a worth is, so much lower is the "
            f"regret. Scores have a standard error of {NOISE:g}.",
            "",
            *written.table(head, lines),
            *foot("asking", rows),
        ]
    )
