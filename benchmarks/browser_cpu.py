"""What a browser's call costs: the gateway's own process (ICE, DTLS), and the media worker, which has the rest.

    python -m benchmarks.browser_cpu [--calls 10] [--seconds 10]

The browsers are aiortc's, in a process of their own; both sides talk all the time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fractions
import logging
import multiprocessing
import time
from multiprocessing.connection import Connection

import msgspec
import numpy as np
import structlog
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame

from gateway.app.browser import connecting
from gateway.core.clock import Clock, SystemClock
from gateway.media.commands import OpenLeg, PacketReady, PlayMusic, RelayPacket, Srtp
from gateway.media.io import MediaPool
from gateway.media.opus_library import Int16s
from gateway.media.ports import Said
from gateway.media.wire import WorkerPulse
from gateway.webrtc.addresses import gathering_on
from gateway.webrtc.peer import BrowserPeer, PeerOptions

BROWSER_HZ = 48000


def babble(rate: int) -> Int16s:
    """A second of noise with a voice's slope and syllables."""
    spectrum = np.fft.rfft(np.random.default_rng(1).normal(size=rate))
    hz = np.arange(len(spectrum))
    spectrum *= (hz > 80) / np.maximum(1.0, hz / 500)
    noise = np.fft.irfft(spectrum, rate)
    noise *= np.abs(np.sin(4 * np.pi * np.arange(rate) / rate))
    heard: Int16s = (8000 * noise / np.abs(noise).max()).astype("<i2")
    return heard


class Microphone(MediaStreamTrack):
    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._heard, self._pts, self._clock = babble(BROWSER_HZ).repeat(2), 0, SystemClock()
        self._start = self._clock.now()

    async def recv(self) -> AudioFrame:
        await self._clock.sleep_until(self._start + self._pts / BROWSER_HZ)
        at = 2 * (self._pts % BROWSER_HZ)
        frame = AudioFrame.from_ndarray(self._heard[None, at : at + 1920], format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = BROWSER_HZ, self._pts, fractions.Fraction(1, BROWSER_HZ)
        self._pts += 960
        return frame


async def listen(track: MediaStreamTrack) -> None:
    with contextlib.suppress(MediaStreamError):
        while True:
            await track.recv()


async def browse(gateway: Connection, calls: int) -> None:
    connections, listening = [], []
    for _ in range(calls):
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connection.addTransceiver(Microphone(), direction="sendrecv")
        connection.on("track", lambda track: listening.append(asyncio.create_task(listen(track))))
        with gathering_on("127.0.0.1"):
            await connection.setLocalDescription()
        gateway.send(connection.localDescription.sdp)
        answer = await asyncio.to_thread(gateway.recv)
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        connections.append(connection)
    await asyncio.to_thread(gateway.recv)
    await asyncio.gather(*(connection.close() for connection in connections))


def browsers(gateway: Connection, calls: int) -> None:
    asyncio.run(browse(gateway, calls))


class Caller:
    """One call: the browser's peer and its leg. Implements `gateway.webrtc.peer.Owner`."""

    def __init__(self, number: int, pool: MediaPool, clock: Clock) -> None:
        self._leg, self._pool, self._clock = f"call-{number}", pool, clock
        self.peer = BrowserPeer(self._leg, self, PeerOptions(bind_host="127.0.0.1"))
        self.came = 0
        self.over = False

    async def answer(self, offer: str, voice: Int16s) -> str:
        self._voice = voice
        return await self.peer.accept(offer)

    def _hear(self, said: Said) -> None:
        if isinstance(said, PacketReady):
            self.peer.send(said.data)

    def packet_came(self, packet: bytes) -> None:
        self.came += 1
        self._pool.send(RelayPacket(self._leg, packet, self._clock.now()))

    def can_hear(self, keys: Srtp) -> None:
        leg, voice = self._leg, self._voice
        self._pool.subscribe(leg, self._hear)
        self._pool.send(OpenLeg(leg, "relayed"))
        self._pool.send(msgspec.structs.replace(connecting(leg, self.peer), srtp=keys))
        self._pool.send(PlayMusic(leg, voice[::2].tobytes(), wide=voice.tobytes()))

    def digit_pressed(self, digit: str) -> None:
        pass

    def browser_lost(self, reason: str) -> None:
        if not self.over:
            raise AssertionError(reason)


async def serve(browsers: Connection, calls: int, seconds: float) -> None:
    clock, pulses = SystemClock(), list[WorkerPulse]()
    pool = MediaPool(workers=1, bind="127.0.0.1", rtp_ports=(20000, 20999), clock=clock)
    pool.on_pulse = lambda worker, pulse: pulses.append(pulse)
    await pool.start()
    voice, callers = babble(16000), [Caller(number, pool, clock) for number in range(calls)]
    for caller in callers:
        browsers.send(await caller.answer(await asyncio.to_thread(browsers.recv), voice))
    for caller in callers:
        await caller.peer.connected()
    await asyncio.sleep(2)
    began_at, spent_s, came, first = clock.now(), time.process_time(), sum(one.came for one in callers), pulses[-1]
    await asyncio.sleep(seconds)
    took_s, spent_s, last = clock.now() - began_at, time.process_time() - spent_s, pulses[-1]
    worker = 1e6 * (last.cpu_s - first.cpu_s) / (last.at - first.at) / calls
    packets = (sum(one.came for one in callers) - came) / calls / took_s
    print(
        f"{calls} browsers, us a call and second: {1e6 * spent_s / calls / took_s:.0f} in the gateway's process, "
        f"{worker:.0f} in the media worker's; {packets:.1f} packets a second of each"
    )
    for caller in callers:
        caller.over = True
    browsers.send("")
    for caller in callers:
        await caller.peer.close()
    await pool.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=browsers, args=(theirs, arguments.calls))
    process.start()
    asyncio.run(serve(ours, arguments.calls, arguments.seconds))
    process.join()


if __name__ == "__main__":
    main()
