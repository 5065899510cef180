"""Commands that look: at a RUN folder, and at the search space."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoimb.cli.arguments import AsJson, Out, Run
from autoimb.cli.terminal import counted, say, tried
from autoimb.errors import OptionError, choices
from autoimb.files import write_file
from autoimb.text import clock

if TYPE_CHECKING:
    from autoimb.report.build import Facts
    from autoimb.runs.folder import RunFolder
    from autoimb.runs.status import RunStatus
    from autoimb.space.option import Range

__all__ = ["checks", "export", "options", "report", "status"]


def status(run: Run, as_json: AsJson = False) -> None:
    """Say how far the search in RUN is, also while it runs.

    Of a running search: workers, trials a minute, and when it is expected to end. Of a finished
    one: its result, the score and the verdict.
    """
    from autoimb.runs.folder import RunFolder, understood
    from autoimb.runs.status import RunStatus

    folder = RunFolder.view(run)
    found = RunStatus.of(folder)
    facts = _finished(folder) if found.finished else None
    with understood(folder.store.path, "best record"):
        lines = [_as_json(found, facts)] if as_json else list(_lines(folder.path, found, facts))
    for line in lines:
        say(line)


def _finished(folder: RunFolder) -> Facts:
    """Read what a finished search wrote down."""
    from autoimb.cli.folders import section
    from autoimb.report.build import Facts
    from autoimb.runs.folder import understood

    results = section(folder, "results")
    with understood(folder.path / "run.json", "results"):
        return Facts.from_json(results)


def _as_json(found: RunStatus, facts: Facts | None) -> str:
    result: dict[str, Any] | None = None
    if facts is not None:
        result = {"description": facts.winner["description"], "verdict": facts.verdict}
        result |= {name: facts.reported[name] for name in ("value", "low", "high")}
    return json.dumps(found.to_json() | {"result": result}, indent=2, ensure_ascii=False)


def _lines(run: Path, found: RunStatus, facts: Facts | None) -> Iterator[str]:
    state = "running" if found.running else "not running"
    finished = "finished" if found.finished else "not finished"
    yield f"{run}: {state}, {finished}; {tried(found.strategies, found.apart)}"
    pace, best = found.pace, found.best
    if pace is not None:
        workers = counted(pace.workers, "worker")
        end = "" if pace.ends is None else f", expected to end within {clock(pace.ends)}"
        rate = f"{pace.trials_a_minute:.1f} trials a minute"
        yield f"{workers}, {rate}; {clock(pace.seconds)} so far{end}"
    if facts is not None:
        yield from facts.result_lines
    elif best is not None and best.score is not None:
        score = f"{best.score.value:.4f} ± {best.score.error:.4f}"
        yield f"best: trial {best.number}, search score {score}: {best.strategy.describe()}"


def report(
    run: Run,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="[default: RUN/report.html]"),
    ] = None,
) -> None:
    """Write the report of a finished search again."""
    from autoimb.report.build import render
    from autoimb.runs.folder import RunFolder, understood

    folder = RunFolder.view(run)
    facts = _finished(folder)
    with understood(folder.path / "run.json", "results"):
        page = render(facts)
    path = out or folder.report
    write_file(path, page.encode())
    say(path)


def options(
    component: Annotated[
        str | None, typer.Argument(metavar="COMPONENT", help="One component only [default: all].")
    ] = None,
) -> None:
    """Print the search space, and the partners.

    Each component's options, what they do, and their ranges.
    """
    from autoimb.space.components import COMPONENTS
    from autoimb.space.partner import PARTNER

    tables = COMPONENTS | {PARTNER.name: PARTNER}
    if component is not None and component not in tables:
        raise OptionError(choices("component", component, tables))
    for name in [component] if component else list(tables):
        say(f"{name}: {tables[name].summary}")
        for option in tables[name]:
            mark = "" if option.searched else " (on request)"
            say(f"  {option.name}{mark}: {option.summary}")
            for key, bounds in option.ranges.items():
                say(f"      {key}: {_range(bounds)}")
        if name == "resampling":
            say(
                "  Samplers of imbalanced-learn are accepted by class name: SVMSMOTE, NearMiss, ..."
            )


def checks() -> None:
    """Print the checks of a search: code, severity, what each looks for and what to do."""
    from autoimb.assessment.checks import CHECKS

    for check in CHECKS:
        say(f"{check.code} {check.severity}: {check.title}\n    {check.advice}")


def export(
    run: Run,
    out: Out,
    form: Annotated[
        str, typer.Option("--format", metavar="F", help="autoimb, or joblib (a pickle).")
    ] = "autoimb",
) -> None:
    """Copy RUN's pipeline to a file of its own."""
    from autoimb.pipeline.artifact import load, save
    from autoimb.runs.folder import RunFolder

    formats = ("autoimb", "joblib")
    if form not in formats:
        raise OptionError(choices("format", form, formats))
    pipeline = load(RunFolder.view(run).pipeline)
    if form == "autoimb":
        save(pipeline, out)
    else:
        import io

        import joblib

        content = io.BytesIO()  # joblib asks where in the file it is, which a pipe can't say
        joblib.dump(pipeline, content)
        write_file(out, content.getvalue())
    say(out)


def _range(bounds: Range) -> str:
    from autoimb.space.option import OneOf

    if isinstance(bounds, OneOf):
        return ", ".join(str(value) for value in bounds.values)
    return f"{bounds.low:g} to {bounds.high:g}{', logarithmic' if bounds.log else ''}"
