"""What all tests share."""

import os
import signal
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
    from autoimb.policy import Folds, Result, SearchPolicy, Training
    from autoimb.report import against
    from autoimb.search import given, prepare

    policy = SearchPolicy(
        training=Training(checkpoints_by_rows=((float("inf"), 2, 1),)),
        folds=Folds(repeats=1),
        result=Result(replays=2, rule_replicates=2),
    )
    least = partial(prepare.prepare, policy=policy)
    for module in (given, prepare):
        monkeypatch.setattr(module, "prepare", least)
    monkeypatch.setattr(against, "REFERENCES", ())
