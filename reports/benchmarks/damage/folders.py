"""Damage to a RUN folder: to the bytes of its files, to the files themselves, and forged values."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from reports.benchmarks import project
from reports.benchmarks.damage.mutations import DAMAGES, value

__all__ = ["KINDS", "damage_folder"]

Damage = Callable[[Path, Path, random.Random], None]


def _files(run: Path) -> list[Path]:
    return sorted(path for path in run.rglob("*") if path.is_file())


def _one(run: Path, chance: random.Random) -> Path:
    """Draw a file; every second time one of those that all commands read."""
    read = [run / name for name in ("run.json", "study.db", "pipeline.autoimb")]
    return chance.choice(read if chance.random() < 0.5 else _files(run))


def bits(run: Path, _: Path, chance: random.Random) -> None:
    """Flip bits of a file."""
    path = _one(run, chance)
    path.write_bytes(DAMAGES["bits"](path.read_bytes() or b"\0", chance))


def truncated(run: Path, _: Path, chance: random.Random) -> None:
    """Cut a piece of a file off, or all of it."""
    path = _one(run, chance)
    content = path.read_bytes()
    path.write_bytes(chance.choice([b"", DAMAGES["truncated"](content + b"\0", chance)]))


def exchanged(run: Path, _: Path, chance: random.Random) -> None:
    """Put a file in the place of another."""
    other = _one(run, chance)
    shutil.copy(chance.choice([path for path in _files(run) if path != other]), other)


def removed(run: Path, _: Path, chance: random.Random) -> None:
    """Remove a file, or put a folder in its place."""
    path = _one(run, chance)
    path.unlink()
    if chance.random() < 0.5:
        path.mkdir()


def linked(run: Path, outside: Path, chance: random.Random) -> None:
    """Put a link to a user's file in the place of a file, or where one is written."""
    written = [run / name for name in (".lock", ".pid", "report.html", f".{'0' * 16}.tmp")]
    path = chance.choice([_one(run, chance), *written])
    path.unlink(missing_ok=True)
    path.symlink_to(chance.choice(sorted(outside.iterdir())))


def forged(run: Path, _: Path, chance: random.Random) -> None:
    """Change values of ``run.json``, whose checksum holds."""
    path = run / "run.json"
    values = json.loads(path.read_bytes())
    for _count in range(chance.randint(1, 3)):
        value(values, {}, chance)
    path.write_text(project.sealed_run(values), encoding="utf-8")


KINDS: dict[str, Damage] = {
    each.__name__: each for each in (bits, truncated, exchanged, removed, linked, forged)
}


def damage_folder(run: Path, outside: Path, number: int) -> str:
    """Damage a RUN folder in place; the kind of damage is returned.

    Parameters
    ----------
    run : Path
        A copy of a finished search's.
    outside : Path
        A folder of files that nothing may touch.
    number : int
        Which damage.
    """
    chance = random.Random(number)
    kind = list(KINDS)[number % len(KINDS)]
    KINDS[kind](run, outside, chance)
    return kind
