"""pipecat: a pipeline a call, with its Silero detector, between an input and an output that speak plain RTP.

pipecat has no RTP of its own, so the transport here is the least that works: a datagram protocol, G.711 by `audioop`,
twelve octets of header, 20 ms between packets. No jitter buffer, no concealment, no RTCP.
"""

from __future__ import annotations

import asyncio
import audioop
import struct
import sys

from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import InputAudioRawFrame, OutputAudioRawFrame, StartFrame, TTSAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

from benchmarks.peers._calls import FRAME_S, Calls, Talk, run

PARAMS = TransportParams(
    audio_in_enabled=True,
    audio_in_sample_rate=8000,
    audio_out_enabled=True,
    audio_out_sample_rate=8000,
    audio_out_10ms_chunks=2,
)


class Input(BaseInputTransport):
    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)


class Output(BaseOutputTransport):
    def __init__(self, params: TransportParams, call: Call) -> None:
        super().__init__(params)
        self._call = call

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        await self._call.send(frame.audio)
        return True


class Call(asyncio.DatagramProtocol):
    def __init__(self, phone: int) -> None:
        self._phone = phone
        self._sent = 0
        self._due = 0.0
        self.input, self.output = Input(PARAMS), Output(PARAMS, self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        frame = InputAudioRawFrame(audioop.ulaw2lin(data[12:], 2), 8000, 1)
        self._pushing = asyncio.ensure_future(self.input.push_audio_frame(frame))

    async def send(self, pcm: bytes) -> None:
        now = asyncio.get_running_loop().time()
        self._due = max(self._due + FRAME_S, now - FRAME_S)
        await asyncio.sleep(max(0.0, self._due - now))
        header = struct.pack("!BBHII", 0x80, 0, self._sent & 0xFFFF, 160 * self._sent & 0xFFFFFFFF, 7)
        self._transport.sendto(header + audioop.lin2ulaw(pcm, 2), ("127.0.0.1", self._phone))  # type: ignore[attr-defined]
        self._sent += 1


async def serve(calls: Calls) -> Talk:
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    loop = asyncio.get_running_loop()
    workers = []
    runner = WorkerRunner(handle_sigint=False)
    for port, phone in zip(calls.ports, calls.phones, strict=True):
        call = Call(phone)
        await loop.create_datagram_endpoint(lambda call=call: call, local_addr=("127.0.0.1", port))
        vad = VADProcessor(vad_analyzer=SileroVADAnalyzer(sample_rate=8000))
        rates = PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000)
        worker = PipelineWorker(Pipeline([call.input, vad, call.output]), params=rates, idle_timeout_secs=None)
        await runner.add_workers(worker)
        workers.append(worker)
    running[-1] = asyncio.ensure_future(runner.run())
    await asyncio.sleep(2)

    def talk(call: int, pcm: bytes) -> None:
        running[call] = asyncio.ensure_future(workers[call].queue_frame(TTSAudioRawFrame(pcm, 8000, 1)))

    return talk


running: dict[int, asyncio.Future[None]] = {}
"""What the event loop must not lose: the last clip queued for each call, and the runner."""

if __name__ == "__main__":
    run(serve)
