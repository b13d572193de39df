"""The entry of a media process; `MediaPool` runs it: `python -m gateway.media.worker SOCKET SOCKET`."""

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
from gateway.media.worker.lending import Borrower
from gateway.media.worker.loop import Worker

_NICE = -10
_REAL_TIME = 2
"""Priorities of the process and of the thread that ticks, where we are allowed to set them."""


def main(number: int, sounds: int) -> None:
    """Serve the gateway at the other end of socket `number`; what it lends comes by socket `sounds`."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    # Three sockets a leg; the usual limit of 1024 would end at 340.
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
    comes = socket.socket(fileno=sounds)
    comes.setblocking(False)
    worker = Worker(control, setup, Borrower(comes))
    # Ticks make no cycles; what is here now stays. Collections would be the latest packets of all.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
    _tick_in_real_time()
    worker.run()


def _tick_in_real_time() -> None:
    """Let this thread (not the one that writes recordings) run as soon as it has to, whatever else the machine does.

    Linux leaves a twentieth of each core to the others even then, about what `_NICE` would.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(_REAL_TIME))


def _receive_setup(control: socket.socket) -> WorkerSetup | None:
    unpacker = of_commands()
    while data := control.recv(1 << 16):
        for message in unpacker.feed(data):
            if isinstance(message, WorkerSetup):
                return message
    return None


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
