from __future__ import annotations

import errno
import os
import re

import pytest

from autoimb.errors import RunError
from autoimb.runs import folder as run_folder
from autoimb.runs.folder import RunFolder
from autoimb.version import __version__
from tests.support.studies import FINGERPRINT


@pytest.fixture
def folder(tmp_path):
    with RunFolder.open(tmp_path / "run", fingerprint=FINGERPRINT) as folder:
        yield folder


def test_whether_a_search_holds_it_is_told(folder):
    seen = RunFolder.view(folder.path)
    assert seen.in_use
    folder.cache.mkdir()
    folder.close()
    assert not seen.in_use
    (folder.path / ".lock").unlink(missing_ok=True)
    assert not seen.in_use
    assert not (folder.path / ".lock").exists()
    assert not folder.cache.exists()


def test_a_folder_is_locked_while_a_search_writes(folder):
    with pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        RunFolder.open(folder.path, fingerprint=FINGERPRINT, resume=True)
    RunFolder.view(folder.path)  # looking is allowed
    folder.close()
    RunFolder.open(folder.path, fingerprint=FINGERPRINT, resume=True).close()


def test_the_refused_one_of_two_removes_nothing(tmp_path):
    """Also where the other one took the folder between its making and its locking."""
    path = tmp_path / "run"
    with RunFolder.open(path, fingerprint=FINGERPRINT) as first:
        second = RunFolder(path)
        second._created = True
        with pytest.raises(RunError, match="in use"):
            second._acquire()
        second.discard()
        second.close()
        assert first.read_run()["fingerprint"] == FINGERPRINT
        first.discard()
        assert not path.exists()


def test_what_another_made_or_holds_a_trial_is_not_discarded(run):
    with RunFolder.open(run, fingerprint=FINGERPRINT, resume=True) as another:
        another.discard()
    another = RunFolder(run)
    another._created = another._locked = True
    another.discard()
    assert len(RunFolder.view(run).store.records()) == 4


def test_where_the_file_system_has_no_locks_it_is_taken_all_the_same(tmp_path, monkeypatch):
    def fail(lock):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_folder.FileLock, "acquire", fail)
    for _ in range(2):
        with RunFolder.open(tmp_path, fingerprint=FINGERPRINT, resume=True) as folder:
            assert not folder.in_use


def test_what_a_kill_left_is_swept(run):
    (run / f".{'0' * 16}.tmp").write_text("")
    (run / ".cache").mkdir()
    RunFolder.open(run, fingerprint=FINGERPRINT, resume=True).close()
    assert not list(run.glob(".*.tmp"))
    assert not (run / ".cache").exists()


# --- damage to run.json -----------------------------------------------------------------------


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"results": [], "sha256": "0"}']
)
def test_a_damaged_run_is_an_error(run, content):
    (run / "run.json").write_bytes(content)
    with pytest.raises(RunError, match=r"run\.json.* is damaged"):
        RunFolder.view(run).read_run()
    with pytest.raises(RunError, match=r"run\.json.* is damaged"):
        RunFolder.open(run, fingerprint=FINGERPRINT, resume=True)


def test_a_run_of_another_version_is_not_gone_on_with(run):
    RunFolder.view(run).update_run({"version": "0.1.0"})
    refused = rf"search of autoimb 0\.1\.0, which {re.escape(__version__)} can't go on with"
    with pytest.raises(RunError, match=refused):
        RunFolder.open(run, fingerprint=FINGERPRINT, resume=True)


def test_one_bit_of_a_run_is_found(run):
    whole = (run / "run.json").read_bytes()
    for at in range(0, len(whole), 11):
        flip(run / "run.json", at)
        with pytest.raises(RunError):
            RunFolder.view(run).read_run()
        (run / "run.json").write_bytes(whole)
    assert RunFolder.view(run).read_run()["fingerprint"] == FINGERPRINT
