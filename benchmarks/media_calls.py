"""How many calls the media plane carries, and how well: `python -m benchmarks.media_calls --calls 100 1000 2000`.

Every call is full duplex over real UDP on loopback: the caller talks (speech, detected and cut for a recogniser) and
so does the bot. One line for each number of calls:

lost      packets the workers did not get, and packets the callers did not get
cpu       of the media workers, in us for a call and a second; of a core, what each worker used
pacing    how late packets reached the callers against a steady 20 ms, by the kernel's time stamps: p50, p99, p99.9, ms;
          from each call's third second on
tick      how late the workers' steps began: p99, p99.9, ms
memory    of the workers (PSS), kB a call, by how much it grew from no calls to all
silent    from the order to be silent (a barge-in) to the caller's last packet with sound: median and worst, ms
load      CPU of the telephones and of the gateway's end of the workers' sockets, us a call and second: not in `cpu`
behind    how late the telephones themselves were at their worst, ms: beyond 20 they are what is being measured
guard     whether the echo guard was on: it works where both talk at once, which bots do for moments and this one always
others    what everything else on this machine used, in cores: figures are worth what this is small
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import structlog

from benchmarks._media_load import PAYLOAD_TYPES, TIMED, Measured, Plan, bot_speech
from gateway.core.clock import SystemClock
from gateway.media.codecs import CLOCK_RATIO, RATE, WIDE
from gateway.media.commands import (
    CloseLeg,
    ConnectLeg,
    FlushPlayout,
    HeardAudio,
    LegClosed,
    LegFailed,
    LegOpened,
    Listen,
    MediaDied,
    OpenLeg,
    QueueAudio,
)
from gateway.media.io import MediaPool
from gateway.media.options import PlaneOptions
from gateway.media.ports import Said
from gateway.media.wire import WorkerPulse

_CLIP_S = 1.0
_SILENT_S = 1.0
"""Before the end the bot is told to be silent, so that the last sound of it can be timed."""

_COLUMNS = {
    "calls": 6,
    "workers": 7,
    "codec": 5,
    "guard": 5,
    "lost": 11,
    "late": 6,
    "cpu": 5,
    "core": 5,
    "pacing": 19,
    "tick": 13,
    "memory": 6,
    "silent": 13,
    "load": 9,
    "behind": 6,
    "others": 6,
    "speech": 6,
}


@dataclass(frozen=True)
class _Usage:
    """Seconds of CPU: of the workers' steady time, of this process, of the whole machine; and of the wall."""

    own_s: float
    machine_s: float
    wall_s: float


class Bench:
    def __init__(self, calls: int, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._names = [f"call{k}" for k in range(calls)]
        self._pool = MediaPool(
            workers=arguments.workers,
            bind="127.0.0.1",
            rtp_ports=(arguments.port, arguments.port + 2 * (calls + 64 * arguments.workers) - 1),
            clock=SystemClock(),
            options=PlaneOptions(slots=-(-calls // arguments.workers) + 8, echo_guard=arguments.echo_guard),
            vad=arguments.vad,
            io_uring=not arguments.no_io_uring,
        )
        self._pool.on_pulse = lambda worker, pulse: self._pulses.setdefault(worker, []).append(pulse)
        self._pulses: dict[int, list[WorkerPulse]] = {}
        self._opened: dict[str, LegOpened] = {}
        self._closed: dict[str, LegClosed] = {}
        self._wide = arguments.codec in WIDE
        self._heard_octets = 0
        self._failed = ""
        self._progress = asyncio.Event()

    def _hear(self, said: Said) -> None:
        if isinstance(said, HeardAudio):
            self._heard_octets += len(said.audio)
        elif isinstance(said, LegOpened):
            self._opened[said.leg] = said
            self._progress.set()
        elif isinstance(said, LegFailed | MediaDied):
            self._failed = str(said)
            self._progress.set()
        elif isinstance(said, LegClosed):
            self._closed[said.leg] = said
            self._progress.set()

    async def _until_all(self, done: dict[str, LegOpened] | dict[str, LegClosed]) -> None:
        while len(done) < len(self._names):
            self._progress.clear()
            await asyncio.wait_for(self._progress.wait(), 30)
            if self._failed:
                raise SystemExit(f"{self._failed}; another --port may help")

    async def run(self) -> dict[str, str]:
        await self._pool.start()
        before_kb = self._memory_kb()
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
        plan = Plan(ports, self._arguments.seconds, self._arguments.talk, self._arguments.codec)
        load.stdin.write(msgspec.json.encode(plan) + b"\n")
        await self._connect(msgspec.json.decode(await load.stdout.readline()))
        began = _usage()
        load.stdin.write(b"go\n")
        flushed_at = await self._talk(time.monotonic() + self._arguments.seconds - _SILENT_S)
        memory_kb = self._memory_kb() - before_kb
        measured = msgspec.json.decode(await load.stdout.readline(), type=Measured)
        ended = _usage()
        await load.wait()
        for name in self._names:
            self._pool.send(CloseLeg(name))
        await self._until_all(self._closed)
        await self._pool.close()
        used = _Usage(*(after - before for after, before in zip(ended, began, strict=True)))
        return self._report(measured, memory_kb, flushed_at, used)

    async def _connect(self, ports: list[int]) -> None:
        """To the telephones, over a second: nowhere do a thousand calls connect within a tick."""
        start, codec = time.monotonic(), self._arguments.codec
        events_hz = 8000 * CLOCK_RATIO.get(codec, 1)
        for k, (name, port) in enumerate(zip(self._names, ports, strict=True)):
            self._pool.send(ConnectLeg(name, "127.0.0.1", port, codec, PAYLOAD_TYPES[codec], 101, events_hz))
            self._pool.send(Listen(name, "pcm_16k" if self._wide else "ulaw_8k"))
            if k % 10 == 9:
                await asyncio.sleep(max(0.0, start + (k + 1) / len(ports) - time.monotonic()))

    def _memory_kb(self) -> int:
        return sum(_pss_kb(link.process.pid) for link in self._pool._links if link.process is not None)

    async def _talk(self, until: float) -> list[float]:
        """The bot talks to every call, a second at a time, then falls silent. Gives when each was told to."""
        pieces = self._pieces()
        turn, start = 0, time.monotonic()
        while time.monotonic() < until:
            for k, name in enumerate(self._names):
                for pcm, wide in [pieces[(turn + k) % len(pieces)]] * (1 if turn else 2):  # and one to spare
                    self._pool.send(QueueAudio(name, 1, pcm, False, wide))
                if k % 10 == 9:
                    due = start + _CLIP_S * (turn + k / len(self._names))
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
            turn += 1
            await asyncio.sleep(max(0.0, start + _CLIP_S * turn - time.monotonic()))
        flushed_at = []
        for name in self._names[::TIMED]:
            flushed_at.append(time.time())
            self._pool.send(FlushPlayout(name))
            await asyncio.sleep(_SILENT_S / 2 / len(self._names[::TIMED]))
        return flushed_at

    def _pieces(self) -> list[tuple[bytes, bytes]]:
        """A second each of what the bot says, at 8 kHz, and at 16 kHz for calls that send it."""
        rates = [(bot_speech(rate=rate), int(rate * _CLIP_S)) for rate in (8000, RATE)]
        narrow, wide = ([pcm[k : k + n].tobytes() for k in range(0, len(pcm) - n, n)] for pcm, n in rates)
        return [(one, other if self._wide else b"") for one, other in zip(narrow, wide, strict=True)]

    def _report(self, measured: Measured, memory_kb: int, flushed_at: list[float], used: _Usage) -> dict[str, str]:
        calls, workers, seconds = len(self._names), self._arguments.workers, self._arguments.seconds
        stats = [self._closed[name].stats for name in self._names]
        late_us = np.concatenate([p.late_us[:] for pulses in self._pulses.values() for p in pulses[2:]])
        cpu_s, core = self._worker_cpu()
        p50, p99, p999, _ = measured.late_ms
        # Telephones that fell behind may have heard nothing at all.
        heard = [(last, at) for last, at in zip(measured.last_audible, flushed_at, strict=True) if last]
        silent_ms = [1000 * (last - at) for last, at in heard]
        others = used.machine_s - used.own_s - measured.cpu_s - cpu_s * used.wall_s
        return {
            "calls": str(calls),
            "workers": str(workers),
            "codec": self._arguments.codec,
            "guard": "on" if self._arguments.echo_guard else "-",
            "lost": f"{measured.sent - sum(s.packets_received for s in stats)} / {measured.missing}",
            "late": str(sum(s.packets_late for s in stats)),
            "cpu": f"{1e6 * cpu_s / calls:.0f}",
            "core": f"{100 * core:.0f} %",
            "pacing": f"{p50:.2f} {p99:.2f} {p999:.2f}",
            "tick": "{:.2f} {:.2f}".format(*np.percentile(late_us, [99, 99.9]) / 1000),
            "memory": f"{memory_kb / calls:.0f}",
            "silent": f"{np.median(silent_ms):.1f} {max(silent_ms):.1f}" if len(heard) == len(flushed_at) else "-",
            "load": f"{1e6 * measured.cpu_s / seconds / calls:.0f} {1e6 * used.own_s / used.wall_s / calls:.0f}",
            "behind": f"{measured.own_late_ms:.0f}",
            "others": f"{others / used.wall_s:.2f}",
            "speech": f"{100 * self._heard_octets / (32000 if self._wide else 8000) / calls / seconds:.0f} %",
        }

    def _worker_cpu(self) -> tuple[float, float]:
        """Seconds a second of all workers, from their pulses between the first and the last seconds; and the most
        of one."""
        each = []
        for pulses in self._pulses.values():
            steady = [p for p in pulses if p.legs][2:-2]
            each.append((steady[-1].cpu_s - steady[0].cpu_s) / (steady[-1].at - steady[0].at))
        return sum(each), max(each)


def _usage() -> tuple[float, float, float]:
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, *_ = ticks
    busy_s = (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    return time.process_time(), busy_s, time.monotonic()


def _pss_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, nargs="+", default=[100, 500, 1000, 2000])
    parser.add_argument("--seconds", type=float, default=20.0, help="at least 8")
    parser.add_argument("--talk", type=float, default=1.0, help="part of the time each caller speaks, 0 to 1")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--codec",
        choices=list(PAYLOAD_TYPES),
        default="PCMU",
        help="a wideband one with a voice and a recogniser at 16 kHz",
    )
    parser.add_argument("--vad", choices=["silero", "none"], default="silero")
    parser.add_argument("--no-io-uring", action="store_true", help="a system call for each packet")
    parser.add_argument("--as-is", action="store_true", help="do not let OpenBLAS choose its code by the processor")
    parser.add_argument("--port", type=int, default=20000, help="first RTP port of the workers")
    parser.add_argument(
        "--echo-guard", action="store_true", help="with it: here everybody talks over the bot all the time"
    )
    parser.add_argument("--explain", action="store_true", help="say what the columns are")
    return parser


def main() -> None:
    arguments = parser().parse_args()
    if arguments.seconds < 8:
        parser().error("the first and last seconds are not counted: 8 at least")
    if not arguments.as_is and (core := os.environ.pop("OPENBLAS_CORETYPE", None)):
        print(f"OPENBLAS_CORETYPE={core} is not passed on; --as-is keeps it", file=sys.stderr)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if arguments.explain:
        print(__doc__)
    print("  ".join(f"{name:>{width}}" for name, width in _COLUMNS.items()))
    for calls in arguments.calls:
        report = asyncio.run(Bench(calls, arguments).run())
        print("  ".join(f"{report[name]:>{width}}" for name, width in _COLUMNS.items()), flush=True)


if __name__ == "__main__":
    main()
