"""Codecs through the front door: wideband phones, packets of other lengths and laws, keys as tones, floods."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from baresip_phone import BaresipPhone, needs_baresip
from callers import BOOK_WHOLLY, IS_THAT_RIGHT, WHAT_TO_DO, WHICH_SERVICE
from gateway_process import QUICK, GatewayProcess
from raw_caller import RawCaller
from replays import expect_replay
from rtp_peer import RtpPeer
from sounds import GREETING, RATE, Sound, likeness_in_pieces, read_wav, silence, speech

from gateway.app.config import shipped
from gateway.media import g711, tones

pytestmark = pytest.mark.interop

CODECS = 'codecs = ["PCMU", "PCMA", "G722", "opus"]\ncomfort_noise = true\n'
TRUNK = "[[trunk]]\nname = 'old'\nhost = '127.0.0.1'\ndtmf = 'inband'\noptions_interval_s = 0\n"
SOUNDS = """
routes:
  wait:
    match: {called: wait}
    steps:
      - answer
      - music: {file: waiting.wav, level: -6, while_speaking: -20}
      - wait: 1s
      - play: prompt.wav
      - wait: 1s
      - music: {stop: true}
      - wait: 1s
  play: {match: {called: play}, steps: [answer, {play: both.wav}, {wait: 500ms}]}
  music: {match: {called: music}, steps: [answer, {music: {file: both.wav, level: 0, seconds: 2.5}}, {wait: 500ms}]}
"""
SENTENCE = "I would like to book a haircut on Thursday"


@pytest.fixture(scope="module")
def _house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """The shipped dialplan, and routes that play files."""
    folder = tmp_path_factory.mktemp("gateway")
    plans = folder / "plans"
    plans.mkdir()
    (plans / "shipped.yaml").write_text(shipped("dialplans/default.yaml").read_text())
    (plans / "sounds.yaml").write_text(SOUNDS)
    t = np.arange(2 * 16000) / 16000
    both = 5000 * (np.sin(2 * np.pi * 1000 * t) + np.sin(2 * np.pi * 6000 * t))
    Sound(both, 16000).write(plans / "both.wav")
    for name, hz in (("waiting", 400), ("prompt", 1000)):
        Sound(8000 * np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)).write(plans / f"{name}.wav")
    with GatewayProcess(folder / "data", "--dialplan", str(plans), config=CODECS + QUICK) as running:
        yield running


@needs_baresip
@pytest.mark.parametrize("codec", ["G722/16000/1", "opus/48000/2"])
def test_a_caller_books_by_voice_over_a_wideband_codec(
    gateway: GatewayProcess, tmp_path: Path, number: str, codec: str
) -> None:
    """Understood word by word; while it lives the API tells how its audio is, afterwards the log does."""
    name = codec.partition("/")[0]
    with BaresipPhone(tmp_path / "phone", number, codec=codec) as phone:
        call = gateway.called_by(phone, "desk")
        call.wait_asked(WHAT_TO_DO)
        phone.say(speech(BOOK_WHOLLY))
        call.wait_asked(IS_THAT_RIGHT)
        live = gateway.get(f"/api/calls/{call.id}")["media"]
        phone.say(speech("yes"))
        completed = call.wait("DialogueCompleted")
        ended = gateway.ended(call)
        phone.wait("CALL_CLOSED")
    assert completed["outcome"] == "booked"
    assert call.find("CallAnswered")[0]["codec"] == ended["codec"] == live["codec"] == name
    assert live["packets_received"] > 100
    assert live["packets_lost"] == 0
    assert live["mos"] > 3.5
    _, bot = call.recording()
    begun, over = call.bot_spoke()[1]
    assert likeness_in_pieces(bot.cut(begun, over), phone.heard(bot.rate)) > 0.9


@needs_baresip
@pytest.mark.parametrize("codec", ["G722/16000/1", "opus/48000/2"])
def test_the_bot_is_heard_in_wideband(gateway: GatewayProcess, tmp_path: Path, number: str, codec: str) -> None:
    """baresip hears of the greeting what its recording holds above 4 kHz, within 5 dB of the voice below; doubled from
    8 kHz that would be nothing."""
    with BaresipPhone(tmp_path / "phone", number, codec=codec) as phone:
        phone.dial(gateway.uri("desk"))
        gateway.call().wait_asked(WHAT_TO_DO)
        phone.hang_up()
        phone.wait("CALL_CLOSED")
    greeting = read_wav(GREETING)
    assert greeting.rate == 16000
    heard = phone.heard(16000)
    spoken_at = np.flatnonzero(heard.loud())[0] * 0.02
    above_4_khz = greeting.above_4_khz_db()
    assert heard.cut(spoken_at, spoken_at + greeting.seconds).above_4_khz_db() == pytest.approx(above_4_khz, abs=5)
    assert above_4_khz > -30
    assert greeting.at(8000).at(16000).above_4_khz_db() < -45


@needs_baresip
@pytest.mark.parametrize("step", ["play", "music"])
def test_a_played_file_is_heard_in_wideband(gateway: GatewayProcess, tmp_path: Path, number: str, step: str) -> None:
    """A dialplan's `play` or `music` of a 16 kHz file: 6 kHz arrive as loud as 1 kHz. The call's bundle replays, though
    the file is not beside its copy of the dialplan."""
    with BaresipPhone(tmp_path / "phone", number, codec="G722/16000/1") as phone:
        call = gateway.called_by(phone, step)
        phone.wait("CALL_CLOSED")
        gateway.ended(call)
    heard = phone.heard(16000)
    begins = np.flatnonzero(heard.loud(over=3000))[0] * 0.02
    middle = heard.cut(begins + 0.5, begins + 1.5).samples
    t = np.arange(len(middle)) / 16000
    low, high = (2 * abs(np.mean(middle * np.exp(-2j * np.pi * hz * t))) for hz in (1000, 6000))
    assert low == pytest.approx(5000, rel=0.1)
    assert high == pytest.approx(5000, rel=0.2)
    expect_replay(call)


@needs_baresip
def test_a_wideband_call_replays_as_it_was(gateway: GatewayProcess, tmp_path: Path, number: str) -> None:
    """The packet trace of a G.722 call decodes in its replay to the same words at the same times."""
    with BaresipPhone(tmp_path / "phone", number, codec="G722/16000/1") as phone:
        call = gateway.called_by(phone, "desk")
        call.wait_asked(WHAT_TO_DO)
        phone.say(speech("I would like to book an appointment"))
        call.wait_asked(WHICH_SERVICE)
        phone.listen(0.5)
        phone.hang_up()
        gateway.ended(call)
    assert any(heard["text"] == "i would like to book an appointment" for heard in call.find("TranscriptHeard"))
    expect_replay(call)


def test_a_peer_of_30_ms_packets_hears_itself(gateway: GatewayProcess, number: str) -> None:
    """It gets packets as long as its own, and its own are understood."""
    sentence = speech(SENTENCE)
    with RawCaller(gateway.sip_port, "echo", number=number) as caller, RtpPeer(sentence, packet=240) as peer:
        media = "m=audio {port} RTP/AVP 0\r\na=ptime:30\r\na=maxptime:30\r\n"
        answered = caller.ask(caller.request("INVITE", caller.sdp(peer.port, media)))
        assert answered is not None
        assert "a=ptime:30" in answered.text
        call = gateway.call()
        peer.listen(sentence.seconds + 0.8)
        caller.hang_up()
        gateway.ended(call)
    assert {len(packet.payload) for packet in peer.received} == {240}
    assert {b.timestamp - a.timestamp for a, b in zip(peer.received, peer.received[1:], strict=False)} == {240}
    heard = peer.heard()
    assert likeness_in_pieces(sentence, heard) > 0.9


def test_silence_goes_as_comfort_noise_to_who_takes_it(gateway: GatewayProcess, number: str) -> None:
    """Agreed in the answer; an echo of silence is a packet now and then, and of speech the speech itself."""
    sentence = speech(SENTENCE)
    with (
        RawCaller(gateway.sip_port, "echo", number=number) as caller,
        RtpPeer(silence(1.5).then(sentence)) as peer,
    ):
        answered = caller.ask(caller.request("INVITE", caller.sdp(peer.port, "m=audio {port} RTP/AVP 0 13\r\n")))
        assert answered is not None
        assert re.search(r"m=audio \d+ RTP/AVP 0 13", answered.text)
        call = gateway.call()
        peer.listen(sentence.seconds + 3.0)
        caller.hang_up()
        gateway.ended(call)
    noise = [packet for packet in peer.received if packet.payload_type == 13]
    assert len(noise) >= 3
    assert {len(packet.payload) for packet in noise} == {1}
    assert len(peer.received) < (sentence.seconds + 1.5) * 50
    assert likeness_in_pieces(sentence, peer.heard()) > 0.9


def test_a_peer_may_send_another_law_than_it_gets(gateway: GatewayProcess, number: str) -> None:
    """Offered both, we send mu-law; it sends A-law, and hears itself."""
    sentence = speech(SENTENCE)
    with RawCaller(gateway.sip_port, "echo", number=number) as caller, RtpPeer(sentence, law=1) as peer:
        caller.ask(caller.request("INVITE", caller.sdp(peer.port, "m=audio {port} RTP/AVP 0 8\r\n")))
        call = gateway.call()
        peer.listen(sentence.seconds + 0.8)
        caller.hang_up()
        gateway.ended(call)
    assert {packet.payload_type for packet in peer.received} == {0}
    assert likeness_in_pieces(sentence, peer.heard()) > 0.9


def test_a_flood_on_one_port_leaves_the_other_calls_whole(gateway: GatewayProcess, number: str) -> None:
    """Five thousand packets a second, of rubbish and of sequence games, into one call for the length of a sentence: the
    other call hears itself without a loss, the flooded one still ends as asked, and nothing is logged as an error."""
    sentence = speech(SENTENCE)
    with (
        RawCaller(gateway.sip_port, "echo", number=number) as flooded,
        RawCaller(gateway.sip_port, "echo", number=number + "1") as other,
        RtpPeer(sentence) as victim,
        RtpPeer(sentence) as peer,
    ):
        target = flooded.call(victim.port)
        first = gateway.call()
        other.call(peer.port)
        second = gateway.call(2)
        victim.next_packet()
        sent = _flood(victim, target, sentence.seconds + 0.8)
        other.hang_up()
        flooded.hang_up()
        gateway.ended(first)
        ended = gateway.ended(second)
    assert sent > 2000
    assert ended["packets_lost"] == 0
    assert likeness_in_pieces(sentence, peer.heard()) > 0.9
    assert not gateway.troubles()


def _flood(victim: RtpPeer, target: int, seconds: float) -> int:
    """From the peer's own port and from a stranger's: random octets, wild timestamps, old sequence numbers. By the
    clock, for who floods does not wait for those who suffer from it."""
    rng, sent, pause = np.random.default_rng(9), 0, threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for _ in range(int(seconds * 100)):
            for _ in range(25):
                header = bytes([0x80, 0]) + rng.bytes(6) + (0x1234ABCD).to_bytes(4, "big")
                victim.send(header + bytes(160))
                stranger.sendto(rng.bytes(int(rng.integers(1, 400))), ("127.0.0.1", target))
                sent += 2
            pause.wait(0.01)
    return sent


def test_music_plays_while_the_caller_waits_and_behind_the_bot(gateway: GatewayProcess, number: str) -> None:
    """The dialplan's `music`: loud while nothing is said, 14 dB softer under a prompt, and gone when it is told so."""
    with RawCaller(gateway.sip_port, "wait", number=number) as caller, RtpPeer(silence(1.0)) as peer:
        caller.call(peer.port)
        call = gateway.call()
        gateway.ended(call)
    heard = peer.heard()
    music, prompt = (_strength(heard, hz) for hz in (400, 1000))
    said = np.flatnonzero(prompt > 5000)
    assert len(said) == pytest.approx(10, abs=2)  # a second, a tenth at a time
    assert np.median(music[said[0] - 6 : said[0] - 1]) == pytest.approx(8000 * 10 ** (-6 / 20), rel=0.1)
    assert np.median(music[said[2:-2]]) == pytest.approx(8000 * 10 ** (-20 / 20), rel=0.15)
    assert music[-4:].max() < 100


def _strength(sound: Sound, hz: float) -> np.ndarray:
    """Amplitude of one frequency in every tenth of a second."""
    size = RATE // 10
    pieces = sound.samples[: len(sound.samples) // size * size].reshape(-1, size)
    return np.asarray(2 * np.abs(pieces @ np.exp(-2j * np.pi * hz * np.arange(size) / RATE)) / size)


def test_keys_are_heard_as_tones_where_a_trunk_says_so(tmp_path: Path, number: str) -> None:
    """No telephone events in the answer; the menu goes by what is heard."""
    sound = np.concatenate([np.zeros(RATE // 2), *(tones.key("3", k).astype(float) for k in range(0, 960, 160))])
    with (
        GatewayProcess(tmp_path / "data", config=QUICK + TRUNK) as gateway,
        RawCaller(gateway.sip_port, "menu", number=number) as caller,
        RtpPeer(silence(0.5).then(Sound(sound))) as peer,
    ):
        media = "m=audio {port} RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
        answered = caller.ask(caller.request("INVITE", caller.sdp(peer.port, media.replace(" 8 ", " 0 "))))
        assert answered is not None
        assert not re.search("telephone-event", answered.text)
        call = gateway.call()
        pressed = call.wait("DigitPressed")
        caller.hang_up()
        gateway.ended(call)
    assert (pressed["digit"], pressed["method"]) == ("3", "inband")
    assert g711.LAWS[0] == call.find("CallAnswered")[0]["codec"]
