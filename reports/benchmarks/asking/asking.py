"""What asking for the next strategy costs in a long search, and what a shorter history loses.

``run`` searches our own space for simulated scores. A long history, which the sampler drew from the
newest strategies and a few of the best, is gone on with twice: the sampler sees all of it, or the
window that a search shows. And asks after 5,000 strategies are timed. A simulated table gives each
option a worth, each parameter of it a best value, and some options a worth together; a score is
their sum, and noise.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.rows import Row, Rows, by, foot
from reports.benchmarks.worth import NOISE, worth_on

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("shown", "seed", "history"))
SUGGESTIONS = project.DEFAULT_POLICY.suggestions
WINDOW = SUGGESTIONS.sampler_best, SUGGESTIONS.sampler_newest
# the best and the newest strategies that the sampler sees
SHOWN: dict[str, tuple[int, int]] = {"all": (0, 10**6), "window": WINDOW}
SHORT = (25, 75)  # in a history
HISTORY, NEXT = 3_000, 100  # strategies
LONG, ASKS = 5_000, 5  # strategies before asks that are timed
TOLD = {
    "next": f"mean worth of the next {NEXT}",
    "best": "worth of the strategy with the best score",
}


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--first", type=int, default=0, help="the first seed")


def run(options: Namespace) -> None:
    """Search and time what is missing."""
    known = ROWS.known(again=options.again)
    for seed in range(options.first, options.first + options.seeds):
        if any((shown, seed, HISTORY) not in known for shown in SHOWN):
            ROWS.append(searches(seed))
            print(seed, file=sys.stderr, flush=True)
    if any((shown, options.first, LONG) not in known for shown in SHOWN):
        ROWS.append(asks(options.first))


def searches(seed: int) -> list[Row]:
    """Go on with one history, with all of it shown to the sampler and with the window."""
    worth, rows = worth_on(seed), []
    before = project.Asking(seed, SHORT)
    tried = list(_asked(before, worth, HISTORY, seed))
    for shown, window in SHOWN.items():
        asking = project.Asking(seed, window, before.trials)
        new = list(_asked(asking, worth, NEXT, seed))
        rows.append(
            {
                "shown": shown,
                "seed": seed,
                "history": HISTORY,
                "next": float(np.mean([own for _, own in new])),
                "best": max([*tried, *new])[1],
            }
        )
    return rows


def _asked(
    asking: project.Asking, worth: Callable[[project.Strategy], float], number: int, seed: int
) -> Iterator[tuple[float, float]]:
    """Ask for so many strategies; yield the score that each is told to have, and its worth."""
    for _ in range(number):
        trial, strategy = asking.ask()
        own = worth(strategy)
        score = own + NOISE * float(np.random.default_rng([seed, trial]).normal())
        asking.tell(trial, strategy, score)
        yield score, own


def asks(seed: int) -> list[Row]:
    """Return the milliseconds of asks after a long search, of the processor's time."""
    history, random = project.Asking(seed, SHORT), np.random.default_rng(seed)
    for _ in range(LONG):
        trial, strategy = history.draw()
        history.tell(trial, strategy, float(random.normal()))
    rows = []
    for shown, window in SHOWN.items():
        asking, spent = project.Asking(seed, window, history.trials), []
        for _ in range(ASKS):
            started = time.process_time()
            trial, strategy = asking.ask()
            spent.append(round(1e3 * (time.process_time() - started), 1))
            asking.forget(trial, strategy)
        rows.append({"shown": shown, "seed": seed, "history": LONG, "milliseconds": spent})
    return rows


def render(rows: list[Row]) -> str:
    """Write what an ask takes, and what the window gains or loses."""
    spent = {row["shown"]: np.median(row["milliseconds"]) for row in rows if "next" not in row}
    best, newest = SHOWN["window"]
    return "\n".join(
        [
            "# Asking in a long search",
            "",
            f"An ask after {LONG:,} strategies takes {spent['all']:.0f} ms of the processor where "
            f"the sampler sees all of them, and {spent['window']:.0f} ms where it sees a window: "
            f"the newest {newest} and the best {best} of those before them; medians of {ASKS}.",
            "",
            *_compared([row for row in rows if "next" in row]),
            *foot("asking", rows),
        ]
    )


def _compared(rows: list[Row]) -> list[str]:
    """Write what the strategies are worth that were asked for with all shown, and the window."""
    if not rows:
        return ["No history has been gone on with yet: what the window loses is not measured."]
    found = pd.DataFrame(rows).pivot_table(index="seed", columns="shown", values=list(TOLD))
    lines = []
    for name, told in TOLD.items():
        own = found[name].dropna()
        means = [f"{own[shown].mean():.4f}" for shown in SHOWN]
        lines.append([told, *means, written.paired(own["window"] - own["all"])])
    return [
        f"{len(found)} simulated tables; on each one history of {HISTORY:,} strategies is gone on "
        f"with for {NEXT} more, in both ways. Means over tables, and the error of the difference; "
        "so much higher as a worth is, so much lower is the regret. A score has a standard error "
        f"of {NOISE:g}.",
        "",
        *written.table(["", *SHOWN, "window less all"], lines),
    ]
