"""Our own certificate while the gateway runs: renewed without a restart, warned of in time, each said once."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from certificates import make_certificate
from cryptography import x509
from structlog.testing import capture_logs

from gateway.app.certificate import listening_context
from gateway.app.certificate_watch import CertificateWatch
from gateway.app.config import GatewayConfig

NOW = datetime.now(UTC)


def configured(folder: Path, days: int) -> GatewayConfig:
    certificate, key = make_certificate(folder, days=days)
    return msgspec.structs.replace(GatewayConfig(), tls_certificate=str(certificate), tls_key=str(key))


def watched(config: GatewayConfig) -> tuple[CertificateWatch, ssl.SSLContext]:
    context = listening_context(config, NOW)
    assert context is not None
    return CertificateWatch(config, (context, None), NOW), context


async def shown_by(context: ssl.SSLContext) -> x509.Certificate:
    """What a caller over TLS gets to see."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    seen = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    server.close()
    return x509.load_der_x509_certificate(seen)


def test_its_end_is_told_in_time_and_once(tmp_path: Path) -> None:
    """Two weeks ahead, and when it has come; however often it is looked at."""
    watch, _ = watched(configured(tmp_path, 20))
    with capture_logs() as logged:
        for day in range(0, 25):
            watch.look(NOW + timedelta(days=day))
            watch.look(NOW + timedelta(days=day, hours=1))
    assert [(line["event"], line["log_level"]) for line in logged] == [
        ("sip.certificate_expires", "error"),
        ("sip.certificate_expired", "error"),
    ]
    assert all("renew it" in line["remedy"] for line in logged)


async def test_a_renewed_one_is_taken_into_use(tmp_path: Path) -> None:
    """By handshakes from then on, without a restart; and its own end is warned of again."""
    config = configured(tmp_path, 10)
    watch, context = watched(config)
    before = await shown_by(context)
    configured(tmp_path, 90)
    with capture_logs() as logged:
        watch.look(NOW + timedelta(hours=1))
        watch.look(NOW + timedelta(days=80))
    after = await shown_by(context)
    assert after != before
    assert after.not_valid_after_utc > NOW + timedelta(days=80)
    assert [line["event"] for line in logged] == ["sip.certificate_renewed", "sip.certificate_expires"]


def test_a_renewal_that_went_wrong_leaves_the_old_one(tmp_path: Path) -> None:
    """Half written, or without its key: said once, and the old one serves on."""
    config = configured(tmp_path, 60)
    watch, _ = watched(config)
    Path(str(config.tls_certificate)).write_text("half")
    with capture_logs() as logged:
        watch.look(NOW)
        watch.look(NOW + timedelta(hours=1))
    assert [line["event"] for line in logged] == ["sip.certificate_unusable"]


def test_without_tls_there_is_nothing_to_watch() -> None:
    """And nothing breaks."""
    CertificateWatch(GatewayConfig(), (None, None), NOW).look(NOW)
