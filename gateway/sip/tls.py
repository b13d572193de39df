"""TLS contexts from an operator's files, with the faults said plainly (RFC 3261 26.3.1, RFC 5922)."""

from __future__ import annotations

import ssl
from pathlib import Path

from gateway.core.errors import ConfigError

CERTIFICATE_FAULTS = {
    9: "the peer's certificate is not valid yet: check the clocks",
    10: "the peer's certificate has expired: it must be renewed there",
    18: "the peer's certificate is signed by itself: have SSL_CERT_FILE name it, if it is to be believed",
    19: "the peer's certificate leads to an authority unknown here: have SSL_CERT_FILE name its certificate",
    20: "the peer's certificate is signed by an authority unknown here: have SSL_CERT_FILE name its certificate",
    62: "the peer's certificate is for another name: check host and outbound_proxy",
    64: "the peer's certificate is not for this address: name the peer by the name that stands in it",
}
"""By OpenSSL's verification codes, with the remedy."""


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


def connect_fault(error: Exception) -> str:
    """Why a connection did not come about, in words that say whose certificate is at fault and what to do."""
    match error:
        case ssl.SSLCertVerificationError(verify_code=code, verify_message=message):
            return CERTIFICATE_FAULTS.get(code, f"the peer's certificate is not accepted: {message}")
        case ssl.SSLError(reason=reason) if reason and "ALERT" in reason and "CERTIFICATE" in reason:
            said = reason.partition("ALERT_")[2].replace("_", " ").lower()
            return f"the peer does not accept our certificate ({said}): renew it, or name the one it knows"
        case ssl.SSLError():
            return f"TLS fails ({getattr(error, 'reason', None) or error}): check that the peer speaks TLS on this port"
        case TimeoutError():
            return "no answer to the connection: check host, port and firewall"
        case OSError(strerror=text) if text:
            return text
        case _:
            return str(error) or type(error).__name__


def accept_fault(error: Exception) -> str:
    """Why a peer that came to us did not get through, in words that say who has to do what."""
    match error:
        case ssl.SSLCertVerificationError(verify_message=message):
            return f"its certificate is not accepted ({message}): have tls_client_authority name who signed it"
        case ssl.SSLError(reason="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            return "it shows no certificate, which tls_client_authority asks for"
        case ssl.SSLError(reason=reason) if reason and "ALERT" in reason and "VERSION" not in reason:
            said = reason.partition("ALERT_")[2].replace("_", " ").lower()
            return f"it does not accept our certificate ({said}): have it trust ours, and the chain stand in its file"
        case ssl.SSLError(reason="HTTP_REQUEST" | "WRONG_VERSION_NUMBER" | "UNKNOWN_PROTOCOL"):
            return "it does not speak TLS: plain SIP belongs on the other port"
        case ssl.SSLError(reason=reason):
            return f"TLS fails ({reason or error}): it must speak TLS 1.2 or 1.3"
        case ConnectionAbortedError() | TimeoutError():
            return "it did not finish the handshake in time"
        case _:
            return "it hung up in the middle of the handshake: it may not trust our certificate"


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
