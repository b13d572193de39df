"""The certificate for SIP over TLS: from the operator's files, and looked at before a phone does."""

from __future__ import annotations

import ssl
from datetime import datetime
from pathlib import Path

from cryptography import x509

from gateway.app.config import GatewayConfig
from gateway.core.errors import ConfigError
from gateway.sip.tls import client_context, server_context


def listening_context(config: GatewayConfig, now: datetime) -> ssl.SSLContext | None:
    """None when no certificate is named: then there is no TLS.

    Raises `ConfigError` for files that cannot be used, and for a certificate that is not valid at `now` (with a zone).
    """
    if config.tls_certificate is None:
        return None
    certificate = Path(config.tls_certificate)
    authority = Path(config.tls_client_authority) if config.tls_client_authority else None
    context = server_context(certificate, Path(config.tls_key or config.tls_certificate), authority)
    valid_certificate(certificate, now)
    return context


def valid_certificate(path: Path, now: datetime) -> x509.Certificate:
    """Raises `ConfigError` for one that is not valid at `now`."""
    # The first one is ours, RFC 8446 4.4.2; those after it are the way to its authority.
    ours = x509.load_pem_x509_certificates(path.read_bytes())[0]
    if now >= ours.not_valid_after_utc:
        raise ConfigError(f"the certificate expired at {ours.not_valid_after_utc}; renew it", path=path)
    if now < ours.not_valid_before_utc:
        raise ConfigError(f"the certificate is valid only from {ours.not_valid_before_utc} on", path=path)
    return ours


def calling_context(config: GatewayConfig) -> ssl.SSLContext:
    """Shows the same certificate to peers that ask for one (mutual TLS). Raises `ConfigError`."""
    if config.tls_certificate is None:
        return client_context()
    return client_context(certificate=Path(config.tls_certificate), key=Path(config.tls_key or config.tls_certificate))
