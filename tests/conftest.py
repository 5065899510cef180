"""What all tests share."""

import os
import signal

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
