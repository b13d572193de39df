"""The inside of a worker process: `python -m gateway.providers.worker ENGINE-MODULE OPTIONS-JSON`.

Requests come on standard input, replies leave on standard output. The end of the input is the order to go: it comes
when the gateway closes the pipe, and also when it is killed. Terminal and service signals are for the gateway, which
may want to finish its calls first; they are ignored here.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from importlib import import_module
from typing import Any, BinaryIO, Final

import msgspec

from gateway.core.errors import ProviderError
from gateway.providers.frames import LENGTH, Do, Failed, FromWorker, Ready, Reply, frame, raw, to_worker
from gateway.providers.jobs import Engine, as_provider_error, create_engine

PR_SET_PDEATHSIG: Final = 1


def main(module: str, options: str) -> int:
    _die_with_the_gateway()
    incoming, outgoing = _pipes()
    try:
        engine = create_engine(module, json.loads(options))
    except ProviderError as error:
        _send(outgoing, _failed(0, error))
        return 1
    _send(outgoing, Ready())
    requests = msgspec.msgpack.Decoder(import_module(module).Request)
    while (body := _read(incoming)) is not None:
        match to_worker.decode(body):
            case Do(job, request):
                _do(engine, job, requests.decode(request), outgoing)
            case ended:
                engine.end(ended.job)
    return 0


def _do(engine: Engine, job: int, request: Any, outgoing: BinaryIO) -> None:
    try:
        for reply in engine.handle(job, request):
            _send(outgoing, Reply(job, raw(reply)))
    except Exception as error:
        _send(outgoing, _failed(job, as_provider_error(error)))


def _die_with_the_gateway() -> None:
    """The end of the pipe tells us between two pieces of work; the kernel's signal in the middle of one too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """Our two pipes. What C libraries print goes to standard error instead of between the frames."""
    outgoing = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return sys.stdin.buffer, outgoing


def _read(incoming: BinaryIO) -> bytes | None:
    """One frame's body, or None at the end of the input."""
    head = incoming.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    body = incoming.read(length)
    return body if len(body) == length else None


def _send(outgoing: BinaryIO, message: FromWorker) -> None:
    rest = memoryview(frame(message))
    while rest:
        rest = rest[outgoing.write(rest) :]


def _failed(job: int, error: ProviderError) -> Failed:
    return Failed(job, str(error), error.category, error.retryable)


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:3]))
    except BrokenPipeError:  # the gateway is gone
        sys.exit(0)
