"""One browser, one peer connection, one `pcm` leg: offer in, answer out, 20 ms pieces both ways."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

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
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.stats import RTCStatsReport, RTCTransportStats

from gateway.core.errors import MisuseError, PeerError
from gateway.core.events import AnyEvent
from gateway.media import opus_library
from gateway.media.commands import LegStats
from gateway.webrtc import opus, reorder
from gateway.webrtc.addresses import gathering_on
from gateway.webrtc.audio import WIDE_HZ, Intake, Playout, opus_coder
from gateway.webrtc.figures import figures, lost_percent
from gateway.webrtc.page import CHANNEL, digit_from_page, for_page
from gateway.webrtc.sdp import CODECS, WIDE_CODECS, Offer, spoken_codec, with_parameters

log = structlog.get_logger()

MAX_UNSENT_EVENTS = 200
CLOSE_WITHIN_S = 3.0
DELIVER_WITHIN_S = 0.5


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


class BrowserPeer:
    """Carries one browser's audio. All callbacks come on the event loop.

    `push` takes 20 ms of the browser's audio (16 kHz where it is `wideband`, else 8 kHz); `on_ready` says that the
    browser can hear now; `on_lost` is called at most once, with `never_connected`, `failed`, `page_closed`,
    `went_silent` or `internal`, and never after `close()` began; `on_digit` takes a key pressed on the page. The owner
    closes the peer, after `on_lost` too.
    """

    def __init__(
        self,
        call_id: str,
        push: Callable[[bytes], None],
        on_lost: Callable[[str], None],
        on_digit: Callable[[str], None],
        on_ready: Callable[[], None] = lambda: None,
        options: PeerOptions | None = None,
    ) -> None:
        self._call_id = call_id
        self._push, self._on_lost, self._on_digit, self._on_ready = push, on_lost, on_digit, on_ready
        self._options = options or PeerOptions()
        self._playout = Playout()
        self._connection: RTCPeerConnection | None = None
        self._channel: RTCDataChannel | None = None
        self._unsent: deque[str] = deque(maxlen=MAX_UNSENT_EVENTS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._connected = asyncio.Event()
        self._over = False
        self._buffer: reorder.Reorder | None = None
        self._intake: opus.OpusIntake | None = None
        self._copies_wanted = False
        self.codec = ""
        self.stats = LegStats()
        """As they were at most a second ago (at the default `lost_after_s`)."""

    async def accept(self, offer_sdp: str) -> str:
        """Answer the browser's offer, all candidates included (no trickle).

        Raises `PeerError`: hint 400 for a bad offer, 488 for one without audio that we can speak.
        """
        if self._connection is not None:
            raise MisuseError("a BrowserPeer accepts one offer")
        offer = Offer.parse(offer_sdp)
        connection = self._connection = _new_connection(self._options)
        self._listen(connection)
        transceiver = connection.addTransceiver(self._playout, direction="sendrecv")
        transceiver.setCodecPreferences(_our_codecs())
        self._buffer = reorder.install(transceiver.receiver)
        answer = await self._negotiate(connection, offer)
        self.codec, payload_type = spoken_codec(answer)
        if self.wideband:
            self._playout.rate_hz, self._playout.coder = WIDE_HZ, opus_coder()
            self._copies_wanted = offer.wants(opus.FORMAT)
            if self._buffer is not None and opus_library.is_there():
                self._decode_ourselves(self._buffer, payload_type)
                answer = with_parameters(answer, payload_type, opus.FORMAT)
        self._start(self._watch(connection))
        return offer.complete(answer, self._options.advertise_host)

    @property
    def wideband(self) -> bool:
        """Whether pieces are of 16 kHz, both ways: known when the offer is answered."""
        return self.codec in WIDE_CODECS

    async def connected(self) -> None:
        """Return when ICE and DTLS are through: from here on the browser can hear."""
        await self._connected.wait()

    def play(self, pcm: bytes) -> None:
        """20 ms for the browser, as the media plane sends them."""
        self._playout.play(pcm)

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
                log.warning("webrtc.offer_failed", call=self._call_id, error=repr(error))
            raise PeerError(f"the offer cannot be used: {error}") from error
        answer: str = connection.localDescription.sdp
        return answer

    def _listen(self, connection: RTCPeerConnection) -> None:
        @connection.on("track")
        def on_track(track: MediaStreamTrack) -> None:
            self._start(self._take_in(track))

        @connection.on("datachannel")
        def on_datachannel(channel: RTCDataChannel) -> None:
            if channel.label == CHANNEL and self._channel is None:
                self._open_channel(channel)

        @connection.on("connectionstatechange")
        def on_state() -> None:
            log.debug("webrtc.state", call=self._call_id, state=connection.connectionState)
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
            log.info("webrtc.message_refused", call=self._call_id, error=str(error))
            return
        if not self._over:
            self._on_digit(digit)

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

    def _decode_ourselves(self, buffer: reorder.Reorder, payload_type: int) -> None:
        intake = self._intake = opus.OpusIntake()

        def take(payload: bytes, timestamp: int, sequence: int) -> None:
            try:
                for piece in () if self._over else intake.feed(payload, timestamp, sequence):
                    self._push(piece)
            except Exception as error:  # in aiortc's hands it would end the connection as if the page had
                self._break(error)

        buffer.divert(payload_type, take)

    async def _take_in(self, track: MediaStreamTrack) -> None:
        intake: Intake | None = None
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                intake = intake or Intake(self._playout.rate_hz)  # the track is there before the answer that says it
                for piece in intake.feed(frame):  # type: ignore[arg-type]
                    self._push(piece)

    async def _watch(self, connection: RTCPeerConnection) -> None:
        """Notice what aiortc does not tell in time: a browser that never came, or went without a word.

        ICE consent (RFC 7675) would take aioice 30 s to give up on.
        """
        try:
            await asyncio.wait_for(self._connected.wait(), self._options.connect_within_s)
        except TimeoutError:
            return self._lose("never_connected")
        log.info("webrtc.connected", call=self._call_id, codec=self.codec)
        self._on_ready()
        now = asyncio.get_running_loop().time
        received, heard_at = -1, now()
        while now() - heard_at < self._options.lost_after_s:
            report = await connection.getStats()
            self._count(report)
            if (count := _packets_received(report)) != received:
                received, heard_at = count, now()
            await asyncio.sleep(self._options.lost_after_s / 8)
        return self._lose("went_silent")

    def _count(self, report: RTCStatsReport) -> None:
        late = self._buffer.late if self._buffer is not None else 0
        malformed = self._intake.undecodable if self._intake is not None else 0
        self.stats = figures(report.values(), self.codec, late=late, malformed=malformed)
        if self._copies_wanted and self._playout.coder is not None:
            self._playout.coder.note_loss(lost_percent(report.values()))

    def _lose(self, reason: str) -> None:
        if not self._over:
            self._over = True
            log.info("webrtc.lost", call=self._call_id, reason=reason)
            self._on_lost(reason)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._break(error)

    def _break(self, error: BaseException) -> None:
        log.error("webrtc.broke", call=self._call_id, exc_info=error)
        self._lose("internal")


def _new_connection(options: PeerOptions) -> RTCPeerConnection:
    # An explicit list, also when empty: aiortc's default asks a public STUN server.
    servers = [RTCIceServer(urls=url) for url in options.ice_servers]
    return RTCPeerConnection(RTCConfiguration(iceServers=servers, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))


def _our_codecs() -> list[Any]:
    codecs = RTCRtpSender.getCapabilities("audio").codecs
    return [codec for name in CODECS for codec in codecs if codec.mimeType.lower() == f"audio/{name}"]


def _packets_received(report: RTCStatsReport) -> int:
    return sum(stats.packetsReceived for stats in report.values() if isinstance(stats, RTCTransportStats))
