"""What a call of the gateway leaves, for peers to be judged by, and what all of these peers can."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sounds import Sound, read_wav
from waiting import wait_until

T = TypeVar("T")


class Phone(Protocol):
    """Somebody else's. `dial` returns once it is answered."""

    def dial(self, uri: str) -> None: ...

    def hold(self) -> None: ...

    def retrieve(self) -> None: ...


class CallBundle:
    """What one call leaves, or is leaving: its events and its stereo recording."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.id = folder, folder.name

    @property
    def events(self) -> list[dict[str, Any]]:
        path = self.folder / "events.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def find(self, kind: str, **having: Any) -> list[dict[str, Any]]:
        return [
            event
            for event in self.events
            if event["type"] == kind and all(event.get(key) == value for key, value in having.items())
        ]

    def wait(self, kind: str, *, within_s: float = 15, count: int = 1, **having: Any) -> dict[str, Any]:
        """The `count`-th such event, waited for while the call goes on."""

        def found() -> dict[str, Any] | None:
            events = self.find(kind, **having)
            return events[count - 1] if len(events) >= count else None

        return self._wait_for(found, f"{kind} {having}", within_s)

    @contextlib.contextmanager
    def held_by(self, phone: Phone) -> Iterator[None]:
        """The caller has put the bot on hold, and takes it up again behind the block."""
        phone.hold()
        self.wait("CallHeld")
        yield
        phone.retrieve()
        self.wait("CallRetrieved")

    def talked_s(self) -> float:
        """For how long it was up, without the time of its hold, if there was one."""
        begin, end = (self.find(kind)[0]["at"] for kind in ("CallAnswered", "CallEnded"))
        held = [self.find(kind)[0]["at"] for kind in ("CallHeld", "CallRetrieved") if self.find(kind)]
        return float(end - begin - (held[1] - held[0] if held else 0.0))

    def wait_asked(self, question: str, *, within_s: float = 25) -> None:
        """The bot has said `question`, the end of one of its utterances, and the caller has heard it out."""
        self._wait_for(lambda: self._ends("UtterancePlayed", "heard", question), f"asking {question!r}", within_s)

    def wait_replied(self, question: str, *, within_s: float = 25) -> None:
        """The bot is about to say something that ends with `question`."""
        self._wait_for(lambda: self._ends("AgentReplied", "text", question), f"reply {question!r}", within_s)

    def wait_turn_over(self, *, within_s: float = 15) -> None:
        """What the caller said last has been taken for a turn, and nothing more was said."""

        def over() -> bool:
            kinds = [event["type"] for event in self.events]
            latest = {kind: k for k, kind in enumerate(kinds)}
            began, ended = latest.get("SpeechBegan", len(kinds)), latest.get("UserTurnEnded", -1)
            return began < ended

        self._wait_for(over, "turn that is over", within_s)

    def _ends(self, kind: str, key: str, words: str) -> list[dict[str, Any]]:
        return [event for event in self.find(kind) if event[key].endswith(words)]

    def _wait_for(self, found: Callable[[], T], what: str, within_s: float) -> T:
        try:
            return wait_until(found, within_s=within_s)
        except AssertionError:
            happened = "\n".join(str(event)[:160] for event in self.events[-25:])
            raise AssertionError(f"no {what} within {within_s} s; the call had:\n{happened}") from None

    def understood(self) -> list[str]:
        """What the caller said or pressed, turn by turn."""
        return [event["text"] or event["digits"] for event in self.find("UserTurnEnded", silent=False)]

    def said(self) -> str:
        """All that the bot said and the caller heard."""
        return " ".join(event["heard"] for event in self.find("UtterancePlayed"))

    def recording(self) -> tuple[Sound, Sound]:
        """The caller, and the bot. Whole once `CallEnded` is there."""
        left, right = read_wav(self.folder / "call.wav").channels()
        return left, right

    def second(self, at: float) -> float:
        """Where in the recording a moment on the events' clock lies."""
        return at - float(self.find("RecordingStarted")[0]["at"])

    def bot_spoke(self) -> list[tuple[float, float]]:
        """From when to when in the recording, by the events, clip after clip."""
        played = {event["clip"]: event for event in self.find("UtterancePlayed")}
        begun = [(event, played[event["clip"]]) for event in self.find("UtteranceStarted") if event["clip"] in played]
        return [(self.second(first["at"]), self.second(first["at"]) + over["played_s"]) for first, over in begun]
