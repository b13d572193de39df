"""Run the benchmarks, all or those named: `python -m benchmarks [NAME ...]`, `--list` shows them.

Each is a module of this package that runs in a process of its own, so that none warms or burdens another.
"""

from __future__ import annotations

import argparse
import ast
import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def names() -> list[str]:
    return sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))


def summary(name: str) -> str:
    """The first line of the module's docstring, read without running it."""
    docstring = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or name
    return docstring.splitlines()[0]


def machine() -> str:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(": ")[2] if models else platform.machine()
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}"


def run(name: str) -> bool:
    print(f"\n{name}: {summary(name)}", flush=True)
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run the benchmarks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all of them if none is given")
    parser.add_argument("--list", action="store_true", help="show what there is and run nothing")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(f"{name:20} {summary(name)}" for name in names()))
        return 0
    if unknown := set(arguments.names) - set(names()):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; --list shows them")
    print(machine())
    failed = [name for name in arguments.names or names() if not run(name)]
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
