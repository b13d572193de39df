"""How many calls the media plane carries, and how well: `python -m benchmarks.media_calls --calls 200 --seconds 20`.

Every call is full duplex over real UDP on loopback: the caller talks part of the time (speech, detected and cut for a
recogniser), the bot the rest. Reported are packets lost both ways, how late ticks began and packets left, and the
processor time and memory of the media processes a call.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import msgspec
import numpy as np

from benchmarks._media_load import SPEECH, Measured, Plan
from gateway.core.clock import SystemClock
from gateway.media.commands import CloseLeg, ConnectLeg, HeardAudio, LegClosed, LegOpened, Listen, OpenLeg, QueueAudio
from gateway.media.io import MediaPool
from gateway.media.options import PlaneOptions
from gateway.media.ports import Said
from gateway.media.wire import WorkerPulse


class Bench:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        calls = arguments.calls
        self._names = [f"call{k}" for k in range(calls)]
        slots = -(-calls // arguments.workers) + 8
        ports = (20000, 20000 + 2 * (calls + 32 * arguments.workers) - 1)
        self._pool = MediaPool(
            workers=arguments.workers,
            bind="127.0.0.1",
            rtp_ports=ports,
            clock=SystemClock(),
            options=PlaneOptions(slots=slots),
            vad=arguments.vad,
        )
        self._pool.on_pulse = lambda worker, pulse: self._pulses.setdefault(worker, []).append(pulse)
        self._pulses: dict[int, list[WorkerPulse]] = {}
        self._opened: dict[str, LegOpened] = {}
        self._closed: dict[str, LegClosed] = {}
        self._heard_s = 0.0
        self._progress = asyncio.Event()

    def _hear(self, said: Said) -> None:
        if isinstance(said, HeardAudio):
            self._heard_s += len(said.audio) / 8000
        elif isinstance(said, LegOpened):
            self._opened[said.leg] = said
            self._progress.set()
        elif isinstance(said, LegClosed):
            self._closed[said.leg] = said
            self._progress.set()

    async def _until_all(self, done: dict[str, LegOpened] | dict[str, LegClosed]) -> None:
        while len(done) < len(self._names):
            self._progress.clear()
            await asyncio.wait_for(self._progress.wait(), 30)

    async def run(self) -> dict[str, object]:
        await self._pool.start()
        before = [_resident_kb(pid) for pid in self._pids]
        for name in self._names:
            self._pool.subscribe(name, self._hear)
            self._pool.send(OpenLeg(name))
        await self._until_all(self._opened)
        load = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks._media_load"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        assert load.stdin is not None
        assert load.stdout is not None
        ports = [self._opened[name].port for name in self._names]
        plan = Plan(ports, self._arguments.seconds, self._arguments.talk)
        load.stdin.write(msgspec.json.encode(plan) + b"\n")
        for name, port in zip(self._names, msgspec.json.decode(await load.stdout.readline()), strict=True):
            self._pool.send(ConnectLeg(name, "127.0.0.1", port, "PCMU", 0, 101))
            self._pool.send(Listen(name, "ulaw_8k"))
        load.stdin.write(b"go\n")
        talking = asyncio.create_task(self._talk())
        measured = msgspec.json.decode(await load.stdout.readline(), type=Measured)
        talking.cancel()
        memory = sum(_resident_kb(pid) for pid in self._pids) - sum(before)
        for name in self._names:
            self._pool.send(CloseLeg(name))
        await self._until_all(self._closed)
        await self._pool.close()
        return self._report(measured, memory)

    @property
    def _pids(self) -> list[int]:
        return [link.process.pid for link in self._pool._links if link.process is not None]

    async def _talk(self) -> None:
        """The bot's turns: a few seconds of speech for each call, over and over."""
        with np.load(SPEECH) as file:
            pcm = file["pcm"][4000:-4000]
        turn_s = len(pcm) / 8000 / max(1 - self._arguments.talk, 0.05)
        clip = 0
        while True:
            clip += 1
            for k, name in enumerate(self._names):
                self._pool.send(QueueAudio(name, clip, pcm.tobytes(), last=True))
                if k % 10 == 9:
                    await asyncio.sleep(turn_s * 10 / len(self._names))

    def _report(self, measured: Measured, memory_kb: int) -> dict[str, object]:
        calls = len(self._names)
        stats = [self._closed[name].stats for name in self._names]
        late_us = np.concatenate([p.late_us[:] for pulses in self._pulses.values() for p in pulses[2:]])
        cpu_s, span_s = 0.0, 0.0
        for pulses in self._pulses.values():
            steady = [p for p in pulses if p.legs][2:-1]
            cpu_s += steady[-1].cpu_s - steady[0].cpu_s
            span_s = steady[-1].at - steady[0].at
        p50, p99, p999 = np.percentile(late_us, [50, 99, 99.9]) / 1000
        return {
            "calls": calls,
            "workers": self._arguments.workers,
            "lost to the gateway": sum(measured.sent) - sum(s.packets_received for s in stats),
            "lost on the way back": measured.missing,
            "late in the jitter buffer": sum(s.packets_late for s in stats),
            "tick lateness ms p50/p99/p99.9": f"{p50:.2f} / {p99:.2f} / {p999:.2f}",
            "wire pacing ms p50/p99/p99.9/max": " / ".join(f"{late:.2f}" for late in measured.late_ms),
            "cpu us per call and second": round(1e6 * cpu_s / span_s / calls),
            "cpu of each core used": f"{100 * cpu_s / span_s / self._arguments.workers:.0f} %",
            "memory kB per call": round(memory_kb / calls),
            "speech sent to recognition s": round(self._heard_s),
        }


def _resident_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


async def _run(arguments: argparse.Namespace) -> dict[str, object]:
    return await Bench(arguments).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--talk", type=float, default=0.5, help="part of the time each caller speaks, 0 to 1")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--vad", choices=["silero", "none"], default="silero")
    report = asyncio.run(_run(parser.parse_args()))
    for name, value in report.items():
        print(f"{name:36} {value}")


if __name__ == "__main__":
    main()
