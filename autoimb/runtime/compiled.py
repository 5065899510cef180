"""Compilation of the training kernels, which starts when this module is imported.

The server from which workers are forked imports this module while the program reads the table and
plans the search; workers then inherit the compiled code. After an installation, when no code is
cached, a second process compiles the kernels in the opposite order until the two meet.
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
        # If no further process can be started, the current one compiles all kernels.
        with suppress(OSError):
            helper.start()
            helpers.append(helper)

    compile_all(backwards=True, missed=share)
    for helper in helpers:
        helper.join()


def _compile() -> None:
    from autoimb.nn.compiled.run import compile_all

    # Only Linux has the server; on other systems each worker imports this module.
    if sys.platform == "linux":
        _compile_by_two()
    else:
        compile_all()


try:
    _compile()
except Exception:
    # This call reports the reason, and workers inherit the result.
    training_kernels(torch.float32, torch.device("cpu"))
