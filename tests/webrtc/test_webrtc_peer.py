from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import TypeVar

import numpy as np
import pytest
from aiortc_browser import WITHIN_S, Browser, Ours, ToneTrack, connected, level_at, loudest_hz, rms

from gateway.core.errors import MisuseError, PeerError
from gateway.core.events import CallEnded, RecordingStarted, StateChanged
from gateway.media import opus_library

T = TypeVar("T")


async def soon(awaitable: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaitable, WITHIN_S)


@pytest.mark.parametrize(("mime", "codec", "number"), [("audio/opus", "opus", 96), ("audio/PCMU", "PCMU", 0)])
async def test_the_browsers_packets_arrive_as_they_were_sent(mime: str, codec: str, number: int) -> None:
    """What the microphone hears is what the leg gets: of the codec agreed on, the same pitch and loudness."""
    async with connected(codec=mime) as (ours, _):
        assert (ours.peer.codec, ours.peer.payload_type) == (codec, number)
        first = await soon(ours.packets.get())
        assert first.payload_type == number
        await ours.receive(0.3)
        heard = await ours.receive(0.5)
    assert len(heard) == ours.rate // 2
    assert loudest_hz(heard, ours.rate) == pytest.approx(1000, abs=4)
    assert rms(heard) == pytest.approx(8000 / 2**0.5, rel=0.1)


async def test_both_directions_are_wideband_over_opus() -> None:
    """6 kHz of the microphone reach the leg, and 6 kHz of the bot the browser, within 2 dB of the 1 kHz beside them."""
    async with connected(microphone=ToneTrack(1000.0, 6000.0)) as (ours, browser):
        playing = asyncio.create_task(ours.say(1000.0, 6000.0))
        await ours.receive(0.5)
        came = await ours.receive(0.5)
        await browser.hear(0.5)
        heard = (await browser.hear(0.5))[-24000:]
        playing.cancel()
    for pcm, rate in ((came, 16000), (heard, 48000)):
        low, high = (level_at(pcm, hz, rate) for hz in (1000, 6000))
        assert abs(20 * np.log10(high / low)) < 2
        assert level_at(pcm, 2000, rate) < low / 100, "folded"


async def test_browsers_are_told_that_copies_of_lost_packets_are_of_use() -> None:
    """Chromium adds them to what it sends only where the answer says so."""
    async with connected() as (_, browser):
        answer = browser.connection.remoteDescription.sdp.splitlines()
    (opus,) = [line.removeprefix("a=rtpmap:").split()[0] for line in answer if " opus/48000/2" in line]
    assert f"a=fmtp:{opus} useinbandfec=1" in answer


async def test_a_fault_of_ours_ends_the_call_as_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told as such, not as a page that was closed."""

    def broken(ours: Ours, packet: bytes) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(Ours, "packet_came", broken)
    async with connected() as (ours, _):
        assert await soon(ours.lost.get()) == "internal"


@pytest.mark.parametrize("mime", ["audio/opus", "audio/PCMU"])
async def test_what_the_plane_sends_is_heard_in_the_browser(mime: str) -> None:
    """Its packets come out of the browser's speaker, at their pitch and loudness."""
    async with connected(codec=mime) as (ours, browser):
        playing = asyncio.create_task(ours.say(600.0))
        await browser.hear(0.5)
        heard = await browser.hear(0.5)
        playing.cancel()
    rate = 48000 if mime == "audio/opus" else 8000
    heard = heard[-rate // 2 :]
    assert loudest_hz(heard, rate) == pytest.approx(600, abs=4)
    assert rms(heard) == pytest.approx(8000 / 2**0.5, rel=0.15)


async def test_without_the_library_browsers_speak_pcmu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that lacks libopus has narrowband browser calls, not silent ones."""
    monkeypatch.setattr(opus_library, "is_there", lambda: False)
    async with connected() as (ours, browser):
        assert (ours.peer.codec, ours.peer.payload_type) == ("PCMU", 0)
        assert "opus" not in browser.connection.remoteDescription.sdp
        assert loudest_hz(await ours.receive(0.5), 8000) == pytest.approx(1000, abs=4)


async def test_events_reach_the_page_in_order_even_those_from_before_it_listened() -> None:
    """The transcript on the page is complete: what happens while the data channel opens is kept for it."""
    async with connected() as (ours, browser):
        ours.peer.tell(StateChanged(1.0, "call-1", "initial", "speaking"))
        ours.peer.tell(RecordingStarted(1.5, "call-1", "/var/lib/gateway/secret.wav"))
        await soon(browser.opened.wait())
        ours.peer.tell(StateChanged(2.0, "call-1", "speaking", "listening"))
        told = [json.loads(await soon(browser.told.get())) for _ in range(2)]
    assert [event["state"] for event in told] == ["speaking", "listening"]


async def test_the_last_event_is_delivered_before_the_connection_closes() -> None:
    """A page learns that the call ended, and why, not just that the line went dead."""
    async with connected() as (ours, browser):
        await soon(browser.opened.wait())
        ours.peer.tell(CallEnded(9.0, "call-1", "hangup", "bot", 8.0, {"mos": 4.2}))
        await ours.peer.close()
        told = json.loads(await soon(browser.told.get()))
    assert (told["type"], told["reason"], told["stats"]) == ("CallEnded", "hangup", {})


async def test_digits_come_from_the_page_and_nonsense_does_not() -> None:
    """Only telephone keys get through; anything else on the channel is refused without harm to the call."""
    async with connected() as (ours, browser):
        await soon(browser.opened.wait())
        for message in ('{"type":"digit","digit":"5"}', "{", '{"type":"digit","digit":"55"}', b"\xff\x00",
                        '{"type":"shutdown"}', '{"type":"digit","digit":"#"}'):  # fmt: skip
            browser.channel.send(message)
        digits = [await soon(ours.digits.get()) for _ in range(2)]
    assert digits == ["5", "#"]
    assert ours.digits.empty()


async def test_a_closed_page_is_noticed_at_once() -> None:
    """A browser that says goodbye (tab closed, navigation) ends the call without waiting for a timeout."""
    async with connected() as (ours, browser):
        await soon(browser.opened.wait())
        await browser.close()
        assert await soon(ours.lost.get()) == "page_closed"


async def test_a_browser_that_goes_without_a_word_is_lost_in_time() -> None:
    """No goodbye (power, network): the line counts as lost after `lost_after_s` without a packet."""
    async with connected(lost_after_s=0.5) as (ours, browser):
        await soon(browser.opened.wait())
        began = asyncio.get_running_loop().time()
        browser.vanish()
        assert await soon(ours.lost.get()) == "went_silent"
        assert 0.4 < asyncio.get_running_loop().time() - began < 3.0


async def test_a_browser_that_never_comes_is_lost_in_time() -> None:
    """An offer by curl holds a leg for `connect_within_s` at most."""
    ours, browser = Ours(connect_within_s=0.3), Browser()
    await ours.peer.accept(await browser.offer())
    assert await soon(ours.lost.get()) == "never_connected"
    await ours.peer.close()
    await browser.close()


async def test_nothing_is_reported_after_we_closed() -> None:
    """`on_lost` means that the browser went, not that we did."""
    async with connected() as (ours, browser):
        await soon(browser.opened.wait())
        await ours.peer.close()
        await ours.peer.close()
        await soon(browser.closed.wait())
    assert ours.lost.empty()


async def test_a_browser_whose_addresses_are_hidden_is_found_by_its_checks() -> None:
    """Chromium hides its addresses behind .local names; it reaches us, and so shows where it is."""
    ours, browser = Ours(), Browser()
    offer = [line for line in (await browser.offer()).splitlines() if not line.startswith("a=end-of-candidates")]
    hidden = [_behind_mdns(line) if line.startswith("a=candidate:") else line for line in offer]
    began = asyncio.get_running_loop().time()
    await browser.take(await ours.peer.accept("\r\n".join(hidden) + "\r\n"))
    assert len(await ours.receive(0.1)) == 1600
    assert asyncio.get_running_loop().time() - began < 3.0
    await browser.close()
    await ours.peer.close()


async def test_a_lost_packet_costs_no_other_any_time() -> None:
    """Each is handed on as it comes, under the browser's own numbers: what is missing the leg's jitter buffer sees."""
    async with connected() as (ours, browser):
        await ours.receive(0.2)
        browser.lose({20, 21, 40})
        numbers = []
        while browser.sent < 70:
            numbers.append((await soon(ours.packets.get())).sequence)
    steps = np.diff(numbers) & 0xFFFF
    assert browser.sent - len(numbers) <= 3
    assert sorted(steps)[-2:] == [2, 3]
    assert set(sorted(steps)[:-2]) == {1}


async def test_what_the_browser_reports_is_passed_on() -> None:
    """What it lost of what it was sent, under the keys that its audio has."""
    async with connected() as (ours, _):
        playing = asyncio.create_task(ours.say(600.0, lost=frozenset({5, 6, 10})))
        lost = 0
        while lost < 3:
            blocks = (await soon(ours.reports.get())).blocks
            lost = sum(block.lost for block in blocks if block.ssrc == ours.ssrc)
        playing.cancel()
    assert lost == 3


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_browser_says_whether_it_makes_use_of_copies(wanted: bool) -> None:
    """By its offer, as RFC 7587 6.1 has it."""
    ours, browser = Ours(), Browser()
    offer = await browser.offer()
    (opus_line,) = [line for line in offer.splitlines() if " opus/48000/2" in line]
    number = opus_line.removeprefix("a=rtpmap:").split()[0]
    if wanted:
        offer = offer.replace(opus_line, f"{opus_line}\r\na=fmtp:{number} minptime=10;useinbandfec=1")
    await ours.peer.accept(offer)
    assert ours.peer.copies is wanted
    await browser.close()
    await ours.peer.close()


async def test_video_is_declined_and_audio_goes_on() -> None:
    """A page that offers a camera too gets a call with voice alone; the video m-line is answered with port 0."""
    ours, browser = Ours(), Browser()
    browser.connection.addTransceiver("video")
    answer = await ours.peer.accept(await browser.offer())
    video = answer[answer.index("m=video") :].splitlines()
    assert video[0].split()[1] == "0"
    assert "m=audio" in answer
    assert "m=application" in answer
    await ours.peer.close()
    await browser.close()


async def test_offers_that_fit_no_call_are_the_peers_error() -> None:
    """Garbage is 400; a proper offer without audio we speak is 488; neither leaves anything running."""
    browser = Browser(codec="audio/G722")
    no_common = await browser.offer()
    await browser.close()
    for offer, hint in [("hello", 400), ("", 400), ("v=0\r\n", 488), (no_common, 488)]:
        ours = Ours()
        with pytest.raises(PeerError) as refused:
            await ours.peer.accept(offer)
        assert refused.value.status_hint == hint, offer
        assert ours.lost.empty()


async def test_a_peer_takes_one_offer() -> None:
    """A second offer is our own mistake, not the browser's."""
    async with connected() as (ours, _):
        with pytest.raises(MisuseError):
            await ours.peer.accept("v=0\r\n")


def _behind_mdns(line: str) -> str:
    words = line.split()
    words[4] = "9b36eaac-bb2e-49bb-bb78-21c41c499900.local"
    return " ".join(words)
