from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from optuna.trial import FixedTrial
from programs import python
from studies import FINGERPRINT, complete, material, study

from autoimb.assessment.calibration import Calibrator, Finishing
from autoimb.errors import RunError
from autoimb.evaluation.outcome import Failed
from autoimb.runs import folder as run_folder
from autoimb.runs.folder import RunFolder
from autoimb.runs.record import TrialRecord
from autoimb.runs.storage import damage_of
from autoimb.space.draw import Space, draw
from autoimb.space.portfolio import first_networks
from autoimb.version import __version__


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
    result = complete(given, material().dataset)
    record = TrialRecord.of(3, result, stage="method", strategy=given)
    run.files.save(record, result, {"network": "tabm", "x": 0.5})
    assert run.files.records() == (record,)
    stored = run.files.load()[3]
    assert stored.record == record
    assert stored.params == {"network": "tabm", "x": 0.5}
    np.testing.assert_array_equal(stored.result.oof, result.oof)
    assert stored.result.score == result.score
    assert stored.result.trace == result.trace
    assert stored.result.seconds == result.seconds
    state = stored.result.fitted.packs[0].state
    for name, array in result.fitted.packs[0].state.items():
        np.testing.assert_array_equal(state[name], array)
    run.files.drop_weights(3)
    run.files.drop_weights(3)
    assert run.files.load()[3].result.fitted is None


def test_whether_a_search_holds_it_is_told(run):
    seen = RunFolder.view(run.path)
    assert seen.in_use
    run.cache.mkdir()
    run.close()
    assert not seen.in_use
    assert not run.cache.exists()


def test_how_a_trial_was_finished_comes_back(run):
    given = strategy()
    result = complete(given, material().dataset)
    finishing = Finishing(result.oof, (Calibrator(0.5, (0.0, 1.0)), Calibrator(2.0, (1.0, 0.0))))
    for class_costs in (None, (1.0, 2.0)):
        finished = replace(result, finishing=replace(finishing, class_costs=class_costs))
        record = TrialRecord.of(3, finished, stage="method", strategy=given)
        run.files.save(record, finished, {})
        stored = run.files.load()[3].result
        for part in (0, 1):
            np.testing.assert_array_equal(stored.view(part), finished.view(part))


def test_a_trial_without_a_score_comes_back(run):
    record = TrialRecord.of(0, Failed("why"), stage="search", strategy=strategy())
    assert (record.status, record.reason, record.score) == ("failed", "why", None)
    run.files.save(record, None, {})
    stored = run.files.load()[0]
    assert stored.record == record
    assert stored.result is None


def test_a_broken_file_is_put_aside(finished):
    path, _ = finished
    broken = path / "trials" / "0004.safetensors"
    broken.write_bytes(broken.read_bytes()[:50])
    torn = path / "trials" / "0005.weights.safetensors"
    torn.write_bytes(b"no weights")
    with RunFolder.open(path, fingerprint=FINGERPRINT, resume=True) as folder:
        assert 4 not in [record.number for record in folder.files.records()]
        trials = folder.files.load()
        assert sorted(trials) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
        assert trials[5].result.fitted is None
        assert trials[6].result.fitted is not None
        assert (path / "trials" / "0004.broken").is_file()


def test_run_json_keeps_its_sections(run):
    run.update_run({"request": {"metric": "f1"}})
    plan = {"time_budget": 5.0, "folds": 3}
    run.update_run({"plan": plan})
    assert run.read_run()["request"] == {"metric": "f1"}
    assert run.read_run()["fingerprint"] == FINGERPRINT
    assert RunFolder.view(run.path).read_run()["plan"] == plan


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


def test_the_refused_one_of_two_removes_nothing(tmp_path):
    """Also where the other one took the folder between its making and its locking."""
    path = tmp_path / "run"
    with RunFolder.open(path, fingerprint=FINGERPRINT) as first:
        second = RunFolder(path)
        second._made = True
        with pytest.raises(RunError, match="in use"):
            second._take()
        second.discard()
        second.close()
        assert first.read_run()["fingerprint"] == FINGERPRINT
        first.discard()
        assert not path.exists()


def test_what_another_made_or_holds_a_trial_is_not_discarded(run, finished):
    path, _ = finished
    with RunFolder.open(path, fingerprint=FINGERPRINT, resume=True) as folder:
        folder.discard()
    run._made = run._held = True
    run.discard()
    assert len(RunFolder.view(path).files.records()) == 10


@pytest.mark.skipif(sys.platform == "win32", reason="links are of POSIX")
@pytest.mark.parametrize("name", [".lock", ".pid", ".cache", "journal.log", "run.json", "trials"])
def test_a_link_in_a_received_folder_is_not_followed(finished, tmp_path, name):
    path, _ = finished
    outside = tmp_path / "outside"
    if (path / name).exists():
        (path / name).rename(outside)
    elif name == ".cache":
        outside.mkdir()
    else:
        outside.write_text("mine")
    (path / name).symlink_to(outside)
    before = outside.read_bytes() if outside.is_file() else sorted(outside.iterdir())
    assert not RunFolder.view(path).in_use
    with pytest.raises(RunError, match="symbolic link"):
        RunFolder.open(path, fingerprint=FINGERPRINT, resume=True)
    assert before == (outside.read_bytes() if outside.is_file() else sorted(outside.iterdir()))


def test_the_lock_dies_with_its_process(tmp_path):
    code = (
        "import os, signal; from autoimb.runs.folder import RunFolder\n"
        f"held = RunFolder.open({str(tmp_path)!r}, fingerprint={FINGERPRINT!r})\n"
        "assert held.in_use\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert python("-c", code).returncode == -9
    RunFolder.open(tmp_path, fingerprint=FINGERPRINT, resume=True).close()


def test_where_the_file_system_has_no_locks_it_is_taken_all_the_same(tmp_path, monkeypatch):
    def fail(lock):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_folder.FileLock, "acquire", fail)
    for _ in range(2):
        with RunFolder.open(tmp_path, fingerprint=FINGERPRINT, resume=True) as folder:
            assert not folder.in_use


def test_a_lock_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(RunError, match="can't be written"):
        RunFolder.open(tmp_path, fingerprint=FINGERPRINT)


def test_looking_leaves_no_lock(run):
    run.close()
    (run.path / ".lock").unlink(missing_ok=True)
    assert not RunFolder.view(run.path).in_use
    assert not (run.path / ".lock").exists()


def test_no_lock_of_the_journal_blocks(finished):
    """One that another reader of the journal left, killed in the middle of it."""
    path, _ = finished
    (path / "journal.log.lock").symlink_to(path / "journal.log")
    with RunFolder.open(path, fingerprint=FINGERPRINT, resume=True) as folder:
        start = time.monotonic()
        assert len(study(folder, n_trials=12).records) == 12
        assert time.monotonic() - start < 20  # Optuna breaks a lock after 30 s
        assert (path / "journal.log.lock").is_symlink()


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
    for draft in (path / f".{'0' * 16}.tmp", path / "trials" / f".{'1' * 16}.tmp"):
        draft.write_text("")
    with RunFolder.open(path, fingerprint=FINGERPRINT, resume=True) as folder:
        assert journal.read_bytes() == whole
        assert not list(path.rglob(".*.tmp"))
        assert len(study(folder, n_trials=12).records) == 12


# --- damage -----------------------------------------------------------------------------------


def flip(path, at, bit=0):
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(bytes(content))


@pytest.mark.skipif(sys.platform == "win32", reason="limits of files are of POSIX")
def test_a_full_disk_tears_no_line_of_the_journal(finished):
    """Non-regression test: what was written next made the torn line one of the middle."""
    resource = pytest.importorskip("resource")
    path, _ = finished
    with RunFolder.open(path, fingerprint=FINGERPRINT, resume=True) as folder:
        storage = folder.storage()
        study_id = storage.get_study_id_from_name(folder.study_name)
        whole = folder.journal.read_bytes()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 20, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                storage.set_study_user_attr(study_id, "note", "x" * 100)
            assert folder.journal.read_bytes() == whole
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        storage.set_study_user_attr(study_id, "note", "short")
    assert damage_of(path / "journal.log") is None
    assert len((path / "journal.log").read_bytes()) > len(whole)


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3, 0.6, 0.999])
def test_one_bit_of_a_trial_is_found(finished, share):
    path, _ = finished
    trial = path / "trials" / "0004.safetensors"
    flip(trial, int(share * (trial.stat().st_size - 1)))
    with RunFolder.open(path, fingerprint=FINGERPRINT, resume=True) as folder:
        assert sorted(folder.files.load()) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
        assert list(folder.damaged) == ["0004.safetensors"]


def test_a_trial_of_another_run_or_number_is_set_aside(finished, tmp_path):
    path, _ = finished
    with RunFolder.open(tmp_path / "other", fingerprint=FINGERPRINT) as other:
        study(other, n_trials=2)
    trials = path / "trials"
    shutil.copy(other.trials / "0001.safetensors", trials / "0001.safetensors")
    shutil.copy(trials / "0002.safetensors", trials / "0003.safetensors")
    shutil.copy(trials / "0005.weights.safetensors", trials / "0006.weights.safetensors")
    with RunFolder.open(path, fingerprint=FINGERPRINT, resume=True) as folder:
        found = folder.files.load()
        assert sorted(found) == [0, 2, 4, 5, 6, 7, 8, 9]
        assert found[5].result.fitted is not None
        assert found[6].result.fitted is None
        assert "of trial 2 of" in folder.damaged["0003.safetensors"]
        assert len(folder.damaged) == 3


def middle(lines):
    return [*lines[:10], *lines[11:]]


def value(lines):
    at = next(i for i, line in enumerate(lines) if b'"rung":' in line)
    changed = lines[at].replace(b'"rung":', b'"rung":1')
    return [*lines[:at], changed, *lines[at + 1 :]]


def swapped(lines):
    return [*lines[:20], lines[21], lines[20], *lines[22:]]


def of_no_study(lines):
    return [b"\x00" * 50 + b"\n", *lines]


def forged(lines):
    """Lines whose checksums hold, and that are no study."""
    last, made = b"", []
    for start in (b'{"op_code":0', b'{"op_code":99', b'{"op_code":4,"trial_id":10'):
        last = hashlib.sha256(last + start).hexdigest()[:16].encode()
        made.append(start + b',"sum":"' + last + b'"}\n')
    return made


@pytest.mark.parametrize("damage", [middle, value, swapped, of_no_study, forged])
def test_a_damaged_journal_is_made_anew_from_the_trials(finished, damage):
    path, before = finished
    journal = path / "journal.log"
    journal.write_bytes(b"".join(damage(journal.read_bytes().splitlines(keepends=True))))
    with RunFolder.open(path, fingerprint=FINGERPRINT, resume=True) as folder:
        after = study(folder, n_trials=12)
        assert len(after.records) == 12
        assert after.records[:10] == before.records
        assert list(folder.damaged) == ["journal.log"]
        assert (path / "journal.broken").is_file()
    with RunFolder.open(path, fingerprint=FINGERPRINT, resume=True) as folder:
        assert study(folder, n_trials=12).records == after.records  # and that journal is whole


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"null",
        b'{"study": 1}',
        b"[" * 100_000,
        b'{"version": "0.1.0"}',
        b'{"results": [], "sha256": "0"}',
    ],
)
def test_a_damaged_run_is_an_error(finished, content):
    path, _ = finished
    (path / "run.json").write_bytes(content)
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        RunFolder.view(path).read_run()
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        RunFolder.open(path, fingerprint=FINGERPRINT, resume=True)


def test_a_run_of_another_version_is_not_gone_on_with(finished):
    path, _ = finished
    RunFolder.view(path).update_run({"version": "0.1.0"})
    refused = rf"search of autoimb 0\.1\.0, which {re.escape(__version__)} can't go on with"
    with pytest.raises(RunError, match=refused):
        RunFolder.open(path, fingerprint=FINGERPRINT, resume=True)


def test_one_bit_of_a_run_is_found(finished):
    path, _ = finished
    whole = (path / "run.json").read_bytes()
    for at in range(0, len(whole), 11):
        flip(path / "run.json", at)
        with pytest.raises(RunError):
            RunFolder.view(path).read_run()
        (path / "run.json").write_bytes(whole)
    assert RunFolder.view(path).read_run()["fingerprint"] == FINGERPRINT
