"""A media process at work: RTP sockets, and planes that tick in turn every 5 ms.

A step of 5 ms belongs to one of four planes (phase groups), so that the work of many calls spreads over the 20 ms of
a tick: its packets go out first, to be on time; then all sockets are read, then the plane takes what came for it.
The process lives as long as its socket to the gateway is open; signals meant for the gateway's group do not end it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from typing import cast

import msgspec
import structlog

from gateway.core.errors import ConfigError
from gateway.core.ids import RandomIds
from gateway.media.commands import AnyCommand, CloseLeg, ConnectLeg, LegFailed, OpenLeg, first_leg
from gateway.media.files import QueuedFiles
from gateway.media.options import PlaneOptions
from gateway.media.plane import MediaPlane
from gateway.media.portrange import PortRange
from gateway.media.ports import BatchVad, NoiseSuppressor, Said
from gateway.media.vad import SileroVad
from gateway.media.wire import FromWorker, Lent, WorkerPulse, WorkerSetup, of_commands, pack
from gateway.media.worker.lending import Borrower
from gateway.media.worker.network import LegSockets, Network
from gateway.media.worker.pacing import in_bursts
from gateway.media.worker.uring import Rings

log = structlog.get_logger()

_GROUPS = 4
_STEP_S = 0.02 / _GROUPS
_CROWDED = 512
"""Legs of one group before the next one is used: a tick costs as much for itself as for a hundred legs."""

_HOPELESS_S = 0.2
"""Steps that are later than this are left out."""

_READS = 4
"""Datagrams taken from one socket in its group's step, four times what a call sends. A flood fills its own only."""

_PULSE_S = 1.0
_ORPHANED_S = 2.0
"""How often an idle worker looks whether the gateway still lives."""

_MOST_UNTOLD = 256 << 20
"""Octets of reports waiting for the gateway: it hangs, and this process would grow without end."""


def build_vad(setup: WorkerSetup, slots: int) -> BatchVad | None:
    """The detector asked for. Raises `ConfigError` for one that neither we nor the guests' module have."""
    vad = setup.vad
    if vad.kind == "none":
        return None
    if setup.guests:
        return cast(BatchVad, import_module(setup.guests).build_vad(vad.kind, vad.options, slots=slots))
    if vad.kind == "silero":
        return SileroVad(slots)
    raise ConfigError(f"unknown voice activity detector {vad.kind!r}; there are silero and none")


def build_suppressor(setup: WorkerSetup, slots: int) -> NoiseSuppressor | None:
    """The noise suppressor asked for; this room has none of its own."""
    return None if setup.noise is None else build_suppressor_of(setup, setup.noise.kind, slots)


def build_suppressor_of(setup: WorkerSetup, kind: str, slots: int) -> NoiseSuppressor:
    """One of this kind, with the options that are configured for it."""
    if not setup.guests:
        raise ConfigError(f"unknown noise suppressor {kind!r}")
    options = setup.noise.options if setup.noise is not None and setup.noise.kind == kind else {}
    return cast(NoiseSuppressor, import_module(setup.guests).build_noise(kind, options, slots=slots))


def build_rings() -> Rings | None:
    """None where the kernel has no io_uring as we need it, or forbids it."""
    try:
        return Rings()
    except OSError as error:
        log.info("media.without_io_uring", reason=str(error))
        return None


class _Group:
    """A plane and the sockets of its legs."""

    def __init__(self, plane: MediaPlane, rings: Rings | None) -> None:
        self.plane = plane
        self.network = Network(plane.table, rings)
        self.parting: list[str] = []
        """Legs whose sockets close when their last packets are out."""

    def send(self, due: float) -> None:
        rows, packets, others = self.plane.depart(due)
        for part in in_bursts(len(rows), due):
            self.network.send(rows[part], packets[part])
        self.network.send_others(others)

    def receive(self, due: float) -> list[Said]:
        said = self.plane.receive(due, *self.network.take())
        self.network.follow_latched(said, due)
        return said


class Worker:
    def __init__(self, control: socket.socket, setup: WorkerSetup, borrower: Borrower) -> None:
        self._control, self._setup, self._borrower = control, setup, borrower
        self._ports = PortRange(*setup.rtp_ports)
        files = QueuedFiles()
        threading.Thread(target=files.run, name="recordings", daemon=True).start()
        # Rows that are never used take up no memory.
        slots = min(setup.options.slots, max(_CROWDED, -(-setup.options.slots // _GROUPS)))
        wall_ahead_s = time.time() - time.monotonic()
        options = msgspec.structs.replace(setup.options, slots=slots, wall_ahead_s=wall_ahead_s)
        rings = build_rings() if setup.io_uring else None
        self._groups = [_Group(self._plane(options, files), rings) for _ in range(_GROUPS)]
        self._group_of: dict[str, _Group] = {}
        self._commands = of_commands()
        # One for all: a buffer made for each look would be new pages from the kernel, 200 times a second.
        self._inbox = memoryview(bytearray(1 << 20))
        self._untold = bytearray()
        self._late_us: list[int] = []
        self._pulse_at = 0.0
        self._parent = os.getppid()
        self._open = True

    def _plane(self, options: PlaneOptions, files: QueuedFiles) -> MediaPlane:
        vad, suppressor = build_vad(self._setup, options.slots), build_suppressor(self._setup, options.slots)
        return MediaPlane(
            options,
            RandomIds(),
            vad,
            files=files,
            suppressor=suppressor,
            build_suppressor=lambda kind: build_suppressor_of(self._setup, kind, options.slots),
        )

    def run(self) -> None:
        """Until the gateway closes its end."""
        self._tell([WorkerPulse(time.monotonic())])
        start, step = time.monotonic(), 0
        while self._open:
            if not any(group.plane.busy for group in self._groups):
                self._wait_for_work()
                start, step = time.monotonic(), 0
            if not self._is_wanted(step):
                step += 1
                continue
            due = start + step * _STEP_S
            delay = due - time.monotonic()
            if delay > 0:
                time.sleep(delay)
            elif delay < -_HOPELESS_S:
                # Whole rounds only, so that every group keeps its place.
                step += int(-delay / _STEP_S) // _GROUPS * _GROUPS
                continue
            self._late_us.append(int(1e6 * (time.monotonic() - due)))
            self._step(step, due)
            step += 1
        self._finish()

    def _is_wanted(self, step: int) -> bool:
        """Whether any packet may be due, or waiting. While one group has all calls, for half of the steps there is
        nothing to wake up for."""
        group, opposite = self._in_step(step)
        return group.plane.busy or opposite.plane.busy

    def _in_step(self, step: int) -> tuple[_Group, _Group]:
        """Whose turn it is, and whose turn is in half a tick."""
        return self._groups[step % _GROUPS], self._groups[(step + _GROUPS // 2) % _GROUPS]

    def _wait_for_work(self) -> None:
        self._control.settimeout(_ORPHANED_S)
        try:
            self._control.sendall(self._untold)
            self._untold.clear()
            self._obey(self._inbox[: self._control.recv_into(self._inbox)])
        except TimeoutError:
            self._look_for_parent()
        except OSError:
            self._open = False
        finally:
            self._control.setblocking(False)

    def _look_for_parent(self) -> None:
        """A gateway that was killed may live on in children of its own that hold our socket's other end."""
        self._open &= os.getppid() == self._parent

    def _step(self, step: int, due: float) -> None:
        group, opposite = self._in_step(step)
        self._read_control()
        try:
            if group.plane.busy:
                group.send(due)
                self._release(group)
            _read(group, opposite)
            if group.plane.busy:
                self._tell(group.receive(due))
        except Exception:
            # A fault of ours in one call must not take the other calls of this process along.
            log.exception("media.tick_failed")
        if due >= self._pulse_at:
            self._pulse(due)
        self._write_control()

    def _pulse(self, now: float) -> None:
        self._pulse_at = now + _PULSE_S
        self._look_for_parent()
        unsent = sum(group.network.unsent for group in self._groups)
        self._tell([WorkerPulse(now, len(self._group_of), time.process_time(), self._late_us, unsent)])
        self._late_us = []

    # The gateway

    def _read_control(self) -> None:
        try:
            size = self._control.recv_into(self._inbox)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        self._obey(self._inbox[:size])

    def _obey(self, data: memoryview) -> None:
        if not data:
            self._open = False
            return
        now = time.monotonic()
        for command in self._commands.feed(data):
            try:
                if isinstance(command, Lent):
                    command = self._borrower.take(command)  # also for a leg that is gone: the next one's comes behind
                if isinstance(command, OpenLeg):
                    self._open_leg(command, now)
                elif not isinstance(command, WorkerSetup) and (group := self._group_of.get(command.leg)):
                    self._pass_on(group, command, now)
            except Exception:
                # As in a tick: one call's trouble is not the others'.
                log.exception("media.command_failed", command=type(command).__name__)
        for group in self._groups:
            self._tell(group.plane.take_said())

    def _open_leg(self, command: OpenLeg, now: float) -> None:
        if command.leg in self._group_of:
            self._tell([LegFailed(now, command.leg, "a leg of this name is open")])
            return
        group = self._roomiest(command.leg)
        if group is None:
            self._tell([LegFailed(now, command.leg, "all media slots are in use")])
            return
        port, sockets = 0, None
        if command.kind == "rtp":
            sockets = self._bind(now) if command.again is None else self._bind_again(command.again.port)
            if sockets is None:
                self._tell([LegFailed(now, command.leg, "no free RTP port")])
                return
            port = sockets.port
        self._group_of[command.leg] = group
        group.plane.command(command, now, port=port)
        if sockets is not None:
            group.network.attend(command.leg, sockets)

    def _pass_on(self, group: _Group, command: AnyCommand, now: float) -> None:
        if isinstance(command, CloseLeg):
            del self._group_of[command.leg]
            if group.network.ignore(command.leg):
                group.parting.append(command.leg)
        group.plane.command(command, now)
        if isinstance(command, ConnectLeg):
            group.network.follow(command.leg, now)

    def _release(self, group: _Group) -> None:
        for leg in group.parting:
            self._ports.give_back(group.network.close(leg), time.monotonic())
        group.parting.clear()

    def _roomiest(self, leg: str) -> _Group | None:
        """Beside the call's first leg, so that they can be bridged."""
        if len(self._group_of) >= self._setup.options.slots:
            return None
        beside = self._group_of.get(first_leg(leg))
        # Every other one first: two groups in use have 10 ms each.
        groups = self._groups[::2] + self._groups[1::2]
        roomy = [group for group in groups if group.plane.has_room and beside in (None, group)]
        for group in roomy:
            if group.plane.open_legs < _CROWDED:
                return group
        return min(roomy, key=lambda group: group.plane.open_legs, default=None)

    def _bind(self, now: float) -> LegSockets | None:
        """The next port pair that is really free; those taken by somebody else are passed over."""
        for _ in range(len(self._ports)):
            port = self._ports.take(now)
            if port is None:
                return None
            try:
                return LegSockets(self._setup.bind, port)
            except OSError:
                self._ports.give_back(port, now)
        return None

    def _bind_again(self, port: int) -> LegSockets | None:
        """The port of a leg that was open before in another process; its peer goes on sending there."""
        if not self._ports.take_back(port):
            return None
        try:
            return LegSockets(self._setup.bind, port)
        except OSError:
            self._ports.give_back(port, time.monotonic())
            return None

    def _tell(self, messages: Sequence[FromWorker]) -> None:
        if messages:
            self._untold += pack(messages)

    def _write_control(self) -> None:
        if not self._untold:
            return
        try:
            sent = self._control.send(self._untold)
            del self._untold[:sent]
        except BlockingIOError:
            if len(self._untold) > _MOST_UNTOLD:
                self._open = False
        except OSError:
            self._open = False

    def _finish(self) -> None:
        """Close every leg, so that recordings are whole, and give the disk a moment."""
        now = time.monotonic()
        for leg, group in list(self._group_of.items()):
            self._pass_on(group, CloseLeg(leg), now)
        while any(group.plane.busy for group in self._groups) and time.monotonic() < now + 3.0:
            for group in self._groups:
                group.send(time.monotonic())
                group.plane.receive(time.monotonic(), [])
            time.sleep(0.01)


def _read(group: _Group, opposite: _Group) -> None:
    """What came for `group`, whose turn it is; and what came for the one whose turn is in half a tick.

    So arrivals are known to 10 ms, which is enough for RFC 3550's jitter: it is a mean.
    """
    now = time.monotonic()
    opposite.network.read(now)
    for k in range(_READS):
        if not group.network.read(now, again=k > 0):
            break
