"""How worker processes start, from a warm server, and how they end.

Imports nothing heavy, so that the server can warm up while the parent imports the rest.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from multiprocessing import connection
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
    """Leave no orphan: a thread waits for the end of the process that started the search.

    Parameters
    ----------
    folder : Path
        What that process would have removed, had it not been killed.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def warm_up() -> None:
    """Start the server that workers are forked from; it imports while the caller goes on.

    Call it as early as a search is certain: the imports take some seconds.
    """
    start_server(PRELOADED)
