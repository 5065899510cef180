"""The commands that train: search, in a RUN folder, and refit on newer rows."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, count
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from autoimb.budget import DEFAULT_BUDGET, Budget, check_budget
from autoimb.cli.runs import section
from autoimb.cli.terminal import as_text, say
from autoimb.errors import OptionError, RunError, SchemaError, check_choice
from autoimb.files import FULL, write_file
from autoimb.text import harmless

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from autoimb.assessment.checks import Finding
    from autoimb.data.sample import Sample
    from autoimb.report.build import Facts
    from autoimb.runtime.pool import Backend
    from autoimb.search.prepare import Preparation
    from autoimb.search.search import SearchResult

__all__ = ["INTERRUPTED", "next_run_dir", "refit", "search"]

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
    if all(parameters[name] is None for name in ("time_budget", "n_trials", "strategy")):
        parameters["time_budget"] = DEFAULT_BUDGET
    if not dry_run:
        _warm_up(parameters)
    from autoimb.data.memory import read_bytes
    from autoimb.data.sample import read, reweighted
    from autoimb.data.target import encode_target
    from autoimb.report.planned import DryRun
    from autoimb.runtime.dask import backend_for
    from autoimb.search.prepare import prepare, table_of
    from autoimb.search.request import read_request

    _check_output(fail_on, as_json=as_json, dry_run=dry_run)
    budget = Budget.start(parameters["time_budget"], started=context.obj)
    seed, test = parameters["random_state"], parameters["test"]
    sampling = {"max_memory": max_memory, "weight": weight, "random_state": seed}
    rows = _without(read(data, target, **sampling), drop)
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
            plan = DryRun.of(preparation)
            say(as_text(plan.to_json()) if as_json else plan)
            raise typer.Exit(_status(plan.findings, fail_on))
        path = run_dir or next_run_dir(data)
        result, facts = _search(
            preparation, path, drawn=rows.rows, budget=budget, backend=backend, resume=resume
        )
    if not quiet:
        say(_summary(result, facts, path))
    if result.interrupted:
        say(f"autoimb: interrupted by {result.interrupted}", err=True)
    raise typer.Exit(INTERRUPTED if result.interrupted else _status(facts.findings, fail_on))


def _warm_up(parameters: Mapping[str, Any]) -> None:
    """Start the server of local workers, which imports packages while this process does."""
    alone = parameters["time_budget"] is None and parameters["n_jobs"] == 1
    if parameters["backend"] == "local" and not alone:
        from autoimb.runtime.process import warm_up

        warm_up()


def _check_output(fail_on: str | None, *, as_json: bool, dry_run: bool) -> None:
    """Check the options about what a search prints and returns."""
    from autoimb.assessment.checks import SEVERITIES

    if fail_on is not None:
        check_choice("severity", fail_on, SEVERITIES)
    if as_json and not dry_run:
        raise OptionError("--json is a form of what --dry-run prints: give both, or none.")


def _without(rows: Sample, drop: Sequence[str] | None) -> Sample:
    """Return rows without the columns to drop."""
    for name in drop or ():
        check_choice("column to drop", name, rows.frame.columns, SchemaError)
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
    After a full disk, the error explains how the search goes on.
    """
    import pandas as pd

    from autoimb.pipeline.artifact import save
    from autoimb.report.build import render
    from autoimb.report.facts import build_facts
    from autoimb.runs.folder import RunFolder
    from autoimb.search.search import search as run_search

    fingerprint = preparation.fingerprint
    try:
        with (
            sigterm_as_interrupt(),
            RunFolder.open(path, fingerprint=fingerprint, resume=resume) as folder,
        ):
            result = run_search(preparation, budget=budget, folder=folder, backend=backend)
            facts = build_facts(result, deadline=budget.deadline)
            predictions = result.out_of_fold()
            if drawn is not None:
                predictions["row"] = drawn
            save(result.pipeline, folder.pipeline)
            leaderboard = pd.DataFrame(facts.leaderboard).to_csv(index=False)
            write_file(folder.leaderboard, leaderboard.encode())
            write_file(folder.oof, _parquet(predictions))
            write_file(folder.report, render(facts).encode())
            folder.update_run({"results": facts.to_json()})
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise RunError(
            f"{error.filename or path} can't be written: {error.strerror}. What has finished is "
            f"kept in {path}: make room and go on with --resume."
        ) from error
    return result, facts


def _parquet(frame: pd.DataFrame) -> bytes:
    """Write a table of predictions; labels that Arrow has no type for as text."""
    from pyarrow import ArrowInvalid

    try:
        return frame.to_parquet(index=False)
    except (OverflowError, ArrowInvalid):  # whole numbers beyond 64 bits
        labels = frame["label"].map(str, na_action="ignore")
        return frame.assign(label=labels).to_parquet(index=False)


def next_run_dir(data: Path) -> Path:
    """Return ``runs/<name>``, or the first of ``runs/<name>-2, ...`` that does not exist."""
    name = data.name.split(".")[0].translate(dict.fromkeys(map(ord, "*?[]")))  # of a pattern
    first = Path("runs") / (name or "table")
    paths = chain([first], (Path(f"{first}-{number}") for number in count(2)))
    return next(path for path in paths if not path.exists())


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM (a scheduler's stop) and SIGHUP (a closed terminal) as Ctrl-C.

    The results of the completed trials are still written. SIGHUP stays ignored where it is, as
    under ``nohup``.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[int, Callable[[int, FrameType | None], None]] = {
        signal.SIGTERM: lambda *_: signal.raise_signal(signal.SIGINT)
    }
    sighup = getattr(signal, "SIGHUP", None)  # Windows has none
    if sighup is not None and signal.getsignal(sighup) is not signal.SIG_IGN:
        terminals = [stream for stream in (1, 2) if os.isatty(stream)]
        handlers[sighup] = partial(_hang_up, terminals)
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _hang_up(terminals: Sequence[int], signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler
    """Interrupt the search after its terminals were closed, to which nothing can be written."""
    # Both the shell and the system may send it, and a second Ctrl-C would end the writing.
    signal.signal(signum, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for terminal in terminals:
        os.dup2(nowhere, terminal)
    signal.raise_signal(signal.SIGINT)


def _status(findings: Sequence[Finding], severity: Any) -> int:
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
    written, plan = section(folder, "request"), section(folder, "plan")
    with understood(folder.path / "run.json", "request"):
        request, time_budget = Request.from_json(written), plan["time_budget"]
        check_budget(time_budget, n_trials=1)
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
