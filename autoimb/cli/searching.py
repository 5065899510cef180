"""The command that searches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoimb.cli.arguments import (
    AsJson,
    Data,
    MaxArtifactMb,
    MaxMemory,
    MaxPredictSeconds,
    Target,
    Weight,
    column_kinds,
    json_value,
    listed,
    named_folder,
    seconds,
    weight_words,
)
from autoimb.cli.folders import (
    free_folder,
    nothing_left,
    stoppable,
    way_on,
    write_results,
)
from autoimb.cli.refitting import read_sample
from autoimb.cli.terminal import say
from autoimb.errors import OptionError, choices
from autoimb.text import harmless

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from autoimb.assessment.checks import Finding, Severity
    from autoimb.budget import Budget
    from autoimb.report.build import Facts
    from autoimb.runtime.pool import Backend
    from autoimb.search.prepare import Prepared
    from autoimb.search.search import SearchResult

__all__ = ["search"]

ALL_CORES = -1
FOUND = 3  # what --fail-on waits for
INTERRUPTED = 130

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
            metavar="TIME",
            parser=seconds,
            help="Time for everything, the start of the program included: seconds, or 90s, 5m, 1h "
            "[default: 5m, or none with --n-trials or --strategy].",
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
    schedule: Annotated[
        str,
        typer.Option(
            metavar="S",
            help="synchronous lets J trials begin together, and none before all have ended: the "
            "same seed, --n-trials and J then give the same answer.",
        ),
    ] = "asynchronous",
    backend: Annotated[
        str, typer.Option(metavar="B", help="Where trials run: local, or dask for a cluster.")
    ] = "local",
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Of the cluster's Dask scheduler, as tcp://HOST:8786. J is at most so many of its "
            "threads, -1 as many as there are.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            parser=named_folder,
            help="The folder to write [default: runs/<name of DATA>].",
        ),
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
    groups: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Columns whose values together are a row's group (a customer, a patient): no "
            "network trains on a group that it scores, and the columns are no features.",
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Columns that say when a row was observed (a date): no network trains on a row as "
            "late as one that it scores, and the columns are no features but for what recurs "
            "(weekdays).",
        ),
    ] = None,
    gap: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="How much earlier than the rows that they score rows must be to train: days, or "
            "30d, 12h; of numbers a number.",
        ),
    ] = None,
    keep_time: Annotated[
        bool,
        typer.Option(
            "--keep-time", help="Learn from the columns of time, and from dates as running numbers."
        ),
    ] = False,
    pos_label: Annotated[
        str | None, typer.Option(metavar="L", help="The positive class [default: the rarest].")
    ] = None,
    allow_many_classes: Annotated[
        bool,
        typer.Option(
            "--allow-many-classes",
            help="Accept a target of more than 20 numbers, which looks like one of regression.",
        ),
    ] = False,
    resampling: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Only these options of the component, and samplers of imbalanced-learn by class "
            "name: smote,SVMSMOTE.",
        ),
    ] = None,
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
            "[[0, 1], [40, 0]]. Labels cost least, and probabilities stay as they are.",
        ),
    ] = None,
    cost_in_loss: Annotated[
        bool, typer.Option("--cost-in-loss", help="Weigh the loss by the cost matrix as well.")
    ] = False,
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
            help="Trees that may share the blend: auto, none, or names of them.",
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
    max_predict_seconds: MaxPredictSeconds = None,
    max_artifact_mb: MaxArtifactMb = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Say what the search would do, with what the checks see before it, and end: "
            "nothing is trained or written.",
        ),
    ] = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> None:
    """Search the best strategy for DATA.

    RUN gets the pipeline, the report, the leaderboard, and the trials to resume from. Ctrl-C
    ends the search early and still writes all of them.
    """
    from autoimb.runtime.process import warm_up

    limited = n_trials is not None or strategy is not None
    if (
        backend == "local"
        and not dry_run
        and (not limited or time_budget is not None or n_jobs != 1)
    ):
        warm_up()  # the workers' server imports while this process does
    from autoimb.budget import DEFAULT_BUDGET, Budget
    from autoimb.data.groups import group_codes, without
    from autoimb.data.memory import read_bytes
    from autoimb.data.sample import reweighted
    from autoimb.data.target import encode_target
    from autoimb.data.times import read_times
    from autoimb.runtime.dask import backend_for
    from autoimb.search.parameters import read_request
    from autoimb.search.prepare import Table, prepare

    grave = _severity(fail_on)
    if as_json and not dry_run:
        raise OptionError("--json is a form of what --dry-run prints: give both, or none.")
    limit = DEFAULT_BUDGET if time_budget is None and not limited else time_budget
    budget = Budget.start(limit, started=context.obj)
    read = partial(
        read_sample,
        target=target,
        drop=drop,
        weight=weight,
        max_memory=max_memory,
        seed=random_state,
    )
    rows = read(data)
    given = {
        "target": target,
        "metric": metric,
        "time_budget": limit,
        "n_trials": n_trials,
        "n_jobs": n_jobs,
        "schedule": schedule,
        "cv": cv,
        "groups": tuple(listed(groups) or ()),
        "time": tuple(listed(time) or ()),
        "gap": gap,
        "keep_time": keep_time,
        "random_state": random_state,
        "pos_label": pos_label,
        "allow_many_classes": allow_many_classes,
        "resampling": listed(resampling),
        "class_weight": weight_words(class_weight),
        "cost_matrix": json_value(cost_matrix, "--cost-matrix is no JSON"),
        "cost_in_loss": cost_in_loss,
        "loss": listed(loss),
        "ensemble": listed(ensemble),
        "network": listed(network),
        "strategy": strategy,
        "partners": None if partners == "none" else listed(partners),
        "verbose": 0 if quiet else 1,
        "data": harmless(data.name),
        "weight": weight,
        "holdout": holdout,
        "max_predict_seconds": max_predict_seconds,
        "max_artifact_mb": max_artifact_mb,
        "max_memory": None if max_memory is None else read_bytes(max_memory),
    }
    engine = context.with_resource(backend_for(backend, scheduler))
    request = read_request(given, encode_target(rows.y).classes, backend=engine)
    times = read_times(request.time or None, rows.frame, gap=gap, keep=keep_time)
    dropped = () if times is None else times.dropped
    table = Table(
        without(rows.frame, (*request.groups, *dropped)),
        rows.y,
        rows.weight,
        kinds=column_kinds(kind or []),
        test=None if test is None else reweighted(read(test)),
        class_counts=rows.class_counts,
        groups=group_codes(request.groups or None, rows.frame),
        times=times,
    )
    if not resume:
        budget.check("the table's columns were looked at")
    prepared = prepare(table, request)
    if dry_run:
        raise typer.Exit(_status(_tell_plan(prepared, as_json=as_json), grave))
    path = out or free_folder(data)
    result, facts = _searched(
        prepared, path, drawn=rows.rows, budget=budget, backend=engine, resume=resume
    )
    if not quiet:
        say(_summary(result, facts, path))
    if result.interrupted:
        say(f"autoimb: interrupted by {result.interrupted}", err=True)
    raise typer.Exit(INTERRUPTED if result.interrupted else _status(facts.findings, grave))


def _searched(
    prepared: Prepared,
    path: Path,
    *,
    drawn: NDArray[np.int64] | None,
    budget: Budget,
    backend: Backend,
    resume: bool,
) -> tuple[SearchResult, Facts]:
    """Search in a RUN folder, and write there what was found.

    The positions `drawn` of the rows in DATA are written beside their predictions; None is all.
    """
    from autoimb.report.facts import build_facts
    from autoimb.runs.folder import RunFolder
    from autoimb.search.out_of_fold import out_of_fold
    from autoimb.search.search import search as run_search

    digest = "" if prepared.test is None else prepared.test.digest
    labels = prepared.target.classes.tolist()
    fingerprint = prepared.request.fingerprint(prepared.dataset, labels, test=digest)
    with (
        stoppable(),
        way_on(path),
        RunFolder.open(path, fingerprint=fingerprint, resume=resume) as folder,
        nothing_left(folder),
    ):
        result = run_search(prepared, budget=budget, folder=folder, backend=backend)
        facts = build_facts(result, deadline=budget.deadline)
        predictions = out_of_fold(result.planned, result.winner)
        if drawn is not None:
            predictions["row"] = drawn
        write_results(folder, result.pipeline, facts, predictions)
    return result, facts


def _tell_plan(prepared: Prepared, *, as_json: bool) -> tuple[Finding, ...]:
    """Print what a search would do; return what the checks saw."""
    from autoimb.report.planned import DryRun

    told = DryRun.of(prepared)
    say(json.dumps(told.to_json(), indent=2, ensure_ascii=False) if as_json else told)
    return told.findings


def _severity(name: str | None) -> Severity | None:
    """Read what `--fail-on` names."""
    from autoimb.assessment.checks import SEVERITIES

    if name is not None and name not in SEVERITIES:
        raise OptionError(choices("severity", name, SEVERITIES))
    return name


def _status(findings: Sequence[Finding], fail_on: Severity | None) -> int:
    """Return the exit status of what the checks saw."""
    grave = fail_on is not None and any(found.is_at_least(fail_on) for found in findings)
    return FOUND if grave else 0


def _summary(result: SearchResult, facts: Facts, path: Path) -> str:
    return "\n".join(
        [
            *facts.result_lines,
            *map(str, facts.findings),
            f"{path}: pipeline.autoimb, report.html, leaderboard.csv, oof.parquet, run.json",
            *([facts.deployed_sentence] if result.planned.limits.deployment else []),
            *([facts.test_sentence] if facts.test else []),
        ]
    )
