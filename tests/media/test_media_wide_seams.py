"""Where wideband sound that came meets what was put in its place: recordings and recognisers hear no click.

A click is a sudden bend: the second difference of the sound, against the largest one that the same sound has by itself.
"""

from __future__ import annotations

import numpy as np
import pytest
from media_world import Phone, World
from wide_world import CLOCK, CODECS, NUMBER, MemoryFiles, Talkative

from gateway.media import codecs
from gateway.media.commands import CloseLeg, HeardAudio, Listen
from gateway.media.opus_library import OpusEncoder

LENGTH = 320


def vowel(k: int) -> np.ndarray:
    """20 ms of a steady voice at 130 Hz, with eleven harmonics."""
    t = (LENGTH * k + np.arange(LENGTH)) / 16000
    wave = sum(np.cos(2 * np.pi * 130.0 * h * t + h * h) / h for h in range(1, 12))
    return np.rint(2500 * np.asarray(wave)).astype(np.int16)


def bend(pcm: np.ndarray) -> float:
    return float(np.abs(np.diff(pcm.astype(float), 2)).max())


def call(
    codec: codecs.Wide, *, pause: int = 0, lost: tuple[int, ...] = (), copies: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Six seconds of it, and from the third on all comes `pause` ticks later: as recorded, and as recognised."""
    files = MemoryFiles()
    w, phone, coder = World(vad=Talkative(), files=files), Phone(), codecs.encoder(codec)  # Opus: SILK, as phones send
    w.open(record="call.wav").connect(codec=codec, payload_type=NUMBER[codec]).do(Listen("call", "pcm_16k"))
    if copies and isinstance(coder, OpusEncoder):
        coder.expect_loss(20)
    for k in range(300):
        packet = phone.build(NUMBER[codec], coder.encode(vowel(k)))
        phone.timestamp += CLOCK[codec] * LENGTH // 2
        if k == 150:
            w.ticks(pause)
        w.tick(*() if k in lost else (packet,))
    w.do(CloseLeg("call")).ticks(2)
    recorded = np.frombuffer(bytes(files.written[max(files.written)][44:]), "<i2")[::2]
    heard = np.frombuffer(b"".join(piece.audio for piece in w.all(HeardAudio)), "<i2")
    return recorded, heard


@CODECS
@pytest.mark.parametrize("side", [0, 1], ids=["recorded", "recognised"])
@pytest.mark.parametrize(
    "network",
    [
        {"pause": 2},
        {"pause": 3},
        {"lost": (150,)},
        {"lost": (150, 151)},
        {"lost": (150, 153)},
        {"lost": (150, 152), "copies": True},
    ],
    ids=str,
)
def test_no_seam_is_heard(codec: codecs.Wide, side: int, network: dict[str, object]) -> None:
    """Of packets that were lost, and of a buffer that waited: no bend is twice as sharp as the sound's own."""
    heard = call(codec, **network)[side]  # type: ignore[arg-type]
    usual = call(codec, copies=bool(network.get("copies")))[side]
    assert bend(heard[16000:80000]) < 2 * bend(usual[16000:80000])
