"""One browser, one peer connection, one `relayed` leg: offer in, answer out, RTP packets both ways."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)

from gateway.core.errors import ConfigError, MisuseError, PeerError
from gateway.core.events import AnyEvent
from gateway.media.codecs import available
from gateway.media.commands import Codec, Srtp
from gateway.webrtc.addresses import gathering_on
from gateway.webrtc.page import CHANNEL, digit_from_page, for_page
from gateway.webrtc.relay import Path, without_rtp
from gateway.webrtc.sdp import CODECS, Offer, spoken_codec, with_parameters

log = structlog.get_logger()

MAX_UNSENT_EVENTS = 200
CLOSE_WITHIN_S = 3.0
DELIVER_WITHIN_S = 0.5
COPIES = "useinbandfec=1"
"""What an answer says of Opus: copies of lost packets are of use to us (RFC 7587 6.1). And an offer, of the browser."""


@dataclass(frozen=True, kw_only=True)
class PeerOptions:
    """How browsers reach us, and how long we believe in them."""

    bind_host: str = "0.0.0.0"
    """Address of the ICE candidates; a wildcard means every address of this machine."""
    advertise_host: str | None = None
    """Put into the candidates instead, behind a 1:1 NAT."""
    ice_servers: tuple[str, ...] = ()
    """`stun:` URLs to learn our public address from. None by default: no packet leaves for a third party."""
    connect_within_s: float = 15.0
    """From the answer until ICE and DTLS are through."""
    lost_after_s: float = 8.0
    """Silence on the wire (no RTP, no RTCP) after which the page is taken for gone.
    A microphone sends every 20 ms; without one there is still RTCP every few seconds."""


class Owner(Protocol):
    """Who has a browser's call. All comes on the event loop."""

    def packet_came(self, packet: bytes) -> None:
        """SRTP or SRTCP of the browser, in the order of coming; a browser may be quicker than `can_hear`."""
        ...

    def can_hear(self, keys: Srtp) -> None:
        """ICE and DTLS are through; with these keys its packets are protected, and ours are to be."""
        ...

    def digit_pressed(self, digit: str) -> None:
        """On the page."""
        ...

    def browser_lost(self, reason: str) -> None:
        """At most once: `never_connected`, `failed`, `page_closed`, `went_silent` or `internal`; and never after
        `close()` began. The peer is still to be closed."""
        ...


class BrowserPeer:
    """Carries one browser's packets, for its owner."""

    def __init__(self, call_id: str, owner: Owner, options: PeerOptions | None = None) -> None:
        self.call_id = call_id
        """As the log names it; the owner puts another one in its place when the call has its own."""
        self._owner = owner
        self._options = options or PeerOptions()
        self._connection: RTCPeerConnection | None = None
        self._path: Path | None = None
        self._channel: RTCDataChannel | None = None
        self._unsent: deque[str] = deque(maxlen=MAX_UNSENT_EVENTS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._connected = asyncio.Event()
        self._over = False
        self.codec: Codec = "PCMU"
        self.payload_type = 0
        self.copies = False
        """Whether the browser can make use of copies of lost packets."""

    async def accept(self, offer_sdp: str) -> str:
        """Answer the browser's offer, all candidates included (no trickle).

        Raises `PeerError`: hint 400 for a bad offer, 488 for one without audio that we can speak; and `ConfigError` for
        an aiortc that is made otherwise than we know it.
        """
        if self._connection is not None:
            raise MisuseError("a BrowserPeer accepts one offer")
        offer = Offer.parse(offer_sdp)
        connection = self._connection = _new_connection(self._options)
        self._listen(connection)
        transceiver = connection.addTransceiver("audio", direction="sendrecv")
        transceiver.setCodecPreferences(_our_codecs())
        without_rtp(transceiver)
        answer = await self._negotiate(connection, offer)
        try:
            path = self._path = Path(transceiver.receiver.transport, self._take, asyncio.get_running_loop().time)
        except ConfigError:
            await self.close()
            raise
        self.codec, self.payload_type = spoken_codec(answer)
        if self.codec == "opus":
            self.copies = offer.wants(COPIES)
            answer = with_parameters(answer, self.payload_type, COPIES)
        self._start(self._watch(path))
        return offer.complete(answer, self._options.advertise_host)

    async def connected(self) -> None:
        """Return when ICE and DTLS are through: from here on the browser can hear."""
        await self._connected.wait()

    def send(self, packet: bytes) -> None:
        """SRTP or SRTCP for the browser. None leaves before it can hear."""
        if self._path is not None:
            self._path.send(packet)

    def tell(self, event: AnyEvent) -> None:
        """Show an event to the page, if it is for the page. Kept until the data channel opens."""
        message = for_page(event)
        if message is None or self._over:
            return
        self._unsent.append(message.decode())
        self._send_unsent()

    async def close(self) -> None:
        """End it. Safe at any time, also twice."""
        self._over = True
        for task in self._tasks:
            task.cancel()
        await self._deliver_last_events()
        if self._connection is not None:
            # aiortc waits for its own tasks; one that hangs must not hold a call's end.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._connection.close(), CLOSE_WITHIN_S)

    async def _negotiate(self, connection: RTCPeerConnection, offer: Offer) -> str:
        try:
            with gathering_on(self._options.bind_host):
                await connection.setRemoteDescription(RTCSessionDescription(offer.taken(), "offer"))
                await connection.setLocalDescription()
        except Exception as error:
            # aiortc raises whatever its parser stumbles over: KeyError, IndexError, AttributeError, ...
            await self.close()
            if not isinstance(error, (ValueError, LookupError, AttributeError, TypeError, AssertionError)):
                log.warning("webrtc.offer_failed", call=self.call_id, error=repr(error))
            raise PeerError(f"the offer cannot be used: {error}") from error
        answer: str = connection.localDescription.sdp
        return answer

    def _listen(self, connection: RTCPeerConnection) -> None:
        @connection.on("datachannel")
        def on_datachannel(channel: RTCDataChannel) -> None:
            if channel.label == CHANNEL and self._channel is None:
                self._open_channel(channel)

        @connection.on("connectionstatechange")
        def on_state() -> None:
            log.debug("webrtc.state", call=self.call_id, state=connection.connectionState)
            if connection.connectionState == "connected":
                self._connected.set()
            elif connection.connectionState == "failed":
                self._lose("failed")
            elif connection.connectionState == "closed":
                self._lose("page_closed")

    def _open_channel(self, channel: RTCDataChannel) -> None:
        self._channel = channel
        channel.on("message", self._on_message)
        channel.on("close", lambda: self._lose("page_closed"))
        self._send_unsent()

    def _on_message(self, message: str | bytes) -> None:
        try:
            digit = digit_from_page(message)
        except PeerError as error:
            log.info("webrtc.message_refused", call=self.call_id, error=str(error))
            return
        if not self._over:
            self._owner.digit_pressed(digit)

    def _send_unsent(self) -> None:
        while self._channel is not None and self._channel.readyState == "open" and self._unsent:
            self._channel.send(self._unsent.popleft())

    async def _deliver_last_events(self) -> None:
        """Closing aborts SCTP: what is still queued, `CallEnded` above all, would never reach the page."""
        channel = self._channel
        if channel is None or channel.readyState != "open" or not channel.bufferedAmount:
            return
        delivered = asyncio.Event()
        channel.on("bufferedamountlow", delivered.set)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(delivered.wait(), DELIVER_WITHIN_S)

    def _take(self, packet: bytes) -> None:
        if self._over:
            return
        try:
            self._owner.packet_came(packet)
        except Exception as error:  # to be told as ours, and once
            self._break(error)

    async def _watch(self, path: Path) -> None:
        """Notice what aiortc does not tell in time: a browser that never came, or went without a word.

        ICE consent (RFC 7675) would take aioice 30 s to give up on.
        """
        try:
            await asyncio.wait_for(self._connected.wait(), self._options.connect_within_s)
        except TimeoutError:
            return self._lose("never_connected")
        keys = path.keys()
        log.info("webrtc.connected", call=self.call_id, codec=self.codec, srtp=keys.suite)
        self._owner.can_hear(keys)
        now = asyncio.get_running_loop().time
        came, heard_at = path.came, now()
        while now() - heard_at < self._options.lost_after_s:
            await asyncio.sleep(self._options.lost_after_s / 8)
            if path.came != came:
                came, heard_at = path.came, now()
        return self._lose("went_silent")

    def _lose(self, reason: str) -> None:
        if not self._over:
            self._over = True
            log.info("webrtc.lost", call=self.call_id, reason=reason)
            self._owner.browser_lost(reason)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._break(error)

    def _break(self, error: BaseException) -> None:
        log.error("webrtc.broke", call=self.call_id, exc_info=error)
        self._lose("internal")


def _new_connection(options: PeerOptions) -> RTCPeerConnection:
    # An explicit list, also when empty: aiortc's default asks a public STUN server.
    servers = [RTCIceServer(urls=url) for url in options.ice_servers]
    return RTCPeerConnection(RTCConfiguration(iceServers=servers, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))


def _our_codecs() -> list[Any]:
    """Without its library there is no Opus, here or in the media workers."""
    codecs = RTCRtpSender.getCapabilities("audio").codecs
    ours = [name for name, codec in CODECS.items() if available(codec)]
    return [codec for name in ours for codec in codecs if codec.mimeType.lower() == f"audio/{name}"]
