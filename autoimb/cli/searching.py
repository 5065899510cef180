"""Commands that train: search and refit."""

from __future__ import annotations

import contextlib
import errno
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoimb.cli.arguments import (
    Data,
    MaxMemory,
    Out,
    Run,
    Target,
    Weight,
    column_kinds,
    json_value,
    listed,
    named_folder,
    weight_words,
)
from autoimb.cli.terminal import say
from autoimb.errors import AutoImbError, OptionError, RunError, SchemaError, choices
from autoimb.files import write_file
from autoimb.text import harmless

if TYPE_CHECKING:
    from autoimb.data.sample import Sample
    from autoimb.pipeline.fitted import FittedPipeline
    from autoimb.report.build import Facts
    from autoimb.runs.folder import RunFolder
    from autoimb.search.search import SearchResult

__all__ = ["refit", "search", "section", "write_results"]

ALL_CORES = -1
FOUND = 3  # what --fail-on waits for
INTERRUPTED = 130
FULL = {errno.ENOSPC, errno.EDQUOT}

Names = Annotated[
    str | None, typer.Option(metavar="A,B", help="Only these options of the component.")
]


def search(  # noqa: PLR0913 - a command's options are its parameters
    context: typer.Context,
    data: Data,
    target: Target,
    metric: Annotated[
        str, typer.Option("--metric", "-m", metavar="M", help="What to optimize.")
    ] = "average_precision",
    time_budget: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            help="Seconds for everything, the start of the program included "
            "[default: 300, or none with --n-trials or --strategy].",
        ),
    ] = None,
    n_trials: Annotated[
        int | None,
        typer.Option("--n-trials", "--trials", metavar="N", help="How many strategies to try."),
    ] = None,
    n_jobs: Annotated[
        int,
        typer.Option(
            "--n-jobs",
            "--jobs",
            metavar="J",
            help="Worker processes; -1 is all cores. In Python the default is 1, as a library must "
            "not take a machine that others use; a command is alone.",
        ),
    ] = ALL_CORES,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            parser=named_folder,
            help="The folder to write [default: runs/<name of DATA>].",
        ),
    ] = None,
    storage: Annotated[
        str | None, typer.Option(metavar="URL", help="An Optuna storage instead of RUN's journal.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search in RUN.")] = False,
    random_state: Annotated[
        int,
        typer.Option(
            "--random-state",
            "--seed",
            metavar="N",
            help="The one seed. In Python the default is another one each time; a run is repeated "
            "and resumed by its command.",
        ),
    ] = 0,
    cv: Annotated[
        int | None, typer.Option(metavar="N", help="Folds [default: planned from the counts].")
    ] = None,
    pos_label: Annotated[
        str | None, typer.Option(metavar="L", help="The positive class [default: the rarest].")
    ] = None,
    resampling: Names = None,
    class_weight: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help='Only these options of the component; or costs: "balanced", or JSON of class to '
            "weight.",
        ),
    ] = None,
    cost_matrix: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="Costs by true × predicted class, in the order of the sorted classes: "
            "[[0, 1], [40, 0]].",
        ),
    ] = None,
    loss: Names = None,
    ensemble: Names = None,
    network: Names = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="Evaluate this one strategy, without a search: as inspect prints it, or a row of "
            "leaderboard.csv as JSON.",
        ),
    ] = None,
    partners: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Boosted trees that may share the blend: auto, none, or names of them.",
        ),
    ] = "auto",
    weight: Weight = None,
    max_memory: MaxMemory = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(metavar="COL=KIND", help="The kind of a column; may be repeated."),
    ] = None,
    drop: Annotated[str | None, typer.Option(metavar="A,B", help="Columns to leave out.")] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(
            metavar="SEVERITY",
            help="Exit with status 3 where a check saw something so grave or graver: info, "
            "warning, error. Everything is written all the same.",
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A table with the target, of rows that nothing sees but the last line of the "
            "report.",
        ),
    ] = None,
    holdout: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Share of DATA's rows to hold out for such a test."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> None:
    """Search the best strategy for DATA.

    RUN gets the pipeline, the report, the leaderboard, and the journal to resume from. Ctrl-C
    ends the search early and still writes all of them.
    """
    from autoimb.runtime.process import warm_up

    limited = n_trials is not None or strategy is not None
    if not limited or time_budget is not None or n_jobs != 1:
        warm_up()  # the workers' server imports while this process does
    from autoimb.assessment.checks import SEVERITIES
    from autoimb.budget import DEFAULT_BUDGET, Budget
    from autoimb.data.sample import standing
    from autoimb.data.target import encode_target
    from autoimb.report.facts import build_facts
    from autoimb.runs.folder import RunFolder
    from autoimb.search.parameters import read_request
    from autoimb.search.prepare import Table, prepare
    from autoimb.search.search import search as run_search

    if fail_on is not None and fail_on not in SEVERITIES:
        raise OptionError(choices("severity", fail_on, SEVERITIES))
    limit = DEFAULT_BUDGET if time_budget is None and not limited else time_budget
    budget = Budget.start(limit, started=context.obj)
    read = partial(
        _read, target=target, drop=drop, weight=weight, max_memory=max_memory, seed=random_state
    )
    rows = read(data)
    given = {
        "target": target,
        "metric": metric,
        "time_budget": limit,
        "n_trials": n_trials,
        "n_jobs": n_jobs,
        "cv": cv,
        "random_state": random_state,
        "pos_label": pos_label,
        "resampling": listed(resampling),
        "class_weight": weight_words(class_weight),
        "cost_matrix": json_value(cost_matrix, "--cost-matrix is no JSON"),
        "loss": listed(loss),
        "ensemble": listed(ensemble),
        "network": listed(network),
        "strategy": strategy,
        "partners": None if partners == "none" else listed(partners),
        "verbose": 0 if quiet else 1,
        "data": harmless(data.name),
        "weight": weight,
        "holdout": holdout,
    }
    request = read_request(given, encode_target(rows.y).classes)
    table = Table(
        rows.frame,
        rows.y,
        rows.weight,
        kinds=column_kinds(kind or []),
        test=None if test is None else standing(read(test)),
        class_counts=rows.class_counts,
    )
    prepared = prepare(table, request)
    path = out or _free_folder(data)
    digest = "" if prepared.test is None else prepared.test.digest
    labels = prepared.target.classes.tolist()
    fingerprint = request.fingerprint(prepared.dataset, labels, test=digest)
    with (
        _stoppable(),
        RunFolder.open(path, fingerprint=fingerprint, resume=resume) as folder,
        _nothing_left(folder),
        _way_on(path),
    ):
        result = run_search(prepared, budget=budget, folder=folder, storage=storage)
        facts = build_facts(result, deadline=budget.deadline)
        write_results(folder, result.pipeline, facts)
    if not quiet:
        say(_summary(result, facts, path))
    if result.interrupted:
        raise typer.Exit(INTERRUPTED)
    if fail_on is not None and any(found.is_at_least(fail_on) for found in facts.findings):
        raise typer.Exit(FOUND)


def refit(
    run: Run, data: Data, out: Out, weight: Weight = None, max_memory: MaxMemory = None
) -> None:
    """Train RUN's winner again on newer DATA.

    The same strategies with the same weights, and no search; the decision rule is fitted anew.
    Where the search had a column of row weights, DATA has it as well.
    """
    from autoimb.evaluation.refit import refit as train_again
    from autoimb.pipeline.artifact import load, save
    from autoimb.pipeline.summary import stamp
    from autoimb.runs.folder import RunFolder
    from autoimb.runs.seal import understood
    from autoimb.search.refitting import prepare_refit
    from autoimb.search.request import Request

    folder = RunFolder.view(run)
    given = section(folder, "request")
    plan = section(folder, "plan")  # the one that the strategies were found with
    with understood(folder.path / "run.json", "request"):
        request = replace(Request.from_json(given), time_budget=plan["time_budget"])
    if request.target is None:
        raise RunError(f"{run} does not say which column was the target.")
    rows = _read(
        data,
        target=request.target,
        drop=None,
        weight=weight or request.weight,
        max_memory=max_memory,
        seed=request.random_state,
    )
    old = load(folder.pipeline)
    planned = prepare_refit(old, request, rows)
    pipeline = train_again(old, planned.prepared.dataset, planned.plan, planned.judge)
    info = stamp() | pipeline.info | {"rows": planned.prepared.profile.n_rows}
    pipeline = replace(pipeline, info=info)
    save(pipeline, out)
    say(f"{pipeline.describe()}\n-> {out}")


def section(folder: Any, name: str) -> dict[str, Any]:
    """Return a section of a finished search's ``run.json``."""
    run = folder.read_run()
    if name not in run:
        raise RunError(f"{folder.path} has no {name} yet: its search has not finished.")
    if not isinstance(run[name], dict):
        raise RunError(f"{folder.path} has {name} that are no object: its run.json is damaged.")
    return dict(run[name])


def write_results(folder: Any, pipeline: FittedPipeline, facts: Facts) -> None:
    """Write what a finished search leaves in RUN, each file whole or not at all."""
    import pandas as pd

    from autoimb.pipeline.artifact import save
    from autoimb.report.build import render

    leaderboard = pd.DataFrame(facts.leaderboard)
    save(pipeline, folder.pipeline)
    write_file(folder.leaderboard, leaderboard.to_csv(index=False).encode())
    write_file(folder.report, render(facts).encode())
    folder.update_run({"results": facts.to_json()})


def _read(
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


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Hear SIGTERM, a scheduler's stop, as Ctrl-C: what has finished is still written."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _nothing_left(folder: RunFolder) -> Iterator[None]:
    """Remove a folder that was made for a search that then never finished a trial."""
    try:
        yield
    except AutoImbError:
        folder.discard()
        raise


@contextlib.contextmanager
def _way_on(path: Path) -> Iterator[None]:
    """Say of a full disk how the search goes on."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise RunError(
            f"{error.filename or path} can't be written: {error.strerror}. What has finished is "
            f"kept in {path}: make room and go on with --resume."
        ) from error


def _free_folder(data: Path) -> Path:
    """Return ``runs/<name>``, or the first of ``runs/<name>-2, ...`` that does not exist."""
    named = data.name.split(".")[0].translate(dict.fromkeys(map(ord, "*?[]")))  # of a pattern
    stem = named or "table"
    path, number = Path("runs") / stem, 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{stem}-{number}"
    return path


def _summary(result: SearchResult, facts: Facts, path: Path) -> str:
    score = result.best_score
    return "\n".join(
        [
            f"{facts.winner['description']}",
            f"{facts.request['metric']} {score.value:.4f}, 95 % interval {score.low:.4f} to "
            f"{score.high:.4f}; on the rows that chose it {score.raw:.4f}",
            facts.verdict,
            *map(str, facts.findings),
            f"{path}: pipeline.autoimb, report.html, leaderboard.csv, run.json",
            *([facts.test_sentence] if facts.test else []),
        ]
    )
