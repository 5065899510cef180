"""Compiles what trains networks, as soon as it is imported.

The server that workers are forked from imports it while the program reads and plans the table; the
workers then have the code without a moment of their own. After an installation, when no code has
been kept yet, a second process compiles from the other end until the two meet.
"""

from __future__ import annotations

import multiprocessing
import sys
from contextlib import suppress

from autoimb.nn.compiled.run import compile_all

__all__: list[str] = []


def _compile_by_two() -> None:
    helpers = []

    def share() -> None:
        helper = multiprocessing.get_context("fork").Process(target=compile_all)
        with suppress(OSError):  # no room for another process: this one compiles all
            helper.start()
            helpers.append(helper)

    compile_all(backwards=True, missed=share)
    for helper in helpers:
        helper.join()


if sys.platform == "linux":  # elsewhere there is no such server, and each worker imports this
    _compile_by_two()
else:
    compile_all()
