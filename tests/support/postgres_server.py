"""A real PostgreSQL of our own for as long as a test session lasts, from whatever binaries the machine has.

It listens on a Unix socket only, in a temporary folder, and so never meets another server or another test run.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from waiting import wait_until

START_WITHIN_S = 30.0


class PostgresServer:
    """`start()` and `stop()` may be repeated: the data stay until `remove()`."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        # Not pytest's tmp_path: a socket's path has to stay below 108 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="gateway-pg-"))
        self._as_user = _unprivileged(self._folder)
        self._databases = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._run(
            "initdb", "--username=gateway", "--auth=trust", "--no-sync", "--locale=C.UTF-8", "-D", str(self._data)
        )

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        settings = ("listen_addresses=", f"unix_socket_directories={self._folder}", "max_connections=30")
        options = [part for setting in settings for part in ("-c", setting)]
        with (self._folder / "log").open("ab") as log:
            command = [*self._as_user, str(self._binaries / "postgres"), "-D", str(self._data), *options]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        self._await_ready()

    def stop(self) -> None:
        if self._process is not None:
            self._run("pg_ctl", "stop", "--mode=immediate", "-D", str(self._data))
            self._process.wait(10)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def new_database(self) -> str:
        """The store URL of an empty database."""
        self._databases += 1
        name = f"test{self._databases}"
        self._run("createdb", "--host", str(self._folder), "--username=gateway", name)
        return self.url(name)

    def url(self, database: str, *, user: str = "gateway") -> str:
        return f"postgresql://{user}@/{database}?host={self._folder}"

    def execute(self, url: str, statement: str) -> None:
        """Run SQL as the administrator in the database of `url`."""
        database = url.partition("@/")[2].partition("?")[0]
        self._run("psql", "--host", str(self._folder), "--username=gateway", "--quiet", "-c", statement, database)

    def _await_ready(self) -> None:
        wait_until(self._is_ready, within_s=START_WITHIN_S)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        return self._try("pg_isready", "--quiet", "--host", str(self._folder), "--username=gateway").returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        done = self._try(program, *arguments)
        assert done.returncode == 0, f"{program}: {done.stdout.decode()}"

    def _try(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [*self._as_user, str(self._binaries / program), *arguments]
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self._folder, check=False, timeout=60
        )


def find_binaries() -> Path | None:
    """Debian keeps them off the PATH, one folder a version; the newest wins."""
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    if debian := sorted(versions, key=lambda path: int(path.parts[-3])):
        return debian[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def _unprivileged(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root: then the folder and the processes are somebody else's."""
    if os.geteuid() != 0:
        return []
    user = next(name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()})
    entry = pwd.getpwnam(user)
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
