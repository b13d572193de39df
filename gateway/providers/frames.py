"""What goes through the pipes between the gateway and a worker process: length-prefixed msgpack."""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

import msgspec

from gateway.core.errors import ProviderCategory

LENGTH: Final = struct.Struct("<I")


class Do(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """To the worker: a request of a job."""

    job: int
    request: msgspec.Raw


class End(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """To the worker: forget the job."""

    job: int


class Ready(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """From the worker, first of all: the engine is loaded."""


class Reply(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """From the worker."""

    job: int
    reply: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """From the worker: the job failed. Job 0 is the engine itself: it could not be loaded."""

    job: int
    message: str
    category: ProviderCategory
    retryable: bool


ToWorker: TypeAlias = Do | End
FromWorker: TypeAlias = Ready | Reply | Failed

_encoder = msgspec.msgpack.Encoder()
to_worker = msgspec.msgpack.Decoder(ToWorker)
from_worker = msgspec.msgpack.Decoder(FromWorker)


def raw(value: object) -> msgspec.Raw:
    """A request or reply, packed."""
    return msgspec.Raw(_encoder.encode(value))


def frame(message: ToWorker | FromWorker) -> bytes:
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body
