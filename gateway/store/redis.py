"""Sessions in Redis, shared by any number of gateways: `redis://[user:password@]host:6379/0` or, on a Unix socket,
`redis:///run/redis/redis.sock`. Needs the extra: `pip install 'voicebot-gateway[redis]'`.

What an append has stored survives the gateway; whether it survives Redis is Redis's to configure (`appendonly yes`,
and `appendfsync always` for every single append). Not for Redis Cluster: a session's keys must live on one node.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import structlog

from gateway.core.errors import ConfigError, MisuseError, StoreError
from gateway.core.events import completes
from gateway.store import redis_scripts as scripts
from gateway.store.codec import pack, unpack
from gateway.store.ports import Identity, Numbered, Session, SessionInfo
from gateway.store.rules import already_there, check_id, not_found, storable, unseen

log = structlog.get_logger()

_CONNECT_WITHIN_S = 5.0
_ANSWER_WITHIN_S = 10.0
_CONNECTIONS = 8  # further calls wait for a free one
_PURGE_BATCH = 100

# By what the message of Redis or of its driver contains; the driver has classes for some of them, but not always.
_REMEDIES = (
    ("authenticat", "it refused the user or password; check the URL"),
    ("username-password", "it refused the user or password; check the URL"),
    ("has no permissions", "the user lacks a right; allow it all commands on the keys gateway:*"),
    ("maxmemory", "its memory is full; raise maxmemory, or keep sessions for a shorter time"),
    ("read only replica", "it is a replica; point the URL at the primary"),
    ("loading the dataset", "it is still loading its data; wait a moment"),
    ("MISCONF", "it cannot write to its disk; free some space"),
)
_UNREACHABLE = "it cannot be reached or does not answer; check that it runs and that the URL is right"


class RedisStore:
    """Implements `SessionStore`. Every write is one script, and therefore happens wholly or not at all."""

    def __init__(self, place: str, connect: Callable[[], Any], faults: tuple[type[Exception], ...]) -> None:
        """`place` is shown in messages; `connect` makes a client; `faults` are what its driver raises."""
        self._place, self._connect = place, connect
        self._faults: tuple[type[Exception], ...] = (*faults, OSError, TimeoutError)
        self._client: Any = None

    async def open(self) -> None:
        if self._client is not None:
            return
        self._client = self._connect()
        try:
            await self._adopt_schema()
            await self._warn_if_forgetful()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def create(self, session_id: str, identity: Identity, now: float) -> SessionInfo:
        check_id(session_id)
        info = SessionInfo(id=session_id, identity=storable(identity), created_at=now, touched_at=now)
        keys = [_session(info.id), scripts.TOUCHED, _caller(info.identity)]
        arguments = [info.id, info.identity.caller, info.identity.called, repr(now)]
        if not await self._run(scripts.CREATE, keys, arguments):
            raise already_there(session_id)
        return info

    async def append(self, session_id: str, events: Sequence[Numbered], now: float) -> None:
        check_id(session_id)
        first = events[0].sequence if events else 1
        unseen(events, first - 1)  # raises for a batch with gaps in itself
        completing = [each.sequence for each in events if completes(each.event)]
        keys = [_session(session_id), _events(session_id), scripts.TOUCHED]
        header = [session_id, repr(now), first, max(completing, default=0)]
        stored = int(await self._run(scripts.APPEND, keys, header + [pack(each.event) for each in events]))
        if stored == scripts.UNKNOWN:
            raise not_found(session_id)
        unseen(events, stored)  # raises for the gap that the script refused

    async def load(self, session_id: str) -> Session:
        check_id(session_id)
        async with self._talking() as client, client.pipeline(transaction=False) as both:
            both.hgetall(_session(session_id))
            both.lrange(_events(session_id), 0, -1)
            fields, bodies = await both.execute()
        # Between the two another gateway may have appended (we stop at the count we have read) or purged.
        if not fields or len(bodies) < int(fields["events"]):
            raise not_found(session_id)
        info = _info(session_id, fields)
        return Session(info, unpack(session_id, bodies[: info.events]))

    async def find_resumable(self, identity: Identity, now: float, window_s: float) -> SessionInfo | None:
        if not identity.caller:
            return None
        index = _caller(storable(identity))
        async with self._talking() as client:
            ids = await client.zrange(index, "+inf", repr(now - window_s), byscore=True, desc=True, offset=0, num=1)
        return next(iter(await self._infos(ids)), None)

    async def recent(self, limit: int = 50) -> list[SessionInfo]:
        async with self._talking() as client:
            ids = await client.zrange(scripts.TOUCHED, 0, limit - 1, desc=True) if limit > 0 else []
        return await self._infos(ids)

    async def purge(self, before: float) -> int:
        gone = 0
        which = [repr(before), _PURGE_BATCH, scripts.SESSION, scripts.EVENTS]
        while batch := int(await self._run(scripts.PURGE, [scripts.TOUCHED], which)):
            gone += batch
        return gone

    async def _infos(self, ids: Sequence[str]) -> list[SessionInfo]:
        async with self._talking() as client, client.pipeline(transaction=False) as all_of_them:
            for session_id in ids:
                all_of_them.hgetall(_session(session_id))
            found = await all_of_them.execute()
        return [_info(session_id, fields) for session_id, fields in zip(ids, found, strict=True) if fields]

    async def _adopt_schema(self) -> None:
        async with self._talking() as client:
            await client.set(scripts.SCHEMA, scripts.VERSION, nx=True)
            present = int(await client.get(scripts.SCHEMA))
        if present > scripts.VERSION:
            raise StoreError(
                f"session store {self._place} has schema version {present}, this gateway knows {scripts.VERSION}; "
                "run the newer gateway, or give this one another database number"
            )

    async def _warn_if_forgetful(self) -> None:
        async with self._talking() as client:
            persistence = await client.info("persistence")
        if not persistence.get("aof_enabled"):
            log.warning("store.redis_forgets", place=self._place, remedy="set `appendonly yes` in redis.conf")

    async def _run(self, script: str, keys: list[str], arguments: list[Any]) -> Any:
        async with self._talking() as client:
            return await client.register_script(script)(keys=keys, args=arguments)

    @asynccontextmanager
    async def _talking(self) -> AsyncIterator[Any]:
        if self._client is None:
            raise MisuseError("the session store is not open")
        try:
            yield self._client
        except self._faults as error:
            raise StoreError(f"session store {self._place}: {_explain(error)}") from error


def _explain(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    found = (remedy for part, remedy in _REMEDIES if part in text)
    return f"{next(found, _UNREACHABLE)} ({text})"


def _session(session_id: str) -> str:
    return scripts.SESSION + session_id


def _events(session_id: str) -> str:
    return scripts.EVENTS + session_id


def _caller(identity: Identity) -> str:
    """The lengths keep ("a:b", "c") and ("a", "b:c") apart."""
    return f"{scripts.CALLER}{len(identity.caller)}:{identity.caller}:{identity.called}"


def _info(session_id: str, fields: dict[str, str]) -> SessionInfo:
    return SessionInfo(
        id=session_id,
        identity=Identity(caller=fields["caller"], called=fields["called"]),
        created_at=float(fields["created_at"]),
        touched_at=float(fields["touched_at"]),
        status="completed" if fields["status"] == "completed" else "open",
        events=int(fields["events"]),
    )


def build(url: str) -> RedisStore:
    try:
        from redis.asyncio import BlockingConnectionPool, Connection, Redis, UnixDomainSocketConnection
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
    except ImportError as error:
        raise ConfigError(
            "a redis store needs redis-py, which is not installed: pip install 'voicebot-gateway[redis]'"
        ) from error
    try:
        place, connection = _parse(url)
    except ValueError as error:
        raise ConfigError("the Redis store URL cannot be read; write redis://host:6379/0") from error

    def connect() -> Any:
        pool = BlockingConnectionPool(
            connection_class=UnixDomainSocketConnection if "path" in connection else Connection,
            **connection,
            max_connections=_CONNECTIONS,
            timeout=_ANSWER_WITHIN_S,
            decode_responses=True,
            socket_connect_timeout=_CONNECT_WITHIN_S,
            socket_timeout=_ANSWER_WITHIN_S,
            retry=Retry(NoBackoff(), 1),  # for a connection that died since its last use; more is the caller's affair
        )
        return Redis.from_pool(pool)

    return RedisStore(place, connect, (RedisError,))


def _parse(url: str) -> tuple[str, dict[str, Any]]:
    """The place to show in messages, and how to get there. Raises `ValueError`."""
    parts = urlsplit(url)
    login = {"username": _plain(parts.username), "password": _plain(parts.password)}
    if parts.query or parts.fragment:
        raise ValueError("nothing may follow ? or #")
    if not parts.hostname:
        if not parts.path.strip("/"):
            raise ValueError("no host and no socket")
        return f"redis://{parts.path}", {"path": parts.path, **login}
    database = int(parts.path.strip("/") or 0)
    port = parts.port or 6379
    place = f"redis://{parts.hostname}:{port}/{database}"
    return place, {"host": parts.hostname, "port": port, "db": database, **login}


def _plain(part: str | None) -> str | None:
    return unquote(part) if part is not None else None
