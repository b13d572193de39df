"""How a browser's call sounds, both ways, and what its codec costs: wideband PESQ, through Opus as it is sent.

    pip install pesq && apt-get install asterisk-core-sounds-en-g722
    python -m benchmarks.browser_sound [--sounds DIR] [--aiortc]

The voice is human speech of 16 kHz. One way the plane says it to a leg without a socket, at 16 kHz or at 8 as it was,
and it is coded and decoded as between the gateway and a browser; the other way it is what a recogniser that listens at
16 kHz is given. No network and no clock: what the codecs, the rates and the filters do. Says what is missing, and
nothing else, where either package is not installed.
"""

from __future__ import annotations

import argparse
import fractions
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from aiortc.codecs.opus import OpusDecoder, OpusEncoder
from aiortc.jitterbuffer import JitterFrame
from av import AudioFrame
from scipy.signal import resample_poly

from benchmarks.media_wideband import FRAME, material
from gateway.core.ids import SeededIds
from gateway.media.codecs import RATE
from gateway.media.commands import HeardAudio, Listen, OpenLeg, PcmReady, PushPcm, QueueAudio
from gateway.media.plane import TICK_S, MediaPlane, PlaneOptions
from gateway.media.ports import Float32s, Int64s
from gateway.session.resample import LineResampler
from gateway.webrtc.audio import NARROW_HZ, WIDE_HZ, Intake, opus_coder, stereo_frame

BROWSER_HZ = 48000


class Always:
    """A detector that takes everything for speech."""

    window = 256

    def probabilities(self, rows: Int64s, audio: Float32s) -> Float32s:
        return np.ones(len(rows), np.float32)

    def reset(self, rows: Int64s) -> None:
        pass


class Wire:
    """Opus from one end to the other, with the processor time its coder takes: ours for the bot, where it is there and
    `aiortc_codes` is not asked for, and aiortc's for the browser."""

    def __init__(self, *, aiortc_codes: bool = False) -> None:
        self._coder, self._decoder = OpusEncoder(), OpusDecoder()
        self._ours = None if aiortc_codes else opus_coder()
        self._timestamp = 0
        self.spent_s, self.packets = 0.0, 0

    def pass_on(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        frame.pts, frame.time_base = self._timestamp, fractions.Fraction(1, frame.sample_rate)
        self._timestamp += frame.samples
        began = time.process_time()
        packets, _ = self._coder.encode(frame)
        self.spent_s += time.process_time() - began
        self.packets += len(packets)
        yield from self._decode(packets)

    def say(self, pcm: bytes, rate_hz: int) -> Iterator[AudioFrame]:
        """20 ms of the bot's voice, as `Playout` has them coded."""
        if self._ours is None or rate_hz != WIDE_HZ:
            yield from self.pass_on(stereo_frame(pcm, rate_hz))
            return
        began = time.process_time()
        packet = self._ours.encode(np.frombuffer(pcm, "<i2"))
        self.spent_s += time.process_time() - began
        self.packets += 1
        yield from self._decode([packet])

    def _decode(self, packets: list[bytes]) -> Iterator[AudioFrame]:
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


def heard_by_recogniser(pcm: npt.NDArray[np.int16], wire: Wire, *, wide: bool) -> npt.NDArray[np.int16]:
    """What a recogniser that listens at 16 kHz is given of a browser's microphone."""
    options = PlaneOptions(slots=1, end_ms=60_000)  # one stretch, pauses and all
    plane, intake = MediaPlane(options, SeededIds(1), Always()), Intake(WIDE_HZ if wide else NARROW_HZ)
    plane.command(OpenLeg("call", kind="pcm", wide=wide), 0.0)
    plane.command(Listen("call", "pcm_16k"), 0.0)
    rest = np.zeros(RATE // 4)  # so that the last word comes out of all filters and buffers
    spoken = resample_poly(np.concatenate([pcm, rest]), 3, 1)
    spoken = np.clip(np.rint(spoken), -32768, 32767).astype("<i2")
    given, now = [], 0.0
    for start in range(0, len(spoken), BROWSER_HZ // 50):
        frame = stereo_frame(spoken[start : start + BROWSER_HZ // 50].tobytes(), BROWSER_HZ)
        for piece in [piece for decoded in wire.pass_on(frame) for piece in intake.feed(decoded)]:
            plane.command(PushPcm("call", piece), now)
        given += [one.audio for one in plane.tick(now, []).said if isinstance(one, HeardAudio)]
        now += TICK_S
    return np.frombuffer(b"".join(given), "<i2")


def _at_16_khz(pcm: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    return np.clip(np.rint(resample_poly(pcm.astype(float), 1, 3)), -32768, 32767).astype(np.int16)


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


if __name__ == "__main__":
    main()
