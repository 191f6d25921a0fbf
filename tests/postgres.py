"""A real PostgreSQL server of the test's own: temporary folder, free port, an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

_READY_S = 60
_USERS = ("postgres", "nobody")


class Postgres:
    """A server that is started and stopped at will; its data stay until :meth:`remove`."""

    def __init__(self, programs: Path, *, settings: tuple[str, ...] = ("fsync=off",)) -> None:
        self._programs = programs
        self._settings = [word for setting in (*settings, "listen_addresses=127.0.0.1") for word in ("-c", setting)]
        self._folder = Path(tempfile.mkdtemp(prefix="fs-pg-"))
        self._folder.chmod(0o755)
        self._as = _unprivileged(self._folder)
        self._port = _free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._run("initdb", "-D", self._data, "-U", "foresift", "-A", "trust", "-E", "UTF8", "--no-sync")

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [self._programs / "postgres", "-D", self._data, "-p", str(self._port), "-k", self._folder]
        log = (self._folder / "log").open("ab")
        with log:
            self._server = subprocess.Popen([*command, *self._settings], stdout=log, stderr=log, cwd="/", **self._as)
        deadline = time.monotonic() + _READY_S
        while True:
            try:
                self._execute("SELECT 1")
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._server.poll() is not None:
                    raise RuntimeError((self._folder / "log").read_text()[-2000:]) from None
            time.sleep(0.05)

    def stop(self, how: int = signal.SIGINT) -> None:
        """End it: SIGINT breaks all connections off, SIGQUIT is a crash."""
        if self._server is not None:
            self._server.send_signal(how)
            self._server.wait(timeout=_READY_S)
            self._server = None

    def remove(self) -> None:
        """End it and delete its data."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def address(self, database: str) -> str:
        """Of a database on it."""
        return f"postgresql://foresift@127.0.0.1:{self._port}/{database}"

    def new_database(self) -> str:
        """The address of a fresh, empty database."""
        self._databases += 1
        self._execute(f"CREATE DATABASE test{self._databases}")
        return self.address(f"test{self._databases}")

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.address("postgres"), autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/", **self._as)
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr}")


def installed_programs() -> Path:
    """The folder of PostgreSQL's programs; a test that needs them is skipped without, but never in CI."""
    found = [Path(initdb).parent] if (initdb := shutil.which("initdb")) else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    usable = [folder for folder in found if (folder / "initdb").is_file() and (folder / "postgres").is_file()]
    if usable:
        return usable[0]
    told = "PostgreSQL is not installed (Debian: postgresql)"
    if os.environ.get("CI") == "true":
        pytest.fail(told)
    pytest.skip(told)


def _unprivileged(folder: Path) -> dict[str, Any]:
    """How to start programs as somebody who is not root, to whom ``folder`` is given."""
    if os.getuid() != 0:
        return {}
    known = {user.pw_name: user for user in pwd.getpwall()}
    user = next(known[name] for name in _USERS if name in known)
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
