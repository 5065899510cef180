"""A process that has imported what the tests need, but not what is mutated, and forks to run some.

Each line that it reads is a list of tests and a limit in seconds, each that it writes what became
of them. It is started in a copy of the checkout, whose modules change between two lines.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import resource
import select
import signal
import sys
from collections.abc import Sequence

import pytest

__all__ = ["attempt"]

# large packages, and the layers of our own below those that are mutated
IMPORTED = (
    "numpy",
    "pandas",
    "scipy.stats",
    "scipy.optimize",
    "torch",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.model_selection",
    "sklearn.cluster",
    "sklearn.svm",
    "imblearn.combine",
    "optuna",
    "matplotlib.figure",
    "jinja2",
    "typer",
    "pebble",
    "pyarrow.parquet",
    "autoimb.nn.compiled",
    "autoimb.data.encoding.encoder",
    "autoimb.data.dataset",
)
_WAITING = 10  # times the processor time that is allowed: tests sleep, and others compute too


class Chosen:
    """A plugin of pytest that runs some tests in their order, and remembers the first that failed.

    Parameters
    ----------
    tests : sequence of str
        Their ids. One that is no longer collected is not run.
    """

    def __init__(self, tests: Sequence[str]) -> None:
        self._places = {name: place for place, name in enumerate(tests)}
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave those that were chosen."""
        chosen = [item for item in items if item.nodeid in self._places]
        items[:] = sorted(chosen, key=lambda item: self._places[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember what failed."""
        if report.outcome == "failed":
            self.failed = self.failed or report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remember what can't even be imported."""
        if report.outcome == "failed":
            self.failed = self.failed or report.nodeid


def attempt(tests: Sequence[str], limit: float) -> tuple[str, str]:
    """Run tests in a process of their own until one fails.

    Parameters
    ----------
    tests : sequence of str
        Their ids, in the order of the run.
    limit : float
        Seconds of processor time after which it is ended, with all that it started; or ten times
        as long by the clock.

    Returns
    -------
    str
        ``"passed"``, ``"failed"``, ``"time"``, ``"died"``, or ``"broken"`` where pytest could not
        start.
    str
        The first test that failed, or what broke.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), resource.RLIM_INFINITY))
        try:
            said = _run(tests)
        except BaseException as error:  # of pytest itself, before any test
            said = "broken", repr(error)
        os.write(writer, json.dumps(said).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        in_time = bool(select.select([answers], [], [], _WAITING * limit)[0])
        answer = os.read(answers.fileno(), 2**16) if in_time else b""
    ended_by = _end(child)
    if answer:
        became, failed = json.loads(answer)
        return became, failed
    return "died" if in_time and ended_by != signal.SIGXCPU else "time", ""


def _run(tests: Sequence[str]) -> tuple[str, str]:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    chosen = Chosen(tests)
    files = list(dict.fromkeys(name.partition("::")[0] for name in tests))
    status = pytest.main(["-x", "-p", "no:cacheprovider", *files], plugins=[chosen])
    fine = status in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    return "passed" if fine else "failed", chosen.failed


def _end(child: int) -> int:
    """End a process and its group; the signal that ended it is returned."""
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:  # it ended before it had a group
        os.kill(child, signal.SIGKILL)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def main() -> None:
    """Answer line by line."""
    for name in IMPORTED:
        importlib.import_module(name)
    assert not {"autoimb.assessment", "autoimb.space"} & sys.modules.keys()
    for line in sys.stdin:
        print(json.dumps(attempt(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
