"""What all tests share."""

import os
import signal
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import settings

# threads of one process that wait for each other stand still beside another busy program
os.environ.setdefault("OMP_NUM_THREADS", "1")

# a shell's background ignores Ctrl-C, and what it starts inherits that
signal.signal(signal.SIGINT, signal.default_int_handler)


settings.register_profile("ci", max_examples=20, deadline=None)
settings.register_profile("thorough", max_examples=200, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True, scope="session")
def _compiled() -> None:
    """Compile before any test has a clock: where nothing is kept yet it takes seconds."""
    from autoimb.nn.compiled.run import compile_all

    compile_all()


@pytest.fixture
def least_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let searches do as little as they can, for tests that ask nothing of the networks."""
    from autoimb.policy import DEFAULT_POLICY
    from autoimb.report import against
    from autoimb.search import given, prepare

    checkpoints = ((float("inf"), 2, 1),)
    few = {"checkpoints_by_rows": checkpoints, "repeats": 1, "replays": 2, "rule_replicates": 2}
    least = partial(prepare.prepare, policy=replace(DEFAULT_POLICY, **few))
    for module in (given, prepare):
        monkeypatch.setattr(module, "prepare", least)
    monkeypatch.setattr(against, "REFERENCES", ())
