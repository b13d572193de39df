"""A browser's datagrams between aiortc, which finds the way (ICE) and agrees on keys (DTLS), and a media leg, which has
the rest: SRTP, RTCP, and whatever the packets hold.

aiortc's own RTP is not for live conversations by the hundred. Its jitter buffer holds back four packets always (80 ms),
and fifteen (300 ms) for the rest of the call once a single one was lost; a packet passes through two tasks, two queues
and a thread, which takes longer than all that is left here.

The one place where we reach into aiortc and aioice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiortc import RTCDtlsTransport, RTCRtpTransceiver

from gateway.core.errors import ConfigError, PeerError
from gateway.core.token_bucket import TokenBucket
from gateway.media.commands import Srtp

_SUITES = {
    b"SRTP_AES128_CM_SHA1_80": ("AES_CM_128_HMAC_SHA1_80", 16, 14),
    b"SRTP_AEAD_AES_128_GCM": ("AEAD_AES_128_GCM", 16, 12),
    b"SRTP_AEAD_AES_256_GCM": ("AEAD_AES_256_GCM", 32, 12),
}
"""By OpenSSL's name: RFC 4568's, and the octets of a master key and of its salt."""

MOST_PER_S, MOST_AT_ONCE = 250.0, 150.0
"""Datagrams that are taken. A browser sends 50 a second, or 100 short ones, and two seconds' worth at once where its
network stood still. Anybody can send to this port: a flood costs this call, not the way to the media workers."""

_LABEL = b"EXTRACTOR-dtls_srtp"
_AUDIO = 1
"""The component of ICE: the only one, as RTCP comes the same way."""


class Path:
    """The way to one browser and back."""

    def __init__(self, dtls: RTCDtlsTransport, take: Callable[[bytes], None], now: Callable[[], float]) -> None:
        """Its RTP and RTCP go to `take` from now on, as they came; DTLS stays aiortc's. `now` in seconds. Raises
        `ConfigError` for an aiortc that is made otherwise."""
        self._dtls: Any = dtls
        self._take, self._now = take, now
        self._allowed = TokenBucket(MOST_PER_S, MOST_AT_ONCE)
        try:
            connection: Any = self._dtls.transport._connection
            self._keep = connection.data_received
            self._pairs = connection._nominated
        except AttributeError as error:
            raise ConfigError(f"this aiortc is made otherwise ({error}); {_REMEDY}") from None
        connection.data_received = self._come  # each datagram that is no STUN
        self.came = 0
        """Datagrams so far, but for those of ICE itself."""

    def _come(self, data: bytes, component: int) -> None:
        self.came += 1
        if data and 128 <= data[0] <= 191:  # RFC 7983
            if self._allowed.take(self._now()):
                self._take(data)
        else:
            self._keep(data, component)

    def send(self, datagram: bytes) -> None:
        """As it is. To nobody, before ICE has found the browser or after it was lost."""
        pair = self._pairs.get(_AUDIO)
        if pair is not None and not pair.protocol.transport.is_closing():
            pair.protocol.transport.sendto(datagram, pair.remote_addr)

    def keys(self) -> Srtp:
        """What DTLS has agreed on (RFC 5764 4.2). Raises `PeerError` where it has not."""
        tls = self._dtls._ssl
        suite, key, salt = _SUITES.get(tls.get_selected_srtp_profile(), ("", 0, 0))
        if not suite:
            raise PeerError("no SRTP profile was agreed on")
        octets: bytes = tls.export_keying_material(_LABEL, 2 * (key + salt))
        client, server = (octets[key * k : key * (k + 1)] + octets[2 * key + salt * k :][:salt] for k in (0, 1))
        ours, theirs = (server, client) if self._dtls._role == "server" else (client, server)
        return Srtp(suite, ours, theirs)


def without_rtp(transceiver: RTCRtpTransceiver) -> None:
    """Let aiortc negotiate this stream, and then neither send nor receive any of it."""

    async def nothing(parameters: object) -> None:
        pass

    sender: Any = transceiver.sender
    receiver: Any = transceiver.receiver
    sender.send = receiver.receive = nothing


_REMEDY = "remedy: pip install 'aiortc>=1.9,<1.17'"
