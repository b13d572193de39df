"""The facts of a conversation at one moment, and what follows from them: who holds the floor, who is awaited."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.core.events import State
from gateway.core.speech import Expectation
from gateway.session.barge_in import Floor
from gateway.session.dialogue import Dialogue
from gateway.session.exchanges import Asking, Exchange, Outcome, Saying, Taken
from gateway.session.keypad import Keypad
from gateway.session.patience import Awaited
from gateway.session.playback import Playback
from gateway.session.states import Cue
from gateway.session.turns import TurnTaker


@dataclass
class Scene:
    """`exchange` is what was asked of the conversation; `outcome` how it will end once all is said.

    `taken` is a turn of the caller that waits to be answered; `keypad` digits that are being keyed.
    `on_hold`: nobody hears the bot. `line_is_silent`: no media comes, as if the line were dead.
    """

    playback: Playback
    dialogue: Dialogue
    turns: TurnTaker
    exchange: Exchange | None = None
    outcome: Outcome | None = None
    keypad: Keypad | None = None
    taken: Taken | None = None
    on_hold: bool = False
    line_is_silent: bool = False

    @property
    def expectation(self) -> Expectation:
        return self.exchange.expectation if isinstance(self.exchange, Asking) else self.dialogue.expectation

    @property
    def bot_busy(self) -> bool:
        return self.playback.busy or self.dialogue.running

    @property
    def floor(self) -> Floor:
        if not self.bot_busy:
            return "caller"
        reply = self.dialogue.reply
        inaudible = reply is not None and reply.answering is not None and not self.playback.audible
        return "preparing" if inaudible else "speaking"

    @property
    def saying(self) -> str:
        """What speech is compared with: the bot's words, or what it is about to answer."""
        reply = self.dialogue.reply
        if self.floor == "preparing" and reply is not None:
            return reply.answering or ""
        return self.playback.saying

    @property
    def ears(self) -> bool:
        """Whether speech matters. While digits are keyed it does not: their tones are easily taken for speech."""
        if self.exchange is None or self.outcome is not None or self.keypad is not None or self.on_hold:
            return False
        return self.floor != "speaking" or self.exchange.barge_in == "on"

    @property
    def quiet(self) -> bool:
        """Nothing is said or heard, nothing waits to be."""
        turns = self.turns
        return not (self.bot_busy or self.playback.flushing or turns.hearing or turns.settling or self.taken)

    @property
    def awaited(self) -> Awaited | None:
        if self.exchange is None or self.playback.audible or self.on_hold:
            return None
        if self._bot_prepares:
            return "bot"
        if isinstance(self.exchange, Saying) or self.outcome is not None or self.keypad is not None:
            return None
        return "caller"

    def cue(self, state: State) -> Cue | None:
        """What `state` should become; None leaves it."""
        if self.playback.audible:
            return "speak"
        if self.exchange is None:
            return "listen" if state == "speaking" else None
        if self._bot_prepares:
            return "prepare"
        if state == "away" and not self.turns.hearing and self.keypad is None:
            return None
        return "listen"

    @property
    def _bot_prepares(self) -> bool:
        return self.bot_busy or self.taken is not None or (self.turns.settling and not self.turns.hearing)
