from __future__ import annotations

import errno
import os
import secrets
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from autoimb.files import sweep_drafts, write_file, writing
from tests.support.programs import python

posix = pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and modes are of POSIX")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_in_folders_that_are_made(tmp_path):
    write_file(tmp_path / "a" / "b" / "file", b"one")
    write_file(str(tmp_path / "a" / "b" / "file"), b"two")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"two"
    assert names(tmp_path / "a" / "b") == ["file"]


def test_folders_are_made_only_where_that_is_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_file(tmp_path / "no" / "file", b"", make_folders=False)
    assert caught.value.filename == str(tmp_path / "no" / "file")
    assert names(tmp_path) == []


# --- an end that was not planned ---


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, OSError])
def test_an_exception_leaves_the_old_file_alone(tmp_path, error):
    path = tmp_path / "file"
    write_file(path, b"old")

    def write():
        with writing(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_step_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    write_file(path, b"old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "disk full", ".draft" if step == "fsync" else str(path))

    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    with pytest.raises(OSError, match="disk full"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@posix
def test_what_a_killed_process_leaves_is_a_draft_and_is_swept(tmp_path):
    write_file(tmp_path / "file", b"old")
    code = (
        "import os, signal, sys; from autoimb.files import writing\n"
        "with writing(sys.argv[1]) as file:\n"
        "    file.write(b'new'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert python("-c", code, tmp_path / "file").returncode == -signal.SIGKILL
    assert (tmp_path / "file").read_bytes() == b"old"
    assert len(names(tmp_path)) == 2
    sweep_drafts(tmp_path)
    assert names(tmp_path) == ["file"]


@posix
def test_sweeping_takes_drafts_alone_and_follows_no_link(tmp_path):
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_bytes(b"kept")
    folder.mkdir()
    draft = f".{secrets.token_hex(8)}.tmp"
    (folder / f".{'0' * 16}.tmp").symlink_to(victim)
    (folder / f".{'1' * 16}.tmp").symlink_to(tmp_path)
    (folder / f".{'2' * 16}.tmp").mkdir()
    for name in (draft, draft[1:], draft + "x", ".hers.tmp", "table.csv"):
        (folder / name).write_bytes(b"")
    sweep_drafts(folder)
    kept = sorted([draft[1:], draft + "x", ".hers.tmp", "table.csv", f".{'2' * 16}.tmp"])
    assert names(folder) == kept
    assert victim.read_bytes() == b"kept"
    sweep_drafts(tmp_path / "none")


# --- links ---


@posix
@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_link_at_the_drafts_name_is_not_written_to(tmp_path, monkeypatch, link):
    """Whoever guesses the name and can write to the folder gets nothing by it."""
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_bytes(b"kept")
    folder.mkdir()
    monkeypatch.setattr(secrets, "token_hex", lambda n: "0" * 2 * n)
    trap = folder / f".{'0' * 16}.tmp"
    getattr(trap, link)(victim)
    with pytest.raises(FileExistsError) as caught:
        write_file(folder / "file", b"new")
    assert caught.value.filename == str(folder / "file")
    assert victim.read_bytes() == b"kept"
    assert names(folder) == [trap.name]


@posix
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path, exists):
    victim, link = tmp_path / "victim", tmp_path / "link"
    if exists:
        victim.write_bytes(b"kept")
    link.symlink_to(victim)
    write_file(link, b"new")
    assert not link.is_symlink()
    assert link.read_bytes() == b"new"
    assert victim.exists() == exists
    assert not exists or victim.read_bytes() == b"kept"


# --- permissions ---


@posix
@pytest.mark.parametrize("mask", [0o077, 0o022, 0o002])
def test_the_umask_decides_who_may_read(tmp_path, mask):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o755)
    before = os.umask(mask)
    try:
        with writing(path):
            drafts = [each for each in tmp_path.iterdir() if each != path]
            assert [stat.S_IMODE(each.stat().st_mode) for each in drafts] == [0o666 & ~mask]
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


# --- devices and pipes ---


@posix
@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_is_written_through(tmp_path, linked):
    pipe = path = tmp_path / "pipe"
    os.mkfifo(pipe)
    if linked:
        path = tmp_path / "link"
        path.symlink_to(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_file(path, b"new" * 100_000)
    reader.join(timeout=30)
    assert got == [b"new" * 100_000]
    assert pipe.is_fifo()
    assert path.is_symlink() == linked
    assert len(names(tmp_path)) == 1 + linked


@posix
@pytest.mark.parametrize("redirected", [True, False])
def test_stdout_is_written_through_also_where_it_is_a_file(tmp_path, redirected):
    stdout = "/proc/self/fd/1" if Path("/proc/self/fd/1").exists() else "/dev/fd/1"
    code = f"from autoimb.files import write_file; write_file({stdout!r}, b'new')"
    with (tmp_path / "out").open("wb") as out:
        out.write(b"old")
        out.flush()
        pipes = {"capture_output": False, "stdout": out if redirected else subprocess.PIPE}
        done = python("-c", code, text=False, **pipes)
    got = (tmp_path / "out").read_bytes() if redirected else done.stdout
    assert got == (b"oldnew" if redirected else b"new")
    assert names(tmp_path) == ["out"]


# --- errors ---


@pytest.mark.parametrize("name", ["file/a/b", "file/a", "folder"])
def test_an_error_names_the_file_that_was_asked_for(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=name) as caught:
        write_file(tmp_path / name, b"new")
    assert caught.value.filename == str(tmp_path / name)
    assert caught.value.filename2 is None
    assert names(tmp_path) == ["file", "folder"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_named(tmp_path):
    (tmp_path / "link").symlink_to("/dev/full")
    with pytest.raises(OSError, match="link") as caught:
        write_file(tmp_path / "link", b"new")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "link")


def test_an_error_of_another_file_stays_what_it_was(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, writing(tmp_path / "file"):
        (tmp_path / "other").read_bytes()
    assert caught.value.filename == str(tmp_path / "other")
