"""How a worker process is started: from a warm server, and never with the user's script.

Imports nothing heavy, so that the server can warm up while the parent imports the rest.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from multiprocessing import connection, spawn
from typing import Any

if sys.platform == "linux":
    from multiprocessing import forkserver
    from multiprocessing.context import ForkServerContext as _Context
    from multiprocessing.context import ForkServerProcess as _Process
else:
    from multiprocessing.context import SpawnContext as _Context
    from multiprocessing.context import SpawnProcess as _Process

__all__ = ["WorkerContext", "end_with_parent", "warm_up"]

PRELOADED = ["pebble", "autoimb.search.worker", "autoimb.search.evaluate"]


def end_with_parent() -> None:
    """Leave no orphan: a thread waits for the end of the process that started the search."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


class _WorkerProcess(_Process):
    """A process that doesn't run the user's script again."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - a hook of multiprocessing
        with _script_kept_out():
            return _Process._Popen(process_obj)


class WorkerContext(_Context):
    """Starts `_WorkerProcess`."""

    Process = _WorkerProcess


_starting = threading.Lock()


@contextlib.contextmanager
def _script_kept_out() -> Iterator[None]:
    """Leave the user's ``__main__`` out of what a new process is told to prepare.

    Otherwise multiprocessing runs the script again in each worker, and a script without
    ``if __name__ == "__main__"`` would start its search once more. Nothing is lost: what the
    script defines travels by value (cloudpickle). Other threads' processes are not touched.
    """
    with _starting:
        original = spawn.get_preparation_data
        thread = threading.get_ident()

        def without_main(name: str) -> dict[str, Any]:
            data: dict[str, Any] = original(name)
            if threading.get_ident() == thread:
                data.pop("init_main_from_name", None)
                data.pop("init_main_from_path", None)
            return data

        spawn.get_preparation_data = without_main
        try:
            yield
        finally:
            spawn.get_preparation_data = original


def warm_up() -> None:
    """Start the server that workers are forked from; it imports while the caller goes on.

    Call it as early as a search is certain: the imports take some seconds.
    """
    if sys.platform == "linux":
        forkserver.set_forkserver_preload(PRELOADED)
        with _script_kept_out():
            forkserver.ensure_running()
