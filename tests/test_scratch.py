"""The workers' copy of the table is for this user's eyes, and no kill leaves it for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autoimb.runtime.scratch import PREFIX, YOUNG, Scratch

DIE = """
import os, signal, sys
from pathlib import Path
from autoimb.runtime.scratch import Scratch
scratch = Scratch.make(Path(sys.argv[1]))
(scratch.path / "table").write_text("secret")
print(scratch.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def leave(place: Path) -> Path:
    """Let a process make a folder and die."""
    done = subprocess.run(
        [sys.executable, "-c", DIE, str(place)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    return Path(done.stdout.strip())


def grow_old(path: Path) -> None:
    then = path.stat().st_mtime - 2 * YOUNG
    os.utime(path, (then, then), follow_symlinks=False)


@pytest.mark.skipif(sys.platform == "win32", reason="it kills by a signal of POSIX")
def test_what_a_dead_process_left_is_swept_by_the_next(tmp_path: Path) -> None:
    dead, held = leave(tmp_path), Scratch.make(tmp_path)
    assert (dead / "table").is_file()
    grow_old(held.path)
    Scratch.make(tmp_path).remove()
    assert dead.is_dir()  # young: it may still be about to be locked
    grow_old(dead)
    again = Scratch.make(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([held.path, again.path])
    for scratch in (held, again):
        scratch.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes are of POSIX")
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
    for path in (*place.iterdir(), other):
        grow_old(path)
    scratch = Scratch.make(place)
    assert scratch.path.stat().st_mode & 0o777 == 0o700
    scratch.remove()
    assert len(list(place.iterdir())) == 3
    assert sorted(path.name for path in other.iterdir()) == [".lock", "mine"]
