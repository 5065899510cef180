"""The short form of `reports/benchmarks/flat`: a fit leaves nothing behind that grows."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from pathlib import Path

import pytest

from autoimb import AutoImbClassifier
from reports.benchmarks.machine import held
from tests.support.studies import wait_until
from tests.support.tables import ONE_TRIAL, mixed_table


def fit() -> None:
    frame, y = mixed_table("binary")
    AutoImbClassifier(**ONE_TRIAL, cv=2, n_jobs=2).fit(frame, y)
    gc.collect()


def counts() -> tuple[int, int, int]:
    now = held(os.getpid())
    return now.processes, now.threads, now.files


@pytest.mark.slow
@pytest.mark.usefixtures("minimal_work")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it looks into /proc")
def test_a_fit_leaves_no_thread_file_or_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit()  # the server of workers stays, for the next one
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = counts()
    for _ in range(2):
        fit()
    # what was killed may take a moment to be gone
    wait_until(lambda: all(now <= then for now, then in zip(counts(), before)))
    assert list(tmp_path.iterdir()) == []
