"""TLS contexts from an operator's files, with the faults said plainly (RFC 3261 26.3.1, RFC 5922)."""

from __future__ import annotations

import ssl
from pathlib import Path

from gateway.core.errors import ConfigError


def server_context(certificate: Path, key: Path, client_authority: Path | None = None) -> ssl.SSLContext:
    """For listening. With `client_authority` only peers whose certificate it signed get through (mutual TLS).

    Raises `ConfigError` naming the file at fault.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_own(context, certificate, key)
    if client_authority is not None:
        _load_authority(context, client_authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    authority: Path | None = None,
    *,
    certificate: Path | None = None,
    key: Path | None = None,
    verify: bool = True,
) -> ssl.SSLContext:
    """For calling out; checks the peer's certificate and name against `authority`, else against the system's.

    `verify=False` accepts anybody, for laboratories. Raises `ConfigError` naming the file at fault.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif authority is not None:
        _load_authority(context, authority)
    else:
        context.load_default_certs()
    if certificate is not None:
        _load_own(context, certificate, key or certificate)
    return context


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    for path in (certificate, key):
        _must_be_readable(path)
    try:
        # An encrypted key would make OpenSSL ask on the terminal; refuse instead.
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        message = f"no certificate with its key in it ({error}); both must be PEM, the key unencrypted and fitting"
        raise ConfigError(message, path=certificate) from error


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _load_authority(context: ssl.SSLContext, authority: Path) -> None:
    _must_be_readable(authority)
    try:
        context.load_verify_locations(authority)
    except ssl.SSLError as error:
        raise ConfigError(f"no certificates in it ({error}); PEM is expected", path=authority) from error


def _must_be_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=path) from error
