"""Compiles what trains networks, as soon as it is imported.

The server that workers are forked from imports it while the program reads and plans the table; the
workers then have the code without a moment of their own. After an installation, when no code has
been kept yet, a second process compiles from the other end until the two meet.
"""

from __future__ import annotations

import multiprocessing
import sys
from contextlib import suppress

import torch

from autoimb.nn.kernels import training_kernels

__all__: list[str] = []


def _compile_by_two() -> None:
    from autoimb.nn.compiled.run import compile_all

    helpers = []

    def share() -> None:
        helper = multiprocessing.get_context("fork").Process(target=compile_all)
        with suppress(OSError):  # no room for another process: this one compiles all
            helper.start()
            helpers.append(helper)

    compile_all(backwards=True, missed=share)
    for helper in helpers:
        helper.join()


def _compile() -> None:
    from autoimb.nn.compiled.run import compile_all

    if sys.platform == "linux":  # elsewhere there is no such server, and each worker imports this
        _compile_by_two()
    else:
        compile_all()


try:
    _compile()
except Exception:
    training_kernels(torch.float32, torch.device("cpu"))  # reports why, and workers inherit it
