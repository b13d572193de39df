"""Digest authentication, both sides (RFC 7616, RFC 8760)."""

from __future__ import annotations

import pytest
from sip_wire import request

from gateway.core.ids import SeededIds
from gateway.sip.auth import DigestClient, DigestServer, Verified
from gateway.sip.commands import Credentials
from gateway.sip.digest import Challenge, Subject, parse_challenge, parse_fields, render_fields, response_value
from gateway.sip.message import Request, Response, parse

RFC7616 = {"realm": "http-auth@example.org", "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"}
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_rfcs_own_examples(algorithm: str, expected: str) -> None:
    """RFC 7616 3.9.1."""
    challenge = Challenge(**RFC7616, algorithm=algorithm, qop="auth")
    subject = Subject("GET", "/dir/index.html")
    value = response_value(challenge, subject, "Mufasa", "Circle of Life", CNONCE, "00000001")
    assert value == expected


def test_without_qop_the_old_formula_holds() -> None:
    """RFC 2617 3.2.2.1 for elements that never moved on (its own example's values)."""
    challenge = Challenge("testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093")
    value = response_value(challenge, Subject("GET", "/dir/index.html"), "Mufasa", "Circle Of Life", "", "")
    assert value == "670fd8c2df070c60b045671b8b24ff02"


def test_fields_survive_being_written_and_read() -> None:
    """Quotes and commas inside values too."""
    fields = {"realm": 'a "b", c', "nonce": "x=y", "nc": "00000001", "algorithm": "MD5"}
    assert parse_fields(render_fields(fields)) == fields


def test_a_challenge_says_what_we_would_use() -> None:
    """auth before auth-int, stale whatever its case."""
    challenge = parse_challenge('Digest  realm="r",nonce="n", qop="auth-int, auth" ,stale=TRUE, algorithm=sha-256')
    assert (challenge.qop, challenge.stale, challenge.hash_name) == ("auth", True, "sha256")


SERVER_ALGORITHMS = [("MD5",), ("SHA-256",), ("SHA-512-256",), ("SHA-256", "MD5")]


def server(*algorithms: str) -> DigestServer:
    return DigestServer("pbx", {"alice": "secret"}, b"key", algorithms=algorithms or ("SHA-256",), lifetime_s=60)


def challenged(
    digest: DigestServer, password: str = "secret", username: str = "alice", now: float = 10.0
) -> DigestClient:
    """A client that has seen a challenge."""
    client = DigestClient(Credentials(username, password), SeededIds(1))
    assert client.challenged(fresh(), Response(401, "", digest.challenge(now)))
    return client


def fresh() -> Request:
    message = parse(request("INVITE", body=b"v=0\r\n"))
    assert isinstance(message, Request)
    return message


def signed(client: DigestClient) -> Request:
    message = fresh()
    client.authorize(message)
    return message


@pytest.mark.parametrize("algorithms", SERVER_ALGORITHMS)
def test_client_and_server_agree(algorithms: tuple[str, ...]) -> None:
    """Of several challenges the client answers the first it knows."""
    digest = server(*algorithms)
    message = signed(challenged(digest))
    assert parse_fields(message.required("Authorization"))["algorithm"] == algorithms[0]
    assert digest.verify(message, 11.0) == Verified("alice")


def test_the_count_goes_up_and_a_replay_is_stale() -> None:
    """RFC 7616 3.4.5: the nc of a nonce is used once."""
    digest = server()
    client = challenged(digest)
    first, second = signed(client), signed(client)
    assert digest.verify(first, 11.0) == Verified("alice")
    assert digest.verify(second, 11.0) == Verified("alice")
    assert digest.verify(first, 11.0) == "stale"


def test_an_old_nonce_is_stale_and_a_forged_one_too() -> None:
    """The client may try again without asking its user."""
    digest = server()
    client = challenged(digest)
    assert digest.verify(signed(client), 71.0) == "stale"
    forger = DigestServer("pbx", {"alice": "secret"}, b"another key")
    assert digest.verify(signed(challenged(forger)), 11.0) == "stale"


@pytest.mark.parametrize(("username", "password"), [("alice", "wrong"), ("mallory", ""), ("mallory", "secret")])
def test_a_wrong_name_or_password_is_wrong(username: str, password: str) -> None:
    """An unknown name is not told apart from a wrong password."""
    digest = server()
    assert digest.verify(signed(challenged(digest, password, username)), 11.0) == "wrong"


def test_a_signature_for_another_request_is_wrong() -> None:
    """The method and the address are signed."""
    digest = server()
    message = signed(challenged(digest))
    message.method = "BYE"
    assert digest.verify(message, 11.0) == "wrong"
    message = signed(challenged(digest))
    message.uri = "sip:desk@192.0.2.99"
    assert digest.verify(message, 11.0) == "wrong"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Basic abc",
        "Digest",
        'Digest realm="pbx',
        'Digest realm="pbx", nonce="1.é", nc=zzzzzzzz, qop=auth',
        "Digest ,,,",
    ],
)
def test_broken_credentials_never_raise(line: str) -> None:
    """They are no credentials, or wrong ones."""
    message = fresh()
    message.add("Authorization", line)
    assert server().verify(message, 11.0) in ("missing", "wrong", "stale")


def test_a_challenge_we_cannot_answer_is_passed_over() -> None:
    """RFC 8760 2.4: unknown algorithms are ignored, not guessed."""
    client = DigestClient(Credentials("alice", "secret"), SeededIds(1))
    lines = [
        ("WWW-Authenticate", 'Digest realm="r", nonce="n", algorithm=SHA3'),
        ("WWW-Authenticate", "Bearer x"),
    ]
    assert not client.challenged(fresh(), Response(401, "", lines))
    lines.append(("WWW-Authenticate", 'Digest realm="r", nonce="n"'))
    assert client.challenged(fresh(), Response(401, "", lines))


def test_two_realms_are_both_answered() -> None:
    """RFC 3261 22.3: a proxy and the server behind it."""
    client = DigestClient(Credentials("alice", "secret"), SeededIds(1))
    assert client.challenged(fresh(), Response(407, "", [("Proxy-Authenticate", 'Digest realm="a", nonce="n"')]))
    assert client.challenged(fresh(), Response(401, "", [("WWW-Authenticate", 'Digest realm="b", nonce="n"')]))
    message = signed(client)
    assert parse_fields(message.required("Proxy-Authorization"))["realm"] == "a"
    assert parse_fields(message.required("Authorization"))["realm"] == "b"
