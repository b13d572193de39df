"""An engine for tests of the worker processes: does as it is told, also what no engine should."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.core.errors import ProviderError


class Request(msgspec.Struct):
    do: str
    argument: str = ""


class Reply(msgspec.Struct):
    said: str
    pid: int


class Obedient:
    def __init__(self) -> None:
        self.heard: dict[int, list[str]] = {}

    def handle(self, job: int, request: Request) -> Iterable[Reply]:
        match request.do:
            case "crash":
                ctypes.string_at(0)
            case "leave":
                os._exit(3)
            case "hang":
                threading.Event().wait()  # for ever: only a kill ends it
            case "raise":
                raise ZeroDivisionError("by nothing")
            case "refuse":
                raise ProviderError("not today", category="quota", retryable=True)
            case "print":
                print("noise on standard output", flush=True)
                ctypes.CDLL(None).puts(b"and from C")
                ctypes.CDLL(None).fflush(None)
        said = self.heard.setdefault(job, [])
        said.append(request.argument)
        yield Reply(" ".join(said), os.getpid())

    def end(self, job: int) -> None:
        self.heard.pop(job, None)


def create(options: dict[str, Any]) -> Obedient:
    if options.get("missing"):
        raise ProviderError("no such library; remedy: install it", category="unavailable", retryable=False)
    return Obedient()
