"""Private interfaces of other packages, which are used in this module only.

All code that a new release of another package may break is in this module, behind documented
functions. It imports no large package, so that the workers' server can start while the program
imports the rest.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import process, resource_tracker, spawn, util
from typing import TYPE_CHECKING, Any

if sys.platform == "linux":
    from multiprocessing import forkserver
    from multiprocessing.context import ForkServerContext as _Context
    from multiprocessing.context import ForkServerProcess as _Process
else:
    from multiprocessing.context import SpawnContext as _Context
    from multiprocessing.context import SpawnProcess as _Process

if TYPE_CHECKING:
    from concurrent.futures import Future

    from numpy.typing import NDArray
    from pebble import ProcessPool

__all__ = [
    "WorkerContext",
    "boosted_trees",
    "clean_start",
    "fused_adamw",
    "passes_results",
    "start_server",
    "validate_parameters",
    "workers_of",
]


def fused_adamw() -> Callable[..., None]:
    """Return torch's kernel of AdamW, without the wrappers of ``torch.optim``."""
    import torch

    kernel: Callable[..., None] = torch._fused_adamw_
    return kernel


def boosted_trees(
    model: Any, start: int
) -> tuple[list[tuple[NDArray[Any], NDArray[Any]]], NDArray[Any]]:
    """Read the trees of a fitted ``HistGradientBoostingClassifier``.

    The columns that it was fitted on must be categories, as codes ``0, 1, ...``, before numbers.

    Parameters
    ----------
    model : HistGradientBoostingClassifier
    start : int
        The first iteration to read.

    Returns
    -------
    trees : list of pairs of ndarrays
        One per class in each iteration, or one if there are two classes: its nodes, a structured
        array of shape (n,), and the category codes that go left at each split by a category, one
        bit each, uint32 of shape (k, 8).
    baseline : float64 ndarray of shape (trees per iteration,)
        The scores before the first iteration.
    """
    trees = [
        (tree.nodes, tree.raw_left_cat_bitsets)
        for iteration in model._predictors[start:]
        for tree in iteration
    ]
    return trees, model._baseline_prediction.ravel()


def validate_parameters(estimator: Any) -> None:
    """Check the parameters of a scikit-learn estimator, as its `fit` would.

    Raises
    ------
    ValueError
        If a parameter is invalid; the message names it, its valid values and the value.
    """
    estimator._validate_params()


_starting = threading.Lock()


@contextlib.contextmanager
def clean_start(code: str = "pass") -> Iterator[None]:
    """Start processes with the caller's import paths and without running the caller's script.

    multiprocessing starts them by ``python -c``, which searches the current folder first for every
    module, also for those of the standard library. It also runs the script again in each worker, so
    that a script without ``if __name__ == "__main__"`` would start its search once more. Objects
    that the script defines are pickled by value, so workers do not need the script.
    Processes that other threads start are not affected.

    Parameters
    ----------
    code : str
        Python code that a process runs first.
    """
    # These paths contain the name of the current folder in place of an empty text.
    paths: list[str] = spawn.get_preparation_data("")["sys_path"]
    first = f"import sys; sys.path[:] = {paths!r}; {code}"

    def without_main(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        mains = ("init_main_from_name", "init_main_from_path")
        return lambda name: {k: v for k, v in original(name).items() if k not in mains}

    def from_paths(original: Callable[..., int]) -> Callable[..., int]:
        return lambda exe, argv, handles: original(exe, _with_code(argv, first), handles)

    def argv_from_paths(original: Callable[..., list[str]]) -> Callable[..., list[str]]:
        return lambda **options: _with_code(original(**options), first)

    with _starting, _changed(spawn, "get_preparation_data", without_main):
        if sys.platform == "win32":
            commands = _changed(spawn, "get_command_line", argv_from_paths)
        else:
            commands = _changed(util, "spawnv_passfds", from_paths)
        with commands:
            yield


@contextlib.contextmanager
def _changed(module: Any, name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """Replace a function of another package for this thread, until the block ends."""
    original, thread = getattr(module, name), threading.get_ident()
    changed = change(original)

    def chosen(*args: Any, **kwargs: Any) -> Any:
        return (changed if threading.get_ident() == thread else original)(*args, **kwargs)

    setattr(module, name, chosen)
    try:
        yield
    finally:
        setattr(module, name, original)


def _with_code(argv: Sequence[Any], first: str) -> list[Any]:
    """Return a command ``python -P -c`` with code that runs first."""
    if "-c" not in argv:  # a program that embeds Python, which starts itself
        return list(argv)
    place = argv.index("-c")
    return [*argv[:place], "-P", "-c", f"{first}; {argv[place + 1]}", *argv[place + 2 :]]


class _WorkerProcess(_Process):
    """Process that starts as in `clean_start`."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - a hook of multiprocessing
        with clean_start():
            return _Process._Popen(process_obj)


class WorkerContext(_Context):
    """Context whose processes start as in `clean_start`, from a warm server on Linux."""

    Process = _WorkerProcess


def start_server(modules: Sequence[str], *, first: str, folder: str) -> None:
    """Start the server that workers are forked from, on systems that have one.

    Parameters
    ----------
    modules : sequence of str
        Modules that it imports in the background.
    first : str
        Python code that the server runs before the imports.
    folder : str
        Folder for the sockets of multiprocessing.
    """
    with clean_start():
        if sys.platform != "win32":
            resource_tracker.ensure_running()  # otherwise the first lock would start it
    if sys.platform == "linux":
        config = process.current_process()._config  # type: ignore[attr-defined]  # private
        config["tempdir"] = config.get("tempdir") or folder
        forkserver.set_forkserver_preload(list(modules))
        with clean_start(first):
            forkserver.ensure_running()


def workers_of(pool: ProcessPool) -> dict[Future[Any], int]:
    """Return the process id of each running task of a pebble pool."""
    tasks = list(pool._pool_manager.task_manager.tasks.values())
    return {task.future: task.worker_id for task in tasks if task.worker_id}


def passes_results(pool: ProcessPool, *, patience: float) -> bool:
    """Return whether the channel of a pebble pool still works.

    A worker that dies while it holds the lock of the pool never releases it, and may have written
    half a result.

    Parameters
    ----------
    pool : ProcessPool
    patience : float
        Seconds to wait for the lock.
    """
    channel = pool._pool_manager.worker_manager.workers_channel
    if channel is None:  # not started
        return True
    with channel.lock(timeout=patience) as locked:
        return locked
