"""The scripts that prepare a machine, on machines made of a few pretended programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / ".ci"

APT = """
echo "apt-get $*" >>"$MACHINE/calls"
case "$*" in *install*) ;; *) exit 0;; esac
while case "$1" in -*|install) true;; *) false;; esac; do shift; done
for name; do
    [ -e "$MACHINE/apt/$name" ] || exit 100
    touch "$MACHINE/installed/$name"
done
"""
DPKG = 'for name; do :; done; [ -e "$MACHINE/installed/$name" ] && echo "install ok installed"'
POLICY = """
[ -e "$MACHINE/apt/$2" ] && candidate=1.0 || candidate="(none)"
printf '%s:\\n  Installed: (none)\\n  Candidate: %s\\n  Version table:\\n' "$2" "$candidate"
yes ' 500 a long table of versions' | head -n 20000
"""


# Root may do everything itself; for the tests of sudo it becomes nobody.
UNPRIVILEGED: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}


class Machine:
    """A PATH of its own, and notes of what apt was asked for. Anybody may enter the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.chmod(0o755)
        self.scripts = shutil.copytree(SCRIPTS, folder / ".ci")
        for name in ("bin", "apt", "installed"):
            (folder / name).mkdir()
        (folder / "installed").chmod(0o777)
        (folder / "calls").touch()
        (folder / "calls").chmod(0o666)
        for tool in ("bash", "sh", "env", "touch", "dirname", "yes", "head", "rm"):
            path = shutil.which(tool)
            assert path is not None
            (folder / "bin" / tool).symlink_to(path)

    def program(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def debian(self, *packages: str) -> None:
        self.program("apt-get", APT)
        self.program("dpkg-query", DPKG)
        self.program("apt-cache", POLICY)
        for name in packages:
            (self.folder / "apt" / name).touch()

    def run(
        self, script: str, *arguments: str, variables: Mapping[str, str] = {}, **process: Any
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.scripts / script, *arguments],
            env={"PATH": str(self.folder / "bin"), "MACHINE": str(self.folder), **variables},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            **process,
        )

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory() as folder:
        yield Machine(Path(folder))


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as root")


@as_root
def test_what_is_missing_is_installed_once_and_then_quiet(machine: Machine) -> None:
    """The first run installs; the second asks apt for nothing and says nothing."""
    machine.debian("libflite1", "chromium")
    first = machine.run("system-packages", "libflite1", "chromium?")
    assert first.returncode == 0
    assert "Installing system packages: libflite1 chromium ..." in first.stdout
    asked = machine.calls
    assert asked[-1] == "apt-get -qq install --yes --no-install-recommends libflite1 chromium"

    second = machine.run("system-packages", "libflite1", "chromium?")
    assert (second.returncode, second.stdout, second.stderr, machine.calls) == (0, "", "", asked)


@as_root
def test_a_wanted_package_that_does_not_exist_costs_its_tests_only(machine: Machine) -> None:
    """A distribution without the package is told apart from one that has it, however long apt's answer is."""
    machine.debian("libflite1")
    done = machine.run("system-packages", "libflite1", "chromium?")
    assert done.returncode == 0
    assert "no package chromium: the tests that need it will be skipped" in done.stdout
    assert machine.calls[-1].endswith(" libflite1")


@as_root
def test_a_needed_package_that_cannot_be_had_stops_with_the_command_to_try(machine: Machine) -> None:
    """What the gateway cannot do without is an error, with what the operator can type."""
    machine.debian()
    done = machine.run("system-packages", "libflite1")
    assert done.returncode == 1
    assert "sudo apt-get install libflite1" in done.stderr


def test_no_debian_is_said_and_no_obstacle(machine: Machine) -> None:
    """Elsewhere the packages have other names, and may be there already."""
    done = machine.run("system-packages", "libflite1")
    assert done.returncode == 0
    assert "no Debian or Ubuntu: please install the equivalents of libflite1" in done.stderr


def test_who_is_not_root_goes_through_sudo(machine: Machine) -> None:
    """With nobody there to type a password, sudo is told not to ask for one."""
    machine.debian("libflite1")
    machine.program("sudo", 'echo "sudo $1" >>"$MACHINE/calls"; shift; exec "$@"')
    done = machine.run("system-packages", "libflite1", **UNPRIVILEGED)
    assert done.returncode == 0, done.stderr
    assert machine.calls[-2:] == [
        "sudo --non-interactive", "apt-get -qq install --yes --no-install-recommends libflite1"
    ]  # fmt: skip


@pytest.mark.parametrize(("wanted", "code"), [("libflite1", 1), ("chromium?", 0)])
def test_without_root_and_sudo_the_command_is_shown(machine: Machine, wanted: str, code: int) -> None:
    """Nothing can be installed: the run stops for what is needed and goes on for what is only wanted."""
    machine.debian("libflite1", "chromium")
    done = machine.run("system-packages", wanted, **UNPRIVILEGED)
    assert done.returncode == code
    assert f"As root:  apt-get install {wanted.rstrip('?')}   and run this again" in done.stderr
    assert machine.calls == []


def test_a_shim_that_leads_nowhere_is_passed_over(machine: Machine, tmp_path: Path) -> None:
    """A name on the PATH is no Python until it has run; neither is one that is too old."""
    machine.program("python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    machine.program("python3.12", 'case "$1" in -c) exit 1;; esac')
    (machine.folder / "bin" / "python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
    venv = tmp_path / "venv"
    made = machine.run("create-venv", str(venv))
    assert made.returncode == 0, made.stderr
    assert f"({machine.folder}/bin/python3)" in made.stdout
    assert (venv / "bin" / "pip").exists()

    again = machine.run("create-venv", str(venv))
    assert (again.returncode, again.stdout) == (0, "")


def test_no_python_is_a_clear_error(machine: Machine, tmp_path: Path) -> None:
    """Neither a Python nor a way to get one: the message says what to install and how to point at it."""
    done = machine.run("create-venv", str(tmp_path / "venv"))
    assert done.returncode == 1
    assert "Python 3.11 or later is needed" in done.stderr
    assert "PYTHON=/path/to/python" in done.stderr
    chosen = machine.run("create-venv", str(tmp_path / "venv"), variables={"PYTHON": "/nowhere/python"})
    assert chosen.returncode == 1
    assert "PYTHON=/nowhere/python is no working Python" in chosen.stderr


@as_root
def test_a_proxy_for_the_tests_does_not_take_the_port_of_the_gateway(machine: Machine) -> None:
    """Debian starts what it installs; Kamailio is masked before, so that port 5060 stays free."""
    machine.debian("kamailio")
    machine.program("systemctl", 'echo "systemctl $*" >>"$MACHINE/calls"')
    done = machine.run("system-packages", "kamailio?")
    assert done.returncode == 0, done.stderr
    calls = (machine.folder / "calls").read_text().splitlines()
    assert "systemctl --quiet mask kamailio" in calls
    assert calls.index("systemctl --quiet mask kamailio") < next(k for k, line in enumerate(calls) if "install" in line)
    assert "unmask kamailio" in done.stdout
