"""The shell on real sockets: UDP and TCP on loopback, and what must not bring it down."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import pytest
from sip_wire import OUR_SDP, SDP, invite, request
from test_sip_admission import signed

from gateway.core.clock import SystemClock
from gateway.core.errors import ConfigError, MisuseError
from gateway.core.ids import SeededIds
from gateway.sip.commands import Accept, HangUp, Offer, Place, Ring
from gateway.sip.events import (
    AnySipEvent,
    CallAccepted,
    CallConfirmed,
    CallEnded,
    CallFailed,
    CallOffered,
    CallProgressed,
    MessageReceived,
    OfferReceived,
    OfferRefused,
)
from gateway.sip.flow import Transport
from gateway.sip.io import EndpointOptions, SipServer
from gateway.sip.message import parse

E = TypeVar("E")


class Phone:
    """A `SipServer` whose events can be waited for."""

    def __init__(self, seed: str) -> None:
        self.heard: asyncio.Queue[AnySipEvent] = asyncio.Queue()
        self.react: Callable[[AnySipEvent], None] = lambda event: None
        self.server = SipServer(EndpointOptions(), clock=SystemClock(), ids=SeededIds(seed), on_event=self._on_event)

    def _on_event(self, event: AnySipEvent) -> None:
        self.heard.put_nowait(event)
        self.react(event)

    async def next(self, kind: type[E]) -> E:
        async with asyncio.timeout(10):
            while True:
                event = await self.heard.get()
                if isinstance(event, kind):
                    return event

    def call(self, other: Phone, transport: Transport = "udp") -> None:
        flow = self.server.flow_to("127.0.0.1", other.server.port, transport)
        self.server.send(Place("out", f"sip:desk@127.0.0.1:{other.server.port}", flow, OUR_SDP, "sip:caller@127.0.0.1"))


@pytest.fixture
async def phones() -> AsyncIterator[tuple[Phone, Phone]]:
    caller, callee = Phone("caller"), Phone("callee")
    await caller.server.start("127.0.0.1", 0)
    await callee.server.start("127.0.0.1", 0)
    yield caller, callee
    await caller.server.close()
    await callee.server.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_two_servers_hold_a_call(phones: tuple[Phone, Phone], transport: Transport) -> None:
    """INVITE, ringing, 200, ACK and BYE over real sockets, commands given from within events."""
    caller, callee = phones

    def answer(event: AnySipEvent) -> None:
        if isinstance(event, CallOffered):
            callee.server.send(Ring(event.dialog))
            callee.server.send(Accept(event.dialog, SDP))

    callee.react = answer
    caller.call(callee, transport)
    assert (await caller.next(CallProgressed)).status == 180
    assert (await caller.next(CallAccepted)).sdp == SDP
    offered = await callee.next(CallOffered)
    assert offered.flow.transport == transport
    await callee.next(CallConfirmed)
    callee.server.send(HangUp(offered.dialog))
    assert (await caller.next(CallEnded)).by == "bye"


async def test_a_listener_that_raises_harms_nobody(phones: tuple[Phone, Phone]) -> None:
    """One call's bug must not end the loop or the other calls; whoever called is told that it will come to nothing."""
    caller, callee = phones

    def fail(event: AnySipEvent) -> None:
        raise ZeroDivisionError

    callee.react = fail
    caller.call(callee)
    assert (await caller.next(CallFailed)).status == 500
    callee.react = lambda event: None
    caller.call(callee)
    await callee.next(CallOffered)
    callee.server.send(Accept((await callee.next(CallOffered)).dialog, SDP))
    await caller.next(CallAccepted)


async def test_a_listener_that_raises_at_an_offer_refuses_it_and_keeps_the_call(phones: tuple[Phone, Phone]) -> None:
    """Else the other side would wait for its answer, and then hang up."""
    caller, callee = phones

    def fail_at_offers(event: AnySipEvent) -> None:
        if isinstance(event, OfferReceived):
            raise ZeroDivisionError
        if isinstance(event, CallOffered):
            callee.server.send(Accept(event.dialog, SDP))

    callee.react = fail_at_offers
    caller.call(callee)
    await caller.next(CallAccepted)
    await callee.next(CallConfirmed)
    caller.server.send(Offer("out", OUR_SDP))
    assert (await caller.next(OfferRefused)).status == 500
    caller.server.send(HangUp("out"))
    assert (await callee.next(CallEnded)).by == "bye"


async def test_a_listener_that_raises_at_a_text_refuses_it(phones: tuple[Phone, Phone]) -> None:
    """Its sender must neither wait in vain nor believe that it was read."""
    caller, callee = phones

    def fail_at_texts(event: AnySipEvent) -> None:
        if isinstance(event, MessageReceived):
            raise ZeroDivisionError
        if isinstance(event, CallOffered):
            callee.server.send(Accept(event.dialog, SDP))

    callee.react = fail_at_texts
    caller.call(callee)
    await callee.next(CallConfirmed)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as writer:
        writer.settimeout(10)
        text = request("MESSAGE", body=b"hello?", content_type="text/plain").replace(b"sip:alice@", b"sip:caller@")
        writer.sendto(text, ("127.0.0.1", callee.server.port))
        answer = await asyncio.to_thread(writer.recv, 4096)
    assert answer.startswith(b"SIP/2.0 500 ")


async def test_machines_that_were_started_at_other_times_share_nonces() -> None:
    """Behind a dispatcher: `nonce_secret` is common to the gateways, their `now` is not; the wall clock is."""

    class Older(SystemClock):
        def now(self) -> float:
            return super().now() + 1_000_000

    options = EndpointOptions(unknown_sources="challenge", accounts={"alice": "secret"}, nonce_secret=b"common to both")
    offered: list[AnySipEvent] = []
    young = SipServer(options, clock=SystemClock(), ids=SeededIds(1), on_event=offered.append)
    old = SipServer(options, clock=Older(), ids=SeededIds(2), on_event=offered.append)
    await young.start("127.0.0.1", 0)
    await old.start("127.0.0.1", 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.settimeout(10)
        caller.sendto(invite(), ("127.0.0.1", young.port))
        challenge = parse(await asyncio.to_thread(caller.recv, 4096))
        caller.sendto(signed(challenge), ("127.0.0.1", old.port))
        assert (await asyncio.to_thread(caller.recv, 4096)).startswith(b"SIP/2.0 100 ")
    assert [type(event) for event in offered] == [CallOffered]
    await young.close()
    await old.close()


async def test_rubbish_and_empty_datagrams_harm_nobody(phones: tuple[Phone, Phone]) -> None:
    """Whatever strangers send, the next call is answered."""
    caller, callee = phones
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for rubbish in (b"", b"\0", b"\xff" * 60_000, b"INVITE\r\n\r\n"):
            stranger.sendto(rubbish, ("127.0.0.1", callee.server.port))
    caller.call(callee)
    await callee.next(CallOffered)


async def test_nobody_listening_is_a_failed_call(phones: tuple[Phone, Phone]) -> None:
    """A refused connection is reported at once, not after 32 s."""
    caller, callee = phones
    await callee.server.close()
    caller.call(callee, "tcp")
    assert (await caller.next(CallFailed)).status == 503


async def test_a_message_in_pieces_and_two_in_one_are_understood(phones: tuple[Phone, Phone]) -> None:
    """RFC 3261 18.3: a stream has no message borders but Content-Length."""
    _, callee = phones
    reader, writer = await asyncio.open_connection("127.0.0.1", callee.server.port)
    data = request("OPTIONS", branch="z9hG4bK-1") + request("OPTIONS", branch="z9hG4bK-2", call_id="two")
    writer.write(b"\r\n\r\n" + data[:100])
    await writer.drain()
    assert await asyncio.wait_for(reader.readexactly(2), 5) == b"\r\n"
    writer.write(data[100:])
    answers = b""
    while answers.count(b"SIP/2.0 200 OK") < 2:
        answers += await asyncio.wait_for(reader.read(65_536), 5)
    writer.close()


async def test_a_stream_without_content_length_is_closed(phones: tuple[Phone, Phone]) -> None:
    """Nothing on it could be told apart any more."""
    _, callee = phones
    reader, writer = await asyncio.open_connection("127.0.0.1", callee.server.port)
    writer.write(b"OPTIONS sip:x SIP/2.0\r\nCall-ID: 1\r\n\r\n")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_a_taken_port_is_a_configuration_error_with_its_remedy() -> None:
    """The operator learns which port, and what to do."""
    first, second = Phone("one"), Phone("two")
    await first.server.start("127.0.0.1", 0)
    with pytest.raises(ConfigError, match=f"UDP port {first.server.port} on 127.0.0.1 is in use: stop the other"):
        await second.server.start("127.0.0.1", first.server.port)
    await first.server.close()


@pytest.mark.parametrize("host", ["203.0.113.1"])
async def test_an_address_of_another_machine_is_a_configuration_error(host: str) -> None:
    """Not a traceback."""
    with pytest.raises(ConfigError, match="not an address of this machine"):
        await Phone("one").server.start(host, 0)


async def test_udp_and_tcp_share_the_port(phones: tuple[Phone, Phone]) -> None:
    """So that one number is all a caller needs."""
    _, callee = phones
    assert callee.server.ports == {"udp": callee.server.port, "tcp": callee.server.port}


async def test_listening_everywhere_we_name_the_address_the_peer_can_reach() -> None:
    """0.0.0.0 in a Via or Contact is nobody's address."""
    phone = Phone("one")
    await phone.server.start("0.0.0.0", 0)
    assert phone.server.flow_to("127.0.0.1", 5060).local == ("127.0.0.1", phone.server.port)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.setblocking(False)
        peer.bind(("127.0.0.1", 0))
        via = f"SIP/2.0/UDP 127.0.0.1:{peer.getsockname()[1]};branch=z9hG4bK-1;rport"
        await loop.sock_sendto(peer, invite(via=via), ("127.0.0.1", phone.server.port))
        offered = await phone.next(CallOffered)
        phone.server.send(Accept(offered.dialog, OUR_SDP))
        answer: Any = b""
        while b"200 OK" not in answer:
            answer = await asyncio.wait_for(loop.sock_recv(peer, 65_536), 5)
    assert f"Contact: <sip:desk@127.0.0.1:{phone.server.port}>".encode() in answer
    await phone.server.close()


async def test_a_transport_not_in_use_cannot_be_called_by() -> None:
    """A mistake of ours, said at once."""
    phone = Phone("one")
    await phone.server.start("127.0.0.1", 0, ("udp",))
    with pytest.raises(MisuseError, match="tcp"):
        phone.server.flow_to("127.0.0.1", 5060, "tcp")
    await phone.server.close()
