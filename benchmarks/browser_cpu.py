"""What a browser's call costs the gateway's own process: ICE, SRTP, Opus and rates, all but the media plane.

    python -m benchmarks.browser_cpu [--calls 10] [--seconds 10] [--aiortc]

The browsers are aiortc's, in a process of their own; both sides talk all the time. `--aiortc` leaves the coding to
it, as on a machine without libopus.
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

import numpy as np
import structlog
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame

from gateway.core.clock import SystemClock
from gateway.media import opus_library
from gateway.media.opus_library import Int16s
from gateway.webrtc.addresses import gathering_on
from gateway.webrtc.audio import PTIME_S, WIDE_HZ
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


async def serve(browsers: Connection, calls: int, seconds: float) -> None:
    taken = 0

    def take(pcm: bytes) -> None:
        nonlocal taken
        taken += 1

    peers = []
    for k in range(calls):
        peer = BrowserPeer(
            f"call-{k}", take, lambda reason: None, lambda digit: None, options=PeerOptions(bind_host="127.0.0.1")
        )
        browsers.send(await peer.accept(await asyncio.to_thread(browsers.recv)))
        peers.append(peer)
    for peer in peers:
        await peer.connected()
    voice, clock = babble(WIDE_HZ).tobytes(), SystemClock()
    start, spent_s = clock.now(), 0.0
    for step in range(round((1 + seconds) / PTIME_S)):
        await clock.sleep_until(start + PTIME_S * step)
        if step == round(1 / PTIME_S):
            began_at, spent_s, taken = clock.now(), time.process_time(), 0
        at = 640 * step % len(voice)
        for peer in peers:
            peer.play(voice[at : at + 640])
    took_s = clock.now() - began_at
    cost = 1e6 * (time.process_time() - spent_s) / calls / took_s
    print(f"{calls} browsers: {cost:.0f} us a call and second; {taken / calls / took_s:.1f} pieces a second of each")
    browsers.send("")
    for peer in peers:
        await peer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--aiortc", action="store_true")
    arguments = parser.parse_args()
    if arguments.aiortc:
        opus_library.is_there = lambda: False
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=browsers, args=(theirs, arguments.calls))
    process.start()
    asyncio.run(serve(ours, arguments.calls, arguments.seconds))
    process.join()


if __name__ == "__main__":
    main()
