"""Measure other media stacks under the same telephones and the same audio: `python -m benchmarks.peers [NAME ...]`.

Each peer is a script here with an optional list of requirements beside it (NAME.txt), installed into an environment of
its own under `--environments` the first time. It gets UDP ports, has its bot talk to every caller and takes what they
say; the telephones are those of `benchmarks.media_calls`, which is measured along with the others by the name of
`gateway`. Nobody has turns, recognition or a voice here: this is the cost of carrying and hearing audio.

cpu       of the process, us a call and second, between the second second and the last
lost      gaps in what came back to the callers
pacing    how late packets reached the callers against a steady 20 ms: p50, p99, ms
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
import venv
from importlib.metadata import version
from pathlib import Path

import msgspec
import structlog

from benchmarks import media_calls
from benchmarks._media_load import Measured, Plan, bot_speech

HERE = Path(__file__).parent
CALLS = {"gateway": 200, "kernel_echo": 200, "asyncio_echo": 200, "aiortp_calls": 100, "pipecat_calls": 12}
"""As many as leave each of them well within one core."""

DETECTS = {"gateway": "Silero", "pipecat_calls": "Silero"}


def environment(name: str, folder: Path) -> str:
    """The Python of the peer's own environment, made if it is not there yet."""
    requirements = HERE / f"{name}.txt"
    if not requirements.exists():
        return sys.executable
    python = folder / name / "bin" / "python"
    if not python.exists():
        venv.create(folder / name, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", requirements], check=True, stdout=sys.stderr)
    return str(python)


async def measure(name: str, python: str, arguments: argparse.Namespace) -> tuple[float, Measured]:
    """CPU seconds a second of the peer, and what the telephones saw."""
    calls = arguments.calls or CALLS[name]
    ports = [arguments.port + 2 * k for k in range(calls)]
    pipe = asyncio.subprocess.PIPE
    load_command = (sys.executable, "-m", "benchmarks._media_load")
    load = await asyncio.create_subprocess_exec(*load_command, stdin=pipe, stdout=pipe, limit=1 << 24)
    with tempfile.NamedTemporaryFile(suffix=".pcm") as speech:
        speech.write(bot_speech().tobytes())
        speech.flush()
        peer_command = (python, "-m", f"benchmarks.peers.{name}")
        path = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
        peer = await asyncio.create_subprocess_exec(*peer_command, stdin=pipe, stdout=pipe, env=path)
        assert load.stdin is not None
        assert load.stdout is not None
        assert peer.stdin is not None
        assert peer.stdout is not None
        load.stdin.write(msgspec.json.encode(Plan(ports, arguments.seconds, arguments.talk)) + b"\n")
        phones = msgspec.json.decode(await load.stdout.readline())
        told = {"ports": ports, "phones": phones, "speech": speech.name}
        peer.stdin.write(msgspec.json.encode(told) + b"\n")
        ready = await asyncio.wait_for(peer.stdout.readline(), 60)
    if not ready:
        raise SystemExit(f"{name} did not start")
    peer.stdin.write(b"go\n")
    load.stdin.write(b"go\n")
    await asyncio.sleep(2)
    began_s, began = _cpu_s(peer.pid), time.monotonic()
    await asyncio.sleep(arguments.seconds - 3)
    cpu = (_cpu_s(peer.pid) - began_s) / (time.monotonic() - began)
    measured = msgspec.json.decode(await load.stdout.readline(), type=Measured)
    peer.stdin.close()
    await asyncio.gather(peer.wait(), load.wait())
    return cpu, measured


def _cpu_s(pid: int) -> float:
    """Of all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _print(*columns: str) -> None:
    print(
        "  ".join(f"{text:>{width}}" for text, width in zip(columns, (16, 8, 8, 6, 6, 8, 14), strict=True)), flush=True
    )


def _peer(name: str, arguments: argparse.Namespace) -> None:
    python = environment(name, arguments.environments)
    cpu, measured = asyncio.run(measure(name, python, arguments))
    calls = arguments.calls or CALLS[name]
    release = "-"
    if (HERE / f"{name}.txt").exists():
        release = (HERE / f"{name}.txt").read_text().strip().rpartition("==")[2]
    pacing = "{:.1f} {:.1f}".format(*measured.late_ms)
    _print(name, release, DETECTS.get(name, "-"), str(calls), f"{1e6 * cpu / calls:.0f}", str(measured.missing), pacing)


def _gateway(arguments: argparse.Namespace) -> None:
    calls = arguments.calls or CALLS["gateway"]
    options = media_calls.parser().parse_args(["--workers", "1"])
    options.seconds, options.talk, options.port = arguments.seconds, arguments.talk, arguments.port
    report = asyncio.run(media_calls.Bench(calls, options).run())
    lost, pacing = report["lost"].partition(" / ")[2], " ".join(report["pacing"].split()[:2])
    _print("gateway", version("voicebot-gateway"), DETECTS["gateway"], str(calls), report["cpu"], lost, pacing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CALLS)}; all if none is given")
    parser.add_argument("--calls", type=int, help="instead of each one's own number")
    parser.add_argument("--seconds", type=float, default=12.0, help="at least 8")
    parser.add_argument("--talk", type=float, default=1.0, help="part of the time each caller speaks, 0 to 1")
    parser.add_argument("--port", type=int, default=26000, help="first RTP port")
    parser.add_argument("--environments", type=Path, default=Path("build/peers"))
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(CALLS):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    _print("peer", "release", "detector", "calls", "cpu", "lost", "pacing")
    for name in arguments.names or CALLS:
        if name == "gateway":
            _gateway(arguments)
        else:
            _peer(name, arguments)


if __name__ == "__main__":
    main()
