"""Packet captures as callers: every usual link layer, both file formats, and the caller found in them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.call.ports import Incoming
from gateway.core.errors import ConfigError
from gateway.media import rtp
from gateway.replay.capture import Datagram, is_capture, read_capture
from gateway.replay.captured import far_side_captured

ALICE, BOT = ("192.0.2.7", 4000), ("192.0.2.1", 16384)
NOBODY = Incoming("replay", "replay", "desk")
INVITE = (
    b"INVITE sip:desk@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\nFrom: <sip:alice@x>;tag=1\r\n"
    b"To: <sip:desk@192.0.2.1>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\n\r\n"
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 101\r\n"
)


def udp(source: tuple[str, int], target: tuple[str, int], data: bytes) -> bytes:
    """An IPv4 packet."""
    hosts = [bytes(int(part) for part in host.split(".")) for host in (source[0], target[0])]
    body = struct.pack(">HHHH", source[1], target[1], 8 + len(data), 0) + data
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, 64, 17, 0) + hosts[0] + hosts[1] + body


def udp6(source: tuple[str, int], target: tuple[str, int], data: bytes) -> bytes:
    hosts = [bytes(15) + bytes([int(host[-1])]) for host in (source[0], target[0])]
    body = struct.pack(">HHHH", source[1], target[1], 8 + len(data), 0) + data
    return struct.pack(">IHBB", 0x60000000, len(body), 17, 64) + hosts[0] + hosts[1] + body


def ethernet(packet: bytes) -> bytes:
    return bytes(12) + (b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd") + packet


LINKS: dict[int, Callable[[bytes], bytes]] = {
    0: lambda packet: b"\2\0\0\0" + packet,
    1: ethernet,
    101: lambda packet: packet,
    113: lambda packet: bytes(14) + b"\x08\0" + packet,
    276: lambda packet: b"\x08\0" + bytes(18) + packet,
}


def pcap(frames: list[tuple[float, bytes]], link: int = 1, order: str = "<") -> bytes:
    head = struct.pack(f"{order}IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link)
    records = [
        struct.pack(f"{order}IIII", int(at), round(at % 1 * 1e6), len(frame), len(frame)) + frame
        for at, frame in frames
    ]
    return head + b"".join(records)


def pcapng(frames: list[tuple[float, bytes]], link: int = 1, order: str = "<") -> bytes:
    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = len(body) + 12
        return struct.pack(f"{order}II", kind, size) + body + struct.pack(f"{order}I", size)

    section = block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1))
    nanoseconds = struct.pack(f"{order}HHB3x", 9, 1, 9) + bytes(4)
    interface = block(1, struct.pack(f"{order}HHI", link, 0, 65535) + nanoseconds)
    packets = []
    for at, frame in frames:
        units = round(at * 1e9)
        fields = struct.pack(f"{order}IIIII", 0, units >> 32, units & 0xFFFFFFFF, len(frame), len(frame))
        packets.append(block(6, fields + frame))
    return section + interface + block(5, bytes(12)) + b"".join(packets)


def saved(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "call.pcap"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("write", [pcap, pcapng])
@pytest.mark.parametrize("link", list(LINKS))
def test_every_usual_capture_gives_the_same_datagrams(
    tmp_path: Path, write: Callable[..., bytes], link: int, order: str
) -> None:
    """Whatever machine and tool wrote it, with times to the microsecond."""
    path = saved(tmp_path, write([(12.25, LINKS[link](udp(ALICE, BOT, b"hello")))], link, order))
    assert is_capture(path)
    ((at_s, *rest),) = read_capture(path)
    assert at_s == pytest.approx(12.25, abs=2e-6)
    assert tuple(rest) == (ALICE, BOT, b"hello")


def test_tags_and_ipv6_are_looked_through(tmp_path: Path) -> None:
    """A VLAN tag moves the header on; IPv6 has another one."""
    plain = ethernet(udp(ALICE, BOT, b"tagged"))
    tagged = plain[:12] + b"\x81\0\0\5" + plain[12:]
    six = ethernet(udp6(("::1", 5), ("::2", 6), b"six"))
    found = read_capture(saved(tmp_path, pcap([(1.0, tagged), (2.0, six)])))
    assert [one.data for one in found] == [b"tagged", b"six"]
    assert found[1].source == ("::1", 5)


def test_what_is_no_udp_is_passed_over(tmp_path: Path) -> None:
    """TCP, fragments, ARP, and frames that are too short."""
    packet = udp(ALICE, BOT, b"data")
    tcp, fragment = bytearray(packet), bytearray(packet)
    tcp[9], fragment[6] = 6, 0x20
    frames = [
        ethernet(bytes(tcp)),
        ethernet(bytes(fragment)),
        bytes(12) + b"\x08\x06" + bytes(28),
        b"\0",
        ethernet(packet),
    ]
    found = read_capture(saved(tmp_path, pcap([(1.0, frame) for frame in frames])))
    assert [one.data for one in found] == [b"data"]


def speech(source: tuple[str, int], target: tuple[str, int], kind: int, begun: float, count: int) -> list[Datagram]:
    packets = (rtp.build(rtp.RtpPacket(kind, n, n * 160, 7, bytes([n]) * 160)) for n in range(count))
    return [Datagram(begun + n * 0.02, source, target, data) for n, data in enumerate(packets)]


def written(tmp_path: Path, datagrams: list[Datagram]) -> Path:
    frames = [(one.at_s, ethernet(udp(one.source, one.target, one.data))) for one in sorted(datagrams)]
    return saved(tmp_path, pcap(frames))


def test_the_caller_is_who_sent_the_invite(tmp_path: Path) -> None:
    """By the port of its SDP; the other side's stream, longer as it may be, is not the caller's, and
    another call's goodbye is not theirs."""
    invite = Datagram(1.0, (ALICE[0], 5060), (BOT[0], 5060), INVITE)
    bye = INVITE.split(b"Content-Type")[0].replace(b"INVITE", b"BYE") + b"\r\n"
    goodbye = Datagram(9.0, (ALICE[0], 5060), (BOT[0], 5060), bye)
    other = Datagram(3.0, (ALICE[0], 5060), (BOT[0], 5060), bye.replace(b"Call-ID: 1", b"Call-ID: 2"))
    caller, bot = speech(ALICE, BOT, 8, 2.0, 60), speech(BOT, ALICE, 8, 2.0, 90)
    side = far_side_captured(written(tmp_path, [invite, *caller, *bot, other, goodbye]), NOBODY, hang_up_after_s=5.0)
    assert (side.incoming.caller, side.incoming.called, side.incoming.door) == ("alice", "desk", "replay")
    assert (side.codec, side.payload_type) == ("PCMA", 8)
    assert [one.data for one in side.datagrams] == [one.data for one in caller]
    assert side.datagrams[0].at_s == pytest.approx(0.02)
    assert {one.tick - round(one.at_s / 0.02) for one in side.datagrams} <= {0, 1}
    assert side.hangs_up_s == pytest.approx(7.0, abs=0.001)


def test_without_an_invite_who_sends_most_is_the_caller(tmp_path: Path) -> None:
    """And hangs up some time after the last packet."""
    path = written(tmp_path, [*speech(ALICE, BOT, 0, 2.0, 60), *speech(BOT, ALICE, 0, 2.0, 20)])
    side = far_side_captured(path, NOBODY, hang_up_after_s=5.0)
    assert side.incoming == NOBODY
    assert {one.source for one in side.datagrams} == {ALICE}
    assert side.hangs_up_s == pytest.approx(60 * 0.02 + 5.0, abs=0.001)


@pytest.mark.parametrize("content", [b"", b"noise", pcap([])[:20], pcapng([])[:10]])
def test_what_is_no_capture_is_refused(tmp_path: Path, content: bytes) -> None:
    """By name; a real capture without any call says so."""
    with pytest.raises(ConfigError, match=r"call\.pcap"):
        far_side_captured(saved(tmp_path, content), NOBODY, hang_up_after_s=1.0)
    with pytest.raises(ConfigError, match=r"no stream of G\.711"):
        far_side_captured(written(tmp_path, speech(ALICE, BOT, 0, 1.0, 3)), NOBODY, hang_up_after_s=1.0)


def test_a_capture_that_was_cut_off_is_read_to_there(tmp_path: Path) -> None:
    """tcpdump was killed, or the disk was full."""
    content = pcap([(1.0 + n, ethernet(udp(ALICE, BOT, b"data"))) for n in range(3)])
    assert len(read_capture(saved(tmp_path, content[:-5]))) == 2


@given(st.sampled_from([pcap, pcapng]), st.binary(max_size=120), st.integers(0, 150))
def test_damage_raises_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, write: Callable[..., bytes], noise: bytes, at: int
) -> None:
    """Whatever is in the file: datagrams, or a ConfigError."""
    good = write([(1.0, ethernet(udp(ALICE, BOT, b"data")))])
    path = saved(tmp_path_factory.mktemp("damaged"), good[:at] + noise + good[at + len(noise) :])
    with suppress(ConfigError):
        assert all(isinstance(one, Datagram) for one in read_capture(path))
