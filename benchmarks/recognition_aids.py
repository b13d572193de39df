"""What gain control and noise suppression do for the built-in recogniser: phrases understood, through the whole plane.

    apt-get install libflite1 && pip install pywebrtc-audio
    python -m benchmarks.recognition_aids

Fifteen phrases by four of flite's voices, each the answer to a question that expects all fifteen; G.711, the plane's
own detection, preroll and cutting. "Nothing found" counts phrases in which no speech was detected. Levels are those of
active speech.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from benchmarks._echoing_lines import Int16s, Line, Lines, at_level
from gateway.core.errors import ConfigError
from gateway.core.speech import Expectation
from gateway.media.commands import HeardAudio, Listen
from gateway.media.options import PlaneOptions
from gateway.media.ports import NoiseSuppressor
from gateway.providers.load import build_noise, build_stt
from gateway.providers.tts.flite_library import VOICES, Voice
from gateway.session.resample import to_8k

PHRASES = (
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "in the morning", "in the afternoon",
    "i would like a haircut", "a beard trim", "hair color please", "cancel my appointment", "yes please",
    "no thank you", "talk to the desk",
)  # fmt: skip
SAID_BY = ("rms", "awb", "slt", "kal16")
GIVEN_S = 4.0


def callers(dbfs: float) -> list[Int16s]:
    lead = np.zeros(8000, np.int16)
    spoken = [(Voice(name), VOICES[name], phrase) for name in SAID_BY for phrase in PHRASES]
    heard = [np.frombuffer(to_8k(voice.synthesise(phrase)[0], rate), "<i2") for voice, rate, phrase in spoken]
    return [np.concatenate([lead, at_level(pcm, dbfs)]) for pcm in heard]


def cut(sounds: list[Int16s], noise_dbfs: float, suppressor: NoiseSuppressor | None, gain: bool) -> list[list[bytes]]:
    """What a recogniser is given of each."""
    silent = np.zeros(0, np.int16)
    lines = [Line(silent, erl_db=None, noise_dbfs=noise_dbfs, caller=sound) for sound in sounds]
    played = Lines(lines, PlaneOptions(slots=len(lines), gain_control=gain), suppressor=suppressor)
    for name in played.names:
        played.plane.command(Listen(name, "pcm_8k"), 0.0)
    played.run(GIVEN_S)
    pieces: dict[str, list[bytes]] = {name: [] for name in played.names}
    for one in played.said:
        if isinstance(one, HeardAudio):
            pieces[one.leg].append(one.audio)
    return list(pieces.values())


async def understood(heard: list[list[bytes]]) -> list[str]:
    stt = build_stt("pocketsphinx", {"inline": True})
    texts = []
    for pieces in heard:
        stream = await stt.open(Expectation(phrases=PHRASES))
        for piece in pieces:
            await stream.feed(piece)
        texts.append((await stream.finish()).text)
    await stt.close()
    return texts


def score(what: str, dbfs: float, noise_dbfs: float, *, gain: bool = False, noise: str = "", **options: Any) -> None:
    sounds = callers(dbfs)
    try:
        suppressor = build_noise(noise, options, slots=len(sounds)) if noise else None
    except ConfigError as error:
        print(f"{what}: skipped, {error}")
        return
    heard = cut(sounds, noise_dbfs, suppressor, gain)
    texts = asyncio.run(understood(heard))
    right = sum(text == phrase for text, phrase in zip(texts, PHRASES * len(SAID_BY), strict=True))
    wrong = sum(bool(text) for text in texts) - right
    print(f"{what}: {right} of {len(texts)} right, {wrong} wrong, nothing found in {sum(not one for one in heard)}")


def main() -> None:
    for dbfs in (-20.0, -40.0, -50.0):
        for gain in (False, True):
            score(f"caller at {dbfs:.0f} dBFS, gain control {'on' if gain else 'off'}", dbfs, -75, gain=gain)
    for snr in (20.0, 15.0, 10.0):
        score(f"noise {snr:.0f} dB below the voice, no suppression", -20, -20 - snr)
        score(f"noise {snr:.0f} dB below the voice, spectral", -20, -20 - snr, noise="spectral")
        for level in (0, 1, 2):
            score(
                f"noise {snr:.0f} dB below the voice, webrtc level {level}", -20, -20 - snr, noise="webrtc", level=level
            )


if __name__ == "__main__":
    main()
