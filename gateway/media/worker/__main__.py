"""The entry of a media process; `MediaPool` runs it: `python -m gateway.media.worker SOCKET`."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import sys

import structlog

from gateway.media.wire import WorkerSetup, of_commands
from gateway.media.worker.loop import Worker

_NICE = -10
"""Priority of the process, where we are allowed to set it."""


def main(number: int) -> None:
    """Serve the gateway at the other end of socket `number`."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    # Two sockets a leg; the usual limit of 1024 would end at 500.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Speech engines on the same machine may take all the time they get; a packet that is late is lost.
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    control = socket.socket(fileno=number)
    setup = _receive_setup(control)
    if setup is None:
        return
    control.setblocking(False)
    worker = Worker(control, setup)
    # Ticks make no cycles; what is here now stays. Collections would be the latest packets of all.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
    worker.run()


def _receive_setup(control: socket.socket) -> WorkerSetup | None:
    unpacker = of_commands()
    while data := control.recv(1 << 16):
        for message in unpacker.feed(data):
            if isinstance(message, WorkerSetup):
                return message
    return None


if __name__ == "__main__":
    main(int(sys.argv[1]))
