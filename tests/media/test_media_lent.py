"""Long sounds between the gateway and its workers: by reference, so that nobody waits behind them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import wave
from collections.abc import AsyncIterator, Callable
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from media_world import FRAME, through_code
from test_media_io import free_range

from gateway.core.clock import SystemClock
from gateway.media import codecs, g711, rtp
from gateway.media.commands import (
    ClipFinished,
    CloseLeg,
    ConnectLeg,
    FlushPlayout,
    LegClosed,
    LegRestored,
    OpenLeg,
    PacketReady,
    PlayMusic,
    QueueAudio,
)
from gateway.media.io import MediaPool
from gateway.media.options import PlaneOptions
from gateway.media.ports import Said
from gateway.media.wire import Lent
from gateway.media.worker import lending
from gateway.media.worker.lending import Borrower, Lender
from gateway.media.worker.link import WorkerLink

MINUTE = np.tile(np.arange(1, 8001, dtype="<i2"), 60).tobytes()
WIDE_MINUTE = np.tile(np.arange(-8000, 8000, dtype="<i2"), 60).tobytes()
ONE_READ = 1 << 20
"""Octets a worker takes from its socket in one step."""


class Room:
    """A pool, and what its legs say: their packets are relayed, and they are recorded."""

    def __init__(self, pool: MediaPool, folder: Path) -> None:
        self.pool, self._folder = pool, folder
        self.said: dict[str, list[Said]] = {}
        self.frames: dict[str, list[np.ndarray]] = {}
        """Of the packets that left, decoded."""

        self._decode: dict[str, Callable[[bytes], np.ndarray]] = {}
        self._news = asyncio.Event()

    def open(self, leg: str, *, wide: bool = False) -> None:
        """PCMU, or G.722 where it is `wide`."""
        self.said[leg], self.frames[leg] = [], []
        self._decode[leg] = codecs.decoder("G722").decode if wide else decode_pcmu
        self.pool.subscribe(leg, self._hear)
        self.pool.send(OpenLeg(leg, kind="relayed", record=str(self._folder / f"{leg}.wav")))
        self.pool.send(ConnectLeg(leg, "", 0, "G722", 9) if wide else ConnectLeg(leg, "", 0, "PCMU", 0))

    def _hear(self, said: Said) -> None:
        leg: str = said.leg  # type: ignore[union-attr]
        self.said[leg].append(said)
        if isinstance(said, PacketReady):
            self.frames[leg].append(self._decode[leg](rtp.parse(said.data).payload))
        self._news.set()

    async def hear(self, leg: str, kind: type[Said]) -> None:
        await self._until(lambda: any(isinstance(said, kind) for said in self.said[leg]))

    async def hear_samples(self, leg: str, samples: np.ndarray) -> None:
        """Until what leaves has them, as PCMU."""
        coded = through_code(samples).tobytes()
        await self._until(lambda: coded in b"".join(frame.tobytes() for frame in self.frames[leg]))

    async def hear_sound(self, leg: str, packets: int) -> None:
        """Until so many have left since it was no longer silent."""
        await self._until(lambda: sum(accumulate((is_loud(f) for f in self.frames[leg]), max)) >= packets)

    async def hear_silence(self, leg: str, *, at_most: int = 0) -> None:
        """G.722's is no exact one."""
        self.frames[leg].clear()
        await self._until(lambda: any(np.abs(frame).max() <= at_most for frame in self.frames[leg]))

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                self._news.clear()
                await self._news.wait()

    async def close(self, leg: str) -> np.ndarray:
        """What it said, to the sample: 8 or 16 kHz."""
        self.pool.send(CloseLeg(leg))
        await self.hear(leg, LegClosed)
        with wave.open(str(self._folder / f"{leg}.wav")) as file:
            return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)[:, 1]

    def link(self, leg: str) -> WorkerLink:
        return self.pool._link_of[leg]

    def mapped(self, pid: int) -> list[str]:
        """The mappings of sounds a process has."""
        return re.findall(r"\S+ r--s .*memfd:sound.*", Path(f"/proc/{pid}/maps").read_text())


def decode_pcmu(payload: bytes) -> np.ndarray:
    return g711.decode(np.frombuffer(payload, np.uint8))


def is_loud(frame: np.ndarray) -> bool:
    return bool(np.abs(frame).max() > 1000)


def is_in(samples: np.ndarray, said: np.ndarray) -> bool:
    """Every one of them, in order."""
    return samples.tobytes() in said.tobytes()


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    pool = MediaPool(
        workers=1,
        bind="127.0.0.1",
        rtp_ports=free_range(8),
        clock=SystemClock(),
        options=PlaneOptions(slots=32),
        vad="none",
        hung_after_s=10.0,
    )
    await pool.start()
    yield Room(pool, tmp_path)
    await pool.close()


HEARD = np.arange(400, 1000, dtype="<i2")
WIDE_HEARD = np.arange(-7000, -5000, dtype="<i2")
HAS_WIDE_HEARD = 10
"""Packets from its beginning on."""


async def test_long_music_is_heard_at_both_rates_and_mapped_once(room: Room) -> None:
    """Each leg hears it at its rate, all from one memory; which is given back when the last of them has stopped."""
    for leg, wide in (("a", False), ("b", True), ("c", True)):
        room.open(leg, wide=wide)
        room.pool.send(PlayMusic(leg, MINUTE, wide=WIDE_MINUTE))
    await room.hear_samples("a", HEARD)
    await room.hear_sound("b", HAS_WIDE_HEARD)
    await room.hear_sound("c", HAS_WIDE_HEARD)
    pid = room.link("a").pid
    assert len(room.mapped(pid)) == 1
    room.pool.send(PlayMusic("a", None))
    room.pool.send(PlayMusic("b", b""))
    assert is_in(WIDE_HEARD, await room.close("c"))
    await room.hear_silence("a")
    await room.hear_silence("b", at_most=20)
    assert not room.mapped(pid)
    narrow, wide = await room.close("a"), await room.close("b")
    assert is_in(HEARD, narrow)
    assert is_in(WIDE_HEARD, wide)
    assert not narrow[-FRAME:].any()
    assert not wide[-2 * FRAME :].any()


LONG_SOUNDS = [PlayMusic("a", 5 * MINUTE, wide=5 * WIDE_MINUTE), QueueAudio("a", 1, 5 * MINUTE, wide=5 * WIDE_MINUTE)]


@pytest.mark.parametrize("sound", LONG_SOUNDS, ids=["music", "clip"])
async def test_an_interruption_does_not_wait_behind_anothers_sound(
    room: Room, monkeypatch: pytest.MonkeyPatch, sound: PlayMusic | QueueAudio
) -> None:
    """Five minutes at both rates, then another leg's flush: all of that is within the worker's next read."""
    for leg in ("a", "b"):
        room.open(leg)
    room.pool.send(QueueAudio("b", 1, MINUTE))
    await room.hear_samples("b", HEARD)
    written: list[int] = []
    transport = room.link("b")._transport
    assert transport is not None
    write = transport.write
    monkeypatch.setattr(
        room.link("b"), "_transport", Counting(lambda data: (written.append(len(data)), write(data)), transport)
    )
    room.pool.send(sound)
    room.pool.send(FlushPlayout("b"))
    assert sum(written) < ONE_READ / 1000
    await room.hear_silence("b")
    await room.hear_samples("a", HEARD)


class Counting:
    """A transport that is looked over its shoulder."""

    def __init__(self, write: object, transport: asyncio.WriteTransport) -> None:
        self.write, self.close, self.get_write_buffer_size = write, transport.close, transport.get_write_buffer_size


async def test_a_long_clip_is_heard_at_both_rates_and_given_back(room: Room) -> None:
    """Its memory is there until it has been played or dropped; and the next leg that says it has the same."""
    for leg, wide in (("a", False), ("b", True)):
        room.open(leg, wide=wide)
        room.pool.send(QueueAudio(leg, 1, MINUTE, True, WIDE_MINUTE))
    await room.hear_samples("a", HEARD)
    await room.hear_sound("b", HAS_WIDE_HEARD)
    pid = room.link("a").pid
    assert len(room.mapped(pid)) == 1
    for leg in ("a", "b"):
        room.pool.send(FlushPlayout(leg))
        await room.hear(leg, ClipFinished)
    assert not room.mapped(pid)
    for leg, sound in (("a", MINUTE), ("b", WIDE_MINUTE)):
        said = await room.close(leg)
        began = np.flatnonzero(said)[0]
        assert np.array_equal(said[began:][: len(HEARD)], np.frombuffer(sound, "<i2")[: len(HEARD)])
        assert is_in(HEARD if leg == "a" else WIDE_HEARD, said)


async def test_a_worker_that_replaces_a_dead_one_gets_the_music_again(room: Room) -> None:
    """Also one that the gateway no longer keeps; the leg only hears a break."""
    room.open("a")
    room.pool.send(PlayMusic("a", MINUTE))
    await room.hear_samples("a", HEARD)
    room.pool.lender.close()
    dead = room.link("a").pid
    os.kill(dead, signal.SIGKILL)
    await room.hear("a", LegRestored)
    room.frames["a"].clear()
    await room.hear_samples("a", HEARD)
    assert room.link("a").pid != dead
    assert len(room.mapped(room.link("a").pid)) == 1


async def test_music_for_a_leg_that_is_gone_does_not_mix_up_the_next_ones(room: Room) -> None:
    """What was passed for it is taken all the same, and dropped."""
    for leg in ("a", "b"):
        room.open(leg)
    await room.hear("a", PacketReady)
    link = room.link("a")
    link.send(PlayMusic("nobody", WIDE_MINUTE), PlayMusic("a", MINUTE))
    await room.hear_samples("a", HEARD)
    assert len(room.mapped(link.pid)) == 1


@pytest.mark.parametrize("missing", ["call", "room"])
async def test_without_shared_memory_music_goes_as_it_is(
    room: Room, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Where the system has no such call, or refuses it, the leg hears its music none the less."""
    if missing == "call":
        monkeypatch.delattr(os, "memfd_create")
    else:
        monkeypatch.setattr(os, "memfd_create", refuse)
    room.open("a")
    room.pool.send(PlayMusic("a", MINUTE))
    await room.hear_samples("a", HEARD)
    assert not room.mapped(room.link("a").pid)


def refuse(name: str) -> int:
    raise OSError("no room")


def test_to_a_worker_that_hangs_music_goes_as_it_is() -> None:
    """The way of the descriptors is full: music goes with the commands, and nothing of it is left open."""
    lender = Lender()
    ours, theirs = way()
    with ours, theirs:
        said = [lender.lend(PlayMusic("a", MINUTE), ours) for _ in range(2000)]
        assert isinstance(said[0], Lent)
        assert isinstance(said[-1], PlayMusic)
        borrower = Borrower(theirs)
        lent = [one for one in said if isinstance(one, Lent)]
        assert all(bytes(borrower.take(one).pcm or b"") == MINUTE for one in lent)
        with pytest.raises(BlockingIOError):
            borrower.take(lent[-1])
    lender.close()


def way() -> tuple[socket.socket, socket.socket]:
    ends = socket.socketpair(type=socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
    return ends


def descriptors() -> set[str]:
    return {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if is_sound(fd)}


def is_sound(fd: str) -> bool:
    try:
        return "memfd:sound" in os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # the descriptor of the listing itself
        return False


def test_what_is_kept_for_later_calls_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and by size, the latest first; the same content is kept once, however many objects hold it."""
    monkeypatch.setattr(lending, "MOST_OCTETS", 5 * lending.LONG)
    opened: list[int] = []
    create = os.memfd_create
    monkeypatch.setattr(os, "memfd_create", lambda name: opened.append(1) or create(name))
    lender = Lender()
    ours, theirs = way()
    borrower = Borrower(theirs)

    def play(content: int, size: int = lending.LONG) -> None:
        lent = lender.lend(PlayMusic("a", bytes([content]) * size), ours)
        assert isinstance(lent, Lent)
        assert bytes(borrower.take(lent).pcm or b"") == bytes([content]) * size

    with ours, theirs:
        for content in (1, 2, 3, 4, 5, 1, 6, 1):
            play(content)
        assert len(opened) == 6  # of these, 2 was given up for 6
        play(2)
        assert len(opened) == 7
        play(9, 6 * lending.LONG)  # larger than all that is kept: played, and not kept
        assert not descriptors()
        monkeypatch.setattr(lending, "MOST", 2)
        for content in range(20, 30):
            play(content)
        assert lender.lend(PlayMusic("a", b"short"), ours) == PlayMusic("a", b"short")
        assert lender.lend(PlayMusic("a", None), ours) == PlayMusic("a", None)
        lender.close()
        assert not descriptors()


def test_what_comes_for_another_command_is_not_played() -> None:
    """A number that does not match is a fault of ours: no leg plays what was meant for another."""
    lender = Lender()
    ours, theirs = way()
    with ours, theirs:
        first = lender.lend(PlayMusic("a", MINUTE), ours)
        second = lender.lend(PlayMusic("a", WIDE_MINUTE), ours)
        assert isinstance(first, Lent)
        assert isinstance(second, Lent)
        with pytest.raises(OSError, match="sound 1 came for 2"):
            Borrower(theirs).take(second)
    lender.close()
