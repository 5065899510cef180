"""What commands need around a RUN folder: its sections, and how a search leaves it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from autoimb.errors import AutoImbError, RunError
from autoimb.files import FULL, write_file

if TYPE_CHECKING:
    import pandas as pd

    from autoimb.pipeline.fitted import FittedPipeline
    from autoimb.report.build import Facts
    from autoimb.runs.folder import RunFolder

__all__ = ["free_folder", "nothing_left", "section", "stoppable", "way_on", "write_results"]


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Treat SIGTERM (a scheduler's stop) and SIGHUP (a closed terminal) as Ctrl-C.

    What has finished is still written. SIGHUP stays ignored where it is, as under ``nohup``.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[int, Callable[[int, FrameType | None], None]] = {
        signal.SIGTERM: lambda *_: signal.raise_signal(signal.SIGINT)
    }
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        handlers[hang_up] = _without([stream for stream in (1, 2) if os.isatty(stream)])
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _without(terminals: Sequence[int]) -> Callable[[int, FrameType | None], None]:
    """Return the handler of a signal after which nothing can be written to these terminals."""

    def hear(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler
        # both the shell and the system may send it, and a second Ctrl-C would end the writing
        signal.signal(signum, signal.SIG_IGN)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for terminal in terminals:
            os.dup2(nowhere, terminal)
        signal.raise_signal(signal.SIGINT)

    return hear


@contextlib.contextmanager
def nothing_left(folder: RunFolder) -> Iterator[None]:
    """Remove a folder that was made for a search that then never finished a trial."""
    try:
        yield
    except AutoImbError:
        folder.discard()
        raise


@contextlib.contextmanager
def way_on(path: Path) -> Iterator[None]:
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


def free_folder(data: Path) -> Path:
    """Return ``runs/<name>``, or the first of ``runs/<name>-2, ...`` that does not exist."""
    named = data.name.split(".")[0].translate(dict.fromkeys(map(ord, "*?[]")))  # of a pattern
    stem = named or "table"
    path, number = Path("runs") / stem, 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{stem}-{number}"
    return path


def section(folder: Any, name: str) -> dict[str, Any]:
    """Return a section of a finished search's ``run.json``."""
    run = folder.read_run()
    if name not in run:
        raise RunError(f"{folder.path} has no {name} yet: its search has not finished.")
    if not isinstance(run[name], dict):
        raise RunError(f"{folder.path} has {name} that are no object: its run.json is damaged.")
    return dict(run[name])


def write_results(
    folder: Any, pipeline: FittedPipeline, facts: Facts, predictions: pd.DataFrame
) -> None:
    """Write what a finished search leaves in RUN, each file whole or not at all.

    Parameters
    ----------
    folder : RunFolder
    pipeline : FittedPipeline
    facts : Facts
    predictions : DataFrame
        Out of fold.
    """
    import pandas as pd

    from autoimb.pipeline.artifact import save
    from autoimb.report.build import render

    leaderboard = pd.DataFrame(facts.leaderboard)
    save(pipeline, folder.pipeline)
    write_file(folder.leaderboard, leaderboard.to_csv(index=False).encode())
    write_file(folder.oof, _parquet(predictions))
    write_file(folder.report, render(facts).encode())
    folder.update_run({"results": facts.to_json()})


def _parquet(frame: pd.DataFrame) -> bytes:
    """Write a table of predictions; labels that Arrow has no type for as text."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (OverflowError, pa.ArrowInvalid):  # whole numbers beyond 64 bits
        labels = frame["label"].map(str, na_action="ignore")
        table = pa.Table.from_pandas(frame.assign(label=labels), preserve_index=False)
    content = pa.BufferOutputStream()
    parquet.write_table(table, content)
    written: bytes = content.getvalue().to_pybytes()
    return written
