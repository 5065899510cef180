"""How a search takes and leaves its RUN folder."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, count
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

__all__ = [
    "next_run_dir",
    "remove_if_empty",
    "resume_hint",
    "section",
    "sigterm_as_interrupt",
    "write_results",
]


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
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _hang_up(terminals: Sequence[int], signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler
    """Interrupt the search after its terminals were closed, to which nothing can be written."""
    # Both the shell and the system may send it, and a second Ctrl-C would end the writing.
    signal.signal(signum, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for terminal in terminals:
        os.dup2(nowhere, terminal)
    signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def remove_if_empty(folder: RunFolder) -> Iterator[None]:
    """Remove a folder that was made for a search that then never finished a trial."""
    try:
        yield
    except AutoImbError:
        folder.discard()
        raise


@contextlib.contextmanager
def resume_hint(path: Path) -> Iterator[None]:
    """Explain after a full disk how the search goes on."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise RunError(
            f"{error.filename or path} can't be written: {error.strerror}. What has finished is "
            f"kept in {path}: make room and go on with --resume."
        ) from error


def next_run_dir(data: Path) -> Path:
    """Return ``runs/<name>``, or the first of ``runs/<name>-2, ...`` that does not exist."""
    name = data.name.split(".")[0].translate(dict.fromkeys(map(ord, "*?[]")))  # of a pattern
    first = Path("runs") / (name or "table")
    paths = chain([first], (Path(f"{first}-{number}") for number in count(2)))
    return next(path for path in paths if not path.exists())


def section(folder: RunFolder, name: str) -> dict[str, Any]:
    """Return a section of a finished search's ``run.json``."""
    run = folder.read_run()
    if name not in run:
        raise RunError(f"{folder.path} has no {name} yet: its search has not finished.")
    if not isinstance(run[name], dict):
        raise RunError(f"{folder.path} has {name} that are no object: its run.json is damaged.")
    return dict(run[name])


def write_results(
    folder: RunFolder, pipeline: FittedPipeline, facts: Facts, predictions: pd.DataFrame
) -> None:
    """Write the results of a finished search to RUN, each file whole or not at all.

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

    save(pipeline, folder.pipeline)
    leaderboard = pd.DataFrame(facts.leaderboard).to_csv(index=False)
    write_file(folder.leaderboard, leaderboard.encode())
    write_file(folder.oof, _parquet(predictions))
    write_file(folder.report, render(facts).encode())
    folder.update_run({"results": facts.to_json()})


def _parquet(frame: pd.DataFrame) -> bytes:
    """Write a table of predictions; labels that Arrow has no type for as text."""
    from pyarrow import ArrowInvalid

    try:
        return frame.to_parquet(index=False)
    except (OverflowError, ArrowInvalid):  # whole numbers beyond 64 bits
        labels = frame["label"].map(str, na_action="ignore")
        return frame.assign(label=labels).to_parquet(index=False)
