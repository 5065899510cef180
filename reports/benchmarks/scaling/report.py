"""What is written of a hundred workers: the figures, and what follows from them."""

from __future__ import annotations

import pandas as pd

from reports.benchmarks import render as written
from reports.benchmarks.rows import Row, foot

__all__ = ["render"]

ENOUGH = 0.8  # of the workers' time that trials take, from which on we call them well used


def render(rows: list[Row]) -> str:
    """Write what is simulated, what is replayed, and what follows."""
    parts = {
        part: [row for row in rows if row["part"] == part] for part in ("simulated", "replayed")
    }
    simulated, replays = parts["simulated"], parts["replayed"]
    if not simulated or not replays:
        return "# A hundred workers\n\nNot measured yet.\n"
    found = pd.DataFrame(simulated)
    return "\n".join(
        [
            "# A hundred workers",
            "",
            *_conclusion(found, replays),
            "",
            "## The scheduler, simulated",
            "",
            *_simulated(found),
            "",
            "## A study of a hundred drivers, replayed",
            "",
            *_replayed(replays),
            *foot("scaling", rows),
        ]
    )


def _conclusion(found: pd.DataFrame, replays: list[Row]) -> list[str]:
    """Say in plain words what follows from the figures."""
    most = max(found["workers"])
    free = found[~found["synchronous"]]
    longest = free[free["scale"] == max(free["scale"])].groupby("workers")
    batches = found[found["synchronous"] & (found["workers"] == most)]
    means = longest[["cut", "early", "trials"]].mean()
    early = longest["went_on_early"].sum() / longest["went_on"].sum()
    behind = _behind(free[free["scale"] == max(free["scale"])], most)
    many = max(replays, key=lambda row: (row["drivers"], -row["seconds"]))
    wall, young = many["steps"] / many["held"], many["steps"] / many["held_own"]
    trial, draw = found["costs"].iloc[0]
    old = 1 / (trial + draw)
    return [
        f"- **Efficient to.** {_well_used(free)} The longer a trial, the more workers one study "
        "keeps busy; with a longer budget a search plans longer trials. Batches keep "
        f"{most} workers busy for {batches['busy'].mean():.0%} of their time, as all wait for the "
        "slowest.",
        f"- **Thrown away.** Of the time of {most} workers {means.loc[most, 'cut']:.0%} goes to "
        f"trials that a deadline cuts ({means.loc[1, 'cut']:.1%} of one worker's): each worker has "
        f"time for {means.loc[most, 'trials'] / most:.0f} and loses its last one, and none may "
        f"take more than a quarter of that time. And {means.loc[most, 'early']:.0%} goes to rungs "
        "to which a strategy went on that was not among the best of the rung below in the end "
        f"({means.loc[1, 'early']:.0%} of one "
        f"worker's): {early[most]:.0%} of those that went on, against {early[1]:.0%}.",
        f"- **Found.** With {most} workers and as much time in all, what would be exported is "
        f"worth {behind} against one worker, in units of which a score's standard error is .01.",
        f"- **The bottleneck is the exclusive step,** in which a driver takes over what is new, "
        f"plans and draws while all others wait. With {many['drivers']} drivers and trials of "
        f"{many['seconds']:g} s the lock was held for {many['held']:.0%} of the time, while who "
        f"held it had a processor for {many['held_own']:.0%}: {60 * wall:,.0f} steps a minute at "
        f"most beside all that this machine did, and {60 * young:,.0f} where nothing else keeps "
        f"the driver waiting. They are {60 * old:,.0f} once the sampler learns from so many "
        f"strategies that a draw takes {1e3 * draw:.0f} ms. A study is full where workers end "
        f"more trials than that: with {most} workers, where trials take less than "
        f"{most / young:.0f} to {most / old:.0f} s. The database is no limit: it takes "
        f"{1e3 * many['server']:.0f} ms of a processor a trial. But it has "
        f"{many['connections']:.0f} connections of {many['drivers']} drivers, and PostgreSQL "
        "admits 100 unless told otherwise (`max_connections`).",
        "- **Beyond.** Give the search a longer budget, or fewer workers to a study: two studies "
        "of half the workers wait for two locks. What would move the limit is a draw outside the "
        "lock, several trials in one step for a driver of several workers, and fewer connections.",
    ]


def _well_used(free: pd.DataFrame) -> str:
    """Say for each length of trials to how many workers most of the time is spent on trials."""
    parts = []
    for _, own in free.groupby("scale"):
        busy = own.groupby("workers")["busy"].mean()
        enough = busy.index[busy >= ENOUGH]
        if len(enough):
            parts.append(f"{max(enough)} where a trial takes {own['mean'].iloc[0]:.1f} s")
    tried = ", ".join(map(str, sorted(free["workers"].unique())))
    told = "; ".join(parts)
    return (
        f"Of {tried} workers the most that trials keep busy for {ENOUGH:.0%} of the time: {told}."
    )


def _behind(own: pd.DataFrame, workers: int) -> str:
    """Return what is found with so many workers less what is found with one, on the same tables."""
    worth = own.pivot_table(index="seed", columns="workers", values="worth")
    return written.paired(worth[workers] - worth[1])


def _simulated(found: pd.DataFrame) -> list[str]:
    """Write what becomes of the workers' time."""
    lines = []
    for (scale, synchronous, workers), own in found.groupby(["scale", "synchronous", "workers"]):
        alone = found[(found["scale"] == scale) & ~found["synchronous"]]
        same = pd.concat([alone[alone["workers"] == 1], own[own["workers"] > 1]])
        lines.append(
            [
                f"{own['mean'].iloc[0]:.1f}",
                "batches" if synchronous else "asynchronous",
                workers,
                _mean(own["busy"]),
                _mean(own["cut"]),
                f"{own['went_on_early'].sum()} of {own['went_on'].sum()}",
                _mean(own["driver"]),
                f"{own['trials'].mean():.0f}",
                "" if workers == 1 else _behind(same, workers),
            ]
        )
    head = ["a trial, s", "schedule", "workers", "busy", "cut", "early", "driver", "trials"]
    trial, draw = found["costs"].iloc[0]
    seeds, total = found["seed"].nunique(), len(found)
    return [
        f"{total} searches of {seeds} simulated tables by the real scheduler, with matched duels "
        "and without partners, in virtual time. The seconds of all workers together are the same "
        "in all lines of one length of trials, so a search with many workers has little time. "
        "Trials take as long as measured ones of the same network at the same rung, or ten or a "
        "hundred times as long. A score has a standard error of .01 over the root of the work. The "
        f"driver takes {1e3 * trial:.0f} ms a trial and {1e3 * draw:.0f} more for each draw, as it "
        "does after 5,000 trials in PostgreSQL (`reports/benchmarks/storage/storage.md`), and "
        "begins one trial at a time; many drivers of one worker wait for each other in the same "
        "way as many workers for one driver.",
        "",
        "Of the workers' time `busy` is spent on trials, `cut` on those that a deadline ended; "
        "`early` are those that went on to a rung, not being among the best of the one below in "
        "the end; `driver` is the share of the time in which it plans and draws; last the worth of "
        "what would be exported, less that with one worker. Means and their errors.",
        "",
        *written.table([*head, "worth"], lines),
    ]


def _mean(values: pd.Series) -> str:
    return f"{values.mean():.1%} ± {values.sem():.1%}"


def _replayed(replays: list[Row]) -> list[str]:
    """Write what drivers wait for."""
    lines = [
        [
            row["drivers"],
            f"{row['seconds']:g}",
            f"{row['drivers'] / row['seconds']:.1f}",
            f"{row['ended']:.1f}",
            f"{row['busy']:.0%}",
            _spread(row["step_waited"]),
            f"{_spread(row['step_took'])}, own {row['step_own'][0]:.0f}",
            f"{row['held']:.0%}, own {row['held_own']:.0%}",
            _spread(row["tell_took"]),
            f"{1e3 * row['server']:.0f} and {1e3 * row['drivers_own']:.0f}",
            f"{row['transactions']:.0f}",
            row["connections"],
            f"{row['others']:.1f}",
        ]
        for row in replays
    ]
    looked = replays[0]["lasts"]
    head = ["drivers", "a trial, s", "trials a second at most", "trials a second", "busy"]
    head += ["waits for the lock, ms", "has it, ms", "held", "tells, ms"]
    return [
        "Drivers of one worker each, and one PostgreSQL server, all on this machine: each asks, "
        "beats, saves a file of a thousand predictions for each trial where all find it, tells, "
        "and reads what the others have ended, by the package's own code; there are no networks. "
        "In place of training it waits, from half to one and a half times as long as stated; "
        f"{looked:g} s of each are looked at. Medians and 95 % quantiles by the wall clock; `own` "
        "is the processor time of who has the lock, and the share of the time in which it had a "
        "processor; then the processor time of server and drivers, and transactions, a trial; at "
        "last the processors that other programs had, of which a machine for drivers has none.",
        "",
        *written.table(
            [*head, "processor ms: server, drivers", "transactions", "connections", "others"], lines
        ),
    ]


def _spread(milliseconds: list[float]) -> str:
    return f"{milliseconds[0]:,.0f} ({milliseconds[1]:,.0f})"
