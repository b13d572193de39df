"""A browser made of aiortc: real ICE, DTLS, SRTP, Opus and SCTP over loopback, without Chromium's weight."""

from __future__ import annotations

import asyncio
import contextlib
import fractions
import itertools
from collections.abc import AsyncIterator

import numpy as np
import numpy.typing as npt
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame

from gateway.core.clock import SystemClock
from gateway.media import codecs, g711, rtcp, rtp
from gateway.media.commands import Srtp
from gateway.media.srtp import session_of_ours, session_of_theirs
from gateway.webrtc.addresses import gathering_on
from gateway.webrtc.peer import BrowserPeer, PeerOptions

WITHIN_S = 10.0


def tone(hz: float, seconds: float, *, rate: int = 8000, amplitude: float = 8000.0) -> npt.NDArray[np.int16]:
    t = np.arange(int(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * hz * t)).astype(np.int16)


def loudest_hz(samples: npt.NDArray[np.int16], rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


def rms(samples: npt.NDArray[np.int16]) -> float:
    return float(np.sqrt(np.mean(samples.astype(float) ** 2)))


def level_at(samples: npt.NDArray[np.int16], hz: float, rate: int) -> float:
    """Amplitude of one frequency."""
    turns = np.exp(-2j * np.pi * hz * np.arange(len(samples)) / rate)
    return float(2 * abs(np.mean(samples * turns)))


class ToneTrack(MediaStreamTrack):
    """A microphone that hears sines: 48 kHz stereo frames of 20 ms, as a browser captures."""

    kind = "audio"

    def __init__(self, *hz: float) -> None:
        super().__init__()
        heard = np.sum([tone(one, 1.0, rate=48000) for one in hz or (1000.0,)], axis=0)
        self._samples = heard.astype(np.int16).repeat(2)  # whole periods, so it loops without a click
        self._pts = 0
        self._clock = SystemClock()
        self._start: float | None = None

    async def recv(self) -> AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        if self._start is None:
            self._start = self._clock.now()
        await self._clock.sleep_until(self._start + self._pts / 48000)  # aiortc sends as fast as it is given frames
        at = self._pts % 48000
        frame = AudioFrame.from_ndarray(self._samples[None, 2 * at : 2 * at + 1920], format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, self._pts, fractions.Fraction(1, 48000)
        self._pts += 960
        return frame


class Browser:
    """What a page does: offers a microphone and the data channel, takes the answer, listens."""

    def __init__(self, *, codec: str | None = None, microphone: MediaStreamTrack | None = None) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.channel = self.connection.createDataChannel("gateway")
        self.told: asyncio.Queue[str] = asyncio.Queue()
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()
        self.channel.on("message", self.told.put_nowait)
        self.channel.on("open", self.opened.set)
        self.channel.on("close", self.closed.set)
        self.heard: asyncio.Queue[npt.NDArray[np.int16]] = asyncio.Queue()
        self.heard_hz = 0
        transceiver = self.connection.addTransceiver(microphone or ToneTrack(), direction="sendrecv")
        if codec is not None:
            codecs = RTCRtpSender.getCapabilities("audio").codecs
            transceiver.setCodecPreferences([c for c in codecs if c.mimeType == codec])
        self.connection.on("track", self._on_track)
        self._listening: asyncio.Task[None] | None = None
        self.sent = 0

    async def offer(self) -> str:
        with gathering_on("127.0.0.1"):
            await self.connection.setLocalDescription()
        return self.connection.localDescription.sdp

    async def take(self, answer: str) -> None:
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def hear(self, seconds: float) -> npt.NDArray[np.int16]:
        """The next `seconds` that arrive, left channel."""
        pieces: list[npt.NDArray[np.int16]] = []
        async with asyncio.timeout(WITHIN_S):
            while not pieces or sum(len(p) for p in pieces) < seconds * self.heard_hz:
                pieces.append(await self.heard.get())
        return np.concatenate(pieces)

    def lose(self, numbers: set[int]) -> None:
        """Let the network lose the audio packets of these numbers, counted from now; `sent` counts them all."""
        transport = self.connection.getTransceivers()[0].sender.transport
        send, sent = transport._send_rtp, itertools.count(1)

        async def lossy(data: bytes) -> None:
            if not rtp.is_rtcp(data):
                self.sent = next(sent)
                if self.sent in numbers:
                    return
            await send(data)

        transport._send_rtp = lossy

    def vanish(self) -> None:
        """As when the machine loses its network: nothing is said, the sockets are just gone."""
        for transceiver in self.connection.getTransceivers():
            for protocol in transceiver.receiver.transport.transport._connection._protocols:
                protocol.transport.close()

    async def close(self) -> None:
        await self.connection.close()
        if self._listening is not None:
            self._listening.cancel()

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._listening = asyncio.create_task(self._listen(track))

    async def _listen(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                samples, self.heard_hz = frame.to_ndarray().reshape(-1), frame.sample_rate
                self.heard.put_nowait(samples[:: len(frame.layout.channels)])


class Ours:
    """Who owns a `BrowserPeer`: writes down what it is told, and has a leg's part in the sound."""

    def __init__(self, **options: float) -> None:
        self.packets: asyncio.Queue[rtp.RtpPacket] = asyncio.Queue()
        self.reports: asyncio.Queue[rtcp.Report] = asyncio.Queue()
        self.lost: asyncio.Queue[str] = asyncio.Queue()
        self.digits: asyncio.Queue[str] = asyncio.Queue()
        self.ready = asyncio.Event()
        self.ssrc = 1
        self.peer = BrowserPeer("call-1", self, PeerOptions(bind_host="127.0.0.1", **options))
        self._opus = codecs.decoder("opus")

    def packet_came(self, packet: bytes) -> None:
        if not self.ready.is_set():
            return
        if not rtp.is_rtcp(packet):
            self.packets.put_nowait(rtp.parse(self._theirs.unprotect(packet)))
            return
        for report in rtcp.parse(self._theirs.unprotect_rtcp(packet)):
            self.reports.put_nowait(report)

    def browser_lost(self, reason: str) -> None:
        self.lost.put_nowait(reason)

    def digit_pressed(self, digit: str) -> None:
        self.digits.put_nowait(digit)

    def can_hear(self, keys: Srtp) -> None:
        self._ours, self._theirs = session_of_ours(keys), session_of_theirs(keys)
        self.ready.set()

    @property
    def rate(self) -> int:
        return 16000 if self.peer.codec == "opus" else 8000

    async def receive(self, seconds: float) -> npt.NDArray[np.int16]:
        """The next `seconds` that come, of 20 ms packets, as samples."""
        async with asyncio.timeout(WITHIN_S):
            packets = [await self.packets.get() for _ in range(round(seconds / 0.02))]
        return np.concatenate([self._decode(packet.payload) for packet in packets])

    def _decode(self, payload: bytes) -> npt.NDArray[np.int16]:
        if self.peer.codec == "opus":
            return self._opus.decode(payload)
        return g711.decode(np.frombuffer(payload, np.uint8), 0)

    async def say(self, *hz: float, lost: frozenset[int] = frozenset()) -> None:
        """Sines, a packet each 20 ms, in real time. The network loses those of these numbers, counted from 0."""
        await self.ready.wait()
        clock, coder = SystemClock(), codecs.encoder("opus") if self.peer.codec == "opus" else None
        pcm = np.sum([tone(one, 1.0, rate=self.rate) for one in hz], axis=0).astype(np.int16)
        pieces, start = pcm.reshape(50, -1), clock.now()
        for number in itertools.count():
            await clock.sleep_until(start + number * 0.02)
            piece = pieces[number % 50]
            payload = g711.encode(piece, 0).tobytes() if coder is None else coder.encode(piece)
            at = number * (160 if coder is None else 960)
            packet = rtp.RtpPacket(self.peer.payload_type, number & 0xFFFF, at & 0xFFFFFFFF, self.ssrc, payload)
            if number not in lost:
                self.peer.send(self._ours.protect(rtp.build(packet)))


@contextlib.asynccontextmanager
async def connected(
    *, codec: str | None = None, microphone: MediaStreamTrack | None = None, **options: float
) -> AsyncIterator[tuple[Ours, Browser]]:
    """Both ends, negotiated; closed afterwards."""
    ours, browser = Ours(**options), Browser(codec=codec, microphone=microphone)
    try:
        await browser.take(await ours.peer.accept(await browser.offer()))
        yield ours, browser
    finally:
        await browser.close()
        await ours.peer.close()
