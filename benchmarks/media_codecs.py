"""What a call costs by its codec: the plane alone, in one process and without sockets, everybody talking both ways."""

from __future__ import annotations

import argparse
import time

import numpy as np

from gateway.app.browser import OPUS_BITS_PER_S
from gateway.core.ids import SeededIds
from gateway.media import codecs, g711, rtp
from gateway.media.commands import Codec, ConnectLeg, Listen, OpenLeg, QueueAudio, RelayPacket
from gateway.media.datagrams import Received
from gateway.media.plane import TICK_S, MediaPlane, PlaneOptions
from gateway.media.vad import SileroVad

NUMBERS: dict[Codec, int] = {"PCMU": 0, "G722": 9, "opus": 107}


def voice_like(seconds: float) -> codecs.Int16s:
    """16 kHz."""
    t = np.arange(int(16000 * seconds)) / 16000
    swell = np.abs(np.sin(2 * np.pi * 1.5 * t))
    wave = sum(np.cos(2 * np.pi * 140 * h * t) / h for h in range(1, 20)) * swell
    pcm: codecs.Int16s = np.rint(2500 * np.asarray(wave)).astype(np.int16)
    return pcm


def payloads(codec: Codec, seconds: float) -> list[bytes]:
    """A voice-like sound, a packet of 20 ms each."""
    pcm = voice_like(seconds)
    if codec == "G722" or codec == "opus":
        encoder = codecs.encoder(codec)
        return [encoder.encode(pcm[k : k + 320]) for k in range(0, len(pcm), 320)]
    return [g711.encode(np.ascontiguousarray(pcm[k : k + 320 : 2])).tobytes() for k in range(0, len(pcm), 320)]


def measure(codec: Codec, calls: int, seconds: float, *, wide_listener: bool, browsers: bool = False) -> str:
    """`browsers` have their packets relayed, and take more of Opus."""
    plane = MediaPlane(PlaneOptions(slots=calls), SeededIds(1), SileroVad(calls))
    voice = np.random.default_rng(1).integers(-3000, 3000, int(8000 * seconds)).astype("<i2")
    wide = np.repeat(voice, 2).tobytes() if codec in codecs.WIDE else b""
    for k in range(calls):
        plane.command(OpenLeg(f"c{k}", "relayed" if browsers else "rtp"), 0.0, port=20000 + 2 * k)
        bits_per_s = OPUS_BITS_PER_S if browsers else None
        connect = ConnectLeg(f"c{k}", "192.0.2.1", 4000 + 2 * k, codec, NUMBERS[codec], opus_bits_per_s=bits_per_s)
        plane.command(connect, 0.0)
        plane.command(Listen(f"c{k}", "pcm_16k" if wide_listener else "pcm_8k"), 0.0)
        plane.command(QueueAudio(f"c{k}", 1, voice.tobytes(), last=True, wide=wide), 0.0)
    coded = payloads(codec, seconds)
    clock = 160 * codecs.CLOCK_RATIO.get(codec, 1)
    spent = 0.0
    for n, payload in enumerate(coded):
        now = TICK_S * n
        packets = [rtp.build(rtp.RtpPacket(NUMBERS[codec], n, n * clock, k, payload)) for k in range(calls)]
        received = [Received(f"c{k}", data, ("192.0.2.1", 4000 + 2 * k), now - 0.001) for k, data in enumerate(packets)]
        began = time.process_time()
        for one in received if browsers else ():
            plane.command(RelayPacket(one.leg, one.data, one.at), now)
        plane.tick(now, [] if browsers else received)
        spent += time.process_time() - began
    name, cost = f"{codec}, browser" if browsers else codec, spent / seconds / calls
    return f"{name:15} {calls:4} calls: {1e6 * cost:6.0f} us of CPU per call and second"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    for codec in NUMBERS:
        print(measure(codec, arguments.calls, arguments.seconds, wide_listener=codec != "PCMU"))
    for codec in ("PCMU", "opus"):
        wide = codec == "opus"
        print(measure(codec, arguments.calls, arguments.seconds, wide_listener=wide, browsers=True))


if __name__ == "__main__":
    main()
