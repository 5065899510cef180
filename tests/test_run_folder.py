from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from optuna.trial import FixedTrial
from studies import FINGERPRINT, complete, material, study

from autoimb.assessment.calibration import Calibrator, Finishing
from autoimb.errors import RunError
from autoimb.search.record import TrialRecord, unscored
from autoimb.search.run_folder import RunFolder, write_atomically
from autoimb.space.draw import Space, draw
from autoimb.space.portfolio import first_networks


@pytest.fixture
def run(tmp_path):
    with RunFolder.open(tmp_path / "run", fingerprint=FINGERPRINT) as folder:
        yield folder


@pytest.fixture
def finished(run):
    """A folder with ten finished trials, given back."""
    result = study(run)
    run.close()
    return run.path, result


def strategy():
    space = Space.restricted()
    return draw(FixedTrial(first_networks(space)[0]), space)


def test_trials_come_back_as_they_were(run):
    given = strategy()
    outcome = complete(given, material().dataset)
    record = TrialRecord.of(3, outcome, stage="lever", strategy=given)
    run.save_trial(record, outcome, {"network": "tabm", "x": 0.5})
    assert run.records() == (record,)
    stored = run.load_trials()[3]
    assert stored.record == record
    assert stored.params == {"network": "tabm", "x": 0.5}
    np.testing.assert_array_equal(stored.outcome.oof, outcome.oof)
    assert stored.outcome.score == outcome.score
    state = stored.outcome.fitted.packs[0].state
    for name, array in outcome.fitted.packs[0].state.items():
        np.testing.assert_array_equal(state[name], array)
    run.drop_weights(3)
    run.drop_weights(3)
    assert run.load_trials()[3].outcome.fitted is None


def test_whether_a_search_holds_it_is_told(run):
    seen = RunFolder.view(run.path)
    assert seen.in_use
    run.cache.mkdir()
    run.close()
    assert not seen.in_use
    assert not run.cache.exists()


def test_how_a_trial_was_finished_comes_back(run):
    given = strategy()
    outcome = complete(given, material().dataset)
    finishing = Finishing(outcome.oof, (Calibrator(0.5, (0.0, 1.0)), Calibrator(2.0, (1.0, 0.0))))
    for tilt in (None, (1.0, 2.0)):
        finished = replace(outcome, finishing=replace(finishing, tilt=tilt))
        record = TrialRecord.of(3, finished, stage="lever", strategy=given)
        run.save_trial(record, finished, {})
        stored = run.load_trials()[3].outcome
        for part in (0, 1):
            np.testing.assert_array_equal(stored.view(part), finished.view(part))


def test_a_trial_without_a_score_comes_back(run):
    record = TrialRecord.of(0, unscored("failed", "why"), stage="search", strategy=strategy())
    run.save_trial(record, unscored("failed", "why"), {})
    stored = run.load_trials()[0]
    assert stored.record == record
    assert stored.outcome.oof is None


def test_a_broken_file_is_put_aside(finished):
    path, _ = finished
    broken = path / "trials" / "0004.safetensors"
    broken.write_bytes(broken.read_bytes()[:50])
    torn = path / "trials" / "0005.weights.safetensors"
    torn.write_bytes(b"no weights")
    with RunFolder.open(path, fingerprint=FINGERPRINT, resume=True) as folder:
        assert 4 not in [record.number for record in folder.records()]
        trials = folder.load_trials()
        assert sorted(trials) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
        assert trials[5].outcome.fitted is None
        assert trials[6].outcome.fitted is not None
        assert (path / "trials" / "0004.broken").is_file()


def test_run_json_keeps_its_sections(run):
    run.update_run({"request": {"metric": "f1"}})
    run.update_run({"plan": [1]})
    assert run.read_run()["request"] == {"metric": "f1"}
    assert run.read_run()["fingerprint"] == FINGERPRINT
    assert RunFolder.view(run.path).read_run()["plan"] == [1]


def test_a_folder_holds_one_search(run):
    run.close()
    with pytest.raises(RunError, match="already holds a search"):
        RunFolder.open(run.path, fingerprint=FINGERPRINT)
    with pytest.raises(RunError, match="holds another search"):
        RunFolder.open(run.path, fingerprint="f" * 16, resume=True)
    RunFolder.open(run.path, fingerprint=FINGERPRINT, resume=True).close()


def test_resume_starts_where_there_is_nothing_yet(tmp_path):
    RunFolder.open(tmp_path / "a" / "b", fingerprint=FINGERPRINT, resume=True).close()
    assert (tmp_path / "a" / "b" / "run.json").is_file()


def test_a_folder_is_locked_while_a_search_writes(run):
    with pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        RunFolder.open(run.path, fingerprint=FINGERPRINT, resume=True)
    RunFolder.view(run.path)  # looking is allowed
    run.close()
    RunFolder.open(run.path, fingerprint=FINGERPRINT, resume=True).close()


def test_the_lock_dies_with_its_process(tmp_path):
    code = (
        "import os, signal; from autoimb.search.run_folder import RunFolder\n"
        f"RunFolder.open({str(tmp_path)!r}, fingerprint={FINGERPRINT!r})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    RunFolder.open(tmp_path, fingerprint=FINGERPRINT, resume=True).close()


def test_view_needs_a_search(tmp_path):
    with pytest.raises(RunError, match="holds no search"):
        RunFolder.view(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="can't be written"):
        RunFolder.open(tmp_path / "file", fingerprint=FINGERPRINT)


@pytest.mark.parametrize(
    "tail", [b'{"op_code": 4, "tri', b"{}\nnot json\n", b"\x00\x00\x00\n", b"12", b'"text"\n']
)
def test_a_torn_journal_is_mended(finished, tail):
    path, _ = finished
    journal = path / "journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + tail)
    for name in ("journal.log.lock", "journal.log.lock1234.rename", ".run.json.tmp"):
        (path / name).write_text("")
    with RunFolder.open(path, fingerprint=FINGERPRINT, resume=True) as folder:
        assert journal.read_bytes() == whole
        assert not list(path.glob("journal.log.*"))
        assert not list(path.glob(".*.tmp"))
        assert len(study(folder, n_trials=12).records) == 12


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
