"""The command that trains a winner again, and how commands that train read their rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autoimb.cli.arguments import Data, MaxMemory, Out, Run, Weight, listed
from autoimb.cli.folders import section
from autoimb.cli.terminal import say
from autoimb.errors import RunError, SchemaError, choices

if TYPE_CHECKING:
    from autoimb.data.sample import Sample

__all__ = ["read_sample", "refit"]


def refit(
    run: Run,
    data: Data,
    out: Out,
    weight: Weight = None,
    max_memory: MaxMemory = None,
) -> None:
    """Train RUN's winner again on newer DATA.

    The same strategies with the same weights, and no search; the decision rule is fitted anew.
    Where the search had a column of row weights, DATA has it as well.
    """
    from autoimb.evaluation.refit import refit as train_again
    from autoimb.fields import nothing_or, number
    from autoimb.pipeline.artifact import load, save
    from autoimb.pipeline.summary import stamp
    from autoimb.runs.folder import RunFolder, understood
    from autoimb.search.refitting import prepare_refit
    from autoimb.search.request import Request

    folder = RunFolder.view(run)
    given = section(folder, "request")
    plan = section(folder, "plan")  # the one that the strategies were found with
    with understood(folder.path / "run.json", "request"):
        request, time_budget = Request.from_json(given), plan["time_budget"]
        nothing_or(number(0))(time_budget, "time_budget")
    if request.target is None:
        raise RunError(f"{run} does not say which column was the target.")
    rows = read_sample(
        data,
        target=request.target,
        drop=None,
        weight=weight or request.weight,
        max_memory=max_memory,
        seed=request.random_state,
    )
    old = load(folder.pipeline)
    planned = prepare_refit(old, request, rows, time_budget=time_budget)
    pipeline = train_again(old, planned.basis, unseen=planned.unseen)
    info = stamp() | pipeline.info | {"rows": planned.prepared.profile.n_rows}
    if planned.expected is not None:
        info["rate"] = planned.expected.to_info(pipeline.positive)
    pipeline = replace(pipeline, info=info)
    save(pipeline, out)
    say(f"{pipeline.describe()}\n-> {out}")


def read_sample(
    data: Path,
    *,
    target: str,
    drop: str | None,
    weight: str | None,
    max_memory: str | None,
    seed: int,
) -> Sample:
    """Read a table, or as many of its rows as memory may hold, without the columns to drop."""
    from autoimb.data.sample import read

    rows = read(data, target, max_memory=max_memory, weight=weight, random_state=seed)
    dropped = listed(drop) or []
    for name in dropped:
        if name not in rows.frame.columns:
            raise SchemaError(choices("column to drop", name, rows.frame.columns))
    return replace(rows, frame=rows.frame.drop(columns=dropped))
