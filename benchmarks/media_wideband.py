"""How the bot's voice sounds on wideband legs, and what Opus's settings cost and are worth: wideband PESQ.

    pip install pesq && apt-get install asterisk-core-sounds-en-g722
    python -m benchmarks.media_wideband [--sounds DIR]
    python -m benchmarks.media_wideband --loss 5 10 [--ptime 20]

The voice is human speech of 16 kHz, sent by the plane as a clip at both rates or at 8 kHz alone, decoded again. With
`--loss` it is a phone's in Opus, of which so many packets in a hundred are lost at random, as a recogniser is given it
that listens at 16 kHz. Says what is missing, and nothing else, where either of the two is not installed.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.core.ids import SeededIds
from gateway.media import codecs, rtp
from gateway.media.commands import ConnectLeg, HeardAudio, Listen, OpenLeg, QueueAudio
from gateway.media.opus_library import BITS_PER_S, COPIES_BITS_PER_S, EFFORT, OpusDecoder, OpusEncoder
from gateway.media.plane import TICK_S, MediaPlane, PlaneOptions, Received
from gateway.media.ports import Float32s, Int64s
from gateway.session.resample import LineResampler

Score: TypeAlias = Callable[[int, npt.NDArray[np.int16], npt.NDArray[np.int16], str], float]

FRAME = 320
SETTINGS = ((4, 24_000), (2, 24_000), (1, 24_000), (0, 24_000), (0, 28_000), (0, 32_000))


def recordings(folder: Path, count: int) -> list[npt.NDArray[np.int16]]:
    """Some of Debian's prompts in G.722 (`asterisk-core-sounds-en-g722`) of at least 4 s, the first 8 s of each."""
    spoken = (path for path in folder.rglob("*.g722") if path.parent.name != "silence")
    files = sorted(path for path in spoken if path.stat().st_size > 4 * 8000)
    chosen = random.Random(1).sample(files, min(count, len(files)))
    decoded = (codecs.decoder("G722").decode(path.read_bytes())[: 8 * 16000] for path in chosen)
    return [pcm[: len(pcm) // FRAME * FRAME] for pcm in decoded]


def voice(speech: list[npt.NDArray[np.int16]], pesq: Score, codec: codecs.Wide, *, wide: bool) -> str:
    scores = [pesq(codecs.RATE, pcm, _sent(pcm, codec, wide=wide)[: len(pcm) + FRAME], "wb") for pcm in speech]
    rates = "both rates " if wide else "8 kHz alone"
    return f"{codec:5} voice at {rates}: PESQ-wb {np.mean(scores):.2f}, worst {min(scores):.2f}"


def _sent(pcm: npt.NDArray[np.int16], codec: codecs.Wide, *, wide: bool) -> npt.NDArray[np.int16]:
    """What a phone makes of the packets that a leg sends when the bot says this."""
    plane, decoder = MediaPlane(PlaneOptions(slots=1), SeededIds(1), None), codecs.decoder(codec)
    resampler = LineResampler(codecs.RATE, wideband=True)
    narrow, both = (b"".join(pieces) for pieces in zip(resampler.feed(pcm.tobytes()), resampler.finish(), strict=True))
    plane.command(OpenLeg("call"), 0.0, port=20000)
    plane.command(ConnectLeg("call", "192.0.2.1", 4000, codec, 107), 0.0)
    plane.command(QueueAudio("call", 1, narrow, last=True, wide=both if wide else b""), 0.0)
    packets = [rtp.parse(one.data) for n in range(len(pcm) // FRAME + 2) for one in plane.transmit(TICK_S * n)]
    return np.concatenate([decoder.decode(packet.payload) for packet in packets if packet.payload_type == 107])


class Always:
    """A detector that takes everything for speech."""

    window = 256

    def probabilities(self, rows: Int64s, audio: Float32s) -> Float32s:
        return np.ones(len(rows), np.float32)

    def reset(self, rows: Int64s) -> None:
        pass


def lossy(speech: list[npt.NDArray[np.int16]], pesq: Score, percent: int, ptime_ms: int, *, copies: bool) -> str:
    scores = [
        pesq(codecs.RATE, pcm, _heard(pcm, np.random.default_rng(seed), percent, ptime_ms, copies=copies), "wb")
        for seed, pcm in enumerate(speech)
    ]
    who = "with copies   " if copies else "without copies"
    return f"{percent:2} % lost, {ptime_ms} ms, {who}: PESQ-wb {np.mean(scores):.2f}, worst {min(scores):.2f}"


def _heard(
    pcm: npt.NDArray[np.int16], rng: np.random.Generator, percent: int, ptime_ms: int, *, copies: bool
) -> npt.NDArray[np.int16]:
    """What a recogniser is given of a phone that loses packets; it codes at 32 kbit/s in all and the effort of 10."""
    plane, phone = MediaPlane(PlaneOptions(slots=1), SeededIds(1), Always()), ("192.0.2.1", 4000)
    plane.command(OpenLeg("call"), 0.0, port=20000)
    plane.command(ConnectLeg("call", *phone, "opus", 107), 0.0)
    plane.command(Listen("call", "pcm_16k"), 0.0)
    rate, loss_percent = (32_000 - COPIES_BITS_PER_S, 20) if copies else (32_000, 0)
    coder, length = OpusEncoder(rate, 10, loss_percent=loss_percent), 16 * ptime_ms
    due: dict[int, list[Received]] = {}
    for k in range(len(pcm) // length):
        payload = coder.encode(pcm[k * length : (k + 1) * length])
        tick = k * ptime_ms // 20
        data = rtp.build(rtp.RtpPacket(107, k, 48 * ptime_ms * k, 1, payload))
        if rng.random() >= percent / 100 or k < 3:
            due.setdefault(tick, []).append(Received("call", data, phone, TICK_S * tick))
    ticks = (plane.tick(TICK_S * n, due.get(n, [])) for n in range(len(pcm) // FRAME + 6))
    told = [one.audio for tick in ticks for one in tick.said if isinstance(one, HeardAudio)]
    return np.frombuffer(b"".join(told), "<i2")


def measure(speech: list[npt.NDArray[np.int16]], pesq: Score, effort: int, bits_per_s: int) -> str:
    spent, packets, octets, scores = 0.0, 0, 0, []
    for pcm in speech:
        encoder, decoder = OpusEncoder(bits_per_s, effort), OpusDecoder()
        frames = pcm.reshape(-1, FRAME)
        began = time.process_time()
        coded = [encoder.encode(frame) for frame in frames]
        spent += time.process_time() - began
        packets, octets = packets + len(coded), octets + sum(map(len, coded))
        heard = np.concatenate([decoder.decode(packet) for packet in coded])
        scores.append(pesq(codecs.RATE, pcm, heard, "wb"))
    rate = octets / packets * 8 / 20
    now = "  (in use)" if (effort, bits_per_s) == (EFFORT, BITS_PER_S) else ""
    return (
        f"effort {effort} at {bits_per_s // 1000} kbit/s: {1e6 * spent / packets:4.0f} us a packet, "
        f"{rate:.1f} kbit/s, PESQ-wb {np.mean(scores):.2f}, worst {min(scores):.2f}{now}"
    )


def material(sounds: Path, count: int) -> tuple[list[npt.NDArray[np.int16]], Score]:
    """What is said, and who judges it. Ends the benchmark, with the remedy, where one of them is not there."""
    speech = recordings(sounds, count)
    if not speech:
        raise SystemExit(f"no prompts in G.722 in {sounds}; remedy: apt-get install asterisk-core-sounds-en-g722")
    try:
        return speech, import_module("pesq").pesq
    except ImportError:
        raise SystemExit("pesq is not installed; remedy: pip install pesq") from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sounds", type=Path, default=Path("/usr/share/asterisk/sounds"))
    parser.add_argument("--count", type=int, default=14)
    parser.add_argument("--loss", type=int, nargs="+", help="packets in a hundred that are lost")
    parser.add_argument("--ptime", type=int, default=20, choices=(10, 20, 40, 60), help="ms of a packet")
    arguments = parser.parse_args()
    speech, pesq = material(arguments.sounds, arguments.count)
    print(f"{len(speech)} recordings, {sum(map(len, speech)) / 16000:.0f} s")
    if arguments.loss:
        for percent in arguments.loss:
            for copies in (True, False):
                print(lossy(speech, pesq, percent, arguments.ptime, copies=copies))
        return
    for codec in codecs.WIDE:
        for wide in (True, False):
            print(voice(speech, pesq, codec, wide=wide))
    for effort, bits_per_s in SETTINGS:
        print(measure(speech, pesq, effort, bits_per_s))


if __name__ == "__main__":
    main()
