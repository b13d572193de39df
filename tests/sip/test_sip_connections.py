"""Connections on real sockets: who is waited for and how long, keep-alives, and TLS peers that do not get in."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from certificates import make_certificate
from sip_phone import Phone
from sip_wire import OUR_SDP, SDP, invite, request
from structlog.testing import capture_logs

from gateway.sip.commands import HangUp, Place, Register
from gateway.sip.events import CallAccepted, CallConfirmed, CallEnded, CallFailed, CallOffered, Registered
from gateway.sip.io import Patience
from gateway.sip.tls import client_context, server_context

SHORT = Patience(first_message_s=0.1, idle_s=0.1)


def hurried(name: str, patience: Patience = SHORT, **more: Any) -> Phone:
    return Phone(name, patience=patience, **more)


@contextlib.asynccontextmanager
async def listening(phone: Phone, *transports: Any) -> AsyncIterator[int]:
    await phone.server.start("127.0.0.1", 0, transports or ("udp", "tcp"))
    try:
        yield phone.server.port
    finally:
        await phone.server.close()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the other side closes."""
    return await asyncio.wait_for(reader.read(), 10)


async def test_a_connection_that_says_nothing_is_closed() -> None:
    """It costs a file each, and scanners open thousands."""
    async with listening(hurried("one")) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await ended(reader) == b""
        writer.close()


async def test_an_idle_connection_is_closed_and_one_with_a_call_is_not() -> None:
    """However silent the call's signalling is."""
    phone = hurried("one")
    async with listening(phone) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        via = "SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK-1"
        writer.write(invite(via=via, contact="<sip:a@127.0.0.1;transport=tcp>"))
        ok = b""
        while b"SIP/2.0 200" not in ok:
            ok += await asyncio.wait_for(reader.read(65_536), 5)
        found = re.search(rb"SIP/2.0 200.*?To: [^\r]*;tag=([^\r]+)", ok, re.DOTALL)
        assert found
        writer.write(request("ACK", via=via + "a", to_tag=found[1].decode()))
        await phone.next(CallConfirmed)
        idle, other = await asyncio.open_connection("127.0.0.1", port)
        other.write(request("OPTIONS", via="SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK-2", call_id="two"))
        assert b"SIP/2.0 200" in await ended(idle)
        writer.write(request("BYE", via=via + "b", cseq=2, to_tag=found[1].decode()))
        assert b"SIP/2.0 200" in await asyncio.wait_for(reader.read(65_536), 5)
        for one in (writer, other):
            one.close()


class Registrar:
    """Accepts every REGISTER on one connection after the other; `pong` is what it says to a keep-alive."""

    def __init__(self, pong: bytes) -> None:
        self.pong = pong
        self.pings = asyncio.Semaphore(0)
        self.registered = asyncio.Semaphore(0)
        self.gone = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if data == b"\r\n\r\n":
                self.pings.release()
                writer.write(self.pong)
                continue
            lines = data.decode().split("\r\n")
            kept = [line for line in lines if re.match("(Via|From|To|Call-ID|CSeq|Contact):", line)]
            writer.write("\r\n".join(["SIP/2.0 200 OK", *kept, "Content-Length: 0", "", ""]).encode())
            self.registered.release()
        self.gone.set()
        writer.close()


@contextlib.asynccontextmanager
async def registered_at(registrar: Registrar, *, pong_s: float = 10.0) -> AsyncIterator[Phone]:
    server = await asyncio.start_server(registrar.serve, "127.0.0.1", 0)
    phone = hurried("one", keep_alive_s=0.05, patience=Patience(pong_s=pong_s))
    async with server, listening(phone):
        flow = phone.server.flow_to("127.0.0.1", server.sockets[0].getsockname()[1], "tcp")
        phone.server.send(Register("trunk", "sip:example.org", "sip:desk@example.org", flow))
        await phone.next(Registered)
        yield phone


async def test_a_registrar_that_answers_keep_alives_keeps_its_connection() -> None:
    """RFC 5626 4.4.1: a double CRLF is answered by a single one; several answers do not add up to a question."""
    registrar = Registrar(b"\r\n")
    async with registered_at(registrar) as phone:
        for _ in range(6):
            await asyncio.wait_for(registrar.pings.acquire(), 5)
        assert not registrar.gone.is_set()
        assert phone.server.endpoint.counters["malformed"] == 0


async def test_a_registrar_that_answers_no_keep_alive_is_gone() -> None:
    """The connection is given up, and said to be dead, long before TCP would notice."""
    registrar = Registrar(b"")
    with capture_logs() as logged:
        async with registered_at(registrar, pong_s=0.1):
            await asyncio.wait_for(registrar.gone.wait(), 10)
    assert [line["log_level"] for line in logged if line["event"] == "sip.connection_dead"] == ["warning"]


async def test_a_request_in_a_call_finds_a_new_connection_when_the_old_one_is_lost() -> None:
    """RFC 3261 18.2.2, 12.2.1.1: by the Contact; the call goes on, and its BYE arrives."""
    caller, callee = hurried("caller", patience=Patience()), hurried("callee", patience=Patience())
    async with listening(caller), listening(callee) as port:
        flow = caller.server.flow_to("127.0.0.1", port, "tcp")
        caller.server.send(Place("out", f"sip:desk@127.0.0.1:{port}", flow, OUR_SDP, "sip:caller@127.0.0.1"))
        await caller.next(CallAccepted)
        offered = await callee.next(CallOffered)
        await callee.next(CallConfirmed)
        noticed = asyncio.Event()
        lost = callee.server.endpoint.connection_lost

        def connection_lost(*arguments: Any) -> list[Any]:
            noticed.set()
            return lost(*arguments)

        callee.server.endpoint.connection_lost = connection_lost  # type: ignore[method-assign]
        callee.server._connections.hang_up(offered.flow)
        await asyncio.wait_for(noticed.wait(), 5)
        callee.server.send(HangUp(offered.dialog))
        assert (await caller.next(CallEnded)).by == "bye"


# TLS peers that do not get in


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    make_certificate(folder, "server")
    make_certificate(folder, "client")
    return folder


async def plainly(port: int, folder: Path) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("OPTIONS"))
    await ended(reader)
    writer.close()


async def silently(port: int, folder: Path) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await ended(reader)
    writer.close()


async def protected(port: int, context: ssl.SSLContext) -> None:
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="127.0.0.1")
        with contextlib.suppress(OSError):
            await ended(reader)
        writer.close()


async def without_certificate(port: int, folder: Path) -> None:
    await protected(port, client_context(folder / "server.pem"))


async def with_a_strange_certificate(port: int, folder: Path) -> None:
    strange = client_context(folder / "server.pem", certificate=folder / "server.pem", key=folder / "server.key")
    await protected(port, strange)


async def believing_somebody_else(port: int, folder: Path) -> None:
    """Not by asyncio, which closes without a word when it does not believe."""

    def come() -> None:
        with socket.create_connection(("127.0.0.1", port)) as plain, contextlib.suppress(OSError):
            client_context(folder / "client.pem").wrap_socket(plain, server_hostname="127.0.0.1").close()

    await asyncio.to_thread(come)


@pytest.mark.parametrize(
    ("come", "words"),
    [
        (plainly, "does not speak TLS: plain SIP belongs on the other port"),
        (silently, "did not finish the handshake in time"),
        (without_certificate, "shows no certificate, which tls_client_authority asks for"),
        (with_a_strange_certificate, "its certificate is not accepted"),
        (believing_somebody_else, "does not accept our certificate"),
    ],
)
async def test_who_does_not_get_in_is_one_clear_line(
    folder: Path, come: Callable[[int, Path], Any], words: str
) -> None:
    """With whose fault it is and what to do; the same peer's same fault is told once."""
    context = server_context(folder / "server.pem", folder / "server.key", folder / "client.pem")
    patience = Patience(handshake_s=0.1) if come is silently else Patience()
    phone = hurried("one", tls_server=context, patience=patience)
    with capture_logs() as logged:
        async with listening(phone, "tls") as port:
            for _ in range(2):
                await come(port, folder)
    (told,) = [line for line in logged if line["event"] == "sip.tls_refused"]
    assert words in told["error"]
    assert (told["remote"], told["log_level"]) == ("127.0.0.1", "warning")


async def test_a_peer_that_refuses_our_certificate_is_told_of(folder: Path) -> None:
    """TLS 1.3 lets us know only after our own handshake is over."""
    context = server_context(folder / "server.pem", folder / "server.key", folder / "client.pem")
    caller = hurried("caller", tls_client=client_context(folder / "server.pem"))
    with capture_logs() as logged, socket.create_server(("127.0.0.1", 0)) as guarded:

        def refuse() -> None:
            plain, _ = guarded.accept()
            with context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as peer:
                with contextlib.suppress(ssl.SSLError):
                    peer.do_handshake()
                # Our INVITE is under way already; closing on it would be a reset, which overtakes the alert.
                while socket.socket.recv(peer, 65_536):
                    pass

        async with listening(caller, "udp"):
            flow = caller.server.flow_to("127.0.0.1", guarded.getsockname()[1], "tls")
            caller.server.send(Place("out", "sips:desk@127.0.0.1", flow, SDP, "sip:caller@127.0.0.1"))
            await asyncio.to_thread(refuse)
            failed = await caller.next(CallFailed)
    assert "does not accept our certificate (certificate required)" in failed.reason
    (told,) = [line for line in logged if line["event"] == "sip.connection_refused"]
    assert told["error"] == failed.reason
