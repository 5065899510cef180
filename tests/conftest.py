"""Settings and fixtures of all tests."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Threads that wait for each other are slow while other programs are busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Background jobs of a shell ignore Ctrl-C, and their child processes inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


settings.register_profile("ci", max_examples=20, deadline=None)
settings.register_profile("thorough", max_examples=200, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True, scope="session")
def _compiled() -> None:
    """Compile before tests measure time, as it takes seconds without a cache."""
    import torch

    from autoimb.nn.code import training_code

    training_code(torch.device("cpu"))


@pytest.fixture
def minimal_work() -> Iterator[None]:
    """Minimize the work of searches, for tests that do not depend on the networks."""
    from tests.support import searches

    with searches.minimal_work():
        yield
