"""Counts and durations for Prometheus, fed by the calls' own events. Text exposition format 0.0.4."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from gateway.core import events as e
from gateway.media.relapses import Losses

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CALL_SECONDS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
RESPONSE_SECONDS = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


class Series:
    """A counter or gauge with one value per combination of labels. Without labels it shows 0 from the start."""

    def __init__(self, name: str, kind: str, help: str, labels: Sequence[str] = ()) -> None:
        self.name, self._kind, self._help, self._labels = name, kind, help, tuple(labels)
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}

    def add(self, *labels: str, by: float = 1.0) -> None:
        self._values[labels] = self._values.get(labels, 0.0) + by

    def set(self, value: float, *labels: str) -> None:
        self._values[labels] = value

    def value(self, *labels: str) -> float:
        return self._values.get(labels, 0.0)

    def lines(self) -> Iterator[str]:
        yield from _head(self.name, self._kind, self._help)
        for labels, value in sorted(self._values.items()):
            yield f"{self.name}{_braced(self._labels, labels)} {value:g}"


class Histogram:
    """How many observations were at most as large as each bound, cumulatively, as Prometheus wants it."""

    def __init__(self, name: str, help: str, bounds: Sequence[float]) -> None:
        self.name, self._help, self._bounds = name, help, tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self) -> Iterator[str]:
        yield from _head(self.name, "histogram", self._help)
        total = 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            yield f'{self.name}_bucket{{le="{_bound(bound)}"}} {total}'
        yield f"{self.name}_sum {self._sum:.6f}"
        yield f"{self.name}_count {total}"


class Metrics:
    """All of the gateway's series. `observe` takes every event of every call, in order per call."""

    def __init__(self) -> None:
        self.active = Series("gateway_calls_active", "gauge", "Calls going on now.", ["door"])
        self.started = Series("gateway_calls_started_total", "counter", "Calls begun.", ["door"])
        self.ended = Series("gateway_calls_total", "counter", "Calls ended, by why.", ["reason"])
        self.duration = Histogram("gateway_call_duration_seconds", "How long calls lasted.", CALL_SECONDS)
        self.sessions = Series("gateway_sessions_started_total", "counter", "Sessions begun afresh.")
        self.resumed = Series("gateway_sessions_resumed_total", "counter", "Sessions taken up by a call back.")
        self.turns = Series("gateway_turns_total", "counter", "Finished turns of callers.")
        self.barge_ins = Series("gateway_barge_ins_total", "counter", "Callers who cut the bot off.", ["by"])
        self.false_alarms = Series("gateway_false_alarms_total", "counter", "Suspected interruptions that were none.")
        self.response = Histogram(
            "gateway_response_seconds", "From the end of a caller's turn to the bot's first sample.", RESPONSE_SECONDS
        )
        self.failures = Series(
            "gateway_provider_failures_total", "counter", "Failed provider requests.", ["what", "category"]
        )
        self.errors = Series("gateway_errors_total", "counter", "Errors within calls.", ["code"])
        self.worker_deaths = Series("gateway_media_worker_deaths_total", "counter", "Media workers that died.")
        self.restored = Series("gateway_media_legs_restored_total", "counter", "Legs that outlived their media worker.")
        self.given_up = Series("gateway_media_legs_given_up_total", "counter", "Legs that ended with a media worker.")
        self._doors: dict[str, str] = {}
        self._asked_at: dict[str, float] = {}

    def observe(self, event: e.AnyEvent) -> None:
        match event:
            case e.CallStarted(call=call, door=door):
                self._doors[call] = door
                self.started.add(door)
                self.active.add(door)
            case e.CallEnded():
                self._call_ended(event)
            case e.SessionStarted():
                self.sessions.add()
            case e.SessionResumed():
                self.resumed.add()
            case e.UserTurnEnded(call=call, at=at):
                self.turns.add()
                self._asked_at[call] = at
            case e.UtteranceStarted(call=call, at=at):
                if (asked_at := self._asked_at.pop(call, None)) is not None:
                    self.response.observe(at - asked_at)
            case e.BargedIn(by=by):
                self.barge_ins.add(by)
            case e.FalseAlarm():
                self.false_alarms.add()
            case e.ProviderFailed(what=what, category=category):
                self.failures.add(what, category)
            case e.ErrorOccurred(code=code):
                self.errors.add(code)

    def render(self, losses: Losses) -> str:
        """As it is now; `losses` of media workers are no events of calls."""
        self.worker_deaths.set(losses.worker_deaths)
        self.restored.set(losses.legs_restored)
        self.given_up.set(losses.legs_given_up)
        every = (
            self.active, self.started, self.ended, self.duration, self.sessions, self.resumed, self.turns,
            self.barge_ins, self.false_alarms, self.response, self.failures, self.errors,
            self.worker_deaths, self.restored, self.given_up,
        )  # fmt: skip
        return "\n".join(line for series in every for line in series.lines()) + "\n"

    def _call_ended(self, event: e.CallEnded) -> None:
        self.ended.add(event.reason)
        self.duration.observe(event.duration_s)
        self._asked_at.pop(event.call, None)
        # A call that began before we listened was never counted as active.
        if (door := self._doors.pop(event.call, None)) is not None:
            self.active.add(door, by=-1.0)


def _head(name: str, kind: str, help: str) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"


def _braced(names: Sequence[str], values: Sequence[str]) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{n}="{_escaped(v)}"' for n, v in zip(names, values, strict=True)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else f"{bound:g}"
