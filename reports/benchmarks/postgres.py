"""A PostgreSQL server of our own, on a port of the loopback, in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["Server", "is_installed", "server"]

DEBIAN = "/usr/lib/postgresql/*/bin"  # where its packages put what isn't for every user
NOBODY = "nobody"  # PostgreSQL refuses root


def _program(name: str) -> str | None:
    """Find a program of the server."""
    places = sorted(map(str, Path("/").glob(DEBIAN.lstrip("/"))), reverse=True)
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(places))


def is_installed() -> bool:
    """Say whether a server can be started here."""
    return _program("initdb") is not None and _program("pg_ctl") is not None


@dataclass
class Server:
    """A server with one database, `postgres`, that trusts everyone on this machine."""

    folder: Path
    port: int
    settings: Sequence[str]

    @classmethod
    def make(cls, settings: Sequence[str]) -> Self:
        """Make its folder; `start` it then."""
        folder = Path(tempfile.mkdtemp(prefix="autoimb-postgres-"))
        if os.geteuid() == 0:
            user = pwd.getpwnam(NOBODY)
            os.chown(folder, user.pw_uid, user.pw_gid)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            made = cls(folder, free.getsockname()[1], settings)
        made._run("initdb", "-U", "postgres", "-A", "trust", "--no-sync")
        return made

    @property
    def url(self) -> str:
        """Of the database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def process(self) -> int:
        """The server's first process, of which all others are children."""
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    def start(self) -> None:
        """Start it, and wait until it answers."""
        asked = ["-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.folder)]
        asked += [word for setting in self.settings for word in ("-c", setting)]
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "-w", "-o", " ".join(asked), "-l", log)

    def stop(self) -> None:
        """Stop it at once, whatever it does."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate")

    def remove(self) -> None:
        """Remove its folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, name: str, *words: str) -> None:
        found = _program(name)
        assert found is not None
        command = [found, *words, "-D", str(self.folder / "data")]
        user = NOBODY if os.geteuid() == 0 else None
        subprocess.run(
            command, check=True, user=user, cwd=self.folder, stdout=subprocess.DEVNULL, timeout=60
        )


@contextlib.contextmanager
def server(*settings: str) -> Iterator[Server]:
    """Run a server while inside, with settings such as ``"max_connections=200"``."""
    made = Server.make(settings)
    try:
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        made.remove()
