"""What strangers and broken peers may send to the whole gateway. A call beside it hears nothing of it."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from callers import a_call_beside, soon
from gateway_process import GatewayProcess
from raw_caller import RawCaller
from rtp_peer import RtpPeer
from sounds import likeness_in_pieces, silence, speech, tone

pytestmark = pytest.mark.interop

Wrong = Callable[[RawCaller], bytes]


def invite(**changed: str | None) -> Wrong:
    return lambda caller: caller.request("INVITE", caller.sdp(9), **changed)


def offer(media: str) -> Wrong:
    return lambda caller: caller.request("INVITE", caller.sdp(9, media))


WRONG: dict[str, tuple[int, Wrong]] = {
    "video only": (488, offer("m=video {port} RTP/AVP 96\r\n")),
    "no audio at all": (488, offer("")),
    "an unknown codec only": (488, offer("m=audio {port} RTP/AVP 3\r\na=rtpmap:3 GSM/8000\r\n")),
    "encrypted audio only": (488, offer("m=audio {port} RTP/SAVP 0\r\n")),
    "a body that is no SDP": (400, lambda caller: caller.request("INVITE", "hello, gateway")),
    "another kind of body": (415, invite(Content_Type="text/plain")),
    "another version": (505, invite(line="INVITE sip:milliwatt@127.0.0.1 SIP/7.0")),
    "another kind of address": (416, invite(line="INVITE mailto:milliwatt@127.0.0.1 SIP/2.0")),
    "an unknown method": (501, lambda caller: caller.request("FROBNICATE")),
    "a method that is not for us": (405, lambda caller: caller.request("PUBLISH")),
    "no Call-ID": (400, invite(Call_ID=None)),
    "no From": (400, invite(From=None)),
    "no Contact": (400, invite(Contact=None)),
    "a CSeq for another method": (400, invite(CSeq="1 BYE")),
    "a negative length": (400, invite(Content_Length="-1")),
    "a length of 400 digits": (400, invite(Content_Length="9" * 400)),
    "less body than promised": (400, invite(Content_Length="9999")),
    "no hops left": (483, invite(Max_Forwards="0")),
    "an extension nobody has": (420, invite(Require="warp-drive")),
    "a goodbye to no call": (481, lambda caller: caller.request("BYE")),
}


async def test_every_wrong_request_gets_the_status_that_says_so(gateway: GatewayProcess, tmp_path: Path) -> None:
    """The right refusal each, no call comes of any, and none is an error of ours."""
    async with a_call_beside(gateway, tmp_path):
        got = {}
        for name, (_, wrong) in WRONG.items():
            with RawCaller(gateway.sip_port) as caller:
                reply = await soon(caller.ask, wrong(caller))
                got[name] = reply.status if reply else None
        assert got == {name: status for name, (status, _) in WRONG.items()}
        assert len(gateway.find("call.started")) == 1
    assert not gateway.troubles()


async def test_rubbish_at_the_sip_port_is_let_fall(gateway: GatewayProcess, tmp_path: Path) -> None:
    """Random bytes, torn and mutilated messages, endless headers, over UDP and TCP; then a good call."""
    chance = random.Random(5060)
    async with a_call_beside(gateway, tmp_path):
        with RawCaller(gateway.sip_port) as caller:
            good = caller.request(
                "INVITE", caller.sdp(9), line="INVITE sip:nobody@127.0.0.1 SIP/2.0", Require="nothing"
            )
            for rubbish in [*noise(chance), *torn(good), *mutilated(good, chance), *oversized(caller)]:
                caller.send(rubbish)
            await soon(spoil_connections, gateway.sip_port, good, chance)
        with RawCaller(gateway.sip_port) as caller:
            caller.call(media_port=9)
            caller.hang_up()
    assert not gateway.troubles()


def noise(chance: random.Random) -> list[bytes]:
    return [chance.randbytes(chance.randrange(1500)) for _ in range(200)] + [b"", b"\0" * 1400, b"\r\n" * 700]


def torn(message: bytes) -> list[bytes]:
    return [message[:length] for length in range(0, len(message), 3)]


def mutilated(message: bytes, chance: random.Random) -> list[bytes]:
    """A few bytes of each replaced."""
    results = []
    for _ in range(200):
        bad = bytearray(message)
        for _ in range(chance.randrange(1, 8)):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        results.append(bytes(bad))
    return results


def oversized(caller: RawCaller) -> list[bytes]:
    return [
        caller.request("OPTIONS", "", *["X-Padding: x"] * 4500),
        caller.request("OPTIONS", "", "X-Padding: " + "x" * 60_000),
        caller.request("OPTIONS", "", "Via: " + ",".join(["SIP/2.0/UDP h;branch=z9hG4bK1"] * 1500)),
        caller.request("OPTIONS", "x" * 60_000),
    ]


def spoil_connections(port: int, good: bytes, chance: random.Random) -> None:
    """Each connection sends something else that is wrong; the gateway closes those it cannot make sense of."""
    endless = b"INVITE sip:a@b SIP/2.0\r\n" + b"X-Padding: x\r\n" * 20_000
    for sent in (chance.randbytes(5000), endless, good[:100], b"\r\n\r\n" * 1000, good + b"\0" * 70_000):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            try:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            except TimeoutError:
                raise AssertionError(f"left open: {sent[:40]!r}") from None
            except OSError:
                continue  # closed in the middle of it


async def test_audio_from_strangers_is_not_heard(gateway: GatewayProcess, tmp_path: Path) -> None:
    """The caller's own stream alone is in the recording, whatever others send to its port, and as it was sent."""
    sentence = speech("The quick brown fox jumps over the lazy dog.")
    async with a_call_beside(gateway, tmp_path):
        with RawCaller(gateway.sip_port, "echo") as caller, RtpPeer(silence(0.3).then(sentence)) as peer:
            port = await soon(caller.call, peer.port)
            call = await soon(gateway.call, 2)
            await soon(send_strange_audio, peer, port, sentence.seconds + 0.5)
            caller.hang_up()
            ended = await soon(gateway.ended, call)
    assert ended["packets_foreign"] > 40
    assert ended["packets_lost"] == 0
    assert ended["packets_late"] <= peer.sent_late
    caller_side, bot_side = call.recording()
    assert likeness_in_pieces(sentence, caller_side) > 0.99
    assert likeness_in_pieces(sentence, bot_side) > 0.99


def send_strange_audio(peer: RtpPeer, port: int, seconds: float) -> None:
    """A loud tone in well-formed packets, one for each that the peer gets, with the sequence numbers and SSRC that the
    caller might use."""
    codes = bytes(range(0, 160))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for count in range(round(seconds * 50)):
            peer.next_packet()
            header = struct.pack("!BBHII", 0x80, 0, count & 0xFFFF, count * 160, 0x1234ABCD)
            stranger.sendto(header + codes, ("127.0.0.1", port))


async def test_rubbish_at_the_rtp_port_does_not_break_the_audio(gateway: GatewayProcess, tmp_path: Path) -> None:
    """Truncated, random and absurd packets from the caller's own address, on RTP and RTCP: the sound goes on."""
    chance = random.Random(5004)
    sound = tone(700, 1.2).then(speech("The quick brown fox jumps over the lazy dog."))
    async with a_call_beside(gateway, tmp_path):
        with RawCaller(gateway.sip_port, "echo") as caller, RtpPeer(sound) as peer:
            port = await soon(caller.call, peer.port)
            call = await soon(gateway.call, 2)
            await soon(send_rubbish, strange_packets(chance), peer, port + 1)
            await soon(peer.listen, sound.seconds + 0.6)
            caller.hang_up()
            ended = await soon(gateway.ended, call)
    assert ended["packets_malformed"] > 100
    assert ended["reason"] == "hangup"
    spoken = sound.cut(1.3, sound.seconds)
    assert likeness_in_pieces(spoken, call.recording()[0]) > 0.99
    assert not gateway.troubles()


def send_rubbish(packets: list[bytes], peer: RtpPeer, control_port: int) -> None:
    """To the RTP port from where the caller's audio comes, to the RTCP port from anywhere; four to each for every
    packet that the peer gets."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for count, rubbish in enumerate(packets):
            if count % 4 == 0:
                peer.next_packet()
            peer.send(rubbish)
            control.sendto(rubbish, ("127.0.0.1", control_port))


def strange_packets(chance: random.Random) -> list[bytes]:
    """None of them belongs to the stream: too short, of another version or type, with extensions that do not end."""
    rtp = struct.pack("!BBHII", 0x80, 0, 1, 1, 0x1234ABCD)
    short = [rtp[:length] for length in range(12)]
    other_version = [bytes([chance.randrange(0x40)]) + chance.randbytes(chance.randrange(200)) for _ in range(100)]
    other_type = [struct.pack("!BBHII", 0x80, kind, 1, 1, 7) + bytes(160) for kind in (3, 4, 34, 96, 111, 127)]
    bad_shape = [bytes([first]) + rtp[1:] + chance.randbytes(4) for first in (0x8F, 0x90, 0x9F, 0xA0, 0xAF, 0xB0, 0xBF)]
    control = [bytes([0x81, kind]) + chance.randbytes(chance.randrange(64)) for kind in range(200, 208)]
    return [*short, *other_version, *other_type, *bad_shape, *control]
