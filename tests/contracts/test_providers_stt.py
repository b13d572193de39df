"""What every recogniser promises (`SpeechToText`, `SttStream`), held against every file in `providers/stt`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from provider_cases import cases, error_of, open_stt, pieces, run, said
from waiting import turns

from gateway.core.errors import MisuseError
from gateway.core.speech import Expectation, Transcript
from gateway.session.ports import SttStream

pytestmark = pytest.mark.parametrize(("kind", "options"), cases("stt"))

YES_NO = Expectation(phrases=("yes", "no"))


async def collect(stream: SttStream) -> list[Transcript]:
    return [transcript async for transcript in stream.interim()]


def test_a_turn_gives_interim_texts_and_one_final_transcript(kind: str, options: dict[str, Any]) -> None:
    """Interim transcripts may be read by another task, are marked as such, and end with `finish`."""

    async def scenario() -> None:
        async with open_stt(kind, options) as stt:
            stream = await stt.open(YES_NO)
            reading = asyncio.create_task(collect(stream))
            for piece in pieces(said("yes", stt.audio_format)):
                await stream.feed(piece)
            final = await stream.finish()
            interim = await asyncio.wait_for(reading, 5)

        assert final.final
        assert final.text == "yes"
        assert 0 < final.confidence <= 1
        assert [transcript for transcript in interim if transcript.final] == []
        assert await asyncio.wait_for(collect(stream), 5) == []

    run(scenario, options)


def test_words_are_in_order_and_within_the_audio(kind: str, options: dict[str, Any]) -> None:
    """Each word begins no earlier than the one before ended; engines that cannot time words give none."""

    async def scenario() -> None:
        async with open_stt(kind, options) as stt:
            stream = await stt.open(YES_NO)
            await stream.feed(said("yes", stt.audio_format))
            final = await stream.finish()
        at = 0.0
        for word in final.words:
            assert at <= word.start_s <= word.end_s <= 3.0
            at = word.end_s

    run(scenario, options)


def test_silence_and_nothing_at_all_are_heard_as_nothing_or_as_scripted(kind: str, options: dict[str, Any]) -> None:
    """`finish` without audio answers too. A recogniser that listens hears no words in silence."""

    async def scenario() -> None:
        async with open_stt(kind, options) as stt:
            unfed = await (await stt.open(YES_NO)).finish()
            stream = await stt.open(YES_NO)
            await stream.feed(bytes(16000))
            silent = await stream.finish()
        assert unfed.final
        assert silent.final
        if kind != "scripted":
            assert (unfed.text, unfed.confidence) == ("", 0.0)
            assert (silent.text, silent.confidence) == ("", 0.0)

    run(scenario, options)


def test_cancel_is_safe_at_any_time_and_ends_the_interim_texts(kind: str, options: dict[str, Any]) -> None:
    """Before audio, in the middle, twice, after `finish`; a cancelled stream takes audio without complaint."""

    async def scenario() -> None:
        async with open_stt(kind, options) as stt:
            stream = await stt.open(YES_NO)
            reading = asyncio.create_task(collect(stream))
            await stream.feed(said("yes", stt.audio_format)[:8000])
            await stream.cancel()
            await stream.cancel()
            await asyncio.wait_for(reading, 5)
            await stream.feed(bytes(1600))
            assert await error_of(stream.finish()) is not None

            finished = await stt.open(YES_NO)
            await finished.finish()
            await finished.cancel()

    run(scenario, options)


def test_several_callers_at_a_time_do_not_disturb_each_other(kind: str, options: dict[str, Any]) -> None:
    """Streams may be open side by side and be fed in turns; cancelling one leaves the others alone."""

    async def scenario() -> None:
        async with open_stt(kind, options) as stt:
            streams = [await stt.open(YES_NO) for _ in range(3)]
            for piece in pieces(said("yes", stt.audio_format)):
                for stream in streams:
                    await stream.feed(piece)
            await streams[0].cancel()
            finals = await asyncio.gather(*(stream.finish() for stream in streams[1:]))
        assert [final.text for final in finals] == ["yes", "yes"]

    run(scenario, options)


def test_close_ends_what_is_open_and_is_safe_twice(kind: str, options: dict[str, Any]) -> None:
    """After `close` no interim reader waits for ever, and a new stream is refused or refuses."""

    async def scenario() -> None:
        async with open_stt(kind, options) as stt:
            stream = await stt.open(YES_NO)
            reading = asyncio.create_task(collect(stream))
            await turns()
            await stt.close()
            await stt.close()
            await stream.cancel()
            await asyncio.wait_for(reading, 5)
            if kind != "scripted":
                with pytest.raises(MisuseError):
                    await stt.open(YES_NO)

    run(scenario, options)
