"""How a browser's call sounds, both ways, and what its codec costs: wideband PESQ, through Opus as it is sent.

    pip install pesq && apt-get install asterisk-core-sounds-en-g722
    python -m benchmarks.browser_sound [--sounds DIR] [--aiortc]

The voice is human speech of 16 kHz. One way the plane says it to a leg without a socket, at 16 kHz or at 8 as it was,
and it is coded and decoded as between the gateway and a browser; the other way it is what a recogniser that listens at
16 kHz is given, also with packets lost at random: with the browser's copies of lost packets, without, and as aiortc
decodes, which leaves silence. No network and no clock: what the codecs, the rates and the filters do. Says what is
missing, and nothing else, where either package is not installed.
"""

from __future__ import annotations

import argparse
import fractions
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from aiortc.codecs.opus import OpusDecoder, OpusEncoder
from aiortc.jitterbuffer import JitterFrame
from av import AudioFrame
from scipy.signal import resample_poly

from benchmarks.media_wideband import FRAME, Always, Score, material
from gateway.core.ids import SeededIds
from gateway.media import opus_library
from gateway.media.codecs import RATE
from gateway.media.commands import HeardAudio, Listen, OpenLeg, PcmReady, PushPcm, QueueAudio
from gateway.media.opus_library import BITS_PER_S
from gateway.media.plane import TICK_S, MediaPlane, PlaneOptions
from gateway.session.resample import LineResampler
from gateway.webrtc.audio import NARROW_HZ, OPUS_BITS_PER_S, OPUS_EFFORT, WIDE_HZ, Intake, opus_coder, stereo_frame
from gateway.webrtc.opus import OpusIntake

BROWSER_HZ = 48000
_BROWSER_FRAME = BROWSER_HZ // 50


class Ear(Protocol):
    """Packets of Opus in, pieces of 20 ms out."""

    def feed(self, payload: bytes, timestamp: int, sequence: int) -> Iterator[bytes]: ...


class AiortcsEar:
    """aiortc's decoder, and the house's way from its frames to pieces."""

    def __init__(self, rate_hz: int = WIDE_HZ) -> None:
        self._decoder, self._intake = OpusDecoder(), Intake(rate_hz)

    def feed(self, payload: bytes, timestamp: int, sequence: int) -> Iterator[bytes]:
        for decoded in self._decoder.decode(JitterFrame(data=payload, timestamp=timestamp)):
            assert isinstance(decoded, AudioFrame)
            yield from self._intake.feed(decoded)


class Wire:
    """Opus from one end to the other, with the processor time its coder takes: ours for the bot, where it is there and
    `aiortc_codes` is not asked for, and aiortc's for the browser, on demand with `copies` of lost packets."""

    def __init__(self, *, aiortc_codes: bool = False, copies: bool = False) -> None:
        self._coder, self._decoder = OpusEncoder(), OpusDecoder()
        if copies:
            self._coder.codec.options = {"application": "voip", "fec": "1", "packet_loss": "10"}
        self._ours = None if aiortc_codes else opus_coder()
        self._timestamp = 0
        self.spent_s, self.packets = 0.0, 0

    def code(self, frame: AudioFrame) -> list[bytes]:
        """A browser's packets, or aiortc's of the bot."""
        frame.pts, frame.time_base = self._timestamp, fractions.Fraction(1, frame.sample_rate)
        self._timestamp += frame.samples
        began = time.process_time()
        packets, _ = self._coder.encode(frame)
        self.spent_s += time.process_time() - began
        self.packets += len(packets)
        return packets

    def say(self, pcm: bytes, rate_hz: int) -> Iterator[AudioFrame]:
        """20 ms of the bot's voice, as `Playout` has them coded, and as a browser decodes them."""
        if self._ours is None or rate_hz != WIDE_HZ:
            packets = self.code(stereo_frame(pcm, rate_hz))
        else:
            began = time.process_time()
            packets = [self._ours.encode(np.frombuffer(pcm, "<i2"))]
            self.spent_s += time.process_time() - began
            self.packets += 1
        for packet in packets:
            for decoded in self._decoder.decode(JitterFrame(data=packet, timestamp=0)):
                assert isinstance(decoded, AudioFrame)
                yield decoded


def heard_by_browser(pcm: npt.NDArray[np.int16], wire: Wire, *, wide: bool) -> npt.NDArray[np.int16]:
    """What comes out of a browser's loudspeaker, at 16 kHz."""
    plane = MediaPlane(PlaneOptions(slots=1), SeededIds(1), None)
    resampler = LineResampler(RATE, wideband=True)
    narrow, both = (b"".join(pieces) for pieces in zip(resampler.feed(pcm.tobytes()), resampler.finish(), strict=True))
    plane.command(OpenLeg("call", kind="pcm", wide=wide), 0.0)
    plane.command(QueueAudio("call", 1, narrow, last=True, wide=both if wide else b""), 0.0)
    heard = []
    for n in range(len(pcm) // FRAME + 10):
        for one in plane.tick(TICK_S * n, []).said:
            if isinstance(one, PcmReady):
                heard += list(wire.say(one.pcm, WIDE_HZ if wide else NARROW_HZ))
    return _at_16_khz(np.concatenate([frame.to_ndarray().reshape(-1)[::2] for frame in heard]))


def heard_by_recogniser(
    pcm: npt.NDArray[np.int16], wire: Wire, *, wide: bool, ear: Ear | None = None, loss: float = 0.0
) -> npt.NDArray[np.int16]:
    """What a recogniser that listens at 16 kHz is given of a browser's microphone. `loss` is a share of the packets."""
    options = PlaneOptions(slots=1, end_ms=60_000)  # one stretch, pauses and all
    plane, chance = MediaPlane(options, SeededIds(1), Always()), np.random.default_rng(len(pcm))
    ear = ear or (OpusIntake() if wide else AiortcsEar(NARROW_HZ))
    plane.command(OpenLeg("call", kind="pcm", wide=wide), 0.0)
    plane.command(Listen("call", "pcm_16k"), 0.0)
    rest = np.zeros(RATE // 4)  # so that the last word comes out of all filters and buffers
    spoken = resample_poly(np.concatenate([pcm, rest]), 3, 1)
    spoken = np.clip(np.rint(spoken), -32768, 32767).astype("<i2")
    given, now, timestamp = [], 0.0, 0
    for start in range(0, len(spoken), _BROWSER_FRAME):
        frame = stereo_frame(spoken[start : start + _BROWSER_FRAME].tobytes(), BROWSER_HZ)
        for packet in wire.code(frame):
            for piece in (
                ear.feed(packet, timestamp, timestamp // _BROWSER_FRAME & 0xFFFF) if chance.random() >= loss else ()
            ):
                plane.command(PushPcm("call", piece), now)
            timestamp += _BROWSER_FRAME
        given += [one.audio for one in plane.tick(now, []).said if isinstance(one, HeardAudio)]
        now += TICK_S
    return np.frombuffer(b"".join(given), "<i2")


def _at_16_khz(pcm: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    return np.clip(np.rint(resample_poly(pcm.astype(float), 1, 3)), -32768, 32767).astype(np.int16)


def bot_over_a_bad_line(
    pcm: npt.NDArray[np.int16], bits_per_s: int, *, copies: bool, loss: float
) -> npt.NDArray[np.int16]:
    """What who listens makes of the bot's packets that come, if it decodes as we do; at 16 kHz."""
    coder, ear = opus_library.OpusEncoder(bits_per_s, OPUS_EFFORT), OpusIntake()
    chance = np.random.default_rng(len(pcm))
    coder.expect_loss(int(copies))
    heard = b""
    for number, frame in enumerate(pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME)):
        packet = coder.encode(frame)
        if chance.random() >= loss:
            heard += b"".join(ear.feed(packet, number * _BROWSER_FRAME, number))
    return np.frombuffer(heard, "<i2")


def judge_losses(speech: list[npt.NDArray[np.int16]], pesq: Score) -> None:
    ways: dict[str, tuple[bool, Callable[[], Ear]]] = {
        "with copies": (True, OpusIntake),
        "without": (False, OpusIntake),
        "by aiortc": (False, AiortcsEar),
    }
    for loss in (0.0, 0.01, 0.05, 0.1):
        for name, (copies, ear) in ways.items():
            heard = [heard_by_recogniser(pcm, Wire(copies=copies), wide=True, ear=ear(), loss=loss) for pcm in speech]
            scores = [pesq(RATE, pcm, one, "wb") for pcm, one in zip(speech, heard, strict=True)]
            print(
                f"{loss:4.0%} of the browser's lost, {name:11}: PESQ-wb {np.mean(scores):.2f}, worst {min(scores):.2f}"
            )
        for listener, bits_per_s in (("browser", OPUS_BITS_PER_S), ("phone", BITS_PER_S)):
            for copies in (True, False):
                heard = [bot_over_a_bad_line(pcm, bits_per_s, copies=copies, loss=loss) for pcm in speech]
                scores = [pesq(RATE, pcm, one, "wb") for pcm, one in zip(speech, heard, strict=True)]
                way = f"to a {listener}, " + ("with copies" if copies else "without")
                print(f"{loss:4.0%} of the bot's lost, {way}: PESQ-wb {np.mean(scores):.2f}, worst {min(scores):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sounds", type=Path, default=Path("/usr/share/asterisk/sounds"))
    parser.add_argument("--count", type=int, default=14)
    parser.add_argument("--aiortc", action="store_true", help="its coder for the bot's voice, too")
    arguments = parser.parse_args()
    speech, pesq = material(arguments.sounds, arguments.count)
    print(f"{len(speech)} recordings, {sum(map(len, speech)) / RATE:.0f} s")
    for name, hear in (
        ("browser hears the bot", heard_by_browser),
        ("recogniser hears the browser", heard_by_recogniser),
    ):
        for wide in (True, False):
            wire = Wire(aiortc_codes=arguments.aiortc)
            scores = [pesq(RATE, pcm, hear(pcm, wire, wide=wide), "wb") for pcm in speech]
            cost = 1e6 * wire.spent_s / wire.packets
            print(
                f"{name} at {16 if wide else 8:2} kHz: PESQ-wb {np.mean(scores):.2f}, worst {min(scores):.2f}"
                f"; coder {cost:.0f} us a packet"
            )
    judge_losses(speech, pesq)


if __name__ == "__main__":
    main()
