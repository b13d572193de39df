from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterator
from itertools import count
from typing import TypeVar

import numpy as np
import pytest
from aiortc_browser import WITHIN_S, Browser, Ours, ToneTrack, connected, level_at, lose, loudest_hz, rms, tone

from gateway.core.clock import SystemClock
from gateway.core.errors import MisuseError, PeerError
from gateway.core.events import CallEnded, RecordingStarted, StateChanged
from gateway.media import opus_library
from gateway.media.opus_library import OpusEncoder
from gateway.webrtc.audio import NARROW_HZ, WIDE_HZ, piece_bytes
from gateway.webrtc.opus import OpusIntake
from gateway.webrtc.peer import BrowserPeer

T = TypeVar("T")


async def soon(awaitable: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaitable, WITHIN_S)


async def keep_playing(peer: BrowserPeer, *hz: float) -> None:
    """The media plane's part: a piece each 20 ms, in real time, as aiortc takes no other."""
    rate, clock = WIDE_HZ if peer.wideband else NARROW_HZ, SystemClock()
    pcm = np.sum([tone(one, 1.0, rate=rate) for one in hz], axis=0).astype(np.int16).tobytes()
    start, size = clock.now(), piece_bytes(rate)
    for at in count():
        await clock.sleep_until(start + at * 0.02)
        peer.play(pcm[at * size % len(pcm) :][:size])


@pytest.mark.parametrize(("mime", "codec", "rate"), [("audio/opus", "opus", 16000), ("audio/PCMU", "pcmu", 8000)])
async def test_the_browsers_voice_arrives_as_20_ms_pieces_at_the_codecs_rate(mime: str, codec: str, rate: int) -> None:
    """What the microphone hears is what the leg gets: the same pitch and loudness, in exact pieces."""
    async with connected(codec=mime) as (ours, _):
        assert (ours.peer.codec, ours.peer.wideband) == (codec, rate == 16000)
        await ours.receive(0.3)
        heard = await ours.receive(0.5)
    assert len(heard) == rate // 2
    assert loudest_hz(heard, rate) == pytest.approx(1000, abs=4)
    assert rms(heard) == pytest.approx(8000 / 2**0.5, rel=0.1)


async def test_both_directions_are_wideband_over_opus() -> None:
    """6 kHz of the microphone reach the leg, and 6 kHz of the bot the browser, within 2 dB of the 1 kHz beside them."""
    async with connected(microphone=ToneTrack(1000.0, 6000.0)) as (ours, browser):
        playing = asyncio.create_task(keep_playing(ours.peer, 1000.0, 6000.0))
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

    def broken(intake: OpusIntake, payload: bytes, timestamp: int, sequence: int) -> Iterator[bytes]:
        raise RuntimeError("a fault")

    monkeypatch.setattr(OpusIntake, "feed", broken)
    async with connected() as (ours, _):
        assert await soon(ours.lost.get()) == "internal"


@pytest.mark.parametrize("mime", ["audio/opus", "audio/PCMU"])
async def test_what_the_plane_plays_is_heard_in_the_browser(mime: str) -> None:
    """Pieces played each 20 ms come out of the browser's speaker, at their pitch and loudness."""
    async with connected(codec=mime) as (ours, browser):
        playing = asyncio.create_task(keep_playing(ours.peer, 600.0))
        await browser.hear(0.5)
        heard = await browser.hear(0.5)
        playing.cancel()
    rate = 48000 if mime == "audio/opus" else 8000
    heard = heard[-rate // 2 :]
    assert loudest_hz(heard, rate) == pytest.approx(600, abs=4)
    assert rms(heard) == pytest.approx(8000 / 2**0.5, rel=0.15)


async def test_without_the_library_aiortc_codes_and_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that lacks libopus on its own has dearer browser calls, not silent ones."""
    monkeypatch.setattr(opus_library, "is_there", lambda: False)
    async with connected(codec="audio/opus") as (ours, browser):
        playing = asyncio.create_task(keep_playing(ours.peer, 600.0))
        await browser.hear(0.5)
        heard = (await browser.hear(0.5))[-24000:]
        came = (await ours.receive(0.8))[-8000:]
        playing.cancel()
    for pcm, hz, rate in ((heard, 600, 48000), (came, 1000, 16000)):
        assert loudest_hz(pcm, rate) == pytest.approx(hz, abs=4)
        assert rms(pcm) == pytest.approx(8000 / 2**0.5, rel=0.15)


async def test_a_browser_hears_silence_when_nothing_is_played() -> None:
    """The outgoing stream never stops, so that the browser's jitter buffer and the line's liveness have something."""
    async with connected() as (_, browser):
        assert rms(await browser.hear(0.4)) < 5


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


async def test_a_lost_packet_costs_its_own_time_and_no_delay_after_it() -> None:
    """Barge-in is decided on what arrives: a loss must not leave the caller's voice a third of a second late."""
    async with connected() as (ours, browser):
        await ours.receive(0.2)
        browser.lose({20, 21, 40})
        received = 0
        while browser.sent < 70:
            await soon(ours.pushed.get())
            received += 1
    assert browser.sent - received <= 3


async def test_an_operator_sees_what_became_of_the_packets() -> None:
    """Both ways, by our counts and by the browser's reports."""
    async with connected(lost_after_s=0.4) as (ours, browser):
        await ours.receive(0.2)
        browser.lose({5, 6, 10})
        while ours.peer.stats.remote_lost is None or browser.sent < 100:
            await soon(ours.pushed.get())
        stats, sent = ours.peer.stats, browser.sent
    assert (stats.codec, stats.packets_lost, stats.remote_lost) == ("opus", 3, 0)
    assert sent - 10 <= stats.packets_received <= sent + 20
    assert abs(stats.packets_sent - stats.packets_received) < 20
    assert (stats.packets_late, stats.packets_malformed, stats.mos) == (0, 0, None)
    assert 0 < stats.jitter_ms < 20


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_browser_that_loses_packets_is_sent_copies(wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its reports tell of losses and a while longer, if its offer says that it can make use of them."""
    told: asyncio.Queue[int] = asyncio.Queue()
    monkeypatch.setattr(OpusEncoder, "expect_loss", lambda coder, percent: told.put_nowait(percent))
    ours, browser = Ours(lost_after_s=0.4), Browser()
    offer = await browser.offer()
    (opus_line,) = [line for line in offer.splitlines() if " opus/48000/2" in line]
    number = opus_line.removeprefix("a=rtpmap:").split()[0]
    if wanted:
        offer = offer.replace(opus_line, f"{opus_line}\r\na=fmtp:{number} minptime=10;useinbandfec=1")
    await browser.take(await ours.peer.accept(offer))
    while not told.empty():
        assert told.get_nowait() == 0
    await browser.hear(0.2)
    lose(ours.peer._connection, set(range(0, 60, 3)))
    if wanted:
        assert 10 <= await soon(told.get()) <= 50
        while await soon(told.get()):
            pass
    else:
        while ours.peer.stats.remote_lost in (None, 0):
            await soon(ours.pushed.get())
        assert told.empty()
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
