"""Whole bot calls: SIP, media, turn-taking, agent and voice of one gateway under load.

    python -m benchmarks.bot_calls --calls 200 --seconds 30
    python -m benchmarks.bot_calls --calls 100 --seconds 20 --flood 5000

The gateway runs as it ships but for its recogniser, which is scripted: what is measured is ours, not pocketsphinx.
Callers come by SIP at `--rate` a second, then all talk half of the time over real UDP on loopback, and an echo agent
answers what they "said" with the flite voice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

import msgspec

from benchmarks._media_load import Measured, Plan
from benchmarks._options_flood import Flood
from gateway.core.clock import SystemClock
from gateway.core.ids import RandomIds
from gateway.sip import commands as sip
from gateway.sip import events as heard
from gateway.sip.endpoint import EndpointOptions
from gateway.sip.io import SipServer
from gateway.sip.offer_answer import LocalMedia, accept, offer

DIALPLAN = """
default: bot
routes:
  bot:
    match: {}
    steps:
      - answer
      - bot: {agent: echo}
"""
CONFIGURATION = """
[limits]
max_calls = 5000
[recording]
bundles = %s
[stt]
kind = "scripted"
audio_format = "ulaw_8k"
texts = [%s]
"""


class GatewayUnderLoad:
    """`gateway run` in a process of its own; its processor time is that of all its processes."""

    def __init__(self, folder: Path, workers: int, recording: bool) -> None:
        (folder / "plan.yaml").write_text(DIALPLAN)
        texts = ", ".join(['"hello"'] * 2000)
        (folder / "gateway.toml").write_text(CONFIGURATION % ("true" if recording else "false", texts))
        self._folder, self._workers = folder, workers
        self.sip_port = 0
        self.closing: dict[str, object] = {}

    async def __aenter__(self) -> GatewayUnderLoad:
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Whatever went wrong with the load, no gateway is left behind."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def _start(self) -> None:
        folder = self._folder
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.app", "run", "--bind", "127.0.0.1", "--sip-port", "0", "--http-port", "0"),
            *("--rtp-ports", "20000-29999", "--data", str(folder / "data"), "--log-format", "json"),
            *("--config", str(folder / "gateway.toml"), "--dialplan", str(folder / "plan.yaml")),
            *("--media-workers", str(self._workers)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        ready = await self._line("gateway.ready")
        self.sip_port = int(str(ready["sip"]).rpartition(":")[2])
        self._reader = asyncio.create_task(self._line("gateway.stopped"))

    async def _line(self, event: str) -> dict[str, object]:
        assert self.process.stdout is not None
        self.ended: list[dict[str, object]] = []
        while line := await self.process.stdout.readline():
            entry = json.loads(line) if line.startswith(b"{") else {"event": line.decode()}
            if entry["event"] == "call.ended":
                self.ended.append(entry)
            if entry.get("level") in ("error", "critical"):
                print(line.decode().rstrip(), file=sys.stderr)
            if entry["event"] == event:
                return dict(entry)
        raise SystemExit(f"the gateway ended before it said {event}")

    def cpu_s(self) -> float:
        return sum(_cpu_s(pid) for pid in _family(self.process.pid))

    def resident_mb(self) -> float:
        return sum(_resident_kb(pid) for pid in _family(self.process.pid)) / 1024

    async def stop(self) -> None:
        for _ in range(2):  # to drain, and not to wait for what the load left behind
            if self.process.returncode is None:
                self.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.2)
        self.closing = await self._reader
        await self.process.wait()


class Callers:
    """The signalling side of all callers, on one socket."""

    def __init__(self, calls: int) -> None:
        self._names = [f"caller-{number}" for number in range(calls)]
        self.ports: dict[str, int] = {}
        self.failed: list[str] = []
        self._news = asyncio.Event()
        # Takes what is sent before the gateway has latched to the real source.
        self._sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sink.bind(("127.0.0.1", 0))
        self._local = LocalMedia(host="127.0.0.1", port=self._sink.getsockname()[1], session_id=1, version=1)
        self._server = SipServer(EndpointOptions(), clock=SystemClock(), ids=RandomIds(), on_event=self._on_event)

    def _on_event(self, event: heard.AnySipEvent) -> None:
        match event:
            case heard.CallAccepted(dialog=dialog, sdp=sdp) if sdp:
                self.ports[dialog] = accept(self._local, sdp).port
            case heard.CallFailed(dialog=dialog, status=status, reason=reason):
                self.failed.append(f"{dialog}: {status} {reason}")
            case heard.CallEnded(dialog=dialog, by=by):
                self.failed.append(f"{dialog}: ended by {by}")
        self._news.set()

    async def dial(self, port: int, rate: float) -> None:
        await self._server.start("127.0.0.1", 0)
        flow = self._server.flow_to("127.0.0.1", port)
        for name in self._names:
            uri = f"sip:bot@127.0.0.1:{port}"
            self._server.send(sip.Place(name, uri, flow, offer(self._local), f"sip:{name}@127.0.0.1"))
            await asyncio.sleep(1 / rate)
        async with asyncio.timeout(30):
            while len(self.ports) + len(self.failed) < len(self._names):
                self._news.clear()
                await self._news.wait()

    async def hang_up(self) -> None:
        for name in self._names:
            self._server.send(sip.HangUp(name))
            await asyncio.sleep(0.002)
        await asyncio.sleep(1.5)
        await self._server.close()


class Scanner:
    """`_options_flood` beside the calls; nothing at all when it is to send nothing."""

    def __init__(self, port: int, per_s: int, seconds: float) -> None:
        self._arguments = (str(port), str(per_s), str(seconds))
        self._works = per_s > 0

    async def __aenter__(self) -> Scanner:
        if self._works:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks._options_flood", *self._arguments), stdout=asyncio.subprocess.PIPE
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._works:
            told = (await self._process.communicate())[0]
            self._flood = msgspec.json.decode(told, type=Flood)

    def report(self) -> dict[str, object]:
        if not self._works:
            return {}
        return {"OPTIONS sent / answered": f"{self._flood.sent} / {self._flood.answered}"}


async def run(
    calls: int, seconds: float, rate: float, workers: int, recording: bool, flood: int = 0
) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        async with GatewayUnderLoad(Path(folder), workers, recording) as gateway:
            idle_mb = gateway.resident_mb()
            callers = Callers(calls)
            await callers.dial(gateway.sip_port, rate)
            load = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks._media_load"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=1 << 24,
            )
            assert load.stdin is not None
            assert load.stdout is not None
            plan = Plan(list(callers.ports.values()), seconds, 0.5)
            load.stdin.write(msgspec.json.encode(plan) + b"\n")
            await load.stdout.readline()
            before = gateway.cpu_s()
            async with Scanner(gateway.sip_port, flood, seconds) as scanner:
                load.stdin.write(b"go\n")
                measured = msgspec.json.decode(await load.stdout.readline(), type=Measured)
            cpu_s, busy_mb = gateway.cpu_s() - before, gateway.resident_mb()
            await callers.hang_up()
            await gateway.stop()
        return _report(calls, seconds, callers, gateway, measured, cpu_s, busy_mb - idle_mb) | scanner.report()


def _report(
    calls: int, seconds: float, callers: Callers, gateway: GatewayUnderLoad, measured: Measured, cpu_s: float, mb: float
) -> dict[str, object]:
    received = sum(int(str(one["packets_received"])) for one in gateway.ended)
    return {
        "calls answered / failed": f"{len(callers.ports)} / {len(callers.failed)}",
        "closing lines": len(gateway.ended),
        "turns taken": sum(int(str(one["turns"])) for one in gateway.ended),
        "packets lost to the gateway": measured.sent - received,
        "packets lost on the way back": measured.missing,
        "tick lateness ms": {key: gateway.closing[key] for key in ("p50_ms", "p99_ms", "p999_ms", "max_ms")},
        "wire pacing ms p50/p99/p99.9/max": " / ".join(f"{late:.2f}" for late in measured.late_ms),
        "cpu us per call and second": round(1e6 * cpu_s / seconds / calls),
        "memory kB per call": round(mb * 1024 / calls),
    }


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=20.0, help="calls a second at the beginning")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--recording", action="store_true", help="leave a bundle for each call")
    parser.add_argument("--flood", type=int, default=0, metavar="PER_S", help="OPTIONS a second beside the calls")
    chosen = parser.parse_args()
    arguments = (chosen.calls, chosen.seconds, chosen.rate, chosen.workers, chosen.recording, chosen.flood)
    report = asyncio.run(run(*arguments))
    for name, value in report.items():
        print(f"{name:34} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
