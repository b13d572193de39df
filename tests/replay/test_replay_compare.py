"""Comparison by meaning: what a person would call the same call is the same, and what differs is said in one line."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import events as e
from gateway.replay.compare import compare

CALL: list[e.AnyEvent] = [
    e.CallStarted(100.0, "c-1", "sip", "alice", "200", "desk"),
    e.SessionStarted(100.0, "c-1", "s-1"),
    e.CallAnswered(100.1, "c-1", "PCMU"),
    e.StateChanged(100.1, "c-1", "initial", "speaking"),
    e.UtteranceSynthesised(100.2, "c-1", 1, "Which day?", 0.8),
    e.UtteranceStarted(100.2, "c-1", 1),
    e.UtterancePlayed(101.0, "c-1", 1, "Which day?", 0.8, True),
    e.StateChanged(101.0, "c-1", "speaking", "listening"),
    e.SpeechBegan(106.0, "c-1", 105.9),
    e.TranscriptHeard(106.4, "c-1", 1, "Thurs", False),
    e.SpeechEnded(107.0, "c-1", 106.7),
    e.TranscriptHeard(107.42, "c-1", 1, "Thursday", True),
    e.UserTurnEnded(107.42, "c-1", 1, "Thursday"),
    e.CallEnded(108.0, "c-1", "hangup", "caller", 8.0, {"jitter_ms": 1.5}),
]


def later(event: e.AnyEvent, by: float) -> e.AnyEvent:
    return msgspec.structs.replace(event, at=event.at + by)


def with_event(index: int, event: e.AnyEvent) -> list[e.AnyEvent]:
    return [*CALL[:index], event, *CALL[index + 1 :]]


def test_a_call_is_the_same_as_itself_at_another_time_and_under_other_names() -> None:
    """Absolute times, call ids, session ids and clip numbers mean nothing; their sameness within the call does."""
    renamed: list[e.AnyEvent] = []
    for event in CALL:
        other = {"call": "c-2", "session": "s-9", "clip": 7, "turn": 4}
        moved = {name: getattr(event, name) - 90 for name in event.__struct_fields__ if name.endswith("at")}
        names = {name: value for name, value in other.items() if name in event.__struct_fields__}
        renamed.append(msgspec.structs.replace(event, **names, **moved))
    assert compare(CALL, renamed, tolerance_s=0).same


def test_another_word_stands_beside_the_golden_one_on_the_timeline() -> None:
    """The difference reads like a diff with the time of the call in front."""
    changed = with_event(12, e.UserTurnEnded(107.42, "c-1", 1, "Tuesday"))
    result = compare(CALL, changed)
    assert not result.same
    lines = result.render().splitlines()
    assert lines[0] == '00:07.42  - UserTurnEnded "Thursday"'
    assert lines[1] == '00:07.42  + UserTurnEnded "Tuesday"'
    assert lines[2] == "1 gone, 1 new; 13 golden events compared, times within 80 ms"


def test_a_live_call_may_be_late_by_the_tolerance_and_no_more() -> None:
    """Scheduling jitter of the recording is no difference; a slower gateway is."""
    assert compare(CALL, with_event(5, later(CALL[5], 0.079))).same
    moved = compare(CALL, with_event(5, later(CALL[5], 0.19)))
    assert [one.kind for one in moved.differences] == ["moved"]
    assert moved.render().splitlines()[0] == "00:00.20  ~ UtteranceStarted: 190 ms later"


def test_an_accepted_bundle_allows_no_microsecond() -> None:
    """Golden events that came from a replay repeat exactly, so any shift is a change."""
    assert not compare(CALL, with_event(5, later(CALL[5], 0.00001)), tolerance_s=0).same


def test_interim_transcripts_count_only_without_tolerance() -> None:
    """Whether one more interim text came before the final one is a race of milliseconds when live."""
    without = [*CALL[:9], *CALL[10:]]
    assert compare(CALL, without).same
    assert not compare(CALL, without, tolerance_s=0).same


def test_a_turn_that_ends_as_the_caller_hangs_up_may_be_cut_off() -> None:
    """Two moments within the tolerance may change places, and nothing happens behind the end of a call."""
    ended = later(CALL[13], -0.571)  # 9 ms after the turn
    live = [*CALL[:13], ended]
    cut_off = [*CALL[:11], ended]
    assert compare(live, cut_off).same
    assert compare(cut_off, live).same
    assert not compare(live, cut_off, tolerance_s=0).same
    assert not compare(CALL, [*CALL[:11], CALL[13]]).same  # 580 ms before the end it was the recogniser's fault


def test_at_the_end_of_a_call_other_words_are_still_others() -> None:
    """Only what is missing altogether is forgiven, and only of the caller: the bot's last words were sent or not."""
    ended = later(CALL[13], -0.571)
    live = [*CALL[:13], ended]
    other = [*CALL[:11], e.TranscriptHeard(107.42, "c-1", 1, "Tuesday", True), CALL[12], ended]
    assert [one.kind for one in compare(live, other).differences] == ["gone", "new"]
    said = [*CALL[:13], e.UtterancePlayed(107.42, "c-1", 1, "Good", 0.2, False), ended]
    assert [one.kind for one in compare(said, live).differences] == ["gone"]


def test_what_happened_at_once_may_be_logged_in_either_order() -> None:
    """Between the lanes (bot, caller, states, call, dialplan) only times count; within one, order does."""
    swapped = [*CALL[:6], CALL[7], CALL[6], *CALL[8:]]
    assert compare(CALL, swapped).same
    same_lane = [*CALL[:5], later(CALL[6], -0.8), later(CALL[5], 0.8), *CALL[7:]]
    assert not compare(CALL, same_lane).same


def test_what_the_line_does_while_a_step_begins_may_be_logged_in_either_order() -> None:
    """People outside do not wait for the dialplan: a step that a replay enters some milliseconds later is entered."""
    asked = e.TransferStarted(102.304, "c-1", "move", "sip:200@192.0.2.9", "caller")
    entered = e.StepEntered(102.3, "c-1", "echo/2:echo")
    live, replayed = [*CALL[:8], entered, asked, *CALL[8:]], [*CALL[:8], asked, later(entered, 0.01), *CALL[8:]]
    assert compare(live, replayed).same
    much_later = [*CALL[:8], asked, later(entered, 0.1), *CALL[8:]]
    assert compare(live, much_later).render().startswith("00:02.30  ~ StepEntered echo/2:echo: 100 ms later")


def test_what_a_transfer_came_to_is_told() -> None:
    """Whoever reads the difference sees to whom, and how it went."""
    told: list[tuple[e.AnyEvent, str]] = [
        (e.TransferStarted(102.3, "c-1", "blind", "100", "bot"), "TransferStarted blind to 100 by bot"),
        (e.TransferProgressed(102.3, "c-1", "target", 180), "TransferProgressed target 180"),
        (e.TransferProgressed(102.3, "c-1", "target", 0, "busy"), "TransferProgressed target busy"),
        (e.TransferEnded(102.3, "c-1", "moved"), "TransferEnded moved"),
        (e.CallMoved(102.3, "c-1", "refer", "PCMU", "200"), "CallMoved to 200 by refer"),
        (e.CallMoved(102.3, "c-1", "replaces", "PCMU"), "CallMoved to anonymous by replaces"),
    ]
    for event, words in told:
        assert compare([*CALL[:8], event, *CALL[8:]], CALL).render().startswith(f"00:02.30  - {words}\n")


def test_statistics_and_probabilities_are_not_compared() -> None:
    """They say how the network and the machine were, not what the conversation was."""
    assert compare(CALL, with_event(13, msgspec.structs.replace(CALL[13], stats={"jitter_ms": 9.0}))).same
    assert compare(CALL, with_event(8, msgspec.structs.replace(CALL[8], probability=0.6))).same


def test_a_clip_that_is_another_clip_is_found() -> None:
    """Numbers may differ, but what began as one clip must not end as another."""
    result = compare(CALL, with_event(6, e.UtterancePlayed(101.0, "c-1", 2, "Which day?", 0.8, True)))
    assert {one.kind for one in result.differences} == {"gone", "new"}


def test_a_question_without_answer_is_a_difference_of_its_own() -> None:
    """A changed gateway asks its providers other things; the bundle cannot answer, and that must be seen."""
    result = compare(CALL, CALL, unanswered=[(7.5, "a turn more than was recorded was to be recognised")])
    assert not result.same
    assert result.render().startswith("00:07.50  ! a turn more")


def test_one_late_event_does_not_flood_the_difference() -> None:
    """Everything after a slow answer is late too; eight lines say so."""
    many: list[e.AnyEvent] = [CALL[0], *(e.DigitPressed(101.0 + n, "c-1", str(n % 10), 100) for n in range(30))]
    result = compare(many, [CALL[0], *(later(event, 0.5) for event in many[1:])])
    assert "... and 22 more events that moved" in result.render()


@given(st.lists(st.sampled_from(range(len(CALL))), max_size=20))
def test_losing_events_is_found_unless_they_do_not_count(lost: list[int]) -> None:
    """Whatever is missing is missing, for any selection of events."""
    kept = [event for index, event in enumerate(CALL) if index == 0 or index not in lost]
    assert compare(CALL, kept).same == (not set(lost) - {0, 9})
