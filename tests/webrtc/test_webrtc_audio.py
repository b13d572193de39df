from __future__ import annotations

import asyncio
import fractions

import numpy as np
import pytest
from aiortc_browser import loudest_hz, rms, tone
from av import AudioFrame, Packet
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.loops import run_virtual
from gateway.media.opus_library import OpusDecoder
from gateway.webrtc.audio import NARROW_HZ, OPUS_BITS_PER_S, WIDE_HZ, Intake, Playout, opus_coder, piece_bytes

PIECE = b"\x01\x00" * 160
SILENCE = bytes(320)
RATES = pytest.mark.parametrize("rate_hz", [NARROW_HZ, WIDE_HZ])


def frames(hz: float, seconds: float, *, rate: int, layout: str, samples: int) -> list[AudioFrame]:
    """A tone as a decoder hands it over."""
    channels = 2 if layout == "stereo" else 1
    voice = tone(hz, seconds, rate=rate).repeat(channels)
    made = []
    for at in range(0, len(voice) // channels - samples + 1, samples):
        frame = AudioFrame.from_ndarray(
            voice[None, at * channels : (at + samples) * channels], format="s16", layout=layout
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, at, fractions.Fraction(1, rate)
        made.append(frame)
    return made


def taken(intake: Intake, given_frames: list[AudioFrame], rate_hz: int = NARROW_HZ) -> np.ndarray:
    pieces = [piece for frame in given_frames for piece in intake.feed(frame)]
    assert {len(piece) for piece in pieces} <= {piece_bytes(rate_hz)}
    return np.frombuffer(b"".join(pieces), dtype=np.int16)


@RATES
@pytest.mark.parametrize(
    ("rate", "layout", "samples"), [(48000, "stereo", 960), (48000, "stereo", 2880), (8000, "mono", 160)]
)
def test_frames_of_any_shape_become_20_ms_pieces(rate: int, layout: str, samples: int, rate_hz: int) -> None:
    """Opus of 20 or 60 ms and PCMU give the same voice: pitch, loudness and length kept."""
    heard = taken(Intake(rate_hz), frames(440, 1.2, rate=rate, layout=layout, samples=samples), rate_hz)
    assert 1.16 <= len(heard) / rate_hz <= 1.2  # the resampler keeps a few ms, and what is less than a piece waits
    assert loudest_hz(heard[rate_hz // 10 :], rate_hz) == pytest.approx(440, abs=3)
    assert rms(heard[rate_hz // 10 :]) == pytest.approx(8000 / 2**0.5, rel=0.05)


@pytest.mark.parametrize(("rate_hz", "level"), [(NARROW_HZ, 0), (WIDE_HZ, 8000)])
def test_what_a_browser_hears_above_4_khz_is_kept_where_there_is_room(rate_hz: int, level: float) -> None:
    """6 kHz pass at 16 kHz, and are gone at 8, not folded to 2."""
    heard = taken(Intake(rate_hz), frames(6000, 1.0, rate=48000, layout="stereo", samples=960), rate_hz)
    assert rms(heard[rate_hz // 10 :]) == pytest.approx(level / 2**0.5, rel=0.05, abs=10)


@RATES
def test_lost_frames_leave_silence_of_their_length(rate_hz: int) -> None:
    """What was said keeps its place in time, so that a barge-in is measured right."""
    voice = frames(440, 1.0, rate=48000, layout="stereo", samples=960)
    heard = taken(Intake(rate_hz), voice[:20] + voice[25:], rate_hz)
    assert 0.95 <= len(heard) / rate_hz <= 1.0
    assert rms(heard[rate_hz * 41 // 100 : rate_hz * 48 // 100]) < 50


def test_a_jump_of_the_timestamps_is_not_an_hour_of_silence() -> None:
    """A new stream begins where it likes."""
    voice = frames(440, 0.4, rate=48000, layout="stereo", samples=960)
    for frame in voice[10:]:
        frame.pts += 3600 * 48000
    assert len(taken(Intake(), voice)) <= 3200


def test_a_change_of_codec_in_mid_call_is_followed() -> None:
    """A browser may go from Opus to PCMU; the pieces go on."""
    intake = Intake()
    taken(intake, frames(440, 0.4, rate=48000, layout="stereo", samples=960))
    heard = taken(intake, frames(440, 0.4, rate=8000, layout="mono", samples=160))
    assert loudest_hz(heard[-2400:], 8000) == pytest.approx(440, abs=4)


def test_playout_begins_when_a_little_is_there_and_then_keeps_up() -> None:
    """Two pieces are kept back against jitter; an empty buffer gives silence and fills up again first."""
    playout = Playout(prefill=2)
    playout.play(PIECE)
    assert playout.take() == SILENCE
    playout.play(PIECE)
    assert [playout.take(), playout.take(), playout.take()] == [PIECE, PIECE, SILENCE]
    playout.play(PIECE)
    assert playout.take() == SILENCE


def test_a_piece_of_another_size_is_refused() -> None:
    """A mistake of ours is named, not played as noise."""
    with pytest.raises(ValueError, match="320 bytes, not 2"):
        Playout().play(b"\x00\x00")
    wide = Playout()
    wide.rate_hz = WIDE_HZ
    with pytest.raises(ValueError, match="640 bytes, not 320"):
        wide.play(PIECE)


@given(st.lists(st.booleans(), max_size=300))
def test_playout_never_grows_and_never_reorders(steps: list[bool]) -> None:
    """However the plane's pace and ours disagree, the delay stays under `most` pieces and the order is kept."""
    playout, number, heard = Playout(prefill=2, most=6), 0, []
    for play in steps:
        if play:
            number += 1
            playout.play(number.to_bytes(2, "little") * 160)
        else:
            heard.append(int.from_bytes(playout.take()[:2], "little"))
        assert len(playout._queue) <= 6
    voiced = [n for n in heard if n]
    assert voiced == sorted(set(voiced))
    assert playout.dropped + len(voiced) + len(playout._queue) == number


def test_with_a_coder_packets_leave_at_their_times_and_rate() -> None:
    """aiortc is given Opus every 20 ms of its 48 kHz clock: what was played, silence before it, and no more octets
    than the rate allows."""

    async def sent() -> list[Packet]:
        playout = Playout()
        playout.rate_hz, playout.coder = WIDE_HZ, opus_coder()
        start, packets = asyncio.get_running_loop().time(), [await playout.recv()]
        voice = tone(440, 2.0, rate=WIDE_HZ).tobytes()
        for at in range(0, len(voice), 640):
            playout.play(voice[at : at + 640])
            packets.append(await playout.recv())
        assert asyncio.get_running_loop().time() - start == pytest.approx(2.0, abs=0.001)
        return packets

    packets = run_virtual(sent())
    assert [packet.pts * packet.time_base for packet in packets] == [fractions.Fraction(n, 50) for n in range(101)]
    assert sum(packet.size for packet in packets) * 8 / 2.02 < 1.1 * OPUS_BITS_PER_S
    decoder = OpusDecoder()
    heard = np.concatenate([decoder.decode(bytes(packet)) for packet in packets])
    assert rms(heard[:320]) < 5
    assert loudest_hz(heard[-WIDE_HZ:], WIDE_HZ) == pytest.approx(440, abs=2)
    assert rms(heard[-WIDE_HZ:]) == pytest.approx(8000 / 2**0.5, rel=0.05)
