"""Debian's Chromium against the browser's door: a real page, a real WebRTC stack, a microphone from a WAV."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from callers import BOOK_WHOLLY, IS_THAT_RIGHT, WHAT_TO_DO, soon
from gateway_process import GatewayProcess
from playwright.async_api import Browser, Page, async_playwright, expect
from replays import expect_replay
from sounds import GREETING, Sound, likeness_in_pieces, read_wav, silence, speech

from gateway.media import opus_library, rtcp, rtp
from gateway.ops.http import HttpOffice
from gateway.ops.parrot import ParrotCall, ParrotDesk

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--use-fake-device-for-media-stream"]  # fmt: skip
GRANT = "--use-fake-ui-for-media-stream"
RATE = 48000
SPEECH = (("SpeechBegan", "began_at"), ("SpeechEnded", "ended_at"))

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt install chromium)"),
]


@pytest.fixture
async def browser_gateway_url() -> AsyncIterator[str]:
    """Where the page is served. Any gateway will do whose default route answers speech with speech."""
    desk = ParrotDesk()
    office = HttpOffice(desk)
    await office.start("127.0.0.1", 0)
    yield f"http://127.0.0.1:{office.port}/"
    await desk.close()
    await office.close()


@pytest.fixture
def microphone(tmp_path: Path) -> Path:
    """Half a second of silence, two of a voice-like sound, five of silence; Chromium plays it in a loop."""
    t = np.arange(2 * RATE) / RATE
    voice = 9000 * np.sin(2 * np.pi * 300 * t) * (0.5 + 0.5 * np.sin(2 * np.pi * 4 * t))
    return silence(0.5, RATE).then(Sound(voice, RATE), silence(5, RATE)).write(tmp_path / "microphone.wav")


@asynccontextmanager
async def opened_page(url: str, folder: Path, *arguments: str, script: str = "") -> AsyncIterator[Page]:
    """The page, loaded after `script`; a picture of how it looked in the end stays in `folder`."""
    async with async_playwright() as playwright:
        browser: Browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *arguments])
        page = await browser.new_page(base_url=url)
        await page.add_init_script(script)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(url)
        await expect(page.locator("#call")).to_be_enabled()
        try:
            yield page
        finally:
            await page.screenshot(path=folder / "last-seen.png", full_page=True)
            await browser.close()
        assert errors == []


@pytest.fixture
async def page(browser_gateway_url: str, microphone: Path, request: Any, tmp_path: Path) -> AsyncIterator[Page]:
    arguments = [*getattr(request, "param", [GRANT]), f"--use-file-for-fake-audio-capture={microphone}"]
    async with opened_page(browser_gateway_url, tmp_path, *arguments) as opened:
        yield opened


async def call(page: Page) -> None:
    await page.click("#call")
    await expect(page.locator("body")).to_have_attribute("data-state", "listening", timeout=10_000)


async def loudest(page: Page, meter: str, within_ms: int) -> None:
    """Wait until a level meter has shown a voice."""
    await page.wait_for_function(
        "meter => Number(document.getElementById(meter).ariaValueNow) > 30", arg=meter, timeout=within_ms
    )


async def test_a_browser_calls_talks_hears_the_answer_and_hangs_up(page: Page) -> None:
    """The main thing: both directions carry sound, the transcript shows who spoke, and the call ends properly."""
    await call(page)
    await loudest(page, "level-mic", 10_000)
    await expect(page.locator(".bubble.you").first).to_be_visible()
    await expect(page.locator("body")).to_have_attribute("data-state", "speaking", timeout=15_000)
    await loudest(page, "level-bot", 5_000)
    await expect(page.locator(".bubble.bot .text").first).not_to_have_text("")
    await expect(page.locator("#timer")).not_to_have_text("0:00")
    await page.click("#hangup")
    await expect(page.locator("body")).to_have_attribute("data-phase", "idle")
    await expect(page.locator("#log")).to_contain_text("You hung up.")
    await expect(page.locator("#problem")).to_be_hidden()


async def test_chromium_sends_copies_once_it_is_told_of_losses(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every eighth packet never comes. By our answer and our reports Chromium knows what that calls for."""
    holds_copy = opus_library._loaded().opus_packet_has_lbrr
    take, hear = ParrotCall.packet_came, ParrotCall._sound
    came, found = count(), asyncio.Event()

    def lossy(parrot: ParrotCall, packet: bytes) -> None:
        number = next(came)
        if number % 8:
            take(parrot, packet)
        if number % 25 == 24 and not rtp.is_rtcp(packet):
            sequence, source = int.from_bytes(packet[2:4]), int.from_bytes(packet[8:12])
            lost = rtcp.Block(source, 256 // 8, number // 8, sequence, jitter=0, last_report=0, delay=0)
            assert parrot._ours is not None
            parrot.peer.send(parrot._ours.protect_rtcp(rtcp.build(rtcp.Report(1, None, (lost,)), "parrot")))

    def watched(parrot: ParrotCall, packet: rtp.RtpPacket) -> Any:
        if holds_copy(packet.payload, len(packet.payload)) == 1:
            found.set()
        return hear(parrot, packet)

    monkeypatch.setattr(ParrotCall, "packet_came", lossy)
    monkeypatch.setattr(ParrotCall, "_sound", watched)
    await call(page)
    await asyncio.wait_for(found.wait(), 20)


async def test_digits_go_by_pad_and_by_keyboard(page: Page) -> None:
    """Both reach the gateway, in order; the transcript shows what the gateway got."""
    await call(page)
    await page.locator("#pad button", has_text="7").click()
    await page.keyboard.press("3")
    await page.keyboard.press("#")
    await expect(page.locator(".line kbd")).to_have_text(["7", "3", "#"])


async def test_a_reload_is_not_the_end_of_the_conversation(page: Page) -> None:
    """The page keeps its identity, offers to go on, and the gateway knows who came back."""
    await call(page)
    await page.reload()
    await expect(page.locator("#call-label")).to_have_text("Pick up where we stopped")
    await call(page)
    await expect(page.locator("#log")).to_contain_text("Welcome back")


async def test_starting_afresh_forgets_who_called(page: Page) -> None:
    """Somebody else at the same browser is not taken for the one before."""
    await call(page)
    await page.click("#hangup")
    await expect(page.locator("body")).to_have_attribute("data-phase", "idle")
    before = await page.evaluate("localStorage.getItem('gateway.caller')")
    await page.click("#forget")
    await call(page)
    assert await page.evaluate("localStorage.getItem('gateway.caller')") != before
    await expect(page.locator("#log")).not_to_contain_text("Welcome back")


async def test_a_page_without_a_data_channel_still_shows_the_conversation(page: Page) -> None:
    """Where SCTP does not get through, events come by HTTP, from the call's first on."""
    await page.evaluate(
        """() => {
            const make = RTCPeerConnection.prototype.createDataChannel;
            RTCPeerConnection.prototype.createDataChannel = function () { return make.call(this, "not-the-gateways"); };
            Object.defineProperty(RTCDataChannel.prototype, "readyState", { get: () => "connecting" });
        }"""
    )
    await page.click("#call")
    await expect(page.locator("body")).to_have_attribute("data-phase", "connected", timeout=10_000)
    await expect(page.locator(".bubble.you").first).to_be_visible(timeout=15_000)


async def test_the_transcript_shows_what_was_really_heard(page: Page) -> None:
    """An interrupted answer keeps the words that were played; the rest, unspoken sentences too, is struck out."""
    events = [
        {"type": "UtteranceSynthesised", "clip": 1, "text": "It is free at nine thirty, or at ten."},
        {"type": "UtteranceStarted", "clip": 1},
        {"type": "UtteranceSynthesised", "clip": 2, "text": "Which one?"},
        {"type": "SpeechBegan"},
        {"type": "PlaybackPaused", "clip": 1},
        {"type": "BargedIn", "clip": 1},
        {"type": "UtterancePlayed", "clip": 1, "heard": "it is free at nine thirty", "complete": False},
        {"type": "UtterancePlayed", "clip": 2, "heard": "", "complete": False},
        {"type": "TranscriptHeard", "turn": 1, "text": "nine", "final": True},
        {"type": "UserTurnEnded", "turn": 1, "text": "nine thirty", "digits": ""},
    ]
    await page.evaluate(
        """async events => {
            const { Transcript } = await import("/static/transcript.js");
            const transcript = new Transcript(document.getElementById("log"));
            events.forEach((event, i) => transcript.show({ at: i, ...event }));
        }""",
        events,
    )
    await expect(page.locator(".bubble")).to_have_count(2)
    await expect(page.locator(".bubble.bot s")).to_have_text(["or at ten.", "Which one?"])
    await expect(page.locator(".bubble.bot .note")).to_contain_text("you interrupted")
    await expect(page.locator(".bubble.you .text")).to_have_text("nine thirty")


async def test_a_call_that_the_operator_ends_is_over_on_the_page_too(page: Page) -> None:
    """The page learns it from the call's last event, says so, and is ready for another call."""
    await call(page)
    calls = await (await page.request.get("/api/calls")).json()
    await page.request.post(f"/api/calls/{calls[-1]['id']}/hangup")
    await expect(page.locator("#log")).to_contain_text("The gateway ended the call.")
    await expect(page.locator("#call")).to_be_visible()
    assert len(await (await page.request.get("/api/calls")).json()) == len(calls) - 1


async def test_hanging_up_while_the_call_is_set_up_leaves_nothing_behind(page: Page) -> None:
    """Whenever the user changes their mind: no call at the gateway, no microphone left open."""
    await page.evaluate(
        """() => {
            const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
            navigator.mediaDevices.getUserMedia = async (wanted) => (window.opened = await open(wanted));
        }"""
    )
    await page.evaluate("document.getElementById('call').click(); document.getElementById('hangup').click()")
    await expect(page.locator("body")).to_have_attribute("data-phase", "idle")
    await page.wait_for_function("() => window.opened?.getTracks().every(track => track.readyState === 'ended')")
    assert await (await page.request.get("/api/calls")).json() == []


async def test_a_microphone_that_is_unplugged_is_told(page: Page) -> None:
    """The call goes on, and the caller knows why nobody answers."""
    await page.evaluate(
        """() => {
            const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
            navigator.mediaDevices.getUserMedia = async (wanted) => (window.opened = await open(wanted));
        }"""
    )
    await call(page)
    await page.evaluate("opened.getTracks().forEach(track => track.dispatchEvent(new Event('ended')))")
    await expect(page.locator("#problem-text")).to_contain_text("The microphone is gone")
    await expect(page.locator("body")).to_have_attribute("data-phase", "connected")
    await page.click("#hangup")
    await expect(page.locator("body")).to_have_attribute("data-phase", "idle")
    await expect(page.locator("#problem")).to_be_hidden()


async def test_pressing_twice_is_one_call(page: Page) -> None:
    """A second one would go on with nobody to end it. Assistive programs press what is hidden, too."""
    await page.evaluate("document.getElementById('call').click(); document.getElementById('call').click()")
    await expect(page.locator("body")).to_have_attribute("data-state", "listening", timeout=10_000)
    await page.click("#hangup")
    await expect(page.locator("#log")).to_contain_text("You hung up.")
    assert await (await page.request.get("/api/calls")).json() == []


async def test_a_busy_gateway_is_said_in_words(page: Page) -> None:
    """Refusals name the reason and when to try again; the page is ready for another call at once."""
    if not await page.locator("input[value=full]").count():
        pytest.skip("this gateway has no route that is always busy")
    await page.locator("input[value=full]").check(force=True)
    await page.click("#call")
    await expect(page.locator("#problem-text")).to_have_text(re.compile(r"busy .*all lines.* in 5 seconds"))
    await expect(page.locator("#call")).to_be_enabled()


DEVICES = """(() => {
    const real = performance.now.bind(performance);
    window.looks = 0;
    Object.defineProperty(AudioContext.prototype, "currentTime", {
        get: () => (window.looks++, window.running ? real() / 1000 : 0),
    });
})()"""
"""Sound devices that start when they are told to."""


async def test_a_call_waits_until_the_sound_devices_run(page: Page) -> None:
    """Firefox takes seconds to start them; what the bot said meanwhile was heard as late as that."""
    await page.evaluate(DEVICES)
    await page.click("#call")
    await page.wait_for_function("() => looks > 10")
    assert await (await page.request.get("/api/calls")).json() == []
    await page.evaluate("window.running = true")
    await expect(page.locator("body")).to_have_attribute("data-phase", "connected", timeout=10_000)


async def test_a_call_does_without_sound_devices_that_never_run(page: Page) -> None:
    """As on a machine without a loudspeaker; after four seconds, which pass more quickly here."""
    await page.evaluate(DEVICES)
    await page.evaluate(
        "(() => { const real = performance.now.bind(performance); performance.now = () => 20 * real(); })()"
    )
    await page.click("#call")
    await expect(page.locator("body")).to_have_attribute("data-phase", "connected", timeout=10_000)


async def test_a_call_does_without_the_meters_where_the_browser_has_none(page: Page) -> None:
    """Firefox refuses to measure streams at another rate; the call must not be left behind with nobody to end it."""
    await page.evaluate(
        """() => {
            AudioContext.prototype.createMediaStreamSource = () => {
                throw new DOMException("different sample-rate", "NotSupportedError");
            };
        }"""
    )
    await call(page)
    await expect(page.locator("#problem")).to_be_hidden()
    await page.click("#hangup")
    await expect(page.locator("#log")).to_contain_text("You hung up.")


@pytest.mark.parametrize(
    ("address", "said"), [("127.0.0.1", "listens on 127.0.0.1 only"), ("192.0.2.7", "A firewall may block UDP")]
)
async def test_where_no_audio_gets_through_the_page_says_why(page: Page, address: str, said: str) -> None:
    """Firefox sends nothing to 127.0.0.1 unless it is told to, which no firewall is to blame for."""
    await page.evaluate(
        """address => {
            const set = RTCPeerConnection.prototype.setRemoteDescription;
            RTCPeerConnection.prototype.setRemoteDescription = async function ({ type, sdp }) {
                await set.call(this, { type, sdp: sdp.replaceAll(/ 127.0.0.1 \\d+ typ/g, ` ${address} 9 typ`) });
                Object.defineProperty(this, "connectionState", { get: () => "failed" });
                this.dispatchEvent(new Event("connectionstatechange"));
            };
        }""",
        address,
    )
    await page.click("#call")
    await expect(page.locator("#problem-text")).to_contain_text(said)
    await expect(page.locator("#call")).to_be_enabled()


@pytest.mark.parametrize("page", [["--deny-permission-prompts"]], indirect=True)
async def test_a_refused_microphone_is_said_in_words(page: Page) -> None:
    """Not a silent call: the user reads what to change."""
    await page.click("#call")
    await expect(page.locator("#problem-text")).to_contain_text("may not use the microphone")
    await expect(page.locator("body")).to_have_attribute("data-phase", "idle")


# The whole gateway behind the page


SPEAKING_MICROPHONE = """(() => {
    let context, line;
    navigator.mediaDevices.getUserMedia = async () => {
        context ??= new AudioContext();
        await context.resume();
        line = context.createMediaStreamDestination();
        return line.stream;
    };
    window.speakIntoMicrophone = async wav => {
        const octets = Uint8Array.from(atob(wav), character => character.charCodeAt(0));
        const source = new AudioBufferSourceNode(context, { buffer: await context.decodeAudioData(octets.buffer) });
        source.connect(line);
        source.start();
    };
})()"""
"""Chromium's own microphone plays a file from its beginning, whatever the bot is doing; a caller listens first."""


@pytest.fixture
async def desk_page(gateway: GatewayProcess, tmp_path: Path) -> AsyncIterator[Page]:
    """The caller at this microphone says what they are told to."""
    arguments = (GRANT, "--autoplay-policy=no-user-gesture-required")
    async with opened_page(gateway.http_url, tmp_path, *arguments, script=SPEAKING_MICROPHONE) as page:
        await page.locator("input[value=desk]").check(force=True)
        yield page


@pytest.fixture
async def waiting_page(gateway: GatewayProcess, tmp_path: Path) -> AsyncIterator[Page]:
    """The caller at Chromium's own microphone, behind its noise suppression, waits and then books in one sentence."""
    said = [silence(7, RATE), speech(BOOK_WHOLLY, rate=RATE), silence(30, RATE)]
    microphone = silence(0, RATE).then(*said).write(tmp_path / "booking.wav")
    arguments = (GRANT, f"--use-file-for-fake-audio-capture={microphone}%noloop")
    async with opened_page(gateway.http_url, tmp_path, *arguments) as page:
        await page.locator("input[value=desk]").check(force=True)
        yield page


async def say(page: Page, text: str, folder: Path) -> None:
    wav = speech(text, rate=RATE).write(folder / "said.wav").read_bytes()
    await page.evaluate("wav => speakIntoMicrophone(wav)", base64.b64encode(wav).decode())


@pytest.mark.alone
async def test_a_browser_books_by_voice(desk_page: Page, gateway: GatewayProcess, tmp_path: Path) -> None:
    """The transcript shows what was understood and what the bot said; call and session are kept as a phone's are."""
    await desk_page.click("#call")
    call = await soon(gateway.call, within_s=15)
    await soon(call.wait_asked, WHAT_TO_DO)
    await say(desk_page, BOOK_WHOLLY, tmp_path)
    await soon(call.wait_asked, IS_THAT_RIGHT)
    await say(desk_page, "yes", tmp_path)
    await soon(call.wait, "DialogueCompleted")
    ended = await soon(gateway.ended, call)
    assert (ended["door"], ended["reason"], ended["by"], ended["outcome"]) == ("browser", "hangup", "bot", "booked")
    assert (ended["codec"], ended["packets_lost"]) == ("opus", 0)
    assert ended["packets_sent"] > 40 * (ended["duration_s"] - 2)
    assert ended["packets_received"] > 100  # of what was said; this microphone sends nothing between
    booked = call.find("DialogueCompleted")[0]["data"]
    assert booked == {"task": "book", "service": "haircut", "day": "thursday", "half": "morning"}
    await expect(desk_page.locator("body")).to_have_attribute("data-phase", "idle")
    await expect(desk_page.locator(".bubble.you .text").last).to_have_text("yes")
    assert await desk_page.locator(".bubble.you .text").all_inner_texts() == call.understood()
    shown = " ".join(await desk_page.locator(".bubble.bot .text").all_inner_texts())
    for words in (
        "Hello, this is the appointment desk.",
        "Is that right?",
        "Your haircut is booked for Thursday morning.",
    ):
        assert words in shown
    sessions = gateway.get("/api/sessions")
    mine = next(one for one in sessions if one["id"] == ended["session"])
    assert (mine["status"], mine["identity"]["called"]) == ("completed", "desk")
    _, bot = call.recording()
    assert all(bot.cut(begun, over).loud().mean() > 0.4 for begun, over in call.bot_spoke())


EAVESDROP = """() => {
    window.heard = [];
    const waiting = setInterval(() => {
        const stream = document.getElementById("speaker").srcObject;
        if (!stream) return;
        clearInterval(waiting);
        const context = new AudioContext({ sampleRate: 48000 });
        const tap = context.createScriptProcessor(4096, 1, 1);
        tap.onaudioprocess = ({ inputBuffer }) => window.heard.push(new Float32Array(inputBuffer.getChannelData(0)));
        context.createMediaStreamSource(stream).connect(tap);
        tap.connect(context.destination);
    }, 5);
}"""
"""Keep what the page's loudspeaker plays, from the first packet on."""

OVERHEARD = """async () => {
    const reader = new FileReader();
    await new Promise((done) => { reader.onload = done; reader.readAsDataURL(new Blob(window.heard)); });
    return reader.result.split(",")[1];
}"""


@pytest.mark.alone
async def test_both_sides_of_a_browsers_call_are_wideband(waiting_page: Page, gateway: GatewayProcess) -> None:
    """Chromium plays of the greeting what its file holds above 4 kHz, within 5 dB of the voice below. The gateway hears
    so of the caller, too, within the 8 dB that the page's noise suppression may take; doubled from 8 kHz it would be
    nothing. The call's recording holds both, and its replay understands the same."""
    await waiting_page.evaluate(EAVESDROP)
    await waiting_page.click("#call")
    call = await soon(gateway.call, within_s=15)
    await soon(call.wait_asked, IS_THAT_RIGHT)  # a replay may hear a word more of one that is cut off
    pcm = np.frombuffer(base64.b64decode(await waiting_page.evaluate(OVERHEARD)), "<f4")
    await waiting_page.click("#hangup")
    await soon(gateway.ended, call)
    greeting, sentence = read_wav(GREETING), speech(BOOK_WHOLLY, rate=RATE)
    heard = Sound(32768.0 * pcm, RATE).at(16000)
    begins = np.flatnonzero(heard.loud())[0] * 0.02
    played = heard.cut(begins, begins + greeting.seconds)
    caller, bot = call.recording()
    spoke = caller.cut(*(call.second(call.find(kind)[0][at]) for kind, at in SPEECH))
    assert (caller.rate, call.find("RecordingStarted")[0]["wideband"]) == (16000, True)
    above_4_khz = greeting.above_4_khz_db()
    assert played.above_4_khz_db() == pytest.approx(above_4_khz, abs=5)
    assert bot.cut(*call.bot_spoke()[0]).above_4_khz_db() == pytest.approx(above_4_khz, abs=5)
    assert spoke.above_4_khz_db() == pytest.approx(sentence.above_4_khz_db(), abs=8)
    assert spoke.at(8000).at(16000).above_4_khz_db() < -45
    await asyncio.to_thread(expect_replay, call)


async def test_a_reload_in_mid_call_resumes_the_session(desk_page: Page, gateway: GatewayProcess) -> None:
    """Same browser, same question, and what was said before the reload is known. The log tells each call's browser by
    the call."""
    await desk_page.click("#call")
    first = await soon(gateway.call, within_s=15)
    await soon(gateway.wait_log, "webrtc.connected", call=first.id)
    await soon(first.wait, "UtteranceStarted")
    await desk_page.locator("#pad button", has_text="1").click()
    await soon(first.wait_replied, "hair color?")
    await desk_page.reload()
    await expect(desk_page.locator("#call-label")).to_have_text("Pick up where we stopped")
    await desk_page.click("#call")
    second = await soon(gateway.call, 2, within_s=15)
    await soon(second.wait_replied, "hair color?")
    assert second.find("SessionResumed")[0]["session"] == first.find("SessionStarted")[0]["session"]
    await expect(desk_page.locator("#log")).to_contain_text("Welcome back. So far I have: a booking.")
    await expect(desk_page.locator("#log")).to_contain_text("Which service would you like?", timeout=10_000)
    assert (await soon(gateway.ended, first))["by"] == "caller"
    await soon(gateway.wait_log, "webrtc.connected", call=second.id)


async def test_a_browsers_call_outlives_its_media_worker(tmp_path: Path) -> None:
    """kill -9 in the bot's greeting: another process goes on under the same keys, as another source of sound. The page
    plays what that one says, the rest of the greeting included, and it understands the caller."""
    arguments = (GRANT, "--autoplay-policy=no-user-gesture-required")
    with GatewayProcess(tmp_path / "data", config="media_workers = 1\n") as gateway:
        async with opened_page(gateway.http_url, tmp_path, *arguments, script=SPEAKING_MICROPHONE) as page:
            await page.locator("input[value=desk]").check(force=True)
            await page.evaluate(EAVESDROP)
            await page.click("#call")
            call = await soon(gateway.call, within_s=15)
            await soon(call.wait, "UtteranceStarted")
            os.kill(gateway.wait_log("media.worker_started", count=1)["pid"], signal.SIGKILL)
            goes_on = (await soon(call.wait, "AudioInterrupted"))["at"]
            await soon(call.wait_asked, WHAT_TO_DO)
            await say(page, BOOK_WHOLLY, tmp_path)
            await soon(call.wait_asked, IS_THAT_RIGHT)
            pcm = np.frombuffer(base64.b64decode(await page.evaluate(OVERHEARD)), "<f4")
            await page.click("#hangup")
            ended = await soon(gateway.ended, call)
    assert (ended["reason"], ended["by"]) == ("hangup", "caller")
    assert (ended["packets_forged"], ended["packets_malformed"]) == (0, 0)
    heard, bot = Sound(32768.0 * pcm.astype(float), RATE).at(8000), call.recording()[1].at(8000)
    since = call.second(goes_on)
    spoken = [(max(begun, since), over) for begun, over in call.bot_spoke() if over > since + 1.0]
    clips = [likeness_in_pieces(bot.cut(*each), heard) for each in spoken]
    assert len(clips) >= 3
    assert min(clips) > 0.8
    await asyncio.to_thread(expect_replay, call, tolerance_s=0.25)  # a gateway's first call takes its time
