"""What the gateway's process and its media workers say to each other: length-prefixed msgpack over a socket pair."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from gateway.media.commands import AnyCommand, PlayMusic, QueueAudio
from gateway.media.options import PlaneOptions
from gateway.media.ports import Said

T = TypeVar("T")

_LENGTH = struct.Struct("!I")


class Guest(msgspec.Struct, frozen=True):
    """A detector or suppressor from outside this room, by its kind and options."""

    kind: str
    options: dict[str, Any] = {}


class WorkerSetup(msgspec.Struct, frozen=True, tag=True):
    """The first message to a worker. `rtp_ports` are its own: first and last, RTP on the even ones.

    `guests` names the module whose `build_vad` and `build_noise` know more kinds than this room does.
    """

    bind: str
    rtp_ports: tuple[int, int]
    options: PlaneOptions
    vad: Guest = Guest("silero")
    noise: Guest | None = None
    guests: str = ""
    io_uring: bool = True
    """Whether packets may go by io_uring, where the kernel has it and allows it."""


class WorkerPulse(msgspec.Struct, frozen=True, tag=True):
    """How a worker is doing, once a second; the first one says that it is ready.

    `late_us` is by how much each of its steps began late, `cpu_s` the processor time it has taken since its start.
    """

    at: float
    legs: int = 0
    cpu_s: float = 0.0
    late_us: list[int] = []
    unsent: int = 0
    """Datagrams the network would not take."""


class Lent(msgspec.Struct, frozen=True, tag=True):
    """A command whose sounds are not in it, but in memory that both processes have (see `worker/lending.py`): `octets`
    at 8 kHz, then `wide_octets` at 16."""

    command: QueueAudio | PlayMusic
    number: int
    octets: int
    wide_octets: int


ToWorker: TypeAlias = WorkerSetup | AnyCommand | Lent
FromWorker: TypeAlias = WorkerPulse | Said

_encoder = msgspec.msgpack.Encoder()


def pack(messages: Sequence[ToWorker] | Sequence[FromWorker]) -> bytes:
    body = _encoder.encode(messages)
    return _LENGTH.pack(len(body)) + body


class Unpacker(Generic[T]):
    """Takes octets as they come and gives the messages that are complete."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[list[T]]) -> None:
        self._decoder = decoder
        self._unread = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> list[T]:
        """Raises `msgspec.ValidationError` for what is no message; the stream is lost then."""
        unread = self._unread
        if unread:
            unread += data
            data = unread
        messages: list[T] = []
        at, end = 0, len(data)
        while end >= at + 4:
            (length,) = _LENGTH.unpack_from(data, at)
            if end < at + 4 + length:
                break
            messages += self._decoder.decode(memoryview(data)[at + 4 : at + 4 + length])
            at += 4 + length
        if data is unread:
            del unread[:at]
        else:
            unread += data[at:]  # of a message that is not complete; most often nothing
        return messages


def of_commands() -> Unpacker[ToWorker]:
    return Unpacker(msgspec.msgpack.Decoder(list[ToWorker]))


def of_reports() -> Unpacker[FromWorker]:
    return Unpacker(msgspec.msgpack.Decoder(list[FromWorker]))
