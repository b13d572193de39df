"""TLS and SRTP as an operator sets them: off unless asked for, and plain words for certificates that will not do."""

from __future__ import annotations

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from gateway.app.certificate import calling_context, listening_context
from gateway.app.config import GatewayConfig, load
from gateway.app.gateway import _advertised
from gateway.app.outbound import line_options
from gateway.core.errors import ConfigError
from gateway.sip.crypto import MASTER_OCTETS

NOW = datetime.now(UTC) + timedelta(hours=1)  # the certificate is made after this line


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """server.pem and server.key, good for two days from now; both.pem holds both."""
    folder = tmp_path_factory.mktemp("certificates")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1 "
        "-addext subjectAltName=IP:127.0.0.1 -keyout server.key -out server.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    (folder / "both.pem").write_text((folder / "server.key").read_text() + (folder / "server.pem").read_text())
    (folder / "empty.pem").write_text("")
    return folder


def config(folder: Path, certificate: str, key: str | None = None) -> GatewayConfig:
    return GatewayConfig(tls_certificate=str(folder / certificate), tls_key=str(folder / key) if key else None)


def test_nothing_is_encrypted_unless_asked_for() -> None:
    """No certificate, no listener, nothing advertised, no SRTP."""
    default = GatewayConfig(advertise="203.0.113.7")
    assert listening_context(default, NOW) is None
    assert set(_advertised(default)) == {"udp", "tcp"}
    assert line_options(default).srtp == "off"
    assert b"crypto" not in repr(line_options(default).local_media("192.0.2.1", 4000)).encode()


@pytest.mark.parametrize(("certificate", "key"), [("server.pem", "server.key"), ("both.pem", None)])
def test_a_certificate_with_its_key_is_taken(files: Path, certificate: str, key: str | None) -> None:
    """In one file or in two."""
    assert listening_context(config(files, certificate, key), NOW) is not None


def test_mutual_tls_asks_for_certificates_and_shows_ours(files: Path) -> None:
    """Whoever connects must show one; whoever we call may ask for ours."""
    settings = config(files, "server.pem", "server.key")
    mutual = msgspec.structs.replace(settings, tls_client_authority=str(files / "server.pem"))
    plain, guarded = listening_context(settings, NOW), listening_context(mutual, NOW)
    assert plain is not None
    assert guarded is not None
    assert (plain.verify_mode, guarded.verify_mode) == (ssl.CERT_NONE, ssl.CERT_REQUIRED)
    with pytest.raises(ConfigError, match=r"missing\.pem.*cannot be read"):
        calling_context(config(files, "missing.pem", "server.key"))
    assert calling_context(settings).verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("certificate", "key", "days", "words"),
    [
        ("missing.pem", "server.key", 0, "missing.pem.*cannot be read"),
        ("server.pem", "missing.key", 0, "missing.key.*cannot be read"),
        ("empty.pem", "server.key", 0, "no certificate with its key"),
        ("server.pem", None, 0, "no certificate with its key"),
        ("server.pem", "server.key", 3, "server.pem.*expired at .*renew it"),
        ("server.pem", "server.key", -1, "server.pem.*valid only from"),
    ],
)
def test_what_is_wrong_is_said(files: Path, certificate: str, key: str | None, days: int, words: str) -> None:
    """At start, with the file's name, before a phone is turned away."""
    with pytest.raises(ConfigError, match=words):
        listening_context(config(files, certificate, key), NOW + timedelta(days=days))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tls_key = 'server.key'", "tls_certificate"),
        ("tls_certificate = 'x.pem'\ntls_port = 5060", "must differ"),
        ("tls_client_authority = 'ca.pem'", "needs a tls_certificate"),
        ("tls_port = 70000", "tls_port must lie within"),
        ("srtp = 'yes'", ":1:.*yes"),
    ],
)
def test_settings_that_cannot_be_meant(tmp_path: Path, text: str, words: str) -> None:
    """Refused when the configuration is read."""
    (tmp_path / "gateway.toml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        load(tmp_path / "gateway.toml", {}, {})


def test_srtp_has_fresh_keys_for_each_call() -> None:
    """As long as needed, and never the same."""
    options = line_options(GatewayConfig(srtp="required"))
    one, two = (options.local_media("192.0.2.1", 4000).master for _ in range(2))
    assert len(one) == len(two) == MASTER_OCTETS
    assert one != two
