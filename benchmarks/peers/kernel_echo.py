"""What the kernel alone takes: `kernel_echo.c`, by the machine's C compiler. The floor for everybody else's figures."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with os.fdopen(os.dup(0), "rb", buffering=0) as told:  # the rest of standard input is the echo's
        ports = json.loads(told.readline())["ports"]
    with TemporaryDirectory() as folder:
        program = Path(folder, "kernel_echo")
        subprocess.run(["cc", "-O2", "-o", program, Path(__file__).with_suffix(".c")], check=True)
        echo = os.open(program, os.O_RDONLY | os.O_CLOEXEC)
    os.execve(echo, ["kernel_echo", *map(str, ports)], os.environ)


if __name__ == "__main__":
    main()
