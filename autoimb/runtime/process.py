"""Start of worker processes from a preloaded server, and their end.

This module has no heavy imports, so that the server can start while the parent process imports the
remaining packages.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import threading
from functools import cache
from multiprocessing import connection, util
from pathlib import Path

from autoimb.foreign import start_server

__all__ = ["end_with_parent", "warm_up"]

PRELOADED = [
    "pebble",
    "autoimb.runtime.worker",
    "autoimb.evaluation.trial",
    "autoimb.runtime.compiled",
]


def end_with_parent(folder: Path) -> None:
    """Start a thread that ends this process when the parent process has ended.

    Parameters
    ----------
    folder : Path
        Folder of the parent process, which is removed then.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def warm_up() -> Path:
    """Start the server from which workers are forked, without waiting for its imports.

    It should be called as soon as a search is certain, since the imports take some seconds.

    Returns
    -------
    Path
        Folder for temporary files of this process. It is removed when the process ends; if a signal
        ended the process, the server, which ends later, removes the folder.
    """
    folder = _folder_of(os.getpid())
    first = (
        "from autoimb.runtime.interrupt import ignore_hang_up; ignore_hang_up(); "
        f"import atexit, shutil; atexit.register(shutil.rmtree, {folder!r}, ignore_errors=True)"
    )
    start_server(PRELOADED, first=first, folder=folder)
    return Path(folder)


@cache
def _folder_of(pid: int) -> str:  # noqa: ARG001 - a fork of this process has its own
    """Create the temporary folder of this process, which is removed at its normal end."""
    folder = tempfile.mkdtemp(prefix="autoimb-")
    # The low priority removes the folder after the files that multiprocessing creates in it.
    util.Finalize(None, shutil.rmtree, (folder, True), exitpriority=-100)
    return folder
