"""The desk: admits calls from all doors, resumes them, and closes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from weakref import WeakValueDictionary

import structlog

from gateway.call import commands as c
from gateway.call.journal import lost_recording
from gateway.call.live import LiveCall
from gateway.call.ports import Incoming, LineFactory, SuccessorFactory
from gateway.call.services import DeskOptions, Services
from gateway.call.sessions import Opened, fresh_session, open_session
from gateway.call.switchboard import Switchboard
from gateway.call.worker import SessionWriter
from gateway.core import events as e
from gateway.core.errors import GatewayError, PeerError
from gateway.dialplan import Offer
from gateway.store.ports import Identity

log = structlog.get_logger()

LOOK_UP_WITHIN_S = 2.0
"""How long a call at the door waits for the store to say whether its caller was here before."""
SAVE_WITHIN_S = 2.0
"""How long it waits, each, for an earlier call of its caller to end and to be saved."""


class Desk:
    """Takes calls from all doors. `watchers` see every recorded event of every call, as it happens."""

    def __init__(self, services: Services, options: DeskOptions) -> None:
        self.services, self.options = services, options
        self.board: Switchboard[LiveCall] = Switchboard(max_calls=options.max_calls, overload=services.overload)
        self.watchers: list[Callable[[LiveCall, e.AnyEvent], None]] = []
        self._writer = SessionWriter(services.store, services.clock)
        self._opening: WeakValueDictionary[Identity, asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    async def start(self) -> None:
        self._writer.start()

    def incoming(self, incoming: Incoming, line: LineFactory) -> str:
        """A call at the door; its id. Raises `CapacityError` when there is no room."""
        self.board.check_room()
        call = LiveCall(f"c-{self.services.ids.token(12)}", incoming, line, self.services, self)
        self.board.admit(call)
        self._empty.clear()
        self.spawn(self._admit(call))
        return call.id

    def replace(self, dialog: str, incoming: Incoming, line: SuccessorFactory) -> None:
        """Somebody comes in the place of the caller of that dialog. Raises `PeerError` when that cannot be."""
        call = next((call for call in self.board if call.dialog == dialog), None)
        if call is None:
            raise PeerError("no such call of ours", status_hint=603)
        call.replace_caller(incoming, line)
        log.info("call.replaced", call=call.id, caller_known=bool(incoming.caller))

    async def _admit(self, call: LiveCall) -> None:
        services = self.services
        async with self._turn(call.identity):
            opened = await self._open_session(call)
            call.session = opened.session
        dialplan = services.dialplan()
        incoming = call.incoming
        plan = (
            dialplan.plan(incoming.route) if incoming.route else dialplan.route(_offer(incoming), services.local_time())
        )
        log.info("call.started", call=call.id, door=incoming.door, route=plan.route, session=opened.session,
                 resumed=opened.remembered is not None)  # fmt: skip
        call.begin(opened, plan, dialplan)

    def _turn(self, identity: Identity) -> asyncio.Lock:
        """Of two calls of one caller that come together, only one takes up the session. The anonymous never wait."""
        lock = asyncio.Lock()
        return self._opening.setdefault(identity, lock) if identity.caller else lock

    async def _open_session(self, call: LiveCall) -> Opened:
        """A caller who is back while the old line lies dead takes its session over; a live one keeps it."""
        busy = await self._busy_sessions(call)
        store, clock, ids = self.services.store, self.services.clock, self.services.ids
        try:
            async with asyncio.timeout(LOOK_UP_WITHIN_S):
                return await open_session(
                    store, call.identity, clock=clock, ids=ids, options=self.options.session, busy=busy
                )
        except (GatewayError, TimeoutError) as error:
            # A caller without memory is served better than a caller refused; the writer keeps trying to save.
            log.error("session.lookup_failed", call=call.id, error=str(error) or "timeout")
            return fresh_session(ids)

    async def _busy_sessions(self, call: LiveCall) -> set[str]:
        """This caller's sessions that `call` must not take up: another call goes on with them, or they are not saved.

        Ends calls whose line is dead, and waits for the last events of those that are over: a session goes on only
        from where it really stopped, and has one writer at a time.
        """
        busy: set[str] = set()
        if not call.identity.caller:
            return busy
        for other in self.board.of_identity(call.identity):
            if other is call or other.session is None:
                continue
            if other.line_is_silent:
                other.tell(c.Stop("line_lost", "caller"))
            if not (other.over and await other.gone(within_s=SAVE_WITHIN_S)):
                busy.add(other.session)
        return busy | await self._writer.unsaved(call.identity, besides=busy, within_s=SAVE_WITHIN_S)

    def recorded(self, call: LiveCall, event: e.AnyEvent) -> None:
        if call.session is not None:
            self._writer.changed(call.session, call.identity, call.journal)
        for watch in self.watchers:
            watch(call, event)

    async def closed(self, call: LiveCall) -> None:
        ended = call.journal.events[-1]
        assert isinstance(ended, e.CallEnded)
        log.info("call.ended", call=call.id, session=call.session, door=call.incoming.door, step=call.step,
                 reason=ended.reason, by=ended.by, duration_s=ended.duration_s, recording=call.bundle.recording,
                 recording_failed=lost_recording(call.journal.events), **ended.stats)  # fmt: skip
        self._leave(call)

    def _leave(self, call: LiveCall) -> None:
        self.board.release(call.id)
        if not len(self.board):
            self._empty.set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` to its end; what it raises is logged, and harms no other call."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("call.task_failed", exc_info=error)

    async def drain(self) -> None:
        """Admit nobody any more and wait until the last call has ended by itself."""
        self.board.drain()
        await self._empty.wait()

    async def close(self) -> None:
        """End what is still live, then bring every session home."""
        self.board.drain()
        for call in self.board:
            call.tell(c.Stop("shutdown"))
        while self._tasks:
            await asyncio.wait(list(self._tasks), timeout=5.0)
            if not len(self.board):
                break
        await self._writer.close()


def _offer(incoming: Incoming) -> Offer:
    return Offer(incoming.called, incoming.caller, incoming.door, incoming.trunk, incoming.headers, incoming.facts)
