from __future__ import annotations

import errno
import os
import re
import shutil
import sys

import pytest

from autoimb.errors import RunError
from autoimb.runs import folder as run_folder
from autoimb.runs.folder import RunFolder
from autoimb.version import __version__
from tests.support.studies import FINGERPRINT, study


@pytest.fixture
def run(tmp_path):
    with RunFolder.open(tmp_path / "run", fingerprint=FINGERPRINT) as folder:
        yield folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with three finished trials, given back."""
    path = tmp_path_factory.mktemp("finished") / "run"
    with RunFolder.open(path, fingerprint=FINGERPRINT) as folder:
        study(folder, n_trials=3)
    return path


@pytest.fixture
def path(run, finished):
    """A copy of it in the place of an open folder, which is given back."""
    run.close()
    return shutil.copytree(finished, run.path, dirs_exist_ok=True)


def test_whether_a_search_holds_it_is_told(run):
    seen = RunFolder.view(run.path)
    assert seen.in_use
    run.cache.mkdir()
    run.close()
    assert not seen.in_use
    assert not run.cache.exists()


def test_a_folder_holds_one_search(run):
    run.close()
    with pytest.raises(RunError, match="already holds a search"):
        RunFolder.open(run.path, fingerprint=FINGERPRINT)
    with pytest.raises(RunError, match="holds another search"):
        RunFolder.open(run.path, fingerprint="f" * 16, resume=True)
    RunFolder.open(run.path, fingerprint=FINGERPRINT, resume=True).close()


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
        second._created = True
        with pytest.raises(RunError, match="in use"):
            second._acquire()
        second.discard()
        second.close()
        assert first.read_run()["fingerprint"] == FINGERPRINT
        first.discard()
        assert not path.exists()


def test_what_another_made_or_holds_a_trial_is_not_discarded(run, path):
    with RunFolder.open(path, fingerprint=FINGERPRINT, resume=True) as folder:
        folder.discard()
    run._created = run._locked = True
    run.discard()
    assert len(RunFolder.view(path).store.records()) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="links are of POSIX")
@pytest.mark.parametrize("name", [".lock", ".pid", ".cache", "run.json", "study.db"])
def test_a_link_in_a_received_folder_is_not_followed(path, tmp_path, name):
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


def test_where_the_file_system_has_no_locks_it_is_taken_all_the_same(tmp_path, monkeypatch):
    def fail(lock):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_folder.FileLock, "acquire", fail)
    for _ in range(2):
        with RunFolder.open(tmp_path, fingerprint=FINGERPRINT, resume=True) as folder:
            assert not folder.in_use


def test_looking_leaves_no_lock(run):
    run.close()
    (run.path / ".lock").unlink(missing_ok=True)
    assert not RunFolder.view(run.path).in_use
    assert not (run.path / ".lock").exists()


def test_what_a_kill_left_is_swept(path):
    (path / f".{'0' * 16}.tmp").write_text("")
    (path / ".cache").mkdir()
    RunFolder.open(path, fingerprint=FINGERPRINT, resume=True).close()
    assert not list(path.glob(".*.tmp"))
    assert not (path / ".cache").exists()


# --- damage to run.json -----------------------------------------------------------------------


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"results": [], "sha256": "0"}']
)
def test_a_damaged_run_is_an_error(path, content):
    (path / "run.json").write_bytes(content)
    with pytest.raises(RunError, match=r"run\.json.* is damaged"):
        RunFolder.view(path).read_run()
    with pytest.raises(RunError, match=r"run\.json.* is damaged"):
        RunFolder.open(path, fingerprint=FINGERPRINT, resume=True)


def test_a_run_of_another_version_is_not_gone_on_with(path):
    RunFolder.view(path).update_run({"version": "0.1.0"})
    refused = rf"search of autoimb 0\.1\.0, which {re.escape(__version__)} can't go on with"
    with pytest.raises(RunError, match=refused):
        RunFolder.open(path, fingerprint=FINGERPRINT, resume=True)


def test_one_bit_of_a_run_is_found(path):
    whole = (path / "run.json").read_bytes()
    for at in range(0, len(whole), 11):
        flip(path / "run.json", at)
        with pytest.raises(RunError):
            RunFolder.view(path).read_run()
        (path / "run.json").write_bytes(whole)
    assert RunFolder.view(path).read_run()["fingerprint"] == FINGERPRINT
