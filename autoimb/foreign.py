"""All that leans on what other packages do not promise: their private names, and their insides.

What a release of theirs may break is here, behind functions that say what they do. Imports nothing
heavy, so that the workers' server can warm up while the program imports the rest.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import spawn
from typing import Any

if sys.platform == "linux":
    from multiprocessing import forkserver
    from multiprocessing.context import ForkServerContext as _Context
    from multiprocessing.context import ForkServerProcess as _Process
else:
    from multiprocessing.context import SpawnContext as _Context
    from multiprocessing.context import SpawnProcess as _Process

__all__ = ["WorkerContext", "fused_adamw", "script_kept_out", "start_server"]


def fused_adamw() -> Callable[..., None]:
    """Return torch's kernel of AdamW, without the wrappers of ``torch.optim``."""
    import torch

    kernel: Callable[..., None] = torch._fused_adamw_
    return kernel


_starting = threading.Lock()


@contextlib.contextmanager
def script_kept_out() -> Iterator[None]:
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


class _WorkerProcess(_Process):
    """A process that doesn't run the user's script again."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - a hook of multiprocessing
        with script_kept_out():
            return _Process._Popen(process_obj)


class WorkerContext(_Context):
    """Starts processes that don't run the user's script again, from a warm server on Linux."""

    Process = _WorkerProcess


def start_server(modules: Sequence[str]) -> None:
    """Start the server that workers are forked from, where there is one.

    Parameters
    ----------
    modules : sequence of str
        What it imports, while the caller goes on.
    """
    if sys.platform == "linux":
        forkserver.set_forkserver_preload(list(modules))
        with script_kept_out():
            forkserver.ensure_running()
