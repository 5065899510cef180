"""The short form of `reports/benchmarks/flat`: a fit leaves nothing behind that grows."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from tables import ONE_TRIAL, mixed_table

from autoimb import AutoImbClassifier
from reports.benchmarks.machine import Held, held


def after_a_fit() -> Held:
    frame, y = mixed_table("binary")
    AutoImbClassifier(**ONE_TRIAL, n_jobs=2).fit(frame, y)
    gc.collect()
    return replace(held(os.getpid()), memory_mb=0.0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it looks into /proc")
def test_a_fit_leaves_no_thread_file_or_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_a_fit()  # the server of workers stays, for the next one
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert after_a_fit() == after_a_fit()
    assert list(tmp_path.iterdir()) == []
