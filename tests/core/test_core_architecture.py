"""The plan of the house, held to by a machine: every room can be entered, and only by its proper doors."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import gateway

ROOT = Path(gateway.__file__).parents[1]
MODULES = sorted(module.name for module in pkgutil.walk_packages(gateway.__path__, "gateway."))


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_every_module_imports(name: str) -> None:
    """No module needs another to be imported first, an optional package, or a running service."""
    importlib.import_module(name)


def test_importing_the_gateway_is_quiet_and_starts_nothing() -> None:
    """Importing everything prints nothing, warns of nothing and leaves no thread running."""
    script = (
        "import importlib, sys, threading\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    names = [name for name in MODULES if not name.endswith("__main__")]
    done = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-c", script, *names], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_rooms_import_downwards_only() -> None:
    """The import contracts of pyproject.toml hold."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_grows_beyond_reading() -> None:
    """A module is read in one sitting: 450 lines at the most."""
    long = {str(path.relative_to(ROOT)): lines for path in (ROOT / "gateway").rglob("*.py")
            if (lines := len(path.read_text().splitlines())) > 450}  # fmt: skip
    assert long == {}
