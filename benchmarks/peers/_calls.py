"""What every peer is told and has to tell. The standard library only: each peer has a Python environment of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

FRAME_S = 0.02
CLIP_S = 1.0


@dataclass(frozen=True)
class Calls:
    ports: list[int]
    """Our RTP port of each call, on 127.0.0.1."""

    phones: list[int]
    """The telephone's."""

    speech: list[bytes]
    """What the bot says, over and over: seconds of 16-bit PCM at 8 kHz."""


Talk = Callable[[int, bytes], None]
"""Queue a second of speech for a call."""


def run(serve: Callable[[Calls], Awaitable[Talk]]) -> None:
    """Read the calls, let `serve` set them up, say so, and let the bot talk to every call until standard input ends."""
    told = json.loads(sys.stdin.readline())
    pcm, second = Path(told["speech"]).read_bytes(), int(16000 * CLIP_S)
    pieces = [pcm[k : k + second] for k in range(0, len(pcm) - second, second)]
    asyncio.run(_run(serve, Calls(told["ports"], told["phones"], pieces)))


async def _run(serve: Callable[[Calls], Awaitable[Talk]], calls: Calls) -> None:
    loop = asyncio.get_running_loop()
    talk = await serve(calls)
    over = loop.run_in_executor(None, sys.stdin.readline)  # "go"
    print("ready", flush=True)
    await over
    over = loop.run_in_executor(None, sys.stdin.readline)  # the end of it
    for call in range(len(calls.ports)):
        talk(call, calls.speech[0])  # one to spare
    turn, start = 0, loop.time()
    while not over.done():
        for call in range(len(calls.ports)):
            talk(call, calls.speech[(turn + call) % len(calls.speech)])
            due = start + CLIP_S * (turn + (call + 1) / len(calls.ports))
            await asyncio.sleep(max(0.0, due - loop.time()))
        turn += 1
    os._exit(0)  # what is still open ends with the process
