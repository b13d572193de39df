"""The machine of a call that is transferred: by us, by its peer, or by somebody who comes in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.call import commands as c
from gateway.call.call import Call, CallOptions
from gateway.call.control import Control
from gateway.call.transferring import LAST_WORD_WITHIN_S, REFER_WITHIN_S
from gateway.core import events as e
from gateway.dialplan.control import Prompt, TransferMode, TransferStep


class Desk:
    """A call whose dialplan transfers its caller, and then says how that went."""

    def __init__(self, mode: TransferMode | None = "blind", **step: Any) -> None:
        self.now, self.outcomes = 0.0, []
        self.done: list[c.AnyCommand] = []

        async def program(control: Control, on_step: Callable[[str], None]) -> None:
            if mode is None:
                await control.loop_back()
            else:
                self.outcomes.append(await control.transfer(TransferStep("100", mode, **step)))
                await control.say(Prompt("Nobody there."))

        self.control = Control(caller="1001", called="desk", headers={}, variables={})
        self.call = Call("c-1", self.control, program, options=CallOptions())
        self.done += self.call.start(0.0)
        self.hear(c.LineAnswered("PCMU"))

    def hear(self, received: c.AnyInput) -> list[c.AnyCommand]:
        out = self.call.handle(received, self.now)
        self.done += out
        self.settle()
        return out

    def settle(self) -> None:
        """Steps that wait for nothing go on at once."""
        while (due := self.call.next_deadline()) is not None and due <= self.now:
            self.done += self.call.on_deadline(self.now)

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.call.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.done += self.call.on_deadline(self.now)
        self.now = end

    @property
    def asked(self) -> list[c.AnyCommand]:
        """What it wanted of the lines, leaving out the log."""
        return [one for one in self.done if not isinstance(one, c.Record | c.AnswerLine)]

    @property
    def log(self) -> list[e.AnyEvent]:
        return [one.event for one in self.done if isinstance(one, c.Record)]

    @property
    def ended(self) -> str:
        (ended,) = [event for event in self.log if isinstance(event, e.TransferEnded)]
        return ended.outcome


SORRY = c.Say(Prompt("Nobody there."), "on")
RELEASED = [c.HangUpLine(), c.Release("transferred", "bot")]


def test_a_blind_transfer_that_comes_off_ends_our_part() -> None:
    """RFC 5589 6.1: REFER, NOTIFYs up to a success, BYE."""
    desk = Desk()
    assert desk.asked == [c.ReferCaller("100")]
    for status in (100, 180, 200):
        desk.hear(c.TransferTold(status))
    assert desk.asked[1:] == RELEASED
    assert desk.ended == "connected"
    assert [event.status for event in desk.log if isinstance(event, e.TransferProgressed)] == [100, 180, 200]


@pytest.mark.parametrize(
    ("status", "outcome"), [(486, "busy"), (480, "no_answer"), (603, "rejected"), (404, "unreachable")]
)
def test_a_blind_transfer_that_fails_gives_the_caller_back_with_the_reason(status: int, outcome: str) -> None:
    """The dialplan can tell them, and try somebody else."""
    desk = Desk()
    desk.hear(c.TransferTold(100))
    desk.hear(c.TransferTold(status))
    assert desk.outcomes == [outcome]
    assert desk.asked[-1] == SORRY
    assert desk.ended == outcome


def test_a_blind_transfer_without_a_last_word_is_given_up() -> None:
    """News does not prolong it."""
    desk = Desk(ring_s=20.0)
    desk.pass_time(15)
    desk.hear(c.TransferTold(180))
    desk.pass_time(4.9)
    assert desk.outcomes == []
    desk.pass_time(0.2)
    assert desk.outcomes == ["no_answer"]


def test_a_caller_whose_side_does_no_transfers_is_bridged() -> None:
    """The refusal of the REFER itself, not what the target said."""
    desk = Desk()
    desk.hear(c.TransferTold(405, refused=True))
    assert desk.asked[1:] == [c.Entertain(None), c.CallTarget(TransferStep("100", "blind"))]
    desk.hear(c.TargetAnswered())
    assert desk.asked[3:] == [c.Quieten(), c.JoinTarget()]


def test_or_it_is_refused_where_bridging_is_not_wanted() -> None:
    """For operators who pay for every channel."""
    desk = Desk(bridge_if_refused=False)
    desk.hear(c.TransferTold(405, refused=True))
    assert desk.outcomes == ["refused"]


def test_a_bridge_lasts_until_the_target_hangs_up() -> None:
    """Then the caller is the dialplan's again."""
    desk = Desk("bridge", music="music.wav")
    assert desk.asked == [c.Entertain("music.wav"), c.CallTarget(TransferStep("100", "bridge", music="music.wav"))]
    desk.hear(c.TargetRang())
    desk.hear(c.TargetAnswered())
    desk.pass_time(600)
    assert desk.outcomes == []
    desk.hear(c.TargetEnded("hangup"))
    assert desk.asked[2:] == [c.Quieten(), c.JoinTarget(), c.Quieten(), c.DropTarget(), SORRY]
    assert (desk.outcomes, desk.ended) == (["finished"], "finished")


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [("busy", "busy"), ("no_answer", "no_answer"), ("rejected", "rejected"), ("unreachable", "unreachable"),
     ("error", "unreachable")],
)  # fmt: skip
def test_a_target_that_cannot_be_had_gives_the_caller_back(reason: e.EndReason, outcome: str) -> None:
    """By whatever mode it was called, the music ends and its line is let go."""
    for mode in ("bridge", "attended"):
        desk = Desk(mode)  # type: ignore[arg-type]
        desk.hear(c.TargetEnded(reason))
        assert desk.asked[2:] == [c.Quieten(), c.DropTarget(), SORRY]
        assert desk.outcomes == [outcome]


def test_a_target_that_does_not_pick_up_in_time_is_given_up() -> None:
    """Ringing does not prolong it."""
    desk = Desk("bridge", ring_s=20.0)
    desk.pass_time(19)
    desk.hear(c.TargetRang())
    desk.pass_time(1.1)
    assert (desk.outcomes, desk.asked[-2]) == (["no_answer"], c.DropTarget())


def test_an_attended_transfer_lets_them_talk_until_they_do_without_us() -> None:
    """RFC 5589 7: the target is on the line; the caller's telephone takes our place."""
    desk = Desk("attended")
    desk.hear(c.TargetAnswered())
    assert desk.asked[2:] == [c.Quieten(), c.JoinTarget(), c.ReferCaller(attended=True)]
    desk.hear(c.TransferTold(100))
    desk.hear(c.TransferTold(200))
    assert desk.asked[5:] == RELEASED
    assert desk.ended == "connected"


def test_the_target_leaves_us_before_we_are_told_why() -> None:
    """Its BYE, and the NOTIFY, race; the transfer has come off either way."""
    desk = Desk("attended")
    desk.hear(c.TargetAnswered())
    desk.hear(c.TargetEnded("hangup"))
    desk.pass_time(LAST_WORD_WITHIN_S - 0.1)
    desk.hear(c.TransferTold(200))
    assert desk.ended == "connected"


def test_a_target_that_hangs_up_on_an_attended_transfer_gives_the_caller_back() -> None:
    """No word comes that anybody took our place."""
    desk = Desk("attended")
    desk.hear(c.TargetAnswered())
    desk.hear(c.TargetEnded("hangup"))
    desk.pass_time(LAST_WORD_WITHIN_S + 0.1)
    assert desk.outcomes == ["finished"]


@pytest.mark.parametrize("told", [c.TransferTold(405, refused=True), c.TransferTold(486), None])
def test_an_attended_transfer_that_fails_stays_a_bridge(told: c.TransferTold | None) -> None:
    """They are talking already; nobody is cut off for a protocol's sake."""
    desk = Desk("attended")
    desk.hear(c.TargetAnswered())
    if told is None:
        desk.pass_time(REFER_WITHIN_S + 1)
    else:
        desk.hear(told)
    desk.pass_time(100)
    assert desk.outcomes == []
    desk.hear(c.TargetEnded("hangup"))
    assert desk.outcomes == ["finished"]


@pytest.mark.parametrize("mode", ["blind", "attended", "bridge"])
@pytest.mark.parametrize("answered", [False, True])
def test_a_caller_who_hangs_up_ends_it_all(mode: TransferMode, answered: bool) -> None:
    """`Release` is the last word, and the log says where the transfer was left before it."""
    desk = Desk(mode)
    if answered:
        desk.hear(c.TargetAnswered())
    desk.hear(c.LineEnded("hangup", "caller"))
    assert desk.done[-2:] == [c.Record(e.TransferEnded(0.0, "c-1", "left")), c.Release("hangup", "caller")]
    assert desk.outcomes == []


# A peer transfers us


def asked_to_move(to: str = "sip:200@192.0.2.9") -> Desk:
    desk = Desk(None)
    desk.hear(c.TransferAsked(to, referred_by="<sip:1001@192.0.2.7>"))
    return desk


def test_a_peer_that_transfers_us_is_told_how_it_goes_and_the_conversation_moves() -> None:
    """The dialplan does not notice: it goes on with whoever is there now."""
    desk = asked_to_move()
    assert desk.asked[1:] == [
        c.AnswerTransfer(202), c.CallSuccessor("sip:200@192.0.2.9", "", "<sip:1001@192.0.2.7>"),
    ]  # fmt: skip
    desk.hear(c.SuccessorRang(180))
    assert desk.asked[-1] == c.ReportTransfer(180)
    desk.hear(c.LineMoved("refer", "PCMA", "200"))
    assert desk.call.line == "up"
    assert desk.control.caller == "200"
    assert desk.log[-2:] == [
        e.CallMoved(0.0, "c-1", "refer", "PCMA", "200"), e.TransferEnded(0.0, "c-1", "moved"),
    ]  # fmt: skip


@pytest.mark.parametrize(("reason", "status"), [("busy", 486), ("no_answer", 480), ("rejected", 603), ("error", 503)])
def test_a_successor_that_cannot_be_had_leaves_things_as_they_were(reason: e.EndReason, status: int) -> None:
    """The peer is told, and may try again."""
    desk = asked_to_move()
    desk.hear(c.SuccessorEnded(reason))
    assert desk.asked[-1] == c.ReportTransfer(status)
    assert desk.call.line == "up"
    desk.hear(c.TransferAsked("sip:300@192.0.2.9"))
    assert desk.asked[-1] == c.CallSuccessor("sip:300@192.0.2.9")


def test_one_transfer_at_a_time() -> None:
    """491 while one is under way, 603 before the call is up."""
    desk = asked_to_move()
    desk.hear(c.TransferAsked("sip:300@192.0.2.9"))
    assert desk.asked[-1] == c.AnswerTransfer(491)
    ringing = Call(
        "c-2", Control(caller="", called="", headers={}, variables={}), _ring_for_ever, options=CallOptions()
    )
    ringing.start(0.0)
    assert ringing.handle(c.TransferAsked("sip:1@h"), 0.1) == [c.AnswerTransfer(603)]


async def _ring_for_ever(control: Control, on_step: Callable[[str], None]) -> None:
    await control.ring()
    await control.wait(1000.0)


def test_a_peer_that_says_goodbye_too_soon_is_waited_for_on_hold() -> None:
    """Many hang up with the 202: the conversation waits until its successor is there."""
    desk = asked_to_move()
    desk.hear(c.LineEnded("hangup", "caller"))
    desk.hear(c.LineSilent(on=True))
    desk.pass_time(45)
    assert desk.call.line == "up"
    desk.hear(c.LineMoved("refer", "PCMU"))
    kinds = [type(event) for event in desk.log[-4:]]
    assert kinds == [e.CallHeld, e.CallMoved, e.TransferEnded, e.CallRetrieved]


def test_and_if_nobody_comes_the_call_ends_as_the_peer_ended_it() -> None:
    """There is nobody to go back to."""
    desk = asked_to_move()
    desk.hear(c.LineEnded("hangup", "caller"))
    desk.hear(c.SuccessorEnded("busy"))
    assert desk.done[-1] == c.Release("hangup", "caller")
    assert desk.ended == "busy"


def test_a_line_that_fails_is_not_waited_for() -> None:
    """Only a peer's own goodbye: our faults end the call."""
    desk = asked_to_move()
    desk.hear(c.LineEnded("error", "gateway"))
    assert desk.done[-1] == c.Release("error", "gateway")


def test_somebody_comes_in_the_callers_place() -> None:
    """RFC 3891: no transfer of ours, no break in the dialplan; a held line is taken off hold."""
    desk = Desk(None)
    desk.hear(c.LineHeld(on=True))
    desk.hear(c.LineMoved("replaces", "PCMU", "1002"))
    assert [type(event) for event in desk.log[-3:]] == [e.CallHeld, e.CallMoved, e.CallRetrieved]
    assert (desk.call.line, desk.control.caller) == ("up", "1002")


def test_a_newcomer_who_is_not_known_does_not_change_who_calls() -> None:
    """Nobody is believed who is not trusted."""
    desk = Desk(None)
    desk.hear(c.LineMoved("replaces", "PCMU"))
    assert desk.control.caller == "1001"


# An operator transfers


def ordered() -> Desk:
    desk = Desk(None)
    desk.hear(c.TransferOrdered("100"))
    return desk


def test_an_operators_transfer_ends_the_call_when_the_caller_has_gone() -> None:
    """The dialplan knows nothing of it, and runs until then."""
    desk = ordered()
    assert desk.asked[1:] == [c.ReferCaller("100")]
    assert not desk.call.may_be_transferred
    desk.hear(c.TransferTold(180))
    desk.hear(c.TransferTold(200))
    assert desk.asked[2:] == [c.HangUpLine(), c.Release("transferred", "gateway")]
    assert desk.ended == "connected"


@pytest.mark.parametrize(
    ("told", "outcome"),
    [(c.TransferTold(486), "busy"), (c.TransferTold(405, refused=True), "refused"), (None, "no_answer")],
)
def test_an_operators_transfer_that_fails_leaves_everything_as_it_was(
    told: c.TransferTold | None, outcome: str
) -> None:
    """And it may be tried again."""
    desk = ordered()
    if told is None:
        desk.pass_time(61)
    else:
        desk.hear(told)
    assert (desk.ended, desk.call.line, desk.asked[2:]) == (outcome, "up", [])
    assert desk.call.may_be_transferred


def test_what_is_not_up_or_on_its_way_is_not_sent_elsewhere() -> None:
    """One at a time, from whichever side."""
    desk = Desk("bridge")
    desk.hear(c.TransferOrdered("300"))
    assert c.ReferCaller("300") not in desk.asked
    desk = asked_to_move()
    desk.hear(c.TransferOrdered("300"))
    assert c.ReferCaller("300") not in desk.asked
    desk = ordered()
    desk.hear(c.TransferAsked("sip:200@192.0.2.9"))
    assert desk.asked[-1] == c.AnswerTransfer(603)
    desk.hear(c.LineEnded("hangup", "caller"))
    assert desk.ended == "left"
