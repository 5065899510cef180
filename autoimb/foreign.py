"""All that leans on what other packages do not promise: their private names, and their insides.

What a release of theirs may break is here, behind functions that say what they do. Imports nothing
heavy, so that the workers' server can warm up while the program imports the rest.
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

    It works on category columns before number columns, and on codes ``0, 1, ...``: what it was
    fitted on must be of that order and kind.

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
    """Let an estimator of scikit-learn's kind check its parameters, as its `fit` would.

    Raises
    ------
    ValueError
        Naming the parameter, what it takes and the value.
    """
    estimator._validate_params()


_starting = threading.Lock()


@contextlib.contextmanager
def clean_start() -> Iterator[None]:
    """Start processes that import from the caller's paths, and don't run the caller's script.

    multiprocessing begins them by ``python -c``, which looks for every module in the current folder
    first, also for those of the standard library. And it runs the script again in each worker: one
    without ``if __name__ == "__main__"`` would start its search once more. Nothing is lost: what
    the script defines travels by value (cloudpickle). Other threads' processes are not touched.
    """
    paths: list[str] = spawn.get_preparation_data("")["sys_path"]  # the current folder by its name
    first = f"import sys; sys.path[:] = {paths!r}"

    def without_main(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        mains = ("init_main_from_name", "init_main_from_path")
        return lambda name: {k: v for k, v in original(name).items() if k not in mains}

    def from_paths(original: Callable[..., int]) -> Callable[..., int]:
        return lambda exe, words, handles: original(exe, _with_code(words, first, "-P"), handles)

    def words_from_paths(original: Callable[..., list[str]]) -> Callable[..., list[str]]:
        return lambda **given: _with_code(original(**given), first, "-P")

    with _starting, _changed(spawn, "get_preparation_data", without_main):
        if sys.platform == "win32":
            commands = _changed(spawn, "get_command_line", words_from_paths)
        else:
            commands = _changed(util, "spawnv_passfds", from_paths)
        with commands:
            yield


@contextlib.contextmanager
def _changed(module: Any, name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """Change a function of another package for this thread, as long as it lasts."""
    original, thread = getattr(module, name), threading.get_ident()
    changed = change(original)

    def chosen(*given: Any, **named: Any) -> Any:
        return (changed if threading.get_ident() == thread else original)(*given, **named)

    setattr(module, name, chosen)
    try:
        yield
    finally:
        setattr(module, name, original)


def _with_code(words: Sequence[Any], first: str, *flags: str) -> list[Any]:
    """Change a command of ``python -c``: more flags, and code that runs before its own."""
    if "-c" not in words:  # a program with Python inside, which starts itself
        return list(words)
    place = words.index("-c")
    return [*words[:place], *flags, "-c", f"{first}; {words[place + 1]}", *words[place + 2 :]]


class _WorkerProcess(_Process):
    """A process that starts clean."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - a hook of multiprocessing
        with clean_start():
            return _Process._Popen(process_obj)


class WorkerContext(_Context):
    """Starts clean processes, from a warm server on Linux."""

    Process = _WorkerProcess


def start_server(modules: Sequence[str], *, first: str, folder: str) -> None:
    """Start the server that workers are forked from, where there is one.

    Parameters
    ----------
    modules : sequence of str
        What it imports, while the caller goes on.
    first : str
        Python that it runs before.
    folder : str
        Where multiprocessing puts its sockets, the server's among them.
    """

    def running_first(original: Callable[..., int]) -> Callable[..., int]:
        return lambda exe, words, handles: original(exe, _with_code(words, first), handles)

    with clean_start():
        if sys.platform != "win32":
            resource_tracker.ensure_running()  # which the first lock would start otherwise
        if sys.platform == "linux":
            config = process.current_process()._config  # type: ignore[attr-defined]  # private
            config["tempdir"] = config.get("tempdir") or folder
            forkserver.set_forkserver_preload(list(modules))
            with _changed(util, "spawnv_passfds", running_first):
                forkserver.ensure_running()


def workers_of(pool: ProcessPool) -> dict[Future[Any], int]:
    """Return the number of the process that runs each task of a pebble pool that has begun."""
    tasks = list(pool._pool_manager.task_manager.tasks.values())
    return {task.future: task.worker_id for task in tasks if task.worker_id}


def passes_results(pool: ProcessPool, *, patience: float) -> bool:
    """Whether tasks and results still get through a pebble pool.

    A worker that dies while it holds the pool's lock keeps it for ever, and may have written half
    a result.

    Parameters
    ----------
    pool : ProcessPool
    patience : float
        Seconds to wait for another that holds the lock.
    """
    channel = pool._pool_manager.worker_manager.workers_channel
    if channel is None:  # not started
        return True
    with channel.lock(timeout=patience) as locked:
        return locked
