"""A PostgreSQL server of our own, on a port of the loopback, in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

DEBIAN = "/usr/lib/postgresql/*/bin"  # where its packages put what isn't for every user
NOBODY = "nobody"  # PostgreSQL refuses root


def program(name: str) -> str | None:
    """Find a program of the server."""
    places = sorted(map(str, Path("/").glob(DEBIAN.lstrip("/"))), reverse=True)
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(places))


@dataclass
class Server:
    """A server with one database, `postgres`, that trusts everyone on this machine."""

    folder: Path
    port: int

    @classmethod
    def make(cls) -> Self:
        """Make its folder; `start` it then."""
        folder = Path(tempfile.mkdtemp(prefix="autoimb-postgres-"))
        if os.geteuid() == 0:
            user = pwd.getpwnam(NOBODY)
            os.chown(folder, user.pw_uid, user.pw_gid)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            server = cls(folder, free.getsockname()[1])
        server._run("initdb", "-U", "postgres", "-A", "trust", "--no-sync")
        return server

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        asked = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -c max_connections=200"
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "-w", "-o", f"{asked} -c fsync=off", "-l", log)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-w", "-m", "immediate")

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, name: str, *words: str) -> None:
        found = program(name)
        assert found is not None
        command = [found, *words, "-D", str(self.folder / "data")]
        user = NOBODY if os.geteuid() == 0 else None
        subprocess.run(
            command, check=True, user=user, cwd=self.folder, stdout=subprocess.DEVNULL, timeout=60
        )


def running() -> Server:
    """Start a server, or skip the test where there is none; on CI that is a failure."""
    if program("initdb") is None or program("pg_ctl") is None:
        reason = "there is no PostgreSQL server here: initdb and pg_ctl are not found"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    server = Server.make()
    server.start()
    return server
