"""SRTP (RFC 3711, RFC 7714) at the plane's edge: what leaves is protected, what comes is laid open or dropped.

Inside the plane there are plain packets only, so that a tick works on all legs at once whether protected or not.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Sequence

import msgspec
from pylibsrtp import Error, Policy, Session

from gateway.core.errors import MisuseError
from gateway.media.commands import Srtp
from gateway.media.datagrams import Received, ToSend
from gateway.media.legs import Leg
from gateway.media.rtp import HEADER, is_rtcp

_PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 10),
    "AES_CM_128_HMAC_SHA1_32": (Policy.SRTP_PROFILE_AES128_CM_SHA1_32, 4),
    "AEAD_AES_128_GCM": (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16),
    "AEAD_AES_256_GCM": (Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 16),
}
"""libsrtp's name, and the octets of the authentication tag of an RTP packet."""

_SHORTEST_RTCP = 8 + 4
"""Header and index; the tag comes on top. libsrtp shall not have to reckon with less."""

_MOST_SOURCES = 32
"""SSRCs under one key: each costs memory, and even a peer with a key must not take all of it."""

_FORGED = ("authentication failure", "cipher failure")
"""libsrtp's words for a packet that nobody with our key has made; all others are for damaged and repeated ones."""


MOST_WRAPS = 8
"""Wraps of the peer's sequence that are looked for on a leg that was opened again: three hours of 20 ms packets."""

_STRIDE = 0x6000
"""Farther than half of the sequence's range, libsrtp would take a step for one back."""


class _Inbound:
    """The peer's key. Replays and wraps of the sequence are libsrtp's to follow, source by source.

    With `under_way` the peer has been sending before we came, and may have wrapped: how often is in no packet, but goes
    into its authentication (RFC 3711 4.2), so it is found by trying.
    """

    def __init__(self, suite: str, key: bytes, *, under_way: bool = False) -> None:
        self._suite, self._key, self._under_way = suite, key, under_way
        self._session = _session(suite, key, Policy.SSRC_ANY_INBOUND)
        self._tag = _PROFILES[suite][1]
        self._sources: set[bytes] = set()

    def open(self, data: bytes) -> bytes:
        """Raises pylibsrtp's `Error`, or ValueError."""
        control = is_rtcp(data)
        if len(data) < (_SHORTEST_RTCP if control else HEADER) + self._tag:
            raise ValueError("too short for its tag")
        source = data[4:8] if control else data[8:12]
        if source not in self._sources and len(self._sources) >= _MOST_SOURCES:
            raise ValueError("too many sources")
        opened: bytes
        if control:
            opened = self._session.unprotect_rtcp(data)
        else:
            opened = self._open_under_way(data) if self._under_way else self._session.unprotect(data)
            self._under_way = False
        self._sources.add(source)
        return opened

    def _open_under_way(self, data: bytes) -> bytes:
        """The first genuine packet. Raises `Error` when it is not, however often the peer has wrapped."""
        for wraps in range(MOST_WRAPS):
            session = _session(self._suite, self._key, Policy.SSRC_ANY_INBOUND)
            _walk(session, self._suite, self._key, data, wraps)
            with contextlib.suppress(Error):
                opened: bytes = session.unprotect(data)
                self._session = session
                return opened
        raise Error(_FORGED[0])


def _walk(inbound: Session, suite: str, key: bytes, data: bytes, wraps: int) -> None:
    """Make libsrtp believe that this packet's source has wrapped so often, with packets of our own under its key."""
    outbound = _session(suite, key, Policy.SSRC_ANY_OUTBOUND)
    sequence, source = struct.unpack_from("!2xH4x4s", data)
    end = (wraps << 16) + sequence
    for index in range(end % _STRIDE, end, _STRIDE) if wraps else ():
        inbound.unprotect(outbound.protect(struct.pack("!BBHI4s", 0x80, 0, index & 0xFFFF, 0, source)))


class _Contexts:
    """One leg's keys, ours and the peer's."""

    def __init__(self, leg: Leg) -> None:
        self.leg = leg
        self._outbound: dict[tuple[str, bytes], Session] = {}
        self._sending: Session | None = None
        self._keyed: tuple[str, bytes] | None = None
        self._inbound: _Inbound | None = None
        self._former: _Inbound | None = None

    def agree(self, keys: Srtp) -> None:
        """Go on with keys that are known, packet counts and all. Raises `MisuseError` for keys that are none."""
        ours, theirs = (keys.suite, keys.ours), (keys.suite, keys.theirs)
        outbound = self._outbound.get(ours) or _session(*ours, Policy.SSRC_ANY_OUTBOUND)
        if theirs != self._keyed:
            # What left before the peer read our answer still has the old key.
            under_way = self.leg.again and self._keyed is None
            self._inbound, self._former = _Inbound(*theirs, under_way=under_way), self._inbound
            self._keyed = theirs
        # Kept for the life of the leg: a key that came back with its count begun anew would repeat its key stream.
        self._outbound[ours] = self._sending = outbound

    def protect(self, data: bytes) -> bytes:
        assert self._sending is not None, "agreed"
        protected: bytes = self._sending.protect_rtcp(data) if is_rtcp(data) else self._sending.protect(data)
        return protected

    def open(self, data: bytes) -> bytes:
        assert self._inbound is not None, "agreed"
        try:
            opened = self._inbound.open(data)
        except Error:
            if self._former is None:
                raise
            return self._former.open(data)
        self._former = None
        return opened


class SecureLegs:
    """The legs of a plane that are protected, by name. The others cost one look whether there is any."""

    def __init__(self) -> None:
        self._contexts: dict[str, _Contexts] = {}

    def agree(self, leg: Leg, keys: Srtp | None) -> None:
        """From now on this leg is protected with `keys`, or plain. Raises `MisuseError` for keys that are none."""
        if keys is None:
            self.forget(leg)
            return
        contexts = self._contexts.get(leg.name) or _Contexts(leg)
        contexts.agree(keys)
        self._contexts[leg.name] = contexts
        leg.secured = True

    def forget(self, leg: Leg) -> None:
        self._contexts.pop(leg.name, None)
        leg.secured = False

    def protect(self, to_send: list[ToSend]) -> list[ToSend]:
        """The same datagrams, ready for the wire. What cannot be protected does not leave."""
        if not self._contexts:
            return to_send
        ready = []
        for datagram in to_send:
            contexts = self._contexts.get(datagram.leg)
            if contexts is None:
                ready.append(datagram)
                continue
            # A key that is used up (2^48 packets, RFC 3711 9.2) ends the audio; the far side's reports will say so.
            with contextlib.suppress(Error, ValueError):
                ready.append(msgspec.structs.replace(datagram, data=contexts.protect(datagram.data)))
        return ready

    def open(self, received: Sequence[Received], may_send: Callable[[Leg, Received], bool]) -> Sequence[Received]:
        """The datagrams as their senders had them before protection, without those that are not genuine.

        Who may not send at all is not asked for more: a stranger's copy of a packet, were it opened, would make a
        replay of the packet itself.
        """
        if not self._contexts:
            return received
        genuine = []
        for datagram in received:
            contexts = self._contexts.get(datagram.leg)
            if contexts is None:
                genuine.append(datagram)
                continue
            if not may_send(contexts.leg, datagram):
                contexts.leg.foreign += 1
                continue
            try:
                genuine.append(msgspec.structs.replace(datagram, data=contexts.open(datagram.data)))
            except (Error, ValueError) as error:
                forged = str(error) in _FORGED
                contexts.leg.forged += forged
                contexts.leg.malformed += not forged
        return genuine


def session_of_ours(keys: Srtp) -> Session:
    """For those who send without a plane. Raises `MisuseError` for keys that are none."""
    return _session(keys.suite, keys.ours, Policy.SSRC_ANY_OUTBOUND)


def session_of_theirs(keys: Srtp) -> Session:
    """For those who receive without a plane. Raises `MisuseError` for keys that are none."""
    return _session(keys.suite, keys.theirs, Policy.SSRC_ANY_INBOUND)


def _session(suite: str, key: bytes, kind: int) -> Session:
    profile = _PROFILES.get(suite)
    if profile is None:
        raise MisuseError(f"unknown SRTP suite {suite}")
    try:
        return Session(Policy(key=key, ssrc_type=kind, srtp_profile=profile[0]))
    except (Error, ValueError) as error:
        raise MisuseError(f"not a key for {suite}: {error}") from error
