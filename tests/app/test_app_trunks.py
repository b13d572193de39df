"""The trunks under virtual time: registered, asked, and told of once; a signalling that notes what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from structlog.testing import capture_logs
from virtual_time import elapse

from gateway.app.resolver import Unresolved
from gateway.app.trunk_config import Address, Trunk
from gateway.app.trunk_state import TrunkState
from gateway.app.trunks import Trunks
from gateway.core.clock import LoopClock
from gateway.core.errors import ConfigError, PeerError
from gateway.core.loops import run_virtual
from gateway.sip import commands as sip
from gateway.sip import events as heard
from gateway.sip.flow import Flow, Transport
from gateway.sip.locate import Server, Way

PASSWORD = "hush-hush"
REGISTERING = Trunk("provider", "192.0.2.1", register=True, username="4711", password_env="PW")


class Wire:
    """Implements `Signalling`: `alive` hosts answer probes after 20 ms, the others after 32 s with 408."""

    def __init__(self) -> None:
        self.sent: list[sip.AnyCommand] = []
        self.alive = {"192.0.2.1", "192.0.2.2"}
        self.tell: Callable[[heard.AnySipEvent], object] = lambda event: None

    transports: tuple[Transport, ...] = ("udp", "tcp")

    def flow_to(self, host: str, port: int, transport: Transport = "udp", *, name: str = "") -> Flow:
        return Flow(transport, ("192.0.2.9", 5060), (host, port), name=name)

    def send(self, command: sip.AnyCommand) -> None:
        self.sent.append(command)
        match command:
            case sip.Probe(flow=flow):
                alive = flow.remote[0] in self.alive
                after_s, status = (0.02, 200) if alive else (32.0, 408)
                self._later(after_s, heard.ProbeAnswered(0.0, command.dialog, status, after_s, "Why"))
            case sip.Unregister():
                self._later(0.02, heard.Unregistered(0.0, command.dialog))
            case _:
                pass

    def _later(self, after_s: float, event: heard.AnySipEvent) -> None:
        asyncio.get_running_loop().call_later(after_s, self.tell, event)

    def of(self, kind: type[sip.AnyCommand]) -> list[sip.AnyCommand]:
        return [command for command in self.sent if isinstance(command, kind)]


class Names:
    """A locator with a changeable answer; literal addresses are what they are."""

    def __init__(self, *addresses: str) -> None:
        self.addresses, self.asked = list(addresses), 0
        self.gone = True

    async def locate(self, target: Address, usable: Sequence[Transport]) -> list[Server]:
        if target.is_literal:
            return [server(target.host, target.port or 5060)]
        self.asked += 1
        if not self.addresses:
            raise Unresolved("Name or service not known", gone=self.gone)
        return [server(host) for host in self.addresses]


def server(host: str, port: int = 5060, rank: int = 0) -> Server:
    return Server((rank,), 0, (Way("udp", host, port),))


def play(
    scene: Callable[[Trunks, Wire], Awaitable[None]], *trunks: Trunk, names: Names | None = None, alive: bool = True
) -> list[dict[str, object]]:
    """Start the trunks, play the scene, close them; what was logged."""

    async def main() -> None:
        wire = Wire()
        if not alive:
            wire.alive.clear()
        clock = LoopClock(asyncio.get_running_loop())
        under = Trunks(trunks, clock=clock, environment={"PW": PASSWORD}, locator=names or Names())
        wire.tell = under.on_event
        under.start(wire)
        await elapse(0.1)
        await scene(under, wire)
        await under.close()
        await under.close()

    with capture_logs() as logged:
        run_virtual(main())
    assert PASSWORD not in str(logged)
    return [dict(line) for line in logged]


def test_a_registering_trunk_registers_and_leaves_in_good_order() -> None:
    """The way is the target's, the address the account's; the end takes the registration back."""

    async def scene(under: Trunks, wire: Wire) -> None:
        (register,) = wire.of(sip.Register)
        assert isinstance(register, sip.Register)
        assert (register.registrar, register.address) == ("sip:192.0.2.1", "sip:4711@192.0.2.1")
        assert register.credentials == sip.Credentials("4711", PASSWORD)
        under.on_event(heard.Registered(0.0, register.dialog, 600))
        assert under.state("provider").up
        await elapse(1000)
        assert len(wire.of(sip.Register)) == 1
        await under.close()
        assert [command.dialog for command in wire.of(sip.Unregister)] == [register.dialog]

    logged = play(scene, REGISTERING)
    assert [line["event"] for line in logged] == ["trunk.reachable", "trunk.registered"]


@pytest.mark.parametrize(
    ("trunk", "status", "event", "remedy"),
    [
        (REGISTERING, 401, "trunk.credentials_refused", "PW"),
        (REGISTERING, 403, "trunk.credentials_refused", "PW"),
        (Trunk("p", "192.0.2.1", register=True, username="u"), 401, "trunk.credentials_missing", "password_env"),
        (REGISTERING, 404, "trunk.unknown_account", "4711"),
        (REGISTERING, 408, "trunk.registrar_unreachable", "192.0.2.1:5060"),
        (REGISTERING, 500, "trunk.registration_refused", "provider"),
    ],
)
def test_a_failure_is_told_once_with_its_remedy(trunk: Trunk, status: int, event: str, remedy: str) -> None:
    """However often it is tried again; and once more only when it has worked meanwhile."""

    async def scene(under: Trunks, wire: Wire) -> None:
        handle = wire.of(sip.Register)[0].dialog
        for _ in range(5):
            under.on_event(heard.RegistrationFailed(0.0, handle, status, "No", 30.0))
        state = under.state(trunk.name)
        assert (state.registration, state.up) == ("failed", False)
        assert remedy in state.fault
        under.on_event(heard.Registered(0.0, handle, 600))
        assert state.up
        assert state.fault == ""
        under.on_event(heard.RegistrationFailed(0.0, handle, status, "No", 30.0))

    logged = [line for line in play(scene, trunk) if line["event"] not in ("trunk.reachable", "trunk.registered")]
    assert [line["event"] for line in logged] == [event, event]
    assert remedy in str(logged[0]["remedy"])
    assert logged[0]["trunk"] == trunk.name


def test_a_trunk_that_falls_silent_is_noticed_and_its_return_too() -> None:
    """One line each way, whatever the number of unanswered questions."""

    async def scene(under: Trunks, wire: Wire) -> None:
        state = under.state("a")
        assert state.up
        wire.alive.clear()
        await elapse(300)
        assert not state.up
        wire.alive.add("192.0.2.1")
        await elapse(70)
        assert state.up
        (way,) = state.targets[0].ways.values()
        assert way.round_trip_s == 0.02

    logged = play(scene, Trunk("a", "192.0.2.1"))
    assert [line["event"] for line in logged] == ["trunk.reachable", "trunk.unreachable", "trunk.reachable"]
    assert "firewall" in str(logged[1]["remedy"])


def test_calls_prefer_targets_that_answer() -> None:
    """Configured order among the living; the dead last, since they may be back."""

    async def scene(under: Trunks, wire: Wire) -> None:
        hosts = [flow.remote[0] for flow in under.flows(under.state("a"))]
        assert hosts == ["192.0.2.5", "192.0.2.1", "192.0.2.2"]
        await elapse(40)
        hosts = [flow.remote[0] for flow in under.flows(under.state("a"))]
        assert hosts == ["192.0.2.1", "192.0.2.2", "192.0.2.5"]

    play(scene, Trunk("a", "192.0.2.5", failover=("192.0.2.1", "192.0.2.2")))


def test_a_name_is_followed_to_where_it_leads() -> None:
    """A registrar that moves is registered with anew; its new address is its trunk's, too."""
    names = Names("192.0.2.1")

    async def scene(under: Trunks, wire: Wire) -> None:
        names.addresses = ["192.0.2.2"]
        await elapse(31)
        assert [command.flow.remote[0] for command in wire.of(sip.Register)] == ["192.0.2.1"]  # type: ignore[union-attr]
        (move,) = wire.of(sip.MoveRegistration)
        assert isinstance(move, sip.MoveRegistration)
        assert (move.flow.remote[0], move.others) == ("192.0.2.2", ())
        found = under.book.trunk_of("192.0.2.2", "100")
        assert found is not None
        assert found.name == "provider"

    play(scene, Trunk("provider", "sip.example", register=True, username="4711"), names=names)


def test_a_name_with_several_addresses_is_not_left_for_their_order() -> None:
    """Round-robin DNS must not make us register with each request."""
    names = Names("192.0.2.1", "192.0.2.2")

    async def scene(under: Trunks, wire: Wire) -> None:
        for _ in range(5):
            names.addresses.reverse()
            await elapse(30)
        assert len(wire.of(sip.Register)) == 1
        assert wire.of(sip.MoveRegistration) == []

    play(scene, Trunk("provider", "sip.example", register=True, username="4711"), names=names)


def test_a_name_that_leads_nowhere_is_told_once_and_looked_up_without_haste() -> None:
    """No busy loop; and it works as soon as the name does."""
    names = Names()

    async def scene(under: Trunks, wire: Wire) -> None:
        await elapse(600)
        assert names.asked <= 22
        assert wire.sent == []
        assert not under.state("a").up
        names.addresses = ["192.0.2.1"]
        await elapse(31)
        assert under.state("a").up

    logged = play(scene, Trunk("a", "sip.example"), names=names)
    assert [line["event"] for line in logged] == ["trunk.unresolved", "trunk.resolved", "trunk.reachable"]
    assert "DNS" in str(logged[0]["remedy"])


def test_a_name_server_that_is_away_takes_no_trunk_down() -> None:
    """What it said last serves on (RFC 8767); the operator is told once, and when it is back."""
    names = Names("192.0.2.1")
    names.gone = False

    async def scene(under: Trunks, wire: Wire) -> None:
        names.addresses = []
        await elapse(300)
        state = under.state("a")
        assert state.up
        assert [flow.remote[0] for flow in under.flows(state)] == ["192.0.2.1"]
        assert "DNS" in " ".join(state.faults())
        names.addresses = ["192.0.2.1"]
        await elapse(31)
        assert list(state.faults()) == []

    logged = play(scene, Trunk("a", "sip.example"), names=names)
    assert [line["event"] for line in logged] == ["trunk.reachable", "trunk.unresolved", "trunk.resolved"]


BACKED_UP = Trunk("provider", "192.0.2.1", register=True, username="4711", failover=("192.0.2.2", "192.0.2.3"))


def hosts(command: sip.AnyCommand) -> list[str]:
    assert isinstance(command, sip.Register | sip.MoveRegistration)
    return [flow.remote[0] for flow in (command.flow, *command.others)]


def test_a_registration_knows_all_its_registrars() -> None:
    """In the operator's order: the endpoint tries one after the other by itself."""

    async def scene(under: Trunks, wire: Wire) -> None:
        told = [command for command in wire.sent if isinstance(command, sip.Register | sip.MoveRegistration)]
        assert hosts(told[-1]) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
        assert isinstance(told[-1], sip.Register) or told[-1].dialog == told[0].dialog
        assert len(wire.of(sip.Register)) == 1

    play(scene, BACKED_UP)


def test_a_registration_leaves_a_registrar_that_falls_silent_and_comes_back() -> None:
    """Not only at the next refresh: until then nobody could call us."""

    async def scene(under: Trunks, wire: Wire) -> None:
        handle = wire.of(sip.Register)[0].dialog
        first, second = (Flow("udp", ("192.0.2.9", 5060), (f"192.0.2.{n}", 5060)) for n in (1, 2))
        under.on_event(heard.Registered(0.0, handle, 3600, first))
        wire.alive.discard("192.0.2.1")
        before = len(wire.of(sip.MoveRegistration))
        await elapse(100)
        assert hosts(wire.of(sip.MoveRegistration)[before])[0] == "192.0.2.2"
        under.on_event(heard.Registered(0.0, handle, 3600, second))
        before = len(wire.of(sip.MoveRegistration))
        await elapse(300)
        assert len(wire.of(sip.MoveRegistration)) == before
        wire.alive.add("192.0.2.1")
        await elapse(100)
        assert hosts(wire.of(sip.MoveRegistration)[-1])[0] == "192.0.2.1"

    logged = play(scene, BACKED_UP)
    assert [line["target"] for line in logged if line["event"] == "trunk.registered"] == [
        "192.0.2.1:5060", "192.0.2.2:5060",
    ]  # fmt: skip


def test_a_registrar_that_refuses_is_not_moved_about() -> None:
    """A wrong password is tried again after a pause, whatever OPTIONS finds out meanwhile."""

    async def scene(under: Trunks, wire: Wire) -> None:
        under.on_event(heard.RegistrationFailed(0.0, wire.of(sip.Register)[0].dialog, 403, "Forbidden", 1800.0))
        before = len(wire.sent)
        await elapse(600)
        assert not [one for one in wire.sent[before:] if not isinstance(one, sip.Probe)]

    play(scene, BACKED_UP)


def test_calls_go_where_the_registrars_route_begins() -> None:
    """RFC 3608: looked up like any other; an outbound proxy of the operator's comes before it."""
    names = Names("192.0.2.2")
    route = ("<sip:edge.example;lr>", "<sip:core.example;lr>")

    async def scene(under: Trunks, wire: Wire) -> None:
        for trunk in ("provider", "proxied"):
            under.on_event(heard.Registered(0.0, f"register-{trunk}", 3600, None, route))
        await elapse(0.1)
        state = under.state("provider")
        assert state.route == route
        assert [flow.remote[0] for flow in under.flows(state)] == ["192.0.2.2", "192.0.2.1"]
        assert [flow.remote[0] for flow in under.flows(under.state("proxied"))] == ["192.0.2.1"]
        under.on_event(heard.Registered(0.0, "register-provider", 3600))
        assert [flow.remote[0] for flow in under.flows(state)] == ["192.0.2.1"]

    proxied = Trunk("proxied", "sip.example", register=True, username="1", outbound_proxy="192.0.2.1")
    play(scene, REGISTERING, proxied, names=names)


def test_a_silent_registrar_does_not_hold_up_the_end() -> None:
    """It forgets us by itself."""

    async def scene(under: Trunks, wire: Wire) -> None:
        wire.tell = lambda event: None
        loop = asyncio.get_running_loop()
        began = loop.time()
        await under.close()
        assert loop.time() - began <= 2.5

    play(scene, REGISTERING)


def test_a_trunk_that_is_not_to_be_asked_counts_as_there() -> None:
    """Some peers do not answer OPTIONS at all."""

    async def scene(under: Trunks, wire: Wire) -> None:
        await elapse(600)
        assert wire.sent == []
        assert under.state("a").up

    play(scene, Trunk("a", "192.0.2.5", options_interval_s=0), alive=False)


def test_mistakes() -> None:
    """A trunk nobody knows; a password that is not there."""
    with pytest.raises(ConfigError, match="PW"):
        Trunks([REGISTERING], clock=None, environment={})  # type: ignore[arg-type]
    with pytest.raises(PeerError):
        Trunks([], clock=None, environment={}).state("x")  # type: ignore[arg-type]
    assert not Trunks([], clock=None, environment={}).on_event(heard.CallEnded(0.0, "d", "bye"))  # type: ignore[arg-type]
    assert TrunkState(Trunk("a", "192.0.2.1")).up
