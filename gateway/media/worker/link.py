"""A worker as the gateway sees it: its process, its socket, the legs on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Protocol

import gateway
from gateway.core.errors import GatewayError
from gateway.media.commands import AnyCommand, PlayMusic, QueueAudio
from gateway.media.ports import Said
from gateway.media.wire import ToWorker, WorkerPulse, WorkerSetup, of_reports, pack
from gateway.media.worker.lending import Lender

_STOP_WITHIN_S = 5.0

_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(4 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}


class Owner(Protocol):
    lender: Lender

    def now(self) -> float: ...

    def up(self, link: WorkerLink) -> None:
        """A worker is ready; nothing was sent to it yet."""
        ...

    def felt(self, link: WorkerLink, pulse: WorkerPulse) -> None: ...

    def hear(self, said: Said) -> None:
        """What a worker says of one of its legs."""
        ...

    def lost(self, link: WorkerLink) -> None:
        """A worker's socket closed."""
        ...


class WorkerLink(asyncio.Protocol):
    def __init__(self, owner: Owner, ports: tuple[int, int]) -> None:
        self._owner = owner
        self._unpacker = of_reports()
        self._transport: asyncio.WriteTransport | None = None
        self._sound_way: socket.socket | None = None
        self.ports = ports
        self.process: asyncio.subprocess.Process | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.legs: dict[str, None] = {}
        """In the order in which they were opened."""
        self.pulses = 0
        """How many it has given; the first says that it is ready."""
        self.heard_at = 0.0
        """When it last said anything, or got its first leg."""
        self.hangs = False
        """It was killed because it said nothing any more."""

    @property
    def alive(self) -> bool:
        return self._transport is not None and self.pulses > 0

    @property
    def pid(self) -> int:
        return self.process.pid if self.process is not None else 0

    async def start(self, setup: WorkerSetup) -> None:
        ours, theirs = socket.socketpair()
        # One number and one descriptor are one message.
        self._sound_way, sounds_come = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self._sound_way.setblocking(False)
        with theirs, sounds_come:
            ends = [theirs.fileno(), sounds_come.fileno()]
            command = [sys.executable, "-m", "gateway.media.worker", *map(str, ends)]
            self.process = await asyncio.create_subprocess_exec(
                *command, pass_fds=ends, env=worker_environment(), stdin=asyncio.subprocess.DEVNULL
            )
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=ours)
        self.send(setup)

    def send(self, *messages: AnyCommand | WorkerSetup) -> None:
        if self._transport is not None:
            self._transport.write(pack([self._outgoing(message) for message in messages]))

    def _outgoing(self, message: AnyCommand | WorkerSetup) -> ToWorker:
        if isinstance(message, QueueAudio | PlayMusic) and self._sound_way is not None:
            return self._owner.lender.lend(message, self._sound_way)
        return message

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._owner.now()
        for message in self._unpacker.feed(data):
            if isinstance(message, WorkerPulse):
                self._feel(message)
            else:
                self._owner.hear(message)

    def _feel(self, pulse: WorkerPulse) -> None:
        self.pulses += 1
        if self.pulses == 1:
            if not self.ready.done():
                self.ready.set_result(None)
            self._owner.up(self)
        self._owner.felt(self, pulse)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._close_sound_way()
        if not self.ready.done():
            self.ready.set_exception(GatewayError("a media worker died while it started"))
            self.ready.exception()  # looked at: nobody may be waiting any more
        self._owner.lost(self)

    def _close_sound_way(self) -> None:
        if self._sound_way is not None:
            self._sound_way.close()
            self._sound_way = None

    def kill(self) -> None:
        """It does not answer; its end is told like any other."""
        self.hangs = True
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    async def stop(self) -> None:
        """Let the process finish its recordings; end it when it takes too long."""
        if self._transport is not None:
            self._transport.close()
        self._close_sound_way()
        if self.process is None:
            return
        try:
            await asyncio.wait_for(self.process.wait(), _STOP_WITHIN_S)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


def worker_environment() -> dict[str, str]:
    """How a worker's libraries are set up: what a process reads once, at its start.

    One thread for the matrix products: a worker has a core, and threads of it would fight over that. And memory is
    kept for the next tick (`mallopt`(3)): glibc would give each large array back, for the kernel to clear it anew,
    20,000 pages a second at 500 calls. Rows of legs are larger than the threshold, so that unused ones stay untouched.
    """
    one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    source = str(Path(gateway.__file__).parents[1])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
    return {**_KEEP_MEMORY, **os.environ, **one_thread, "PYTHONPATH": path}
