"""The commands that train: search, and refit on newer rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from autoimb.budget import DEFAULT_BUDGET, Budget
from autoimb.cli.folders import (
    next_run_dir,
    remove_if_empty,
    resume_hint,
    section,
    sigterm_as_interrupt,
    write_results,
)
from autoimb.cli.terminal import say
from autoimb.errors import OptionError, RunError, SchemaError, choices
from autoimb.text import harmless

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from autoimb.assessment.checks import Finding, Severity
    from autoimb.data.sample import Sample
    from autoimb.report.build import Facts
    from autoimb.runtime.pool import Backend
    from autoimb.search.prepare import Preparation
    from autoimb.search.search import SearchResult

__all__ = ["INTERRUPTED", "refit", "search"]

GRAVE_FINDING = 3  # the exit status that --fail-on asks for
INTERRUPTED = 130


def search(  # noqa: PLR0913 - a command's options are its parameters
    context: typer.Context,
    data: Path,
    target: str,
    *,
    run_dir: Path | None = None,
    resume: bool = False,
    fail_on: str | None = None,
    dry_run: bool = False,
    as_json: bool = False,
    quiet: bool = False,
    scheduler: str | None = None,
    weight: str | None = None,
    drop: Sequence[str] | None = None,
    max_memory: str | None = None,
    **parameters: Any,
) -> None:
    """Search the best strategy for DATA.

    RUN gets the pipeline, the report, the leaderboard, and the trials to resume from. Ctrl-C
    ends the search early and still writes all of them.
    """
    limited = parameters["n_trials"] is not None or parameters["strategy"] is not None
    if parameters["time_budget"] is None and not limited:
        parameters["time_budget"] = DEFAULT_BUDGET
    alone = parameters["time_budget"] is None and parameters["n_jobs"] == 1
    if parameters["backend"] == "local" and not dry_run and not alone:
        from autoimb.runtime.process import warm_up

        warm_up()  # the workers' server imports while this process does
    from autoimb.data.memory import read_bytes
    from autoimb.data.sample import read, reweighted
    from autoimb.data.target import encode_target
    from autoimb.runtime.dask import backend_for
    from autoimb.search.prepare import prepare, table_of
    from autoimb.search.request import read_request

    severity = _severity(fail_on)
    if as_json and not dry_run:
        raise OptionError("--json is a form of what --dry-run prints: give both, or none.")
    budget = Budget.start(parameters["time_budget"], started=context.obj)
    sampling = {
        "max_memory": max_memory,
        "weight": weight,
        "random_state": parameters["random_state"],
    }
    rows = _without(read(data, target, **sampling), drop)
    test = parameters["test"]
    if test is not None:
        test = reweighted(_without(read(test, target, **sampling), drop))
    parameters |= {
        "target": target,
        "verbose": 0 if quiet else 1,
        "data": harmless(data.name),
        "weight": weight,
        "max_memory": None if max_memory is None else read_bytes(max_memory),
        "groups": tuple(parameters["groups"] or ()),
        "time": tuple(parameters["time"] or ()),
    }
    classes = encode_target(rows.y, class_counts=rows.class_counts).classes
    with backend_for(parameters["backend"], scheduler) as backend:
        request = read_request(parameters, classes, backend=backend)
        table = table_of(rows, request, kinds=parameters["kinds"], test=test)
        if not resume:
            budget.check("the table's columns were looked at")
        preparation = prepare(table, request)
        if dry_run:
            raise typer.Exit(_status(_print_plan(preparation, as_json=as_json), severity))
        path = run_dir or next_run_dir(data)
        result, facts = _search(
            preparation, path, drawn=rows.rows, budget=budget, backend=backend, resume=resume
        )
    if not quiet:
        say(_summary(result, facts, path))
    if result.interrupted:
        say(f"autoimb: interrupted by {result.interrupted}", err=True)
    raise typer.Exit(INTERRUPTED if result.interrupted else _status(facts.findings, severity))


def _without(rows: Sample, drop: Sequence[str] | None) -> Sample:
    """Return rows without the columns to drop."""
    for name in drop or ():
        if name not in rows.frame.columns:
            raise SchemaError(choices("column to drop", name, rows.frame.columns))
    return replace(rows, frame=rows.frame.drop(columns=drop or []))


def _search(
    preparation: Preparation,
    path: Path,
    *,
    drawn: NDArray[np.int64] | None,
    budget: Budget,
    backend: Backend,
    resume: bool,
) -> tuple[SearchResult, Facts]:
    """Search in a RUN folder and write the results there.

    The positions `drawn` of the rows in DATA are written beside their predictions; None is all.
    """
    from autoimb.report.facts import build_facts
    from autoimb.runs.folder import RunFolder
    from autoimb.search.search import search as run_search

    fingerprint = preparation.fingerprint
    with (
        sigterm_as_interrupt(),
        resume_hint(path),
        RunFolder.open(path, fingerprint=fingerprint, resume=resume) as folder,
        remove_if_empty(folder),
    ):
        result = run_search(preparation, budget=budget, folder=folder, backend=backend)
        facts = build_facts(result, deadline=budget.deadline)
        predictions = result.out_of_fold()
        if drawn is not None:
            predictions["row"] = drawn
        write_results(folder, result.pipeline, facts, predictions)
    return result, facts


def _print_plan(preparation: Preparation, *, as_json: bool) -> Sequence[Finding]:
    """Print what a search would do; return the findings of the checks."""
    from autoimb.report.planned import DryRun

    plan = DryRun.of(preparation)
    say(json.dumps(plan.to_json(), indent=2, ensure_ascii=False) if as_json else plan)
    return plan.findings


def _severity(name: str | None) -> Severity | None:
    """Check the value of ``--fail-on``."""
    from autoimb.assessment.checks import SEVERITIES

    if name is not None and name not in SEVERITIES:
        raise OptionError(choices("severity", name, SEVERITIES))
    return name


def _status(findings: Sequence[Finding], severity: Severity | None) -> int:
    """Return the exit status after these findings."""
    grave = severity is not None and any(finding.is_at_least(severity) for finding in findings)
    return GRAVE_FINDING if grave else 0


def _summary(result: SearchResult, facts: Facts, path: Path) -> str:
    return "\n".join(
        [
            *facts.result_lines,
            *map(str, facts.findings),
            f"{path}: pipeline.autoimb, report.html, leaderboard.csv, oof.parquet, run.json",
            *([facts.deployed_sentence] if result.preparation.task.limits.deployment else []),
            *([facts.test_sentence] if facts.test else []),
        ]
    )


def refit(
    run: Path, data: Path, out: Path, weight: str | None = None, max_memory: str | None = None
) -> None:
    """Train RUN's winner again on newer DATA.

    The same strategies with the same weights, and no search; the decision rule is fitted anew.
    Where the search had a column of row weights, DATA has it as well.
    """
    from autoimb.data.sample import read
    from autoimb.pipeline.artifact import load, save
    from autoimb.runs.folder import RunFolder, understood
    from autoimb.search.request import Request
    from autoimb.search.select import refit as train_again

    folder = RunFolder.view(run)
    written = section(folder, "request")
    plan = section(folder, "plan")  # the one that the strategies were found with
    with understood(folder.path / "run.json", "request"):
        request, time_budget = Request.from_json(written), plan["time_budget"]
    if request.target is None:
        raise RunError(f"{run} does not say which column was the target.")
    rows = read(
        data,
        request.target,
        max_memory=max_memory,
        weight=weight or request.weight,
        random_state=request.random_state,
    )
    pipeline = train_again(load(folder.pipeline), request, rows, time_budget=time_budget)
    save(pipeline, out)
    say(f"{pipeline.describe()}\n-> {out}")
