"""A browser's Opus packets, lost and found: what the leg gets has its length, its place and, where it can be had, its
sound."""

from __future__ import annotations

import fractions
import itertools
from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pytest
from aiortc_browser import loudest_hz, rms, tone
from av import AudioFrame, AudioResampler, CodecContext
from hypothesis import given
from hypothesis import strategies as st

from gateway.webrtc.opus import OpusIntake

Int16s = npt.NDArray[np.int16]
PIECE = 640
START = 2**32 - 9600
"""Of the timestamps: they wrap in mid-call."""


class Microphone:
    """What a browser sends: libopus at 48 kHz in stereo, on demand with a copy of each packet in the next."""

    def __init__(self, ptime_ms: int = 20, *, copies: bool = False) -> None:
        self._coder = CodecContext.create("libopus", "w")
        self._coder.format, self._coder.layout, self._coder.sample_rate = "s16", "stereo", 48000
        self._coder.bit_rate, self._coder.time_base = 40000, fractions.Fraction(1, 48000)
        options = {"application": "voip", "fec": str(int(copies)), "packet_loss": "20"}
        self._coder.options = {**options, "frame_duration": str(ptime_ms)}
        self._resampler = AudioResampler(format="s16", layout="stereo", rate=48000, frame_size=48 * ptime_ms)

    def packets(self, pcm: Int16s) -> list[bytes]:
        """Of audio at 48 kHz."""
        frame = AudioFrame.from_ndarray(pcm.repeat(2)[None], format="s16", layout="stereo")
        frame.sample_rate = 48000
        return [bytes(packet) for piece in self._resampler.resample(frame) for packet in self._coder.encode(piece)]


def vowel(seconds: float) -> Int16s:
    """48 kHz: a voice that glides, so that no stretch of it is like the one before."""
    at = np.arange(int(48000 * seconds)) / 48000
    pitch = 2 * np.pi * (110 * at + 12 * np.sin(2 * np.pi * 1.3 * at))
    sound = sum(np.sin(k * pitch) / k for k in range(1, 20)) * (1.2 + np.sin(2 * np.pi * 4 * at))
    return (3000 * sound).astype(np.int16)


def heard(packets: list[bytes], lost: Collection[int] = (), *, ptime_ms: int = 20) -> Int16s:
    intake, pieces = OpusIntake(), []
    for number, packet in enumerate(packets):
        if number not in lost:
            pieces += list(intake.feed(packet, (START + 48 * ptime_ms * number) % 2**32, (65500 + number) % 2**16))
    assert {len(piece) for piece in pieces} <= {PIECE}
    return np.frombuffer(b"".join(pieces), "<i2")


@pytest.mark.parametrize("ptime_ms", [10, 20, 40, 60])
def test_packets_of_any_length_become_20_ms_of_the_same_voice(ptime_ms: int) -> None:
    """Pitch, loudness and length, at 16 kHz; and 6 kHz of it as well."""
    for hz in (440, 6000):
        packets = Microphone(ptime_ms).packets(tone(hz, 1.2, rate=48000))
        pcm = heard(packets, ptime_ms=ptime_ms)
        assert len(pcm) == len(packets) * ptime_ms // 20 * 320
        assert loudest_hz(pcm[3200:], 16000) == pytest.approx(hz, abs=4)
        assert rms(pcm[3200:]) == pytest.approx(8000 / 2**0.5, rel=0.1)


@pytest.mark.parametrize(("copies", "at_least_db", "at_most_db"), [(True, 12, 60), (False, -2, 4)])
def test_a_lost_packet_comes_back_with_the_next(copies: bool, at_least_db: float, at_most_db: float) -> None:
    """By the copy in it, where there is one; else what was heard goes on, in the place of what is missing."""
    packets = Microphone(copies=copies).packets(vowel(3.0))
    lost = set(range(8, len(packets) - 1, 10))
    whole, lossy = heard(packets), heard(packets, lost)
    assert len(lossy) == len(whole)
    said, made = (pcm.reshape(-1, 320)[sorted(lost)].astype(float) for pcm in (whole, lossy))
    likeness_db = 10 * np.log10(np.sum(said**2) / np.sum((made - said) ** 2))
    assert at_least_db < likeness_db < at_most_db


def test_a_long_loss_fades_and_keeps_its_length() -> None:
    """Half a second of nothing: the voice stops soon, what follows is in its place, and the loss is over at once."""
    packets = Microphone().packets(vowel(1.4))
    whole, lossy = heard(packets), heard(packets, set(range(20, 45)))
    assert len(lossy) == len(whole)
    assert rms(lossy[25 * 320 : 44 * 320]) < rms(whole[25 * 320 : 44 * 320]) / 20
    assert rms(lossy[47 * 320 :]) == pytest.approx(rms(whole[47 * 320 :]), rel=0.1)


@pytest.mark.parametrize("jump", [2**31 + 5, -48000, 3600 * 48000])
def test_a_jump_of_the_timestamps_is_another_stream(jump: int) -> None:
    """Nobody is given an hour of silence, nor anything twice."""
    packets, intake = Microphone().packets(tone(440, 0.4, rate=48000)), OpusIntake()
    times = [960 * n + (jump if n >= 10 else 0) for n in range(len(packets))]
    fed = zip(packets, times, itertools.count(), strict=False)
    pieces = [piece for packet, at, number in fed for piece in intake.feed(packet, at % 2**32, number)]
    assert len(pieces) == len(packets)


@pytest.mark.parametrize("padding", [False, True])
def test_a_rest_is_no_loss(padding: bool) -> None:
    """A microphone that sends nothing for 0.4 s was silent: nothing is made up, and a copy in the next packet, of what
    was said before, comes no second time. Packets of padding change nothing."""
    packets, intake = Microphone(copies=True).packets(vowel(1.0)), OpusIntake()
    heard_before = [piece for n, packet in enumerate(packets[:25]) for piece in intake.feed(packet, 960 * n, n)]
    assert len(heard_before) == 25
    if padding:
        assert list(intake.feed(b"", 960 * 30, 25)) == []
    after = list(intake.feed(packets[25], 960 * 45, 26 if padding else 25))
    assert after[:-1] == [bytes(PIECE)] * 20
    assert any(after[-1])


def test_what_is_no_opus_counts_as_lost() -> None:
    """A broken packet's time is made up for by the next; an empty one, sent to try the line, is nothing."""
    packets, intake = Microphone().packets(tone(440, 0.4, rate=48000)), OpusIntake()
    packets[9] = b"\xff\xff" + packets[9]
    counts = [len(list(intake.feed(packet, 960 * n, n))) for n, packet in enumerate(packets)]
    assert counts == [1] * 9 + [0, 2] + [1] * (len(packets) - 11)
    assert list(intake.feed(b"", 960 * len(packets), len(packets))) == []


PACKETS = Microphone(copies=True).packets(vowel(1.6))


@given(st.sets(st.integers(0, len(PACKETS) - 1), max_size=45))
def test_whatever_is_lost_the_rest_keeps_its_place(lost: set[int]) -> None:
    """Any packets of a second and a half but more than a second in a row: from the first to the last that came, no
    millisecond more or less."""
    came = [n for n in range(len(PACKETS)) if n not in lost]
    assert len(heard(PACKETS, lost)) == (came[-1] - came[0] + 1) * 320


@given(st.lists(st.tuples(st.binary(max_size=60), st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1)), max_size=20))
def test_rubbish_harms_nobody(packets: list[tuple[bytes, int, int]]) -> None:
    """Whatever a peer sends: pieces of the right size, and the call goes on."""
    intake = OpusIntake()
    for packet in packets:
        assert all(len(piece) == PIECE for piece in intake.feed(*packet))
    assert len(list(intake.feed(PACKETS[0], 5, 5))) >= 1
