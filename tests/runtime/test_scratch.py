"""The workers' copy of the table is for this user's eyes, and no kill leaves it for ever."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from tempfile import mkdtemp

import pytest
from filelock import FileLock

from autoimb.runtime.scratch import LOCK, PREFIX, Scratch
from tests.support.programs import ENVIRONMENT

if sys.platform != "win32":
    pass

posix = pytest.mark.skipif(
    sys.platform == "win32", reason="signals, links, modes and shared locks are of POSIX"
)

DIE = """
import os, signal, sys
from pathlib import Path
from autoimb.runtime.scratch import Scratch
scratch = {made}
(scratch.path / "table").write_text("secret")
print(scratch.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def start(place: Path, code: str) -> subprocess.Popen[str]:
    """Run Python code whose place for temporary files is another."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=ENVIRONMENT | {"TMPDIR": str(place)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def leave(place: Path, made: str = "Scratch.make()") -> Path:
    """Let a process make a folder and die."""
    told, _ = start(place, DIE.format(made=made)).communicate()
    return Path(told.strip())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place for temporary files of this process."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@posix
def test_what_a_dead_process_left_is_swept_by_the_next(tmp_path: Path) -> None:
    dead, held = leave(tmp_path), Scratch.make(tmp_path)
    assert not dead.exists()
    dead = leave(tmp_path)
    assert (dead / "table").is_file()
    again = Scratch.make(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([held.path, again.path])
    for scratch in (held, again):
        scratch.remove()
    assert list(tmp_path.iterdir()) == []


@posix
def test_only_folders_of_its_own_kind_are_swept(tmp_path: Path) -> None:
    place, other = tmp_path / "place", tmp_path / "other"
    other.mkdir()
    (other / ".lock").touch()
    (other / "mine").touch()
    place.mkdir()
    (place / f"{PREFIX}link").symlink_to(other)
    (place / f"{PREFIX}notes").mkdir()
    (place / f"{PREFIX}trap").mkdir()
    (place / f"{PREFIX}trap" / ".lock").symlink_to(other / "mine")
    scratch = Scratch.make(place)
    assert scratch.path.stat().st_mode & 0o777 == 0o700
    scratch.remove()
    assert len(list(place.iterdir())) == 3
    assert sorted(path.name for path in other.iterdir()) == [".lock", "mine"]


def test_a_folder_that_another_takes_for_a_dead_one_s_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sweeps between the making of the folder and its lock."""
    made = []

    def hasty(**given: str) -> str:
        path = Path(mkdtemp(**given))
        made.append(path)
        if len(made) == 1:
            taken.append(FileLock(path / LOCK, timeout=0))
            taken[0].acquire()
        return str(path)

    taken: list[FileLock] = []
    monkeypatch.setattr(tempfile, "mkdtemp", hasty)
    scratch = Scratch.make(tmp_path)
    assert scratch.path == made[1]
    assert scratch.path.stat().st_mode & 0o777 == 0o700
    taken[0].release()


def test_a_removal_that_is_cut_off_is_ended_by_the_next(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = Scratch.make()
    (scratch.path / "parts").mkdir()
    (scratch.path / "parts" / "value").touch()
    (scratch.path / "table").touch()
    rmtree = shutil.rmtree

    def cut_off(path: Path, **given: bool) -> None:
        if path == scratch.path:
            raise SystemExit
        rmtree(path, **given)

    with monkeypatch.context() as cut:
        cut.setattr(shutil, "rmtree", cut_off)
        with pytest.raises(SystemExit):
            scratch.remove()
    assert [path.name for path in scratch.path.iterdir()] == [LOCK]
    Scratch.make().remove()
    assert list(place.iterdir()) == []
