"""What the gateway's first line says of its page can be opened as it stands."""

from __future__ import annotations

import pytest

from gateway.app.gateway import page_url


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080/"),
        ("192.0.2.7", "http://192.0.2.7:8080/"),
        ("0.0.0.0", "http://localhost:8080/"),
        ("::", "http://localhost:8080/"),
        ("2001:db8::7", "http://[2001:db8::7]:8080/"),
    ],
)
def test_the_page_has_an_address_that_browsers_take(bind: str, url: str) -> None:
    """Whatever the gateway listens on; of 0.0.0.0 a browser would get no microphone."""
    assert page_url(bind, 8080) == url
