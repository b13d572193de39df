"""Our certificate while the gateway runs: a renewed one is taken into use, and its end is told in time."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from gateway.app.certificate import valid_certificate
from gateway.app.config import GatewayConfig
from gateway.core.errors import ConfigError
from gateway.sip.tls import server_context

log = structlog.get_logger()

WARN_BEFORE = timedelta(days=14)
"""How long before its end a certificate is warned of."""


class CertificateWatch:
    """Each is said once: that the end is near, that it has come, that the files cannot be used."""

    def __init__(self, config: GatewayConfig, contexts: Sequence[ssl.SSLContext | None], now: datetime) -> None:
        """`contexts` show the certificate to peers, those that listen and those that call."""
        self._contexts = [context for context in contexts if context is not None]
        self._path = Path(config.tls_certificate) if config.tls_certificate else None
        self._key = Path(config.tls_key) if config.tls_key else self._path
        self._told = ""
        if self._path is not None:
            self._ours = valid_certificate(self._path, now)

    def look(self, now: datetime) -> None:
        if self._path is None:
            return
        self._renew(self._path, now)
        until = self._ours.not_valid_after_utc
        if now >= until:
            self._tell("sip.certificate_expired", f"expired at {until}; peers over TLS refuse it: renew it")
        elif now >= until - WARN_BEFORE:
            self._tell("sip.certificate_expires", f"expires at {until}: renew it; it is taken into use by itself")
        elif self._told != "sip.certificate_unusable":
            self._told = ""

    def _renew(self, path: Path, now: datetime) -> None:
        try:
            server_context(path, self._key or path)  # both files, and that they belong together
            found = valid_certificate(path, now)
        except ConfigError as error:
            if now < self._ours.not_valid_after_utc:
                self._tell("sip.certificate_unusable", str(error))
            return
        if found == self._ours:
            return
        for context in self._contexts:
            # Handshakes from now on show it; connections that are up keep what they have.
            context.load_cert_chain(path, self._key)
        self._ours, self._told = found, ""
        log.info("sip.certificate_renewed", path=str(path), until=str(found.not_valid_after_utc))

    def _tell(self, event: str, remedy: str) -> None:
        if self._told != event:
            self._told = event
            log.error(event, path=str(self._path), remedy=remedy)
