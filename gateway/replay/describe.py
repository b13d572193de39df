"""Events in words, for people: one line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.core import events as e


def clock_face(seconds: float) -> str:
    """`mm:ss.hh` since the start of the call."""
    hundredths = round(max(0.0, seconds) * 100)
    return f"{hundredths // 6000:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"


def describe(event: e.AnyEvent) -> str:
    """Its name, and what is particular to it; no times and no ids."""
    return f"{type(event).__name__} {_particulars(event)}".rstrip()


def timeline(events: Sequence[e.AnyEvent]) -> Iterator[str]:
    """A line for each event, timed from the first."""
    for event in events:
        yield f"{clock_face(event.at - events[0].at)}  {describe(event)}"


def _particulars(event: e.AnyEvent) -> str:
    match event:
        case e.CallStarted(door=door, caller=caller, called=called, route=route):
            return f"{caller or 'anonymous'} -> {called} by {door}, route {route}"
        case e.CallAnswered(codec=codec):
            return codec
        case e.CallEnded(reason=reason, by=by, duration_s=duration_s):
            return f"{reason} by {by} after {duration_s:.1f} s"
        case e.AudioInterrupted(for_s=for_s):
            return f"for {for_s:.1f} s"
        case e.TransferStarted(way=way, to=to, by=by):
            return f"{way} to {to} by {by}"
        case e.TransferProgressed(of=of, status=status, reason=reason):
            return f"{of} {status or reason}"
        case e.TransferEnded(outcome=outcome):
            return outcome
        case e.CallMoved(by=by, caller=caller):
            return f"to {caller or 'anonymous'} by {by}"
        case e.SessionResumed(step=step):
            return f"at {step}"
        case e.StepEntered(step=step):
            return step
        case e.VariableSet(name=name, value=value):
            return f'{name} = "{value}"'
        case e.AgentRemembered(state=state):
            return ", ".join(f"{key}={value}" for key, value in state.items() if value)
        case e.DialogueCompleted(outcome=outcome, data=data):
            return " ".join([outcome, *(f"{key}={value}" for key, value in data.items())])
        case e.StateChanged(previous=previous, state=state):
            return f"{previous} -> {state}"
        case e.TranscriptHeard(text=text, final=final):
            return f'"{text}"' + ("" if final else " (interim)")
        case e.DigitPressed(digit=digit, method=method):
            return f"{digit} ({method})"
        case e.UserTurnEnded(text=text, digits=digits, silent=silent):
            return " ".join(part for part in (f'"{text}"' if text else "", digits, "silent" if silent else "") if part)
        case e.AgentReplied(text=text) | e.UtteranceSynthesised(text=text) | e.TextReceived(text=text):
            return f'"{text}"'
        case e.UtterancePlayed(heard=heard, complete=complete):
            return f'"{heard}"' + ("" if complete else " (cut off)")
        case e.BargedIn(by=by):
            return f"by {by}"
        case e.SilenceNoticed(count=count):
            return f"({count})"
        case e.ProviderFailed(what=what, category=category, message=message):
            return f"{what}: {category}, {message}"
        case e.ErrorOccurred(code=code, message=message):
            return f"{code}: {message}"
        case e.RecordingFailed(message=message, what=what):
            return f"{what}: {message}"
        case _:
            return ""
