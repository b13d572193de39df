"""Calls the gateway places: through which trunk, to which of its targets, and into which route."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from gateway.app.config import GatewayConfig
from gateway.app.trunk_config import Address, Trunk
from gateway.app.trunk_state import TrunkState
from gateway.app.trunks import Signalling, Trunks
from gateway.call.io import Desk
from gateway.call.outbound_line import Attempt, Dialler, Order, OutboundLine, Redirect
from gateway.call.ports import Incoming, Line, Placing, SuccessorFactory, Tell
from gateway.call.sip_stream import SipLineOptions, SipStream, Wires
from gateway.core.errors import CapacityError, GatewayError, MisuseError, PeerError
from gateway.core.loops import Alarm
from gateway.sip.commands import Credentials
from gateway.sip.crypto import MASTER_OCTETS
from gateway.sip.events import AnySipEvent
from gateway.sip.flow import Flow
from gateway.sip.reach import DEFAULT_PORTS, literal, transport_of
from gateway.sip.uri import bare, bracketed, escape_user, parse_uri

NUMBER = re.compile(r"[^\s@<>\":;,\x00-\x1f\x7f]{1,64}")
NO_TARGET_RETRY_S = 30.0


class Outbound:
    """To the hallway a placed call is one like any other: its `caller` is the person at the other end."""

    def __init__(self, desk: Desk, trunks: Trunks, signalling: Signalling, options: SipLineOptions) -> None:
        services = desk.services
        self._desk, self._trunks, self._sip, self._options = desk, trunks, signalling, options
        self._clock = services.clock
        self._dialler = Dialler(Wires(signalling.send, services.media, services.clock), options, self._alarm)

    def on_event(self, event: AnySipEvent) -> bool:
        """Whether it was about a call placed here."""
        return self._dialler.on_event(event)

    def place(self, to: str, trunk_name: str, route: str, caller: str = "") -> str:
        """Call the number `to`, and run `route` when it is answered; the call's id.

        Raises `PeerError` for a number or a trunk that is none, `CapacityError` when there is no room or no way.
        """
        check_numbers(to, caller)
        state = self._trunks.state(trunk_name)
        order = self._order(state, to, caller)
        trunk = state.trunk
        self._desk.board.check_room()
        release = self._trunks.book.take(trunk.name, self._clock.now())
        options = self._options.for_trunk(self._trunks.book.rules(trunk.name))

        def line(call_id: str, tell: Tell, record: str | None, trace: str | None) -> OutboundLine:
            return self._dialler.line(
                call_id,
                order,
                tell=tell,
                record=record,
                trace=trace,
                redirect=lambda uri, by: redirected(self._sip, trunk.realm, uri, by),
                options=options,
                gone=release,
            )

        shown = caller or _own_number(trunk)
        try:
            return self._desk.incoming(
                Incoming("sip", to, shown, trunk=trunk.name, route=route, facts={"trunk": trunk.name}), line
            )
        except GatewayError:
            release()
            raise

    async def dial(self, placing: Placing) -> SuccessorFactory:
        """A call within a call: is a `gateway.call.ports.Dial`."""
        if not placing.trunk:
            return self._factory(placing, await self._straight(placing), lambda uri, by: None)
        state = self._trunks.state(placing.trunk)
        address = parse_uri(placing.to) if ":" in placing.to else None
        order = self._order(state, address.user if address else placing.to, placing.caller)
        if address is not None and address.is_sip:
            attempts = tuple(msgspec.structs.replace(attempt, uri=placing.to) for attempt in order.attempts)
            order = msgspec.structs.replace(order, attempts=attempts)
        realm = state.trunk.realm
        return self._factory(placing, order, lambda uri, by: redirected(self._sip, realm, uri, by))

    async def _straight(self, placing: Placing) -> Order:
        """To an address, wherever that is."""
        target = parse_uri(placing.to)
        if not target.is_sip:
            raise PeerError(f"neither a trunk nor a sip: address to call: {placing.to[:80]!r}", status_hint=404)
        named = target.param("transport") is not None or target.scheme == "sips"
        transport = transport_of(target) if named else None
        flows = await self._trunks.ways_to(Address(bare(target.host), target.port, transport))
        attempts = tuple(Attempt(placing.to, flow) for flow in flows)
        user = escape_user(placing.caller) if placing.caller else "gateway"
        return Order(attempts, from_uri=f"sip:{user}@{bracketed(flows[0].local[0])}")

    def _factory(self, placing: Placing, order: Order, redirect: Redirect) -> SuccessorFactory:
        ring_s = placing.ring_s or order.ring_s
        order = msgspec.structs.replace(order, ring_s=ring_s, headers=(*order.headers, *placing.headers))
        rules = self._trunks.book.rules(placing.trunk)

        def line(name: str, tell: Tell, former: Line | None) -> OutboundLine:
            place = former.referral if former is not None else None
            if former is not None and not isinstance(place, SipStream):
                raise PeerError("only a line over SIP can be handed on", status_hint=603)
            return self._dialler.line(
                name,
                order,
                tell=tell,
                record=None,
                trace=None,
                redirect=redirect,
                options=self._options.for_trunk(rules),
                gone=self._trunks.book.take(rules.name, self._clock.now()) if rules else lambda: None,
                succeeds=place if isinstance(place, SipStream) else None,
            )

        return line

    def _order(self, state: TrunkState, to: str, caller: str) -> Order:
        trunk = state.trunk
        flows = self._trunks.flows(state)
        if not flows:
            raise CapacityError(f"trunk {trunk.name} has no address to call yet", retry_after_s=NO_TARGET_RETRY_S)
        return order_through(
            trunk, flows, to, caller, credentials=self._trunks.credentials[trunk.name], route=state.route
        )

    def _alarm(self, ring: Callable[[], None]) -> Callable[[float | None], None]:
        return Alarm(self._clock, ring).set


def line_options(config: GatewayConfig) -> SipLineOptions:
    """What calls over SIP offer and take, where their trunk does not say otherwise."""
    master = partial(secrets.token_bytes, MASTER_OCTETS)
    return SipLineOptions(
        codecs=config.codecs,
        comfort_noise=config.comfort_noise,
        advertise=config.advertise,
        srtp=config.srtp,
        srtp_master=master,
        accept_transfers=config.accept_transfers,
    )


def check_numbers(to: str, caller: str) -> None:
    """`caller` may be empty. Raises `PeerError` for what could become something else on the wire."""
    for number in (to, *([caller] if caller else [])):
        if not NUMBER.fullmatch(number):
            raise PeerError(f"not a number or name to call: {number[:80]!r}")


def order_through(
    trunk: Trunk,
    flows: Iterable[Flow],
    to: str,
    caller: str,
    *,
    credentials: Credentials | None,
    route: tuple[str, ...] = (),
) -> Order:
    """A call to the number `to` by these ways, in this order; `caller` "" shows the trunk's own number."""
    uri = f"sip:{escape_user(to)}@{trunk.realm}"
    return Order(
        tuple(Attempt(uri, flow, credentials, route) for flow in flows),
        from_uri=f"sip:{escape_user(caller or _own_number(trunk))}@{trunk.realm}",
        ring_s=trunk.ring_s,
        failover_after_s=trunk.failover_after_s,
    )


def redirected(signalling: Signalling, realm: str, uri: str, by: Attempt) -> Attempt | None:
    """A literal address is called straight, and never told our password; any other by way of who named it."""
    try:
        target = parse_uri(uri)
    except PeerError:
        return None
    if target.scheme == "tel":
        return msgspec.structs.replace(by, uri=f"sip:{escape_user(target.user)}@{realm}")
    if not target.is_sip:
        return None
    if literal(target.host) is None or bracketed(target.host) == realm:
        return msgspec.structs.replace(by, uri=uri)
    transport = transport_of(target)
    try:
        flow = signalling.flow_to(bare(target.host), target.port or DEFAULT_PORTS[transport], transport)
    except MisuseError:
        return None
    return Attempt(uri, flow)


def _own_number(trunk: Trunk) -> str:
    return trunk.caller or trunk.username or "anonymous"
