from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from aiortc import RTCPeerConnection
from aiortc_browser import WITHIN_S, Browser, Ours, connected

from gateway.core.errors import ConfigError, PeerError
from gateway.webrtc.relay import MOST_AT_ONCE, MOST_PER_S, Path, without_rtp


class Place:
    """Where aiortc and aioice keep what we reach for."""

    def __init__(self, profile: bytes = b"SRTP_AES128_CM_SHA1_80", role: str = "server") -> None:
        self.socket_is_gone = False
        self.kept, self.sent = list[tuple[bytes, int]](), list[tuple[bytes, object]]()
        self.connection = SimpleNamespace(data_received=lambda *data: self.kept.append(data), _nominated={})
        self.dtls = SimpleNamespace(
            transport=SimpleNamespace(_connection=self.connection),
            _ssl=SimpleNamespace(
                get_selected_srtp_profile=lambda: profile,
                export_keying_material=lambda label, length: bytes(range(length)),
            ),
            _role=role,
        )

    def find(self, remote: object) -> None:
        """As ICE does."""
        transport = SimpleNamespace(
            sendto=lambda data, to: self.sent.append((data, to)), is_closing=lambda: self.socket_is_gone
        )
        self.connection._nominated[1] = SimpleNamespace(
            protocol=SimpleNamespace(transport=transport), remote_addr=remote
        )


def nobody(data: bytes) -> None:
    pass


def path_of(place: Place, take: Callable[[bytes], None] = nobody, now: Callable[[], float] = float) -> Path:
    return Path(place.dtls, take, now)  # type: ignore[arg-type]


def test_rtp_and_rtcp_go_to_the_leg_and_dtls_to_aiortc() -> None:
    """By the first octet (RFC 7983), each in its order, an empty datagram too; all count as signs of life."""
    place, taken = Place(), list[bytes]()
    path = path_of(place, taken.append)
    for first in (20, 63, 127, 128, 191, 192):
        place.connection.data_received(bytes([first, 1]), 1)
    place.connection.data_received(b"", 1)
    assert [data[0] for data in taken] == [128, 191]
    assert [data[:1] for data, _ in place.kept] == [b"\x14", b"\x3f", b"\x7f", b"\xc0", b""]
    assert path.came == 7


def test_a_flood_costs_its_own_call_only() -> None:
    """What is too much for a browser is not passed on to the media workers; that it came is still a sign of life, and
    DTLS is never left out."""
    place, taken, now = Place(), list[bytes](), [100.0]
    path = path_of(place, taken.append, lambda: now[0])
    for _ in range(1000):
        place.connection.data_received(b"\x80", 1)
        place.connection.data_received(b"\x14", 1)
    assert (len(taken), len(place.kept), path.came) == (MOST_AT_ONCE, 1000, 2000)
    taken.clear()
    for _ in range(1000):
        now[0] += 0.001
        place.connection.data_received(b"\x80", 1)
    assert len(taken) == pytest.approx(MOST_PER_S, abs=1)


def test_what_leaves_goes_where_ice_has_found_the_browser() -> None:
    """To nobody before that, and none of it is kept: it would be late for the rest of the call."""
    place = Place()
    path = path_of(place)
    path.send(b"early")
    place.find(("192.0.2.1", 40000))
    path.send(b"one")
    place.find(("192.0.2.1", 40002))
    path.send(b"two")
    place.socket_is_gone = True
    path.send(b"late")
    assert place.sent == [(b"one", ("192.0.2.1", 40000)), (b"two", ("192.0.2.1", 40002))]


@pytest.mark.parametrize(
    ("profile", "suite", "key", "salt"),
    [
        (b"SRTP_AES128_CM_SHA1_80", "AES_CM_128_HMAC_SHA1_80", 16, 14),
        (b"SRTP_AEAD_AES_128_GCM", "AEAD_AES_128_GCM", 16, 12),
        (b"SRTP_AEAD_AES_256_GCM", "AEAD_AES_256_GCM", 32, 12),
    ],
)
def test_keys_are_laid_out_as_dtls_has_them(profile: bytes, suite: str, key: int, salt: int) -> None:
    """The client's key, the server's, the client's salt, the server's (RFC 5764 4.2); ours by our part in it."""
    octets = bytes(range(2 * (key + salt)))
    client = octets[:key] + octets[2 * key : 2 * key + salt]
    server = octets[key : 2 * key] + octets[2 * key + salt :]
    as_server, as_client = (path_of(Place(profile, role)).keys() for role in ("server", "client"))
    assert (as_server.suite, as_server.ours, as_server.theirs) == (suite, server, client)
    assert (as_client.suite, as_client.ours, as_client.theirs) == (suite, client, server)


def test_without_a_profile_there_are_no_keys() -> None:
    """A browser that agreed to none of ours cannot be heard; told, not guessed."""
    with pytest.raises(PeerError, match="no SRTP profile"):
        path_of(Place(b"")).keys()


async def test_an_aiortc_that_is_made_otherwise_is_told_with_the_remedy() -> None:
    """An upgrade that moves what we reach for is noticed here, and by whoever installs it all the same."""
    connection = RTCPeerConnection()
    dtls = connection.addTransceiver("audio").receiver.transport
    Path(dtls, nobody, float)
    for missing in (SimpleNamespace(transport=SimpleNamespace()), SimpleNamespace()):
        with pytest.raises(ConfigError, match="pip install 'aiortc"):
            Path(missing, nobody, float)  # type: ignore[arg-type]
    await connection.close()


async def test_an_offer_to_such_an_aiortc_leaves_nothing_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever mends the installation finds no sockets of calls that never were."""

    def otherwise(*facts: object) -> Path:
        raise ConfigError("this aiortc is made otherwise")

    monkeypatch.setattr("gateway.webrtc.peer.Path", otherwise)
    ours, browser = Ours(), Browser()
    with pytest.raises(ConfigError):
        await ours.peer.accept(await browser.offer())
    assert ours.peer._connection.connectionState == "closed"
    await browser.close()


async def test_aiortc_has_no_part_in_the_audio() -> None:
    """It starts none of its tasks and threads for it, and sends no report of its own: under our keys, a second stream
    would be a fault."""
    async with connected() as (ours, _):
        await asyncio.wait_for(ours.receive(0.5), WITHIN_S)
        (transceiver,) = ours.peer._connection.getTransceivers()
        assert transceiver.receiver._RTCRtpReceiver__decoder_thread is None
        assert transceiver.sender._RTCRtpSender__started is transceiver.receiver._RTCRtpReceiver__started is False


async def test_a_stream_without_rtp_is_negotiated_all_the_same() -> None:
    """The answer takes the browser's audio, both ways."""
    browser, connection = Browser(), RTCPeerConnection()
    without_rtp(connection.addTransceiver("audio"))
    await browser.connection.setLocalDescription()
    await connection.setRemoteDescription(browser.connection.localDescription)
    await connection.setLocalDescription()
    assert "a=sendrecv" in connection.localDescription.sdp
    await connection.close()
    await browser.close()
