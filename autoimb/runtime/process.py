"""How worker processes start, from a warm server, and how they end.

Imports nothing heavy, so that the server can warm up while the parent imports the rest.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from functools import cache
from multiprocessing import connection, util
from pathlib import Path

from autoimb.foreign import start_server
from autoimb.runtime.scratch import Scratch, remove_if_left

__all__ = ["end_with_parent", "warm_up"]

PRELOADED = [
    "pebble",
    "autoimb.runtime.worker",
    "autoimb.evaluation.trial",
    "autoimb.runtime.compiled",
]
PATIENCE = 1.0  # seconds that the system may take to give back the locks of a dead process


def end_with_parent(folder: Path) -> None:
    """Leave no orphan: a thread waits for the end of the process that started the search.

    Parameters
    ----------
    folder : Path
        What that process would have removed, had it not been killed; it stays if others hold it.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        remove_if_left(folder, patience=PATIENCE)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def warm_up() -> Path:
    """Start the server that workers are forked from; it imports while the caller goes on.

    Call it as early as a search is certain: the imports take some seconds.

    Returns
    -------
    Path
        A folder for temporary files of this process. It goes when the process ends, also by a
        signal: the server, which ends after it, removes what it could not.
    """
    folder = _folder_of(os.getpid()).path
    place = str(folder.parent)
    first = (
        "from autoimb.runtime.interrupt import ignore_hang_up; ignore_hang_up(); "
        f"from autoimb.runtime.scratch import sweep_at_exit; sweep_at_exit({place!r})"
    )
    start_server(PRELOADED, first=first, folder=str(folder))
    return folder


@cache
def _folder_of(pid: int) -> Scratch:  # noqa: ARG001 - a fork of this process has its own
    """Make the folder of this process, which it removes when it ends by itself."""
    scratch = Scratch.make()
    util.Finalize(None, scratch.remove, exitpriority=-100)  # after what multiprocessing puts there
    return scratch
