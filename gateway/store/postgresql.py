"""Sessions in PostgreSQL, shared by any number of gateways: `postgresql://user:password@host:5432/database`.

A Unix socket is `postgresql://user@/database?host=/run/postgresql`; `ssl=require` and asyncpg's other connection
options go after `?` too. Needs the extra: `pip install 'voicebot-gateway[postgres]'`.
"""

from __future__ import annotations

import importlib
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.core.errors import ConfigError
from gateway.store.sqlalchemy import SqlStore

_CONNECT_WITHIN_S = 5.0
_ANSWER_WITHIN_S = 10.0
_SCHEMA_LOCK = 0x766F6963  # any number does, if all gateways use the same

# By SQLSTATE, or by its first two characters, the class (PostgreSQL manual, appendix A).
_REMEDIES = {
    "28": "it refused the user or password; check the URL and pg_hba.conf",
    "3D": "the database does not exist; create it with createdb",
    "42501": "the user lacks a right; let it own the database or grant it CREATE on the schema",
    "53100": "its disk is full; free some space",
    "53": "it is out of resources; raise max_connections or free memory and disk",
    "57": "it is shutting down or cancelled the query; start it again",
    "25006": "it is a read-only standby; point the URL at the primary",
    "XX": "its files are damaged; restore a backup",
}


class Server:
    """Implements `Database`."""

    def __init__(self, url: URL, faults: tuple[type[Exception], ...]) -> None:
        self._url = url
        self.faults = faults

    async def prepare(self) -> None:
        """The database itself is its administrator's to create."""

    def engine(self) -> AsyncEngine:
        return create_async_engine(
            self._url.set(drivername="postgresql+asyncpg"),
            pool_pre_ping=True,  # a server that was restarted costs one round trip, not one failed append
            pool_timeout=_ANSWER_WITHIN_S,
            connect_args={
                "timeout": _CONNECT_WITHIN_S,
                "command_timeout": _ANSWER_WITHIN_S,
                "server_settings": {"application_name": "voicebot-gateway"},
            },
        )

    async def lock_schema(self, connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})

    def explain(self, error: Exception) -> str:
        cause = getattr(error, "orig", None) or error
        state = getattr(cause, "sqlstate", None) or ""
        remedy = _REMEDIES.get(state) or _REMEDIES.get(state[:2])
        if remedy is None and not state:
            remedy = "it cannot be reached or does not answer; check that it runs and that the URL is right"
        place = self._url.set(query={}).render_as_string(hide_password=True)
        host = self._url.query.get("host")
        return f"session store {place}{f' at {host}' if host else ''}: {remedy or cause} ({_first_line(cause)})"


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def build(url: str) -> SqlStore:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ConfigError("the PostgreSQL store URL cannot be read; write postgresql://user@host/database") from error
    return SqlStore(Server(parsed, _driver_faults()))


def _driver_faults() -> tuple[type[Exception], ...]:
    try:
        asyncpg: Any = importlib.import_module("asyncpg")
    except ImportError as error:
        raise ConfigError(
            "a postgresql store needs asyncpg, which is not installed: pip install 'voicebot-gateway[postgres]'"
        ) from error
    return asyncpg.PostgresError, asyncpg.InterfaceError
