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
from typing import TYPE_CHECKING, Any, NamedTuple

if sys.platform == "linux":
    from multiprocessing import forkserver
    from multiprocessing.context import ForkServerContext as _Context
    from multiprocessing.context import ForkServerProcess as _Process
else:
    from multiprocessing.context import SpawnContext as _Context
    from multiprocessing.context import SpawnProcess as _Process

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "TreeNodes",
    "WorkerContext",
    "fused_adamw",
    "script_kept_out",
    "start_server",
    "tree_nodes",
]


def fused_adamw() -> Callable[..., None]:
    """Return torch's kernel of AdamW, without the wrappers of ``torch.optim``."""
    import torch

    kernel: Callable[..., None] = torch._fused_adamw_
    return kernel


class TreeNodes(NamedTuple):
    """One tree of scikit-learn's histogram gradient boosting.

    Attributes
    ----------
    nodes : structured ndarray of shape (n,)
        In preorder: the left child of a node is the next one.
    lefts : uint32 ndarray of shape (k, 8)
        The category codes that go left at each split by a category, one bit each.
    """

    nodes: NDArray[Any]
    lefts: NDArray[Any]


def tree_nodes(model: Any, start: int) -> tuple[list[list[TreeNodes]], NDArray[Any]]:
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
    trees : list of lists of TreeNodes
        Of each iteration one a class, or one where there are two classes.
    baseline : float64 ndarray of shape (trees an iteration,)
        The scores before the first iteration.

    Raises
    ------
    RuntimeError
        Where nodes stand in an order that no release has had.
    """
    trees = [
        [TreeNodes(tree.nodes, tree.raw_left_cat_bitsets) for tree in iteration]
        for iteration in model._predictors[start:]
    ]
    for nodes in (tree.nodes for iteration in trees for tree in iteration):
        places = (nodes["is_leaf"] == 0).nonzero()[0]
        if (nodes["left"][places] != places + 1).any():
            raise RuntimeError("scikit-learn's trees are not in preorder.")
    return trees, model._baseline_prediction.ravel()


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
