"""The trunks under virtual time: registered, asked, and told of once; a signalling that notes what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from gateway.app.trunk_config import Trunk
from gateway.app.trunk_state import TrunkState
from gateway.app.trunks import Trunks
from gateway.core.clock import LoopClock
from gateway.core.errors import ConfigError, PeerError
from gateway.core.loops import run_virtual
from gateway.sip import commands as sip
from gateway.sip import events as heard
from gateway.sip.flow import Flow, Transport

PASSWORD = "hush-hush"
REGISTERING = Trunk("provider", "192.0.2.1", register=True, username="4711", password_env="PW")


class Wire:
    """Implements `Signalling`: `alive` hosts answer probes after 20 ms, the others after 32 s with 408."""

    def __init__(self) -> None:
        self.sent: list[sip.AnyCommand] = []
        self.alive = {"192.0.2.1", "192.0.2.2"}
        self.tell: Callable[[heard.AnySipEvent], object] = lambda event: None

    def flow_to(self, host: str, port: int, transport: Transport = "udp", *, name: str = "") -> Flow:
        return Flow(transport, ("192.0.2.9", 5060), (host, port), name=name)

    def send(self, command: sip.AnyCommand) -> None:
        self.sent.append(command)
        match command:
            case sip.Probe(flow=flow):
                alive = flow.remote[0] in self.alive
                after_s, status = (0.02, 200) if alive else (32.0, 408)
                self._later(after_s, heard.ProbeAnswered(0.0, command.dialog, status, after_s))
            case sip.Unregister():
                self._later(0.02, heard.Unregistered(0.0, command.dialog))
            case _:
                pass

    def _later(self, after_s: float, event: heard.AnySipEvent) -> None:
        asyncio.get_running_loop().call_later(after_s, self.tell, event)

    def of(self, kind: type[sip.AnyCommand]) -> list[sip.AnyCommand]:
        return [command for command in self.sent if isinstance(command, kind)]


class Names:
    """A resolver with a changeable answer."""

    def __init__(self, *addresses: str) -> None:
        self.addresses, self.asked = list(addresses), 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        if not self.addresses:
            raise OSError("Name or service not known")
        return self.addresses


def play(
    scene: Callable[[Trunks, Wire], Awaitable[None]], *trunks: Trunk, names: Names | None = None, alive: bool = True
) -> list[dict[str, object]]:
    """Start the trunks, play the scene, close them; what was logged."""

    async def main() -> None:
        wire = Wire()
        if not alive:
            wire.alive.clear()
        clock = LoopClock(asyncio.get_running_loop())
        under = Trunks(trunks, clock=clock, environment={"PW": PASSWORD}, resolve=names or Names())
        wire.tell = under.on_event
        under.start(wire)
        await asyncio.sleep(0.1)
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
        await asyncio.sleep(1000)
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
        await asyncio.sleep(300)
        assert not state.up
        wire.alive.add("192.0.2.1")
        await asyncio.sleep(70)
        assert state.up
        assert state.targets[0].round_trip_s == 0.02

    logged = play(scene, Trunk("a", "192.0.2.1"))
    assert [line["event"] for line in logged] == ["trunk.reachable", "trunk.unreachable", "trunk.reachable"]
    assert "firewall" in str(logged[1]["remedy"])


def test_calls_prefer_targets_that_answer() -> None:
    """Configured order among the living; the dead last, since they may be back."""

    async def scene(under: Trunks, wire: Wire) -> None:
        hosts = [target.address.host for target in under.state("a").usable()]
        assert hosts == ["192.0.2.5", "192.0.2.1", "192.0.2.2"]
        await asyncio.sleep(40)
        hosts = [target.address.host for target in under.state("a").usable()]
        assert hosts == ["192.0.2.1", "192.0.2.2", "192.0.2.5"]

    play(scene, Trunk("a", "192.0.2.5", failover=("192.0.2.1", "192.0.2.2")))


def test_a_name_is_followed_to_where_it_leads() -> None:
    """A registrar that moves is registered with anew; its new address is its trunk's, too."""
    names = Names("192.0.2.1")

    async def scene(under: Trunks, wire: Wire) -> None:
        names.addresses = ["192.0.2.2"]
        await asyncio.sleep(31)
        assert [command.flow.remote[0] for command in wire.of(sip.Register)] == ["192.0.2.1", "192.0.2.2"]  # type: ignore[union-attr]
        assert len(wire.of(sip.Unregister)) == 1
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
            await asyncio.sleep(30)
        assert len(wire.of(sip.Register)) == 1

    play(scene, Trunk("provider", "sip.example", register=True, username="4711"), names=names)


def test_a_name_that_leads_nowhere_is_told_once_and_looked_up_without_haste() -> None:
    """No busy loop; and it works as soon as the name does."""
    names = Names()

    async def scene(under: Trunks, wire: Wire) -> None:
        await asyncio.sleep(600)
        assert names.asked <= 22
        assert wire.sent == []
        assert not under.state("a").up
        names.addresses = ["192.0.2.1"]
        await asyncio.sleep(31)
        assert under.state("a").up

    logged = play(scene, Trunk("a", "sip.example"), names=names)
    assert [line["event"] for line in logged] == ["trunk.unreachable", "trunk.reachable"]
    assert "DNS" in str(logged[0]["remedy"])


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
        await asyncio.sleep(600)
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
