"""Once an hour: sessions and bundles past their time are deleted, and the certificate is looked at."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime
from pathlib import Path

import structlog

from gateway.app.certificate_watch import CertificateWatch
from gateway.app.config import GatewayConfig
from gateway.core.clock import Clock
from gateway.core.errors import StoreError
from gateway.store.ports import SessionStore

log = structlog.get_logger()

DAY_S, HOUR_S = 86400.0, 3600.0


class Housekeeping:
    def __init__(self, config: GatewayConfig, store: SessionStore, clock: Clock, certificate: CertificateWatch) -> None:
        self._config, self._store, self._clock, self._certificate = config, store, clock, certificate
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="housekeeping")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._certificate.look(datetime.now(UTC))
            await self.tidy()
            await self._clock.sleep_until(self._clock.now() + HOUR_S)

    async def tidy(self) -> None:
        now = self._clock.wall()
        sessions = 0
        try:
            sessions = await self._store.purge(now - self._config.session.keep_days * DAY_S)
        except StoreError as error:
            log.error("housekeeping.failed", error=str(error))
        bundles = 0
        if self._config.recording.keep_days > 0:
            oldest = now - self._config.recording.keep_days * DAY_S
            bundles = await asyncio.to_thread(delete_older, self._config.data_path / "calls", oldest)
        if sessions or bundles:
            log.info("housekeeping.done", sessions=sessions, bundles=bundles)


def delete_older(folder: Path, oldest: float) -> int:
    """Delete the bundles last written before `oldest` (wall-clock seconds); how many."""
    if not folder.is_dir():
        return 0
    deleted = 0
    for bundle in folder.iterdir():
        if bundle.is_dir() and bundle.stat().st_mtime < oldest:
            shutil.rmtree(bundle, ignore_errors=True)
            deleted += 1
    return deleted
