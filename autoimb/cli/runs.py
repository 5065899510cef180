"""Commands without a table: status, report, export, options and checks."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoimb.cli.terminal import as_text, say
from autoimb.errors import RunError, check_choice
from autoimb.files import write_file
from autoimb.text import clock

if TYPE_CHECKING:
    from autoimb.report.build import Facts
    from autoimb.runs.folder import RunFolder
    from autoimb.runs.status import RunStatus
    from autoimb.space.option import Range

__all__ = ["checks", "export", "options", "report", "section", "status"]

FORMATS = ("autoimb", "joblib")


def status(run: Path, as_json: bool = False) -> None:
    """Print the progress of the search in RUN, also while it runs.

    Of a running search: workers, trials a minute, and when it is expected to end. Of a finished
    one: its result, the score and the verdict.
    """
    from autoimb.runs.folder import RunFolder, understood
    from autoimb.runs.status import RunStatus

    folder = RunFolder.view(run)
    progress = RunStatus.of(folder)
    facts = _read_facts(folder) if progress.finished else None
    with understood(folder.store.path, "best record"):
        text = _json(progress, facts) if as_json else "\n".join(_lines(run, progress, facts))
    say(text)


def _read_facts(folder: RunFolder) -> Facts:
    """Read the results of a finished search."""
    from autoimb.report.build import Facts
    from autoimb.runs.folder import understood

    results = section(folder, "results")
    with understood(folder.path / "run.json", "results"):
        return Facts.from_json(results)


def section(folder: RunFolder, name: str) -> dict[str, Any]:
    """Return a section of a finished search's ``run.json``."""
    from autoimb.runs.folder import understood

    run = folder.read_run()
    if name not in run:
        raise RunError(f"{folder.path} has no {name} yet: its search has not finished.")
    with understood(folder.path / "run.json", name):
        return dict(run[name])


def _json(progress: RunStatus, facts: Facts | None) -> str:
    result = None
    if facts is not None:
        result = {"description": facts.winner["description"], "verdict": facts.verdict}
        result |= {name: facts.reported[name] for name in ("value", "low", "high")}
    return as_text(progress.to_json() | {"result": result})


def _lines(run: Path, progress: RunStatus, facts: Facts | None) -> Iterator[str]:
    state = "running" if progress.running else "not running"
    finished = "finished" if progress.finished else "not finished"
    by_status = ", ".join(f"{count} {name}" for name, count in progress.strategies.items())
    tried = _counted(sum(progress.strategies.values()), "strategy", "strategies")
    tried += f" ({by_status})" if by_status else ""
    tried += "".join(f", {count} {stage}s" for stage, count in progress.apart.items())
    yield f"{run}: {state}, {finished}; {tried}"
    pace, best = progress.pace, progress.best
    if pace is not None:
        workers = _counted(pace.workers, "worker", "workers")
        end = "" if pace.ends is None else f", expected to end within {clock(pace.ends)}"
        rate = f"{pace.trials_a_minute:.1f} trials a minute"
        yield f"{workers}, {rate}; {clock(pace.seconds)} so far{end}"
    if facts is not None:
        yield from facts.result_lines
    elif best is not None and best.score is not None:
        score = f"{best.score.value:.4f} ± {best.score.error:.4f}"
        yield f"best: trial {best.number}, search score {score}: {best.strategy.describe()}"


def _counted(number: int, singular: str, plural: str) -> str:
    return f"{number} {singular if number == 1 else plural}"


def report(run: Path, page: Path | None = None) -> None:
    """Write the report of a finished search again."""
    from autoimb.report.build import render
    from autoimb.runs.folder import RunFolder, understood

    folder = RunFolder.view(run)
    facts, path = _read_facts(folder), page or folder.report
    with understood(folder.path / "run.json", "results"):
        content = render(facts).encode()
    write_file(path, content)
    say(path)


def options(component: str | None = None) -> None:
    """Print the search space and the tree models.

    Each component's options, what they do, and their ranges.
    """
    from autoimb.space.components import COMPONENTS
    from autoimb.space.partner import PARTNER

    tables = COMPONENTS | {PARTNER.name: PARTNER}
    if component is not None:
        check_choice("component", component, tables)
    for name in [component] if component else tables:
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


def _range(bounds: Range) -> str:
    from autoimb.space.option import OneOf

    if isinstance(bounds, OneOf):
        return ", ".join(str(value) for value in bounds.values)
    return f"{bounds.low:g} to {bounds.high:g}{', logarithmic' if bounds.log else ''}"


def checks() -> None:
    """Print the checks of a search: code, severity, what each looks for and what to do."""
    from autoimb.assessment.checks import CHECKS

    for check in CHECKS:
        say(f"{check.code} {check.severity}: {check.title}\n    {check.advice}")


def export(run: Path, out: Path, form: str = "autoimb") -> None:
    """Copy RUN's pipeline to a file of its own."""
    from autoimb.pipeline.artifact import load, save
    from autoimb.runs.folder import RunFolder

    check_choice("format", form, FORMATS)
    pipeline = load(RunFolder.view(run).pipeline)
    if form == "autoimb":
        save(pipeline, out)
    else:
        import joblib

        content = io.BytesIO()  # joblib asks for the position in the file, which a pipe has not
        joblib.dump(pipeline, content)
        write_file(out, content.getvalue())
    say(out)
