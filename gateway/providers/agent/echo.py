"""`kind: echo`: says back what it heard. An agent in thirty lines, to copy for one of your own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from gateway.core.speech import Expectation
from gateway.session.ports import AgentAct, CallerSaid, CallerSilent, Context, Expect, Finish, Opened, Prompted, Say


class Options(msgspec.Struct, frozen=True):
    greeting: str = "Say something, and I will say it back. Say goodbye to end."
    phrases: tuple[str, ...] = ("hello", "good morning", "how are you", "yes", "no", "one two three", "goodbye")
    """What may be said; a recogniser without grammars takes anything."""


class EchoAgent:
    """Implements `Agent`. Keeps nothing of a caller, so a call back begins anew."""

    def __init__(self, options: Options) -> None:
        self._options = options

    async def respond(self, prompted: Prompted, context: Context) -> AsyncIterator[AgentAct]:
        match prompted:
            case Opened():
                yield Say(self._options.greeting)
            case CallerSilent():
                yield Say("I did not hear anything.")
            case CallerSaid(text="goodbye"):
                yield Say("Goodbye!")
                yield Finish("goodbye")
                return
            case CallerSaid(text, digits):
                yield Say(f"You said {text or ' '.join(digits)}." if text or digits else "I did not understand.")
        yield Expect(Expectation(phrases=self._options.phrases, digits_max=16))

    async def close(self) -> None:
        """Nothing is open."""


def build(options: Options) -> EchoAgent:
    return EchoAgent(options)
