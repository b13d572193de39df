"""Long sounds go to the workers by reference: in memory that they map, so that nothing waits behind them.

The gateway writes each sound once into a file in memory (memfd_create(2)) and passes its descriptor (SCM_RIGHTS) by a
second socket, just before the command that names it goes by the first. So the worker finds it there whenever it comes
to the command, also when the gateway has closed it meanwhile: the kernel keeps what is on its way. All workers and
legs share the pages, and they go with the last that plays them.
"""

from __future__ import annotations

import mmap
import os
import socket
from typing import TypeAlias
from weakref import WeakValueDictionary

import msgspec

from gateway.media.commands import PlayMusic, QueueAudio
from gateway.media.wire import Lent

Sounding: TypeAlias = QueueAudio | PlayMusic

LONG = 64 << 10
"""Octets from which it is worth it: 4 s at 8 kHz, 1.3 s at both rates; a millisecond or so of the worker's time."""

MOST_OCTETS = 64 << 20
MOST = 64
"""What the gateway keeps for the next call that hears it; the one that was lent longest ago goes first."""

_NAME = "sound"
_NUMBER_OCTETS = 8


class Lender:
    """The gateway's end, one for all workers. Give it back its memory with `close`."""

    def __init__(self) -> None:
        self._held: dict[tuple[bytes, bytes], tuple[int, int]] = {}
        """By content: number and descriptor; the one lent last at the end."""
        self._octets = 0
        self._numbers = 0

    def lend(self, command: Sounding, way: socket.socket) -> Sounding | Lent:
        """Send what is to be heard by `way`, and return what to say instead; the command itself where that cannot
        be."""
        pcm, wide = command.pcm or b"", command.wide
        if len(pcm) + len(wide) < LONG:
            return command
        try:
            number, descriptor = self._take(pcm, wide)
            _send(way, number, descriptor)
        except (OSError, AttributeError):  # no such call on this system; no room, or a worker that does not read
            return command
        finally:
            self._tidy()
        return Lent(msgspec.structs.replace(command, pcm=b"", wide=b""), number, len(pcm), len(wide))

    def close(self) -> None:
        """Workers go on with what they have."""
        self._tidy(most=0)

    def _take(self, pcm: bytes, wide: bytes) -> tuple[int, int]:
        held = self._held.pop((pcm, wide), None)
        if held is None:
            self._numbers += 1
            held = self._numbers, _in_memory(pcm, wide)
            self._octets += len(pcm) + len(wide)
        self._held[pcm, wide] = held
        return held

    def _tidy(self, most: int = MOST) -> None:
        while self._held and (len(self._held) > most or self._octets > MOST_OCTETS):
            pcm, wide = oldest = next(iter(self._held))
            _, descriptor = self._held.pop(oldest)
            self._octets -= len(pcm) + len(wide)
            os.close(descriptor)


class Borrower:
    """A worker's end. Each sound is mapped once, for as long as any leg has to play it."""

    def __init__(self, way: socket.socket) -> None:
        self._way = way
        self._maps: WeakValueDictionary[int, mmap.mmap] = WeakValueDictionary()

    def take(self, lent: Lent) -> Sounding:
        """The command with its sounds; to be called for each, in their order.

        Raises `OSError` where it cannot be had.
        """
        number, descriptor = _receive(self._way)
        try:
            if number != lent.number:
                raise OSError(f"sound {number} came for {lent.number}")
            found = self._maps.get(number)
            if found is None:
                found = self._maps[number] = mmap.mmap(descriptor, lent.octets + lent.wide_octets, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        # Views, which the plane takes as well as octets; each keeps the mapping.
        pcm, wide = memoryview(found)[: lent.octets], memoryview(found)[lent.octets :]
        return msgspec.structs.replace(lent.command, pcm=pcm, wide=wide)


def _in_memory(pcm: bytes, wide: bytes) -> int:
    descriptor = os.memfd_create(_NAME)
    try:
        for part in (pcm, wide):
            unwritten = memoryview(part)
            while unwritten:
                unwritten = unwritten[os.write(descriptor, unwritten) :]
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _send(way: socket.socket, number: int, descriptor: int) -> None:
    socket.send_fds(way, [number.to_bytes(_NUMBER_OCTETS)], [descriptor])


def _receive(way: socket.socket) -> tuple[int, int]:
    octets, descriptors, _, _ = socket.recv_fds(way, _NUMBER_OCTETS, 1)
    if not descriptors:
        raise OSError("no sound came")
    return int.from_bytes(octets), descriptors[0]
