"""One live call: the wires between its machine, its line, its conversation and its journal."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, Protocol

import structlog

from gateway.call import commands as c
from gateway.call.call import Call, Resumption
from gateway.call.control import Control
from gateway.call.journal import Journal, summary
from gateway.call.leg_playout import LegPlayout
from gateway.call.leg_stats import LegStatistics
from gateway.call.parties import Parties
from gateway.call.ports import Incoming, LineFactory, SuccessorFactory
from gateway.call.ringing import ringing
from gateway.call.services import DeskOptions, Services
from gateway.call.sessions import Opened
from gateway.core import events as e
from gateway.core.errors import PeerError
from gateway.core.loops import Alarm, Latch
from gateway.dialplan import Dialplan, Plan
from gateway.dialplan import run as run_plan
from gateway.dialplan.facts import variables as fact_variables
from gateway.media import commands as media
from gateway.media.ports import Said
from gateway.session import commands as s
from gateway.session.conversation import Conversation
from gateway.session.io import ConversationRunner
from gateway.session.ports import Context
from gateway.session.ports import Opened as AgentOpened
from gateway.session.resample import WIDE_RATE
from gateway.store.ports import Identity

log = structlog.get_logger()


class Owner(Protocol):
    """What a live call needs of the desk that owns it."""

    options: DeskOptions

    def recorded(self, call: LiveCall, event: e.AnyEvent) -> None: ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...

    async def closed(self, call: LiveCall) -> None: ...


class LiveCall:
    """One call while it lives: the machine, its line, its conversation, its journal, and the wires between them."""

    def __init__(self, call_id: str, incoming: Incoming, line: LineFactory, services: Services, desk: Owner) -> None:
        self.id, self.incoming = call_id, incoming
        self.identity = Identity(incoming.caller, incoming.called)
        self.started_at = services.clock.now()
        self.session: str | None = None
        self.journal = Journal()
        self.bundle = services.bundle(call_id)
        self._services, self._desk = services, desk
        self._load_prompt = self.bundle.play_through(services.load_prompt)
        self._load_wide_prompt = self.bundle.play_through(services.load_wide_prompt, WIDE_RATE)
        self._call: Call | None = None
        self._runner: ConversationRunner | None = None
        self._early: list[c.AnyInput] = []
        self._listening = False
        self._noise, self._hears_tones = "", False
        self._gone: Latch[bool] = Latch()
        self._alarm = Alarm(services.clock, self._deadline)
        self._stats = LegStatistics(call_id, services.media)
        services.media.subscribe(call_id, self._media_said)
        self._parties = Parties(
            call_id,
            incoming,
            control=services.media,
            dial=services.dial,
            spawn=desk.spawn,
            tell=self.tell,
            hear=self._hear,
            read=self._read,
        )
        self._parties.open(line, self.bundle.recording, self.bundle.trace)

    @property
    def step(self) -> str:
        return self._call.step if self._call else ""

    @property
    def line_is_silent(self) -> bool:
        return self._call is not None and self._call.line_is_silent

    @property
    def dialog(self) -> str:
        """The handle of its caller's dialog; "" where there is none."""
        return self._parties.dialog

    def transfer(self, to: str) -> None:
        """Ask the caller's side to call `to` instead. Raises `PeerError` 409 when it cannot be now."""
        if self._call is None or not self._call.may_be_transferred:
            raise PeerError("the call is not up, or being transferred already", status_hint=409)
        self.tell(c.TransferOrdered(to))

    def replace_caller(self, incoming: Incoming, line: SuccessorFactory) -> None:
        """Somebody comes in its caller's place (RFC 3891). Raises `PeerError` when that cannot be."""
        if self._call is None or self._call.line != "up":
            raise PeerError("the call is not up", status_hint=603)
        self._parties.replace_caller(line, incoming.caller)

    @property
    def over(self) -> bool:
        """Only its closing events still come."""
        return self._call is not None and self._call.line == "ended"

    async def gone(self, *, within_s: float) -> bool:
        """Wait until its last event is recorded; false when it was not in time."""
        return await self._gone.get(within_s=within_s) is not None

    def begin(self, opened: Opened, plan: Plan, dialplan: Dialplan) -> None:
        """The session is open: record who came, and let the dialplan run."""
        now, kept = self._services.clock.now(), opened.remembered
        self.session = opened.session
        if opened.earlier:
            self.bundle.resumes(opened.earlier)
        self.journal = Journal(next_sequence=opened.next_sequence)
        incoming = self.incoming
        self._noise, self._hears_tones = plan.noise, plan.hear_tones
        started = e.CallStarted(
            now, self.id, incoming.door, incoming.caller, incoming.called, plan.route, incoming.headers, incoming.facts
        )
        self.record(started)
        resumption: Resumption | None = None
        if kept is not None and kept.step is not None:
            resumption = Resumption(opened.session, kept.step, opened.away_s)
            self.record(e.SessionResumed(now, self.id, opened.session, kept.step, opened.away_s))
        else:
            self.record(e.SessionStarted(now, self.id, opened.session))
        self._runner = self._conversation(opened)
        control = Control(
            caller=incoming.caller,
            called=incoming.called,
            headers=incoming.headers,
            variables=self._variables(kept.variables if kept else {}),
        )
        start, answered = (kept.step, kept.answered) if resumption and kept else (None, False)
        self._call = Call(
            self.id,
            control,
            lambda control, on_step: run_plan(dialplan, plan, control, start=start, answered=answered, on_step=on_step),
            options=self._desk.options.call,
            resumption=resumption,
        )
        self._do(self._call.start(now))
        early, self._early = self._early, []
        for received in early:
            self.tell(received)

    def tell(self, received: c.AnyInput) -> None:
        """Something came of the line or the conversation, or the desk wants the call to stop."""
        if self._call is None:
            self._early.append(received)
        else:
            self._do(self._call.handle(received, self._services.clock.now()))

    def record(self, event: e.AnyEvent) -> None:
        self.journal.add(event)
        self.bundle.event(event)
        self._desk.recorded(self, event)

    def _variables(self, kept: Mapping[str, str]) -> dict[str, str]:
        """What is remembered of the caller, and what is known of this call."""
        return {**kept, **fact_variables(self.incoming.facts)}

    def _conversation(self, opened: Opened) -> ConversationRunner:
        kept, services = opened.remembered, self._services
        context = Context(call=self.id, caller=self.incoming.caller, called=self.incoming.called)
        if kept is not None:
            context.history = list(kept.history)
            context.state = dict(kept.agent_state)
        context.variables = self._variables(kept.variables if kept else {})
        return ConversationRunner(
            conversation=Conversation(
                self.id, self._desk.options.conversation, context, detector=services.turn_detector
            ),
            stt=self.bundle.listen_through(services.stt),
            tts=self.bundle.speak_through(services.tts),
            agents=lambda name: self.bundle.think_through(name, services.agent(name)),
            playout=LegPlayout(self.id, services.media, self._parties),
            clock=services.clock,
            log=self.record,
            load_prompt=self._load_prompt,
            load_wide_prompt=self._load_wide_prompt,
            on_outcome=self._conversation_told,
        )

    def _do(self, commands: list[c.AnyCommand]) -> None:
        for command in commands:
            self._carry_out(command)
        if self._call is not None:
            self._alarm.set(self._call.next_deadline())

    def _carry_out(self, command: c.AnyCommand) -> None:
        send, leg = self._services.media.send, self.id
        match command:
            case c.Record(event=event):
                self.record(event)
                if isinstance(event, e.CallHeld | e.CallRetrieved):
                    self._converse(event)
            case c.RingLine():
                self._parties.line.ring()
            case c.AnswerLine():
                self._parties.line.answer()
            case c.RejectLine(status=status, reason=reason):
                self._parties.line.reject(status, reason)
            case c.HangUpLine():
                self._parties.line.hang_up()
            case c.LoopBack(on=on):
                send(media.SetLoopback(leg, on))
            case c.Tone(hz=hz, dbm0=dbm0):
                send(media.SetTone(leg, hz, dbm0))
            case c.Music():
                self._play_music(command)
            case c.Press(digits=digits):
                self._parties.line.press(digits)
            case c.Release(reason=reason, by=by):
                self._desk.spawn(self._close(reason, by))
            case c.Say() | c.Ask() | c.Converse():
                self._speak(command)
            case _:
                self._transfer(command)

    def _transfer(self, command: c.AnyCommand) -> None:
        parties, send = self._parties, self._services.media.send
        match command:
            case c.ReferCaller(to=to, attended=attended):
                parties.refer(to, attended=attended)
            case c.CallTarget():
                parties.call_target(command)
            case c.JoinTarget():
                send(media.Listen(self.id, None))
                parties.join()
            case c.DropTarget():
                parties.drop_target()
                if self._listening:
                    send(media.Listen(self.id, self._services.stt.audio_format))
            case c.Entertain(music=music):
                pcm, wide = self._load_music(music)
                send(media.PlayMusic(self.id, pcm or ringing(), wide=wide))
            case c.Quieten():
                send(media.PlayMusic(self.id, None))
            case c.CallSuccessor():
                parties.call_successor(command)
            case c.AnswerTransfer(status=status):
                parties.answer_transfer(status)
            case c.ReportTransfer(status=status):
                parties.report_transfer(status)

    def _play_music(self, command: c.Music) -> None:
        pcm, wide = self._load_music(command.file)
        if pcm is None and command.file is not None:
            log.warning("call.no_music", call=self.id, file=command.file)
        self._services.media.send(
            media.PlayMusic(self.id, pcm, gain_db=command.level_db, under_db=command.while_speaking_db, wide=wide)
        )

    def _load_music(self, file: str | None) -> tuple[bytes | None, bytes]:
        """At 8 kHz, and where it will be heard so at 16 kHz."""
        pcm = self._load_prompt(file) if file is not None else None
        if file is None or not pcm or not self._parties.line.wideband:
            return pcm, b""
        return pcm, self._load_wide_prompt(file) or b""

    def _speak(self, command: c.Say | c.Ask | c.Converse) -> None:
        runner = self._runner
        assert runner is not None, "a call speaks only after `begin`"
        if not self._listening:
            self._prepare_to_speak()
        match command:
            case c.Say(prompt=prompt, barge_in=barge_in):
                runner.say(prompt.text, prompt.file, barge_in)
            case c.Ask(prompt=prompt, expectation=expectation, barge_in=barge_in):
                runner.ask(prompt.text, prompt.file, expectation, barge_in)
            case c.Converse(bot=bot, resumed=resumed, away_s=away_s):
                runner.converse(bot.agent, bot.options, AgentOpened(resumed, away_s), bot.barge_in)

    def _prepare_to_speak(self) -> None:
        """How the caller is to be heard by the route, and the bot by the configuration."""
        send, self._listening = self._services.media.send, True
        if self._noise:
            send(media.SetNoise(self.id, self._noise))
        if self._hears_tones:
            send(media.HearTones(self.id))
        send(media.Listen(self.id, self._services.stt.audio_format))
        if gain_db := self._desk.options.call.voice_gain_db:
            send(media.SetGain(self.id, gain_db))

    def _conversation_told(self, outcome: s.Answered | s.SaidAll | s.Completed) -> None:
        match outcome:
            case s.SaidAll(heard_whole=heard_whole):
                self.tell(c.Said(heard_whole))
            case s.Answered(text=text, digits=digits, confidence=confidence, silent=silent):
                self.tell(c.Heard(text, digits, confidence, silent))
            case s.Completed(outcome=name, data=data):
                self.tell(c.Finished(name, data))

    def _hear(self, event: e.AnyEvent) -> None:
        """Events of hearing go to the conversation, which records them with what it makes of them."""
        if isinstance(event, e.DigitPressed):
            log.info("call.digit", call=self.id, digit=event.digit, method=event.method)
        if self._parties.joined:
            if isinstance(event, e.DigitPressed):
                self.record(event)
                self._parties.press_for_target(event)
        elif self._runner is not None:
            self._runner.handle(event)

    def _read(self, text: str) -> bool:
        """Let the conversation have a text as the caller's word; false when nothing is asked, and nobody would."""
        runner = self._runner
        taken = runner is not None and not self._parties.joined and runner.conversation.takes_text
        log.info("call.text", call=self.id, length=len(text), taken=taken)
        if taken and runner is not None:
            runner.handle(e.TextReceived(self._services.clock.now(), self.id, text))
        return taken

    def _media_said(self, said: Said) -> None:
        match said:
            case media.HeardAudio(audio=audio, speech=speech, last=last, began_at=began_at):
                if self._runner is not None and not self._parties.joined:
                    self._runner.hear(audio, speech, last, began_at)
            case e.SpeechBegan() | e.SpeechEnded() | e.DigitPressed():
                self._hear(said)
            case e.LineFellSilent() | e.LineRecovered():
                self.record(said)
                self._converse(said)
                self.tell(c.LineSilent(isinstance(said, e.LineFellSilent)))
            case media.ClipStarted(clip=clip):
                self._converse(s.PlayoutStarted(clip))
            case media.ClipFinished(clip=clip, played_s=played_s, complete=complete):
                self._converse(s.PlayoutFinished(clip, played_s, complete))
            case media.LegClosed() | media.LegDoing():
                self._stats.told(said.stats, last=isinstance(said, media.LegClosed))
            case media.LegRestored(at=at, without_s=without_s, goes_on_at_s=goes_on_at_s):
                log.warning("call.audio_interrupted", call=self.id, for_s=round(without_s, 3))
                self.record(e.AudioInterrupted(at, self.id, round(without_s, 6), goes_on_at_s))
            case e.RecordingFailed(what=what, message=message):
                log.warning("call.recording_failed", call=self.id, what=what, message=message)
                self.record(said)
            case media.Report():
                self._parties.line.media_said(said)
            case _:
                self.record(said)

    def _converse(self, told: s.AnyInput | e.AnyEvent) -> None:
        """The conversation waits on hold, and takes a dead line for no silent caller."""
        if self._runner is not None:
            self._runner.handle(told)

    def _deadline(self) -> None:
        if self._call is not None:
            self._do(self._call.on_deadline(self._services.clock.now()))

    async def _close(self, reason: e.EndReason, by: e.Side) -> None:
        """Stop the conversation while its leg still tells what was heard, then free everything and say goodbye."""
        self._alarm.cancel()
        now = self._services.clock.now()  # however long providers take to stop, and its recording to be on disk
        if self._runner is not None:
            await self._runner.close()
        began_at, ended_at = self.journal.events[0].at, max(now, self.journal.events[-1].at)
        self._parties.release()
        stats = await self._stats.last() if self.answered else {}
        stats |= summary(self.journal.events)
        self.record(e.CallEnded(ended_at, self.id, reason, by, round(ended_at - began_at, 3), stats))
        self._services.media.unsubscribe(self.id)
        self.bundle.close()
        self._gone.set(True)
        await self._desk.closed(self)

    @property
    def answered(self) -> bool:
        return any(isinstance(event, e.CallAnswered) for event in self.journal.events)

    async def stats(self) -> dict[str, Any]:
        """How its audio is doing now; empty before there is any, and when the media process does not answer."""
        return await self._stats.now() if self.answered and not self.over else {}
