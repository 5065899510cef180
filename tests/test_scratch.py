"""The workers' copy of the table is for this user's eyes, and no kill leaves it for ever."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import AcquireReturnProxy, FileLock

from autoimb.runtime import scratch as scratch_module
from autoimb.runtime.scratch import LOCK, PREFIX, Scratch, remove_if_left

if sys.platform != "win32":
    import fcntl

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
COME_AND_GO = """
from autoimb.runtime.scratch import Scratch
import os
for _ in range(60):
    scratch = Scratch.join("study")
    own = scratch.path / str(os.getpid())
    own.touch()
    Scratch.make().remove()
    own.unlink()
    scratch.remove()
"""


def start(place: Path, code: str) -> subprocess.Popen[str]:
    """Run Python code whose place for temporary files is another."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(place)},
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


# --- what several processes have together --------------------------------------------------------


@posix
def test_a_folder_of_several_goes_with_the_last(place: Path) -> None:
    first, second = Scratch.join("study"), Scratch.join("study")
    other = Scratch.join("another")
    assert first.path == second.path != other.path
    assert first.path.stat().st_mode & 0o777 == 0o700
    (first.path / "table").touch()
    first.remove()
    first.remove()  # nothing is left to do
    Scratch.make().remove()  # it sweeps what nobody holds
    assert (second.path / "table").is_file()
    second.remove()
    other.remove()
    assert list(place.iterdir()) == []


@posix
def test_a_killed_one_leaves_the_folder_to_the_others(place: Path) -> None:
    mine = Scratch.join("study")
    assert leave(place, "Scratch.join('study')") == mine.path
    assert (mine.path / "table").is_file()
    Scratch.make().remove()
    assert (mine.path / "table").is_file()
    mine.remove()
    assert list(place.iterdir()) == []


@posix
@pytest.mark.parametrize("following", ["make", "join"])
def test_when_all_were_killed_the_next_start_sweeps(place: Path, following: str) -> None:
    dead = leave(place, "Scratch.join('study')")
    assert (dead / "table").is_file()
    again = Scratch.make() if following == "make" else Scratch.join("study")
    assert not (dead / "table").exists()
    again.remove()
    assert list(place.iterdir()) == []


@posix
@pytest.mark.parametrize("found", ["link", "file", "folder of another user"])
def test_what_is_not_of_this_user_is_not_entered(
    place: Path, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    there, target = place / f"{PREFIX}study", place / "target"
    target.mkdir()
    if found == "link":
        there.symlink_to(target)
    elif found == "file":
        there.touch()
    else:
        there.mkdir()
        monkeypatch.setattr(os, "getuid", lambda: there.stat().st_uid + 1)
    own = Scratch.join("study")
    assert own.path not in (there, target)
    own.remove()
    assert sorted(place.iterdir()) == [there, target]
    assert list(target.iterdir()) == []


@posix
def test_without_locks_for_several_each_has_its_own(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(scratch_module, "fcntl", SimpleNamespace(flock=flock, LOCK_SH=1, LOCK_UN=8))
    first, second = Scratch.join("study"), Scratch.join("study")
    assert first.path != second.path
    first.remove()
    second.remove()
    assert list(place.iterdir()) == []


@posix
def test_a_folder_that_goes_while_one_enters_is_made_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of others leaves between the opening of the lock and its taking."""
    real, removed = scratch_module.fcntl.flock, []

    def flock(*given: int) -> None:
        if not removed:
            removed.append(place / f"{PREFIX}study")
            shutil.rmtree(removed[0])
        real(*given)

    own = SimpleNamespace(flock=flock, LOCK_SH=fcntl.LOCK_SH, LOCK_UN=fcntl.LOCK_UN)
    monkeypatch.setattr(scratch_module, "fcntl", own)
    scratch = Scratch.join("study")
    assert [scratch.path] == removed
    Scratch.make().remove()
    assert scratch.path.is_dir()
    scratch.remove()
    assert list(place.iterdir()) == []


@posix
def test_a_folder_that_is_made_again_while_one_sweeps_stays(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock that it has taken is that of a folder that has gone."""
    path, again = leave(place, "Scratch.join('study')"), []

    class Late(FileLock):
        def acquire(self, *given: Any, **named: Any) -> Any:
            if again:
                return super().acquire(*given, **named)
            with (path / LOCK).open():
                shutil.rmtree(path)
                again.append(Scratch.join("study"))
            return AcquireReturnProxy(self)

    monkeypatch.setattr(scratch_module, "FileLock", Late)
    remove_if_left(path)
    assert again[0].path.is_dir()
    again[0].remove()
    assert list(place.iterdir()) == []


@posix
def test_many_come_and_go_and_none_loses_what_it_holds(place: Path) -> None:
    processes = [start(place, COME_AND_GO) for _ in range(4)]
    told = [process.communicate()[1] for process in processes]
    assert told == [""] * 4
    assert list(place.iterdir()) == []
