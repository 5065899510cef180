"""The RUN folder of a finished search, and copies of it that may be damaged."""

import shutil

import pytest

from autoimb.runs.folder import RunFolder
from tests.support.studies import FINGERPRINT, study


@pytest.fixture(scope="session")
def searched(tmp_path_factory):
    """Return a folder with four finished trials, and their records."""
    path = tmp_path_factory.mktemp("searched") / "run"
    with RunFolder.open(path, fingerprint=FINGERPRINT) as folder:
        return path, study(folder, n_trials=4).records


@pytest.fixture
def run(searched, tmp_path):
    """Return a copy of the folder."""
    return shutil.copytree(searched[0], tmp_path / "run")
