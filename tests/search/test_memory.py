"""A worker's share of the memory that is free, and what it holds of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autoimb.cli import main
from autoimb.data.memory import machine_bytes
from autoimb.errors import RunError
from autoimb.policy import DEFAULT_POLICY, Reserves, SearchPolicy
from autoimb.runtime.memory import (
    free_memory,
    memory_a_worker,
    private_memory,
)
from autoimb.search import search as searching
from autoimb.search.study import StudySettings
from tests.support.pipelines import table

GB = 2**30
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")
linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems don't say")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def machine(root: Path, cgroup: str, available: int = 16 * GB) -> Path:
    write(root / "proc" / "meminfo", f"MemTotal: 1 kB\nMemAvailable: {available // 1024} kB\n")
    write(root / "proc" / "self" / "cgroup", cgroup)
    return root


def limited(folder: Path, names: tuple[str, ...], limit: object, used: int, cache: int) -> None:
    for name, value in zip(names, (limit, used), strict=False):
        write(folder / name, f"{value}\n")
    write(folder / "memory.stat", f"anon 5\n{names[2]} {cache}\n")


@pytest.mark.parametrize(
    ("line", "folder", "names", "usage", "free"),
    [
        ("4:memory:/", "memory", V1, (2**63 - 4096, GB, 0), 16 * GB),  # without a limit
        ("0::/user/job", "user/job", V2, (4 * GB, 3 * GB, GB), 2 * GB),
        ("4:cpu,memory:/job", "memory/job", V1, (4 * GB, 3 * GB, GB), 2 * GB),
        ("0::/user/job", "user/job", V2, ("max", 3 * GB, 0), 16 * GB),
        ("0::/user/job", "user", V2, (8 * GB, 7 * GB, 0), GB),  # the one above counts as well
        ("4:memory:/docker/0123", "memory", V1, (2 * GB, GB, 0), GB),  # named from outside
    ],
)
def test_a_cgroup_leaves_what_it_has_not_used(
    line: str,
    folder: str,
    names: tuple[str, ...],
    usage: tuple[Any, int, int],
    free: int,
    tmp_path: Path,
) -> None:
    """Pages of files that can be given back are as good as free."""
    root = machine(tmp_path, f"9:name=systemd:/\n{line}\n")
    limited(root / "sys" / "fs" / "cgroup" / folder, names, *usage)
    assert free_memory(root) == free


def test_the_machine_has_no_more_than_its_cgroups_allow(tmp_path: Path) -> None:
    """However much of it is free: else other programs would say which rows are drawn."""
    root = machine(tmp_path, "0::/user/job\n")
    inner = root / "sys" / "fs" / "cgroup" / "user" / "job"
    for used in (0, GB // 8):
        limited(inner, V2, GB // 4, used, 0)
        limited(inner.parent, V2, GB // 2, used, 0)
        assert machine_bytes(root) == GB // 4


def test_each_worker_has_an_equal_share_and_enough_to_begin(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/\n", available=10 * GB)
    policy = SearchPolicy(reserves=Reserves(workers_memory=0.8, min_worker_bytes=GB))
    shares = [memory_a_worker(n_jobs, policy, root=root) for n_jobs in (1, 4, 100)]
    assert shares == [8 * GB, 2 * GB, GB]


def test_workers_share_what_the_user_gives_where_that_is_less(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/\n", available=10 * GB)
    policy = SearchPolicy(reserves=Reserves(workers_memory=0.8, min_worker_bytes=GB // 2))
    shares = [memory_a_worker(2, policy, limit=n * GB, root=root) for n in (5, 20, 1)]
    assert shares == [2 * GB, 4 * GB, GB // 2]


def test_the_command_line_says_what_workers_may_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[int | None] = []

    def refuse(*_: object, settings: StudySettings, **__: object) -> None:
        limits.append(settings.memory)
        raise RunError("enough")

    monkeypatch.setattr(searching, "run_study", refuse)
    table(60).assign(y=[0, 1, 1] * 20).to_csv(tmp_path / "rows.csv", index=False)
    words = ["search", str(tmp_path / "rows.csv"), "--target", "y", "--trials", "1", "--jobs", "1"]
    for option in ([], ["--max-memory", "2GB"]):
        assert main([*words, *option, "--out", str(tmp_path / f"run{len(option)}")]) == 2
    assert limits == [None, 2 * 10**9]


def test_where_the_system_does_not_say_there_is_no_limit(tmp_path: Path) -> None:
    assert memory_a_worker(2, DEFAULT_POLICY, root=tmp_path) is None
    assert private_memory(1, root=tmp_path) == 0


def test_older_systems_count_pages(tmp_path: Path) -> None:
    write(tmp_path / "proc" / "7" / "statm", "900 500 200 1 0 300 0\n")
    assert private_memory(7, root=tmp_path) == 300 * os.sysconf("SC_PAGE_SIZE")


HOLD = """
import mmap, sys
own = bytearray(b"1") * (64 * 2**20)
with open(sys.argv[1], "rb") as file:
    read = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
seen = sum(read[::4096])
print("ready", flush=True)
sys.stdin.read()
"""


@linux
def test_a_mapped_file_is_nobodys_own(tmp_path: Path) -> None:
    file = tmp_path / "table"
    file.write_bytes(b"1" * (256 * 2**20))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        private = private_memory(process.pid)
        process.communicate()
    assert 64 * 2**20 < private < 128 * 2**20
    assert private_memory(process.pid) == 0
