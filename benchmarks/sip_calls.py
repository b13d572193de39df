"""SIP signalling on real sockets, called by sipp: calls a second, five per cent loss, and ten thousand held dialogs.

    python -m benchmarks.sip_calls [rate] [loss] [held]

The one called is a process that is nothing but our SIP layer on UDP (`_sip_answerer`): no media, no session. CPU
time is that process's own, the kernel's part in it included. `held` waits 35 s so that the transactions of the 10,000
INVITEs are over and only dialogs are left.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import shutil
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from benchmarks._sip_answerer import Figures

INVITES_OVER_S = 35.0
"""64*T1 of RFC 3261 and a little: how long an INVITE's transaction is kept after its answer."""


class AnswererProcess:
    """`_sip_answerer`, started and asked."""

    async def __aenter__(self) -> AnswererProcess:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks._sip_answerer"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self.port = int(await self._line())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    async def figures(self) -> Figures:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        return msgspec.json.decode(await self._line(), type=Figures)

    async def reaches(self, live: int) -> Figures:
        """Wait until so many calls are up there."""
        while True:
            now = await self.figures()
            if now.live >= live:
                return now
            await asyncio.sleep(0.5)

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        if line := await self._process.stdout.readline():
            return line
        raise SystemExit("the answering process ended too early")


class Sipp:
    """sipp's own caller scenario: INVITE, ACK, a pause, BYE. `outcome` is the last line of its statistics."""

    def __init__(self, port: int, *options: str) -> None:
        self._port, self._options = port, options
        self._folder = tempfile.TemporaryDirectory()

    async def __aenter__(self) -> Sipp:
        self.process = await asyncio.create_subprocess_exec(
            *("sipp", f"127.0.0.1:{self._port}", "-sn", "uac", "-i", "127.0.0.1", "-nostdin", "-buff_size", "8388608"),
            *("-trace_stat", "-stf", str(self._statistics), "-fd", "1", "-s", "desk", *self._options),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=self._folder.name,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        self._folder.cleanup()

    @property
    def _statistics(self) -> Path:
        return Path(self._folder.name) / "statistics.csv"

    async def outcome(self) -> str:
        await self.process.wait()
        with self._statistics.open() as file:
            *_, last = csv.DictReader(file, delimiter=";")
        return (
            f"{last['SuccessfulCall(C)']} calls, {last['FailedCall(C)']} failed, "
            f"{last['Retransmissions(C)']} retransmissions by sipp"
        )


async def rate(calls_per_s: int = 500, seconds: int = 30) -> None:
    """500 calls a second for 30 s, three times; a retransmission means that somebody waited for 0.5 s."""
    spent = []
    for _ in range(3):
        async with AnswererProcess() as ours:
            before = await ours.figures()
            options = ("-r", str(calls_per_s), "-m", str(calls_per_s * seconds), "-d", "1000", "-l", "20000")
            async with Sipp(ours.port, *options) as sipp:
                outcome = await sipp.outcome()
            after = await ours.figures()
        spent.append(1e6 * (after.cpu_s - before.cpu_s) / max(1, after.offered))
        print(f"   {calls_per_s} calls/s for {seconds} s: {outcome}; {spent[-1]:.0f} us of CPU per call", flush=True)
    print(f"   median {statistics.median(spent):.0f} us of CPU per call, INVITE to BYE")


async def loss(calls: int = 1000, per_cent: int = 5) -> None:
    """Each message lost with that probability in either direction; retransmission has to mend all of it."""
    async with AnswererProcess() as ours:
        async with Sipp(ours.port, "-r", "50", "-m", str(calls), "-d", "200", "-lost", str(per_cent)) as sipp:
            outcome = await sipp.outcome()
        figures = await ours.figures()
    print(f"   {per_cent} % loss: {outcome}; {figures.offered} offered, {figures.ended} ended here")


async def held(calls: int = 10_000) -> None:
    """What a dialog costs that nothing happens in."""
    async with AnswererProcess() as ours:
        before = await ours.figures()
        options = ("-r", "500", "-m", str(calls), "-l", str(calls), "-d", "600000")
        async with Sipp(ours.port, *options):
            now = await ours.reaches(calls)
            print(f"   {calls} held: {_kb_each(before, now):.1f} kB each with their INVITEs' transactions")
            await asyncio.sleep(INVITES_OVER_S)
            begun = await ours.figures()
            await asyncio.sleep(10)
            over = await ours.figures()
    print(f"   {calls} held: {_kb_each(before, over):.1f} kB each without them")
    print(f"   {calls} held: {100 * (over.cpu_s - begun.cpu_s):.1f} ms of CPU a second while nothing happens")


def _kb_each(before: Figures, now: Figures) -> float:
    return (now.resident_kb - before.resident_kb) / now.live


WORKLOADS: dict[str, Callable[[], Awaitable[None]]] = {"rate": rate, "loss": loss, "held": held}


async def run(names: list[str]) -> None:
    for name in names:
        await WORKLOADS[name]()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="WORKLOAD", help=", ".join(WORKLOADS))
    chosen = parser.parse_args().names or list(WORKLOADS)
    if unknown := set(chosen) - set(WORKLOADS):
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    if shutil.which("sipp") is None:
        print("   sipp is not here: apt-get install sip-tester")
        return 1
    asyncio.run(run(chosen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
