"""The built-in recogniser on telephone audio: what it must understand, and what it must refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from provider_cases import pieces, said
from virtual_time import elapse

from gateway.core.errors import ProviderError
from gateway.core.loops import run_virtual
from gateway.core.speech import Expectation, Transcript
from gateway.media import g711
from gateway.providers.load import build_stt

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
DAY = Expectation(phrases=(*DAYS, *(f"on {day}" for day in DAYS)))
YES_NO = Expectation(phrases=("yes", "yes please", "no", "no thank you", "that's right", "that's wrong"))
SERVICE = Expectation(
    grammar="public <utterance> = [<carrier>] [a] <service> [please];"
    "<carrier> = I would like | I'd like | can I have; <service> = haircut | beard trim | hair color;"
)
VOICES = ("rms", "awb", "slt", "kal16")


def line(pcm: bytes, *, level_db: float = 0.0, noise_dbfs: float = -66.0, law: int = 0, seed: int = 1) -> bytes:
    """What is left of it after a telephone line: its level, its noise, G.711."""
    samples = np.frombuffer(pcm, "<i2") * 10 ** (level_db / 20)
    noise = np.random.default_rng(seed).normal(0, 32768 * 10 ** (noise_dbfs / 20), len(samples))
    sent: npt.NDArray[np.int16] = np.clip(np.rint(samples + noise), -32768, 32767).astype(np.int16)
    return g711.decode(g711.encode(sent, law), law).tobytes()


async def hear(stt: Any, audio: bytes, expectation: Expectation, size: int = 1600) -> Transcript:
    stream = await stt.open(expectation)
    for piece in pieces(audio, size):
        await stream.feed(piece)
    final: Transcript = await stream.finish()
    return final


def heard(audio: Iterable[bytes], expectation: Expectation, **options: Any) -> list[Transcript]:
    async def scenario() -> list[Transcript]:
        stt = build_stt("pocketsphinx", {"inline": True, **options})
        try:
            return [await hear(stt, one, expectation) for one in audio]
        finally:
            await stt.close()

    return run_virtual(scenario())


def texts(audio: Iterable[bytes], expectation: Expectation, **options: Any) -> list[str]:
    return [transcript.text for transcript in heard(audio, expectation, **options)]


@pytest.mark.parametrize("voice", VOICES)
def test_short_lists_are_understood(voice: str) -> None:
    """A day out of six and a yes or no, from four voices over a mu-law line: nearly all of it."""
    days = texts((line(said(day, voice=voice)) for day in DAYS), DAY)
    answers = texts((line(said(answer, voice=voice)) for answer in YES_NO.phrases), YES_NO)
    right = sum(one == other for one, other in zip([*days, *answers], [*DAYS, *YES_NO.phrases], strict=True))
    assert right >= 11, (days, answers)


def test_words_around_the_answer_are_understood() -> None:
    """A grammar allows for how people speak; words come in lower case with their places."""
    (transcript,) = heard([line(said("I would like a beard trim please", voice="rms"))], SERVICE)
    assert transcript.text == "i would like a beard trim please"
    assert [word.text for word in transcript.words] == transcript.text.split()
    assert transcript.confidence > 0.5


@pytest.mark.parametrize("voice", VOICES)
def test_what_nobody_expected_is_refused(voice: str) -> None:
    """Other words are not forced into an answer: the text is empty, so that the bot can ask again."""
    others = ("what is the weather like today", "my dog ate the newspaper", "can I speak to a human being please")
    for expectation in (DAY, YES_NO, SERVICE):
        assert texts((line(said(other, voice=voice)) for other in others), expectation).count("") >= 2


def test_noise_tones_and_clicks_are_refused() -> None:
    """What is no voice is no answer."""
    rng = np.random.default_rng(3)
    time = np.arange(12000) / 8000
    sounds = {
        "hiss": rng.normal(0, 2000, 12000),
        "rumble": np.cumsum(rng.normal(0, 100, 12000)),
        "dial tone": 4000 * (np.sin(2 * np.pi * 350 * time) + np.sin(2 * np.pi * 440 * time)),
        "clicks": np.where(np.arange(12000) % 4000 < 20, 12000, 0) + rng.normal(0, 5, 12000),
    }
    pcm = [np.clip(sound, -32768, 32767).astype("<i2").tobytes() for sound in sounds.values()]
    for expectation in (DAY, YES_NO):
        assert texts(pcm, expectation) == [""] * len(sounds)


def test_where_nothing_is_expected_nothing_is_understood() -> None:
    """There is no open vocabulary on the telephone."""
    (transcript,) = heard([line(said("monday"))], Expectation(digits_max=4))
    assert (transcript.text, transcript.confidence, transcript.final) == ("", 0.0, True)


@pytest.mark.parametrize("level_db", [-30.0, -15.0, 0.0, 6.0])
def test_loud_and_quiet_callers_are_heard_alike(level_db: float) -> None:
    """From a whisper far from the microphone to one that clips."""
    audio = [line(said(day, voice="rms"), level_db=level_db, noise_dbfs=-80) for day in DAYS]
    assert sum(one == other for one, other in zip(texts(audio, DAY), DAYS, strict=True)) >= 5


def test_both_laws_and_a_noisy_line() -> None:
    """A-law as mu-law, and with noise 20 dB below the voice."""
    for law, noise_dbfs in ((0, -66.0), (1, -66.0), (0, -45.0)):
        audio = [line(said(day, voice="rms"), law=law, noise_dbfs=noise_dbfs) for day in DAYS]
        assert sum(one == other for one, other in zip(texts(audio, DAY), DAYS, strict=True)) >= 5


def test_numbers_and_words_out_of_the_dictionary() -> None:
    """Numbers in phrases are read as words; a strange word is guessed, or told how to sound."""
    rooms = Expectation(phrases=("room 12", "room 20", "room 43"))
    assert texts([line(said("room forty three", voice="rms"))], rooms) == ["room forty three"]
    strange = Expectation(phrases=("balayage", "haircut"))
    audio = [line(said("balayage", voice="rms")), line(said("haircut", voice="rms"))]
    assert texts(audio, strange, pronunciations={"balayage": "B AE L EY AE JH"}) == ["balayage", "haircut"]
    assert texts(audio, strange)[1] == "haircut"


def test_interim_texts_come_while_the_caller_speaks() -> None:
    """Barge-in by words and early thinking need them long before the end."""

    async def scenario() -> list[tuple[float, str]]:
        stt = build_stt("pocketsphinx", {"inline": True})
        stream = await stt.open(SERVICE)
        loop = asyncio.get_running_loop()
        seen: list[tuple[float, str]] = []

        async def watch() -> None:
            nonlocal seen
            async for transcript in stream.interim():
                seen += [(loop.time(), transcript.text)]

        watching = asyncio.create_task(watch())
        for piece in pieces(line(said("I would like a beard trim please", voice="rms"))):
            await elapse(0.1)
            await stream.feed(piece)
        await stream.finish()
        await watching
        await stt.close()
        return seen

    seen = run_virtual(scenario())
    assert any(len(text.split()) >= 3 for _, text in seen)
    assert seen[0][0] < 1.2


def test_a_replay_hears_the_same() -> None:
    """Inline there are no threads and no clock: the same pieces give the same transcripts, each time."""
    audio = [line(said(day)) for day in DAYS[:3]]
    assert heard(audio, DAY) == heard(audio, DAY)


@pytest.mark.parametrize("size", [160, 333, 1600, 10**6])
def test_the_size_of_the_pieces_does_not_matter(size: int) -> None:
    """From 10 ms, over pieces that end within a sample, to everything at once."""

    async def scenario() -> str:
        stt = build_stt("pocketsphinx", {"inline": True})
        transcript = await hear(stt, line(said("thursday", voice="rms")), DAY, size)
        await stt.close()
        return transcript.text

    assert run_virtual(scenario()) == "thursday"


def test_an_endless_utterance_is_heard_for_a_minute() -> None:
    """What comes after is not kept: memory per call stays bounded."""
    audio = line(said("monday", voice="rms"))
    (transcript,) = heard([audio + bytes(16000 * 70)], DAY)
    assert transcript.text in ("monday", "")


@pytest.mark.parametrize(
    ("grammar", "complaint"), [("<a> = hello;", "no public rule"), ("public <a> = (hello;", "cannot be compiled")]
)
@pytest.mark.parametrize("options", [{"inline": True}, {"processes": 1}], ids=["inline", "process"])
def test_a_grammar_with_a_fault_is_an_error_that_says_so(options: dict[str, Any], grammar: str, complaint: str) -> None:
    """Not worth a retry, and the next question works."""

    async def scenario() -> None:
        stt = build_stt("pocketsphinx", options)
        with pytest.raises(ProviderError, match=complaint) as caught:
            await hear(stt, said("monday"), Expectation(grammar=grammar))
        assert (caught.value.category, caught.value.retryable) == ("bad_request", False)
        assert (await hear(stt, line(said("monday", voice="rms")), DAY)).text == "monday"
        await stt.close()

    asyncio.run(scenario())


def test_many_callers_at_once_share_the_processes() -> None:
    """Twenty callers answer at the same moment; each is understood, and told apart."""

    async def scenario() -> list[str]:
        stt = build_stt("pocketsphinx", {"processes": 2})
        asked = [DAYS[number % len(DAYS)] for number in range(20)]
        transcripts = await asyncio.gather(*(hear(stt, line(said(day, voice="rms")), DAY) for day in asked))
        await stt.close()
        return [f"{day}-{transcript.text}" for day, transcript in zip(asked, transcripts, strict=True)]

    pairs = asyncio.run(scenario())
    assert sum(day == text for day, text in (pair.split("-") for pair in pairs)) >= 17
