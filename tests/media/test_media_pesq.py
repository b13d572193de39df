"""How it sounds, by the ear of ITU-T P.862 and human speech: concealment, and the whole way through the gateway.

Needs the pesq package, which has no wheels, and Debian's English prompts; `.ci/install` brings both where it can.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from asterisk_sounds import needs_sounds, prompts
from media_world import FRAME, Phone, World, frames, through_code
from test_media_plc import concealed
from wide_world import NUMBER, Ffmpeg, WidePhone, WideWorld

from gateway.media import g711
from gateway.media.commands import HeardAudio, Listen, SetLoopback
from gateway.media.plane import Received
from gateway.media.resample import TAPS, double_rate

pesq = pytest.importorskip("pesq", reason="pip install pesq judges sound; it needs a C compiler").pesq

pytestmark = needs_sounds

SECONDS, PAUSE = 8, 2400


def speeches(count: int) -> list[np.ndarray]:
    """Stretches of prompts with pauses of 0.3 s between them."""
    made, parts = [], []
    for pcm in prompts().values():
        parts += [pcm, np.zeros(PAUSE, np.int16)]
        if sum(map(len, parts)) >= SECONDS * 8000:
            made.append(np.concatenate(parts)[: SECONDS * 8000])
            parts = []
        if len(made) == count:
            break
    return made


def at_random(rng: np.random.Generator, count: int, rate: float) -> set[int]:
    return set(np.flatnonzero(rng.random(count) < rate).tolist())


def in_bursts(rng: np.random.Generator, count: int, rate: float) -> set[int]:
    """Two and a half packets at a time on average (Gilbert's model)."""
    lost, bad = set(), False
    for k in range(count):
        bad = rng.random() > 0.4 if bad else rng.random() < 0.4 * rate / (1 - rate)
        if bad:
            lost.add(k)
    return lost


@pytest.mark.parametrize(
    ("rate", "how", "floor", "gain"),
    [
        (0.014, at_random, 4.0, 0.1),
        (0.059, at_random, 3.2, 0.5),
        (0.112, at_random, 2.5, 0.55),
        (0.088, in_bursts, 2.6, 0.5),
    ],
)
def test_losses_are_heard_as_little_as_can_be(
    rate: float, how: Callable[[np.random.Generator, int, float], set[int]], floor: float, gain: float
) -> None:
    """Means of four voices' stretches: no worse than `floor`, and better than silence by `gain`."""
    concealing, silence = [], []
    for k, pcm in enumerate(through_code(one) for one in speeches(4)):
        lost = how(np.random.default_rng(100 + k), len(pcm) // FRAME, rate)
        holes = pcm.reshape(-1, FRAME).copy()
        holes[sorted(lost)] = 0
        concealing.append(pesq(8000, pcm, concealed(pcm, lost), "nb"))
        silence.append(pesq(8000, pcm, holes.ravel(), "nb"))
    assert np.mean(concealing) >= floor
    assert np.mean(concealing) >= np.mean(silence) + gain


def echoed(phone: Phone, packets: list[bytes], codec: str, arrivals: list[float]) -> list[bytes]:
    """What comes back of packets that arrive at these times (s): the payloads of an echo call."""
    numbers = {"PCMU": 0, "PCMA": 8, "G722": 9, "opus": 107}
    w = World().open().connect(codec=codec, payload_type=numbers[codec]).do(SetLoopback("call", True))
    waiting = sorted(zip(arrivals, range(len(packets)), strict=True))
    for _ in range(len(packets) + 20):
        due = [k for at, k in waiting if w.start + at < w.now]
        waiting = waiting[len(due) :]
        w.take([Received("call", packets[k], phone.source, w.now - 0.001) for k in due])
    return [p.payload for p in w.packets() if p.payload_type == numbers[codec]]


@pytest.mark.parametrize(("codec", "law"), [("PCMU", 0), ("PCMA", 1)])
def test_g711_goes_through_as_it_came(codec: str, law: int) -> None:
    """Phone, gateway, phone on a good network: nothing is added to what the code itself costs, but the delay."""
    for pcm in speeches(2):
        phone = Phone(law=law)
        packets = [phone.packet(frame) for frame in frames(pcm)]
        back = echoed(phone, packets, codec, [0.02 * k for k in range(len(packets))])
        heard = decoded(back, law)
        assert pesq(8000, pcm, heard, "nb") > pesq(8000, pcm, through_code(pcm, law), "nb") - 0.15
        assert pesq(8000, pcm, heard, "nb") > 3.85


def decoded(payloads: list[bytes], law: int) -> np.ndarray:
    return g711.decode(np.frombuffer(b"".join(payloads), np.uint8), law)


def test_jitter_within_the_buffers_reach_costs_little() -> None:
    """Arrivals up to 40 ms late at random: the echo is still better than 3.5."""
    pcm, phone = speeches(1)[0], Phone()
    packets = [phone.packet(frame) for frame in frames(pcm)]
    late = np.random.default_rng(7).exponential(0.008, len(packets)).clip(0, 0.04)
    back = echoed(phone, packets, "PCMU", [0.02 * k + float(late[k]) for k in range(len(packets))])
    assert pesq(8000, pcm, decoded(back, 0), "nb") > 3.5


@pytest.mark.parametrize(
    ("rate", "copies", "floor"), [(0.05, True, 3.2), (0.1, True, 2.9), (0.05, False, 2.8), (0.1, False, 2.0)]
)
def test_lost_opus_is_recovered(rate: float, copies: bool, floor: float) -> None:
    """By wideband score of what a recogniser hears, means of three voices. Where holes are filled with narrowband that
    is repeated, as for other codecs, these are 2.1, 1.5, 2.3 and 1.6."""
    scores = []
    for k, pcm in enumerate(speeches(3)):
        wide = double_rate(np.concatenate([np.zeros(TAPS - 1, np.int16), pcm])[None])[0]
        w, phone = WideWorld(), WidePhone("opus", copies=copies)
        w.open().connect(codec="opus", payload_type=NUMBER["opus"]).do(Listen("call", "pcm_16k"))
        packets = [phone.packet(frame) for frame in frames(wide, 2 * FRAME)]
        lost = at_random(np.random.default_rng(100 + k), len(packets), rate)
        for number, packet in enumerate(packets):
            w.tick(*([] if number in lost else [packet]))
        w.ticks(6)
        heard = np.frombuffer(b"".join(piece.audio for piece in w.all(HeardAudio)), "<i2")
        scores.append(pesq(16000, wide, heard, "wb"))
    assert np.mean(scores) > floor


@pytest.mark.parametrize(("codec", "floor"), [("G722", 4.0), ("opus", 3.5)])
def test_wideband_goes_through_well(codec: str, floor: float) -> None:
    """Coded by another implementation, heard, coded by us, decoded by the other: narrowband score of the echo."""
    pcm = speeches(1)[0]
    wide = double_rate(np.concatenate([np.zeros(TAPS - 1, np.int16), pcm])[None])[0]
    phone = WidePhone(codec)
    packets = [phone.packet(frame) for frame in frames(wide, 2 * FRAME)]
    back = echoed(phone, packets, codec, [0.02 * k for k in range(len(packets))])
    decoder = Ffmpeg(codec)
    heard = np.concatenate([decoder.decode(payload) for payload in back])
    assert pesq(8000, pcm, heard[:: len(heard) // len(back) // FRAME], "nb") > floor
