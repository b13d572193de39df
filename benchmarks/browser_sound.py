"""How a browser's call sounds, both ways: wideband PESQ, through Opus as it is sent, and through PCMU.

    pip install pesq && apt-get install asterisk-core-sounds-en-g722
    python -m benchmarks.browser_sound [--sounds DIR]

The voice is human speech of 16 kHz. One way the plane says it to a browser's leg, and aiortc decodes the packets; the
other way aiortc codes it, and it is what a recogniser that listens at 16 kHz is given. Then with packets lost at random
in either direction, with copies of lost packets and without; whoever hears the bot decodes as our planes do. No
network and no clock: what the codecs, the rates and the filters do. Says what is missing, and nothing else, where
either package is not installed.
"""

from __future__ import annotations

import argparse
import fractions
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from aiortc.codecs import get_decoder, get_encoder
from aiortc.codecs.opus import OpusEncoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from av import AudioFrame
from scipy.signal import resample_poly

from benchmarks.media_wideband import FRAME, Always, Score, material
from gateway.app.browser import OPUS_BITS_PER_S
from gateway.core.ids import SeededIds
from gateway.media import rtcp, rtp
from gateway.media.codecs import RATE
from gateway.media.commands import (
    Codec,
    ConnectLeg,
    HeardAudio,
    Listen,
    OpenLeg,
    PacketReady,
    QueueAudio,
    RelayPacket,
)
from gateway.media.opus_library import BITS_PER_S
from gateway.media.plane import TICK_S, MediaPlane, PlaneOptions
from gateway.session.resample import LineResampler

Int16s = npt.NDArray[np.int16]

NUMBER: dict[Codec, int] = {"opus": 96, "PCMU": 0}
PARAMETERS: dict[Codec, RTCRtpCodecParameters] = {
    "opus": RTCRtpCodecParameters("audio/opus", 48000, 2, NUMBER["opus"]),
    "PCMU": RTCRtpCodecParameters("audio/PCMU", 8000, 1, NUMBER["PCMU"]),
}


def leg(codec: Codec, *, copies: bool = False, bits_per_s: int = OPUS_BITS_PER_S) -> MediaPlane:
    """A plane with a browser's leg."""
    plane = MediaPlane(PlaneOptions(slots=1, end_ms=60_000), SeededIds(1), Always())  # one stretch, pauses and all
    plane.command(OpenLeg("call", kind="relayed"), 0.0)
    plane.command(ConnectLeg("call", "", 0, codec, NUMBER[codec], copies=copies, opus_bits_per_s=bits_per_s), 0.0)
    plane.command(Listen("call", "pcm_16k"), 0.0)
    return plane


def said_by(plane: MediaPlane, pcm: Int16s) -> list[rtp.RtpPacket]:
    """The bot's packets."""
    resampler = LineResampler(RATE, wideband=True)
    narrow, both = (b"".join(pieces) for pieces in zip(resampler.feed(pcm.tobytes()), resampler.finish(), strict=True))
    plane.command(QueueAudio("call", 1, narrow, last=True, wide=both), 0.0)
    said = [one for n in range(len(pcm) // FRAME + 10) for one in plane.tick(TICK_S * n, []).said]
    return [rtp.parse(one.data) for one in said if isinstance(one, PacketReady) and not rtp.is_rtcp(one.data)]


def heard_of(packets: Sequence[bytes | None], codec: Codec) -> Int16s:
    """What a recogniser is given that listens at 16 kHz; None for packets that were lost."""
    plane, given = leg(codec), list[bytes]()
    clock = PARAMETERS[codec].clockRate // 50
    for n in range(len(packets) + 10):
        payload = packets[n] if n < len(packets) else None
        if payload is not None:
            packet = rtp.RtpPacket(NUMBER[codec], n & 0xFFFF, clock * n, 7, payload)
            plane.command(RelayPacket("call", rtp.build(packet), TICK_S * n), TICK_S * n)
        given += [one.audio for one in plane.tick(TICK_S * n, []).said if isinstance(one, HeardAudio)]
    return np.frombuffer(b"".join(given), "<i2")


def coded(pcm: Int16s, codec: Codec, *, copies: bool = False) -> list[bytes]:
    """A browser's packets of this, and of a rest with which the last word comes out of all filters and buffers."""
    coder = get_encoder(PARAMETERS[codec])
    if copies:
        assert isinstance(coder, OpusEncoder)
        coder.codec.options = {"application": "voip", "fec": "1", "packet_loss": "10"}
    spoken = _at(np.concatenate([pcm, np.zeros(RATE // 4, np.int16)]), 3, 1)
    packets = []
    for at in range(0, len(spoken), 960):
        frame = AudioFrame.from_ndarray(spoken[at : at + 960].repeat(2)[None], format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, at, fractions.Fraction(1, 48000)
        packets += coder.encode(frame)[0]
    return packets


def heard_by_browser(pcm: Int16s, codec: Codec) -> Int16s:
    """What comes out of its loudspeaker, at 16 kHz."""
    decoder, heard = get_decoder(PARAMETERS[codec]), []
    for packet in said_by(leg(codec), pcm):
        for frame in decoder.decode(JitterFrame(data=packet.payload, timestamp=packet.timestamp)):
            assert isinstance(frame, AudioFrame)
            heard.append(frame.to_ndarray().reshape(-1)[:: len(frame.layout.channels)])
    sound = np.concatenate(heard).astype(np.int16)
    return _at(sound, 1, 3) if codec == "opus" else _at(sound, 2, 1)


def heard_by_recogniser(pcm: Int16s, codec: Codec, *, copies: bool = False, loss: float = 0.0) -> Int16s:
    """`loss` is a share of the packets."""
    return heard_of(_lost(coded(pcm, codec, copies=copies), loss), codec)


def bot_over_a_bad_line(pcm: Int16s, bits_per_s: int, *, copies: bool, loss: float) -> Int16s:
    plane = leg("opus", copies=copies, bits_per_s=bits_per_s)
    block = rtcp.Block(int(plane.table.ssrc[0]), fraction=2, lost=1, highest=0, jitter=0, last_report=0, delay=0)
    plane.command(RelayPacket("call", rtcp.build(rtcp.Report(7, None, (block,)), "browser"), 0.0), 0.0)
    return heard_of(_lost([packet.payload for packet in said_by(plane, pcm)], loss), "opus")


def _lost(packets: list[bytes], share: float) -> list[bytes | None]:
    chance = np.random.default_rng(len(packets))
    return [packet if chance.random() >= share else None for packet in packets]


def _at(pcm: Int16s, up: int, down: int) -> Int16s:
    resampled: Int16s = np.clip(np.rint(resample_poly(pcm.astype(float), up, down)), -32768, 32767).astype(np.int16)
    return resampled


def judge(name: str, speech: list[Int16s], heard: list[Int16s], pesq: Score) -> None:
    scores = [pesq(RATE, pcm, one, "wb") for pcm, one in zip(speech, heard, strict=True)]
    print(f"{name}: PESQ-wb {np.mean(scores):.2f}, worst {min(scores):.2f}")


def judge_losses(speech: list[Int16s], pesq: Score, loss: float) -> None:
    for copies in (True, False):
        way = "with copies" if copies else "without"
        heard = [heard_by_recogniser(pcm, "opus", copies=copies, loss=loss) for pcm in speech]
        judge(f"{loss:4.0%} of the browser's lost, {way}", speech, heard, pesq)
        for listener, bits_per_s in (("browser", OPUS_BITS_PER_S), ("phone", BITS_PER_S)):
            heard = [bot_over_a_bad_line(pcm, bits_per_s, copies=copies, loss=loss) for pcm in speech]
            judge(f"{loss:4.0%} of the bot's lost, to a {listener}, {way}", speech, heard, pesq)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sounds", type=Path, default=Path("/usr/share/asterisk/sounds"))
    parser.add_argument("--count", type=int, default=14)
    arguments = parser.parse_args()
    speech, pesq = material(arguments.sounds, arguments.count)
    print(f"{len(speech)} recordings, {sum(map(len, speech)) / RATE:.0f} s")
    for codec in PARAMETERS:
        judge(f"browser hears the bot by {codec}", speech, [heard_by_browser(pcm, codec) for pcm in speech], pesq)
        heard = [heard_by_recogniser(pcm, codec) for pcm in speech]
        judge(f"recogniser hears the browser by {codec}", speech, heard, pesq)
    for loss in (0.0, 0.01, 0.05, 0.1):
        judge_losses(speech, pesq, loss)


if __name__ == "__main__":
    main()
