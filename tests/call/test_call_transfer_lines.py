"""The lines of a call that is transferred: who may ask for what, and one leg that passes from line to line."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from test_call_sip_line import FLOW, HOLD, OFFER, Hall, NotingLeg, StillClock

from gateway.call import commands as c
from gateway.call.outbound_line import Attempt, Dialler, Order
from gateway.call.parties import Parties, number_in
from gateway.call.ports import Incoming, Line, Placing, SuccessorFactory
from gateway.call.sip_line import SipDoor
from gateway.call.sip_stream import SipLineOptions, SipStream, Wires
from gateway.call.trunks import Screened, TrunkRules
from gateway.core import events as e
from gateway.core.errors import PeerError
from gateway.dialplan.control import TransferStep
from gateway.media import commands as media
from gateway.sip import commands as sip
from gateway.sip import events as heard
from gateway.sip.offer_answer import LocalMedia, answer

THEIRS = LocalMedia("192.0.2.50", 4000)


def offered(dialog: str, *facts: tuple[str, str], headers: tuple[tuple[str, str], ...] = ()) -> heard.CallOffered:
    return heard.CallOffered(
        1.0, dialog, FLOW, "call-id", "1002", "desk", "sip:1002@x:5070", "sip:desk@x", "", OFFER, headers, facts
    )


class House:
    """A door, a dialler and one call's parties, with everything around them taking notes."""

    def __init__(self, *, accept: bool = True, trunk: TrunkRules | None = None, allow: str = "") -> None:
        self.sip: list[sip.AnyCommand] = []
        self.leg, self.told, self.heard = NotingLeg(), list[c.AnyInput](), list[e.DigitPressed]()
        self.tasks: list[Coroutine[Any, Any, None]] = []
        self.placed: list[Placing] = []
        self.texts: list[str] = []
        self.unreachable = False
        self.alarms: list[Callable[[], None]] = []
        self.trunk = trunk
        self.options = SipLineOptions(accept_transfers=accept)
        self.dialler = Dialler(Wires(self.sip.append, self.leg, StillClock()), self.options, self._alarm)
        self.door = SipDoor(
            send=self.sip.append,
            leg=self.leg,
            clock=StillClock(),
            options=self.options,
            incoming=self._incoming,
            screen=lambda call: Screened(call.caller, {}, rules=self.trunk),
            replace=self._replace,
        )
        self.door.on_event(offered("d-1", headers=(("Allow", allow),) if allow else ()))
        self.parties.line.answer()
        self.parties.line.media_said(media.LegOpened(1.0, "c-1", port=20000, ssrc=1))
        self.door.on_event(heard.CallConfirmed(1.1, "d-1"))
        self.sip.clear()
        self.told.clear()

    def _alarm(self, ring: Callable[[], None]) -> Callable[[float | None], None]:
        return lambda at: self.alarms.append(ring) if at == StillClock().now() else None

    def _incoming(self, incoming: Incoming, line: Any) -> None:
        self.parties = Parties(
            "c-1",
            incoming,
            control=self.leg,
            dial=self._dial,
            spawn=self._spawn,
            tell=self.told.append,
            hear=self.heard.append,
            read=self._read,
        )
        self.parties.open(line, "call.wav", None)

    def _read(self, text: str) -> bool:
        self.texts.append(text)
        return text != "unwanted"

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Seeing somebody out takes its time, which is none of this test's business."""
        if work.__name__ == "_see_out":
            work.close()
        else:
            self.tasks.append(work)

    def _replace(self, dialog: str, incoming: Incoming, line: SuccessorFactory) -> None:
        assert dialog == self.parties.dialog
        self.parties.replace_caller(line, incoming.caller)

    async def _dial(self, placing: Placing) -> SuccessorFactory:
        if self.unreachable:
            raise PeerError("no way there")
        self.placed.append(placing)
        order = Order((Attempt(f"sip:{placing.to}@192.0.2.50", FLOW),), "sip:us@192.0.2.1", headers=placing.headers)

        def line(name: str, tell: Any, former: Line | None) -> Line:
            place = former.referral if former else None
            assert place is None or isinstance(place, SipStream)
            return self.dialler.line(
                name, order, tell=tell, record=None, trace=None, redirect=lambda uri, by: None, succeeds=place
            )

        return line

    def work(self) -> None:
        """What was spawned goes on, and what was due is done, until everything waits."""
        while self.tasks or self.alarms:
            while self.alarms:
                self.alarms.pop(0)()
            if self.tasks:
                task = self.tasks.pop(0)
                with suppress(StopIteration):
                    task.send(None)

    @property
    def call(self) -> sip.Place:
        return next(command for command in reversed(self.sip) if isinstance(command, sip.Place))

    def hears(self, kind: Any, *facts: Any) -> None:
        self.dialler.on_event(kind(2.0, self.call.dialog, *facts))
        self.work()

    def answers(self) -> None:
        self.hears(heard.CallAccepted, answer(self.call.sdp, THEIRS).sdp)

    def of(self, kind: type[Any]) -> list[Any]:
        return [command for command in self.leg.sent if isinstance(command, kind)]


# The caller's side asks


def test_who_may_not_transfer_is_declined() -> None:
    """The default: a transfer makes us call whom the peer likes."""
    house = House(accept=False)
    house.door.on_event(heard.TransferRequested(2.0, "d-1", "sip:200@h"))
    assert (house.sip, house.told) == ([sip.AnswerTransfer("d-1", 603)], [])


@pytest.mark.parametrize("transfers", [True, False])
def test_a_trunk_has_a_say_of_its_own(transfers: bool) -> None:
    """Whatever holds for callers of no trunk."""
    house = House(accept=not transfers, trunk=TrunkRules("pbx", transfers=transfers))
    house.door.on_event(heard.TransferRequested(2.0, "d-1", "sip:200@h"))
    assert bool(house.told) == transfers


def test_who_may_is_asked_about_and_the_successor_gets_the_very_leg() -> None:
    """Nothing is opened: the same port is offered, and joined to the newcomer once it answers; the recording and the
    conversation know nothing of it."""
    house = House()
    house.door.on_event(heard.TransferRequested(2.0, "d-1", "sip:200@h", "1;to-tag=2;from-tag=3", "<sip:x@y>"))
    assert house.told == [c.TransferAsked("sip:200@h", "1;to-tag=2;from-tag=3", "<sip:x@y>")]
    house.parties.call_successor(c.CallSuccessor("200", "1;to-tag=2;from-tag=3", "<sip:x@y>"))
    house.work()
    assert house.call.headers == (("Replaces", "1;to-tag=2;from-tag=3"), ("Referred-By", "<sip:x@y>"))
    assert b"m=audio 20000 " in house.call.sdp
    joined = len(house.of(media.ConnectLeg))
    house.hears(heard.CallProgressed, 183, "Progress", answer(house.call.sdp, THEIRS).sdp)
    assert house.told[-1] == c.SuccessorRang(183)
    assert len(house.of(media.ConnectLeg)) == joined, "early media of a successor is not for the caller's leg"
    house.answers()
    assert house.told[-1] == c.LineMoved("refer", "PCMU", "200")
    assert house.sip[-1] == sip.ReportTransfer("d-1", 200)
    (connected,) = house.of(media.ConnectLeg)[joined:]
    assert (connected.leg, connected.host, connected.newcomer) == ("c-1", "192.0.2.50", True)
    assert len(house.of(media.OpenLeg)) == 1
    assert house.parties.dialog == house.call.dialog


def test_whoever_has_handed_us_on_touches_the_leg_no_more() -> None:
    """A late re-INVITE of theirs is refused, and their goodbye is not the call's."""
    house = House()
    house.parties.call_successor(c.CallSuccessor("200"))
    house.work()
    house.answers()
    sent, told = list(house.leg.sent), list(house.told)
    house.door.on_event(heard.OfferReceived(3.0, "d-1", HOLD))
    assert isinstance(house.sip[-1], sip.RefuseOffer)
    house.door.on_event(heard.CallEnded(3.1, "d-1", "bye"))
    assert (house.leg.sent, house.told) == (sent, told)
    house.dialler.on_event(heard.CallEnded(4.0, house.call.dialog, "bye"))
    assert house.told[-1] == c.LineEnded("hangup", "caller")
    house.parties.release()
    assert house.leg.sent[-1] == media.CloseLeg("c-1")
    assert len(house.of(media.CloseLeg)) == 1


@pytest.mark.parametrize(("status", "reason"), [(486, "busy"), (603, "rejected"), (480, "no_answer")])
def test_a_successor_who_does_not_come_leaves_the_caller_where_it_is(status: int, reason: e.EndReason) -> None:
    """Its end is told, and closes nothing."""
    house = House()
    house.parties.call_successor(c.CallSuccessor("200"))
    house.work()
    house.hears(heard.CallFailed, status, "No")
    assert house.told == [c.SuccessorEnded(reason)]
    assert house.of(media.CloseLeg) == []
    assert house.parties.dialog == "d-1"


def test_a_successor_nobody_can_find_is_told_too() -> None:
    """A number without a trunk, a name that leads nowhere."""
    house = House()
    house.unreachable = True
    house.parties.call_successor(c.CallSuccessor("200"))
    house.parties.call_target(c.CallTarget(TransferStep("100", "bridge")))
    house.work()
    assert house.told == [c.SuccessorEnded("rejected"), c.TargetEnded("unreachable")]


# Somebody comes in the caller's place


def test_somebody_takes_the_callers_place_by_replaces() -> None:
    """The same leg, offered anew; the old dialog's end is not the call's."""
    house = House(trunk=TrunkRules("pbx", trusted=True, transfers=True))
    house.door.on_event(offered("d-2", ("replaces", "d-1")))
    (accepted,) = house.sip
    assert isinstance(accepted, sip.Accept)
    assert b"m=audio 20000 " in accepted.sdp
    house.door.on_event(heard.CallEnded(2.0, "d-1", "replaced"))
    assert house.told == []
    house.door.on_event(heard.CallConfirmed(2.1, "d-2"))
    assert house.told == [c.LineMoved("replaces", "PCMU", "1002")]
    assert len(house.of(media.OpenLeg)) == 1


def test_a_newcomer_by_no_trusted_trunk_stays_unnamed() -> None:
    """Who calls is not theirs to say."""
    house = House()
    house.door.on_event(offered("d-2", ("replaces", "d-1")))
    house.door.on_event(heard.CallConfirmed(2.1, "d-2"))
    assert house.told == [c.LineMoved("replaces", "PCMU", "")]


def test_nobody_takes_the_place_of_a_caller_who_may_not_transfer() -> None:
    """403, and the call goes on."""
    house = House(accept=False)
    house.door.on_event(offered("d-2", ("replaces", "d-1")))
    assert house.sip == [sip.Reject("d-2", 403)]
    assert house.parties.dialog == "d-1"


def test_a_desk_without_the_replaced_call_says_so() -> None:
    """What the door does where nobody told it who is there."""
    hall = Hall()
    hall.door.on_event(offered("d-2", ("replaces", "d-1")))
    assert hall.sip == [sip.Reject("d-2", 481)]


# We ask


def test_a_number_is_referred_to_in_the_callers_domain() -> None:
    """And an address as it stands."""
    house = House()
    house.parties.refer("100", attended=False)
    house.parties.refer("sip:x@y", attended=False)
    assert house.sip == [sip.Transfer("d-1", "sip:100@x:5070"), sip.Transfer("d-1", "sip:x@y")]
    house.door.on_event(heard.TransferProgressed(2.0, "d-1", 486, "Busy"))
    assert house.told == [c.TransferTold(486)]


@pytest.mark.parametrize("hidden", ["sip:anonymous@anonymous.invalid", "tel:+4930"])
def test_a_caller_without_a_domain_is_at_home_where_the_call_came_from(hidden: str) -> None:
    """RFC 3323 4.1.1.3: `anonymous.invalid` is nobody's domain, and nobody can be referred to there."""
    house = House()
    house.door.on_event(msgspec.structs.replace(offered("d-3"), from_uri=hidden))
    house.parties.refer("100", attended=False)
    assert house.sip == [sip.Transfer("d-3", "sip:100@192.0.2.7")]


@pytest.mark.parametrize(("allow", "asks"), [("INVITE, ACK, BYE", False), ("INVITE, REFER", True), ("", True)])
def test_a_peer_that_says_it_takes_no_refer_is_not_asked(allow: str, asks: bool) -> None:
    """RFC 3261 20.5: an absent Allow says nothing."""
    house = House(allow=allow)
    house.parties.refer("100", attended=False)
    assert bool(house.sip) == asks
    assert house.told == ([] if asks else [c.TransferTold(405, refused=True)])


def test_an_attended_transfer_names_the_targets_call() -> None:
    """The target has a line and a leg of its own, beside the caller's."""
    house = House()
    house.parties.call_target(c.CallTarget(TransferStep("100", "attended", trunk="pbx", caller="55", ring_s=9.0)))
    house.work()
    assert house.placed == [Placing("100", "pbx", "55", 9.0)]
    (_, second) = house.of(media.OpenLeg)
    assert second.leg == "c-1.2"
    house.parties.refer("", attended=True)
    assert house.told == [] or isinstance(house.told[-1], c.TransferTold)


def target_on_the_line(house: House) -> Line:
    house.parties.call_target(c.CallTarget(TransferStep("100", "bridge")))
    house.work()
    seat = house.parties._target
    assert seat is not None
    assert seat.line is not None
    seat.line.media_said(media.LegOpened(1.5, "c-1.2", port=20002, ssrc=2))
    house.hears(heard.CallProgressed, 180, "Ringing")
    house.answers()
    assert house.told == [c.TargetRang(180), c.TargetAnswered()]
    house.told.clear()
    return seat.line


def test_keys_cross_a_bridge_both_ways_and_only_a_bridge() -> None:
    """The caller's reach the target as the target takes them, and the other way round; tones are in the audio."""
    house = House()
    target_on_the_line(house)
    key = e.DigitPressed(2.0, "c-1", "5", 100)
    house.dialler.on_event(heard.InfoReceived(2.0, house.call.dialog, "application/dtmf", b"7"))
    assert house.of(media.SendDigits) == []
    house.parties.join()
    assert house.leg.sent[-1] == media.Bridge("c-1", "c-1.2")
    house.dialler.on_event(heard.InfoReceived(2.0, house.call.dialog, "application/dtmf", b"7"))
    house.parties.press_for_target(key)
    house.parties.press_for_target(msgspec.structs.replace(key, method="inband"))
    assert house.of(media.SendDigits) == [media.SendDigits("c-1", "7"), media.SendDigits("c-1.2", "5")]


def test_the_targets_hang_up_is_not_the_callers() -> None:
    """The bridge falls, its leg closes, the caller stays."""
    house = House()
    target_on_the_line(house)
    house.parties.join()
    house.dialler.on_event(heard.CallEnded(3.0, house.call.dialog, "bye"))
    assert house.told == [c.TargetEnded("hangup")]
    assert house.leg.sent[-1] == media.Bridge("c-1", None)
    house.parties.drop_target()
    assert house.of(media.CloseLeg) == [media.CloseLeg("c-1.2")]
    assert house.parties.dialog == "d-1"


def test_a_target_does_not_send_our_caller_elsewhere() -> None:
    """It was called for them."""
    house = House()
    target_on_the_line(house)
    house.dialler.on_event(heard.TransferRequested(3.0, house.call.dialog, "sip:200@h"))
    assert house.sip[-1] == sip.AnswerTransfer(house.call.dialog, 603)
    assert house.told == []


def test_the_end_of_the_call_is_the_end_for_everybody() -> None:
    """Whoever is on a line, or still called."""
    house = House()
    target_on_the_line(house)
    target = house.call.dialog
    house.parties.call_successor(c.CallSuccessor("300"))
    house.work()
    house.parties.release()
    assert [command.dialog for command in house.sip if isinstance(command, sip.HangUp)] == [target, house.call.dialog]
    assert house.of(media.CloseLeg) == [media.CloseLeg("c-1.2"), media.CloseLeg("c-1")]


@pytest.mark.parametrize(
    ("address", "number"),
    [("sip:200@h", "200"), ("200", "200"), ("tel:+4930;phone-context=x", "+4930"), ("sip:h", "h")],
)
def test_the_number_in_an_address(address: str, number: str) -> None:
    """As the dialplan will see its new caller."""
    assert number_in(address) == number


# Texts


def test_a_callers_text_is_answered_by_whether_it_was_taken() -> None:
    """200 only when somebody has it (RFC 3428 7)."""
    house = House()
    house.door.on_event(heard.MessageReceived(2.0, "d-1", 1, "on thursday"))
    house.door.on_event(heard.MessageReceived(2.1, "d-1", 2, "unwanted"))
    assert house.texts == ["on thursday", "unwanted"]
    assert house.sip == [sip.AnswerMessage("d-1", 1), sip.AnswerMessage("d-1", 2, 480, "Nobody Reads Now")]
    assert house.told == []


def test_a_targets_text_is_not_the_callers_word() -> None:
    """Whoever the caller is connected to writes to nobody here: the text is refused, and never reaches the bot."""
    house = House()
    target_on_the_line(house)
    house.sip[:] = [house.call]
    house.hears(heard.MessageReceived, 7, "on thursday")
    assert house.texts == []
    assert house.sip[1:] == [sip.AnswerMessage(house.call.dialog, 7, 480, "Nobody Reads Now")]
