"""The media plane: every leg of a process in one tick of 20 ms, with no socket, clock or thread in sight.

A tick sends what is due, takes what has come, plays 20 ms out of every jitter buffer, and looks at it: conceal, record,
detect, cut. The plane's own sample clock counts FRAME a tick; events lie where their samples lie on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from gateway.core.errors import ConfigError, GatewayError
from gateway.core.events import DigitPressed, LineFellSilent, LineRecovered, SpeechBegan, SpeechEnded
from gateway.core.ids import Ids
from gateway.media import commands as c
from gateway.media.archive import Archive
from gateway.media.bridge import Bridges
from gateway.media.comfort import NoiseFiller
from gateway.media.commands import AnyCommand
from gateway.media.control import ControlChannel
from gateway.media.datagrams import Departures, Received, Tick, ToSend, Usual
from gateway.media.echo import EchoGuard
from gateway.media.files import DirectFiles, FileSink
from gateway.media.history import FRAME, AudioHistory
from gateway.media.inband import Int16s, ToneListener
from gateway.media.jitter import JitterBuffer
from gateway.media.legs import RELAY, Leg, LegTable
from gateway.media.listening import Piece, SpeechCutter
from gateway.media.noise import NoiseRows
from gateway.media.options import PlaneOptions
from gateway.media.playout import Playouts
from gateway.media.plc import Concealer
from gateway.media.ports import BatchVad, Int64s, NoiseSuppressor, Said
from gateway.media.receive import Receiver
from gateway.media.receive_pushed import PushedReceiver
from gateway.media.reception import Reception
from gateway.media.speech import SpeechChange, SpeechDetector
from gateway.media.srtp import SecureLegs
from gateway.media.transmit import Transmitter
from gateway.media.wide_receive import WideReceiver

TICK_S = FRAME / 8000

__all__ = ["TICK_S", "MediaPlane", "PlaneOptions", "Received", "Tick", "ToSend"]


class MediaPlane:
    """All legs of one process (or one phase group of it).

    `command` may be called at any time between ticks. A tick is `tick`, or its halves `transmit` and `receive` where
    the shell wants the packets out before it reads its sockets. `now` is the tick's due time: ticks that are late
    but none left out keep the sample clock, and a gap of ticks is bridged with silence.
    """

    def __init__(
        self,
        options: PlaneOptions,
        ids: Ids,
        vad: BatchVad | None,
        *,
        files: FileSink | None = None,
        suppressor: NoiseSuppressor | None = None,
        build_suppressor: Callable[[str], NoiseSuppressor] | None = None,
    ) -> None:
        """`build_suppressor` gives those that `SetNoise` asks for; it raises `ConfigError`."""
        slots = options.slots
        self._position = 0
        self._epoch: float | None = None  # time of position 0; None before the first tick with a leg
        self._said: list[Said] = []
        self._parting: list[ToSend] = []
        self._suppression = NoiseRows(slots, suppressor, build_suppressor)
        self.table = LegTable(slots, ids)
        self._bridges = Bridges(self.table)
        self._secure = SecureLegs()
        self._history = AudioHistory(slots)
        self._jitter = JitterBuffer(slots)
        self._concealer = Concealer(slots, self._history)
        self._reception = Reception(slots)
        # What a suppressor cleaned is narrowband: listeners get that, not the noise above it.
        self._wide = WideReceiver(slots, self._jitter, self._history, keep=suppressor is None)
        self._control = ControlChannel(self.table, self._reception, self._jitter, self._wide, options)
        self._noise = NoiseFiller()
        self._receiver = Receiver(self.table, self._jitter, self._reception, self._control, self._wide, self._noise)
        self._pushed = PushedReceiver(self.table, self._jitter, self._wide)
        self._relayed: list[Received] = []  # since the last tick
        self._playouts = Playouts(slots)
        self._echo = EchoGuard(slots, self._history) if options.echo_guard and vad is not None else None
        self._transmitter = Transmitter(slots, self.table, self._playouts, self._history, self._wide, self._echo)
        self._detector = SpeechDetector(slots, vad, self._history, options, self._echo) if vad is not None else None
        self._tones = ToneListener(slots)
        self._cutter = SpeechCutter(slots, self._history, options, self._wide)
        self._archive = Archive(slots, self.table, files or DirectFiles())
        self._began: dict[int, int] = {}  # rows in speech, and where it began

    @property
    def busy(self) -> bool:
        """Whether ticks are needed: a leg is open, or something of one has still to be said."""
        return bool(self.table.legs or self._said or self._parting or self._archive.waiting)

    @property
    def open_legs(self) -> int:
        return len(self.table.legs)

    @property
    def has_room(self) -> bool:
        return self.open_legs < len(self.table.by_row)

    # Commands

    def command(self, command: AnyCommand, now: float, *, port: int = 0) -> None:
        """Carry out a command; what it answers comes with the next tick. `port` is what the shell bound for `OpenLeg`.

        A command for a leg that is not open is passed over: it crossed the leg's end on the way.
        """
        if isinstance(command, c.OpenLeg):
            self._open(command, now, port)
            return
        leg = self.table.legs.get(command.leg)
        if leg is not None:
            _CARRY_OUT[type(command)](self, leg, command, now)

    def _open(self, command: c.OpenLeg, now: float, port: int) -> None:
        if not self.table.legs:
            self._epoch = None
        try:
            leg = self.table.open(command, self._position, now)
        except GatewayError as error:
            self._said.append(c.LegFailed(now, command.leg, str(error)))
            return
        for part in (self._jitter, self._concealer, self._reception, self._playouts, self._transmitter):
            part.reset(leg.row)
        self._history.clear(leg.row)
        self._archive.open(leg, command.trace)
        if leg.kind == "pcm":
            self.table.connect_row(leg, now, sends=True)
            self._playouts.speak_wide(leg.row, leg.speaks_wide)
            self._begin_hearing(leg, now)
        self._said.append(c.LegOpened(now, leg.name, port, int(self.table.ssrc[leg.row])))

    def _connect(self, leg: Leg, command: c.ConnectLeg, now: float) -> None:
        first = not leg.connected
        self._secure.agree(leg, command.srtp)
        self.table.connect(leg, command, now)
        self.table.know_usual(leg)
        self._playouts.speak_wide(leg.row, leg.speaks_wide)
        if not self.table.sends[leg.row]:
            self._transmitter.hush(leg.row)
        if command.inband_digits or leg.hears_tones:
            self._tones.listen(leg.row)
        else:
            self._tones.ignore(leg.row)
        if first:
            self._begin_hearing(leg, now)

    def _begin_hearing(self, leg: Leg, now: float) -> None:
        self._control.begin(leg, now)
        self._cutter.reset(leg.row, self._position)
        if self._detector is not None:
            self._detector.reset(leg.row, self._position)
        if self._echo is not None:
            self._echo.reset(leg.row)
        self._suppression.reset(leg.row)
        self._said += self._archive.start_recording(leg, self._position, now)

    def _close(self, leg: Leg, command: c.CloseLeg, now: float) -> None:
        self._bridges.part(leg)
        self._said += self._flush_clips(leg, now)
        # Whoever carries a leg's packets ends the connection himself.
        if leg.kind == "rtp" and (goodbye := self._control.report(leg, now, bye=True)):
            self._parting += self._secure.protect([goodbye])
        stats = self._control.stats(leg)
        self._began.pop(leg.row, None)
        self._transmitter.reset(leg.row)
        self._archive.close(leg, stats, now)
        self._secure.forget(leg)
        self._wide.reset(leg.row)
        self._noise.reset(leg.row)
        self._tones.ignore(leg.row)
        self.table.close(leg)

    def _queue_audio(self, leg: Leg, command: c.QueueAudio, now: float) -> None:
        pcm, wide = _at_both_rates(command.pcm, command.wide)
        self._playouts.queue(leg.row, command.clip, pcm, command.last, wide)

    def _pause(self, leg: Leg, command: c.PausePlayout, now: float) -> None:
        self._playouts.pause(leg.row)

    def _resume(self, leg: Leg, command: c.ResumePlayout, now: float) -> None:
        self._playouts.resume(leg.row)

    def _flush(self, leg: Leg, command: c.FlushPlayout, now: float) -> None:
        self._said += self._flush_clips(leg, now)

    def _flush_clips(self, leg: Leg, now: float) -> list[Said]:
        flushed = self._playouts.flush(leg.row)
        return [c.ClipFinished(now, leg.name, p.clip, (p.played or 0) / 8000, p.complete) for p in flushed]

    def _set_loopback(self, leg: Leg, command: c.SetLoopback, now: float) -> None:
        self.table.loopback[leg.row] = command.on

    def _bridge(self, leg: Leg, command: c.Bridge, now: float) -> None:
        if command.to is None:
            self._bridges.part(leg)
        else:
            self._bridges.join(leg, command.to)

    def _set_tone(self, leg: Leg, command: c.SetTone, now: float) -> None:
        sounds = command.hz is not None and math.isfinite(command.hz) and math.isfinite(command.dbm0)
        self._transmitter.set_tone(leg.row, command.hz if sounds else None, command.dbm0)

    def _play_music(self, leg: Leg, command: c.PlayMusic, now: float) -> None:
        pcm, wide = _at_both_rates(command.pcm or b"", command.wide)
        if len(pcm):
            self._transmitter.music.play(leg.row, pcm, command.gain_db, command.under_db, wide)
        else:
            self._transmitter.music.stop(leg.row)

    def _set_gain(self, leg: Leg, command: c.SetGain, now: float) -> None:
        self._transmitter.music.set_gain(leg.row, command.db)

    def _listen(self, leg: Leg, command: c.Listen, now: float) -> None:
        self._cutter.listen(leg.row, command.format)
        if leg.row in self._began:
            self._cutter.begin(leg.row, self._began[leg.row], self._position)

    def _set_noise(self, leg: Leg, command: c.SetNoise, now: float) -> None:
        with suppress(ConfigError):  # whoever configured it was told at the start
            self._wide.keep(leg.row, not self._suppression.choose(leg.row, command.kind))

    def _hear_tones(self, leg: Leg, command: c.HearTones, now: float) -> None:
        leg.hears_tones = True
        if leg.connected:
            self._tones.listen(leg.row)

    def _send_digits(self, leg: Leg, command: c.SendDigits, now: float) -> None:
        self._transmitter.send_digits(leg.row, command.digits, command.duration_ms)

    def _tell_stats(self, leg: Leg, command: c.TellStats, now: float) -> None:
        self._said.append(c.LegDoing(now, leg.name, self._control.stats(leg)))

    def _push_pcm(self, leg: Leg, command: c.PushPcm, now: float) -> None:
        if leg.kind == "pcm" and len(command.pcm) in (2 * FRAME, 4 * FRAME):
            self._pushed.push(leg, np.frombuffer(command.pcm, "<i2"), now)

    def _relay(self, leg: Leg, command: c.RelayPacket, now: float) -> None:
        if leg.kind == "relayed":
            self._relayed.append(Received(leg.name, command.data, RELAY, command.at))

    # Ticks

    def tick(self, now: float, received: Sequence[Received]) -> Tick:
        """One tick: what is to be sent, and everything there is to say since the last one."""
        to_send = self.transmit(now)
        return Tick(to_send, self.receive(now, received))

    def transmit(self, now: float) -> list[ToSend]:
        """The first half of a tick: the packets due at `now`."""
        rows, packets, others = self.depart(now)
        names, remote = self.table.names, self.table.remote
        usual = [(row, bytes(data), remote[row]) for row, data in zip(rows.tolist(), packets, strict=True)]
        return [ToSend(names[row], data, to) for row, data, to in usual if to is not None] + others

    def depart(self, now: float) -> Departures:
        """`transmit`, for shells that send by row."""
        self._keep_time(now)
        (rows, packets, others), said = self._transmitter.tick(now, self._position)
        self._said += said
        others = self._secure.protect(others + self._control.due(now)) + self._parting
        self._parting = []
        handed_over = [one for one in others if one.destination is RELAY]
        if handed_over:
            others = [one for one in others if one.destination is not RELAY]
            self._said += [c.PacketReady(now, one.leg, one.data) for one in handed_over]
        return Departures(rows, packets, others)

    def receive(self, now: float, received: Sequence[Received], usual: Usual | None = None) -> list[Said]:
        """The second half: take the datagrams in, play 20 ms out, and say what there is to say."""
        if self._relayed:
            received, self._relayed = [*received, *self._relayed], []
        received = self._secure.open(received, self._receiver.may_send)
        self._archive.trace(received, self._position, now)
        self._said += self._receiver.take(received, usual or Usual.of([], [], []), now)
        self._pushed.take()
        rows = self.table.rows
        if len(rows):
            self._hear(rows, now)
            self._said += self._watch_silence(rows, now)
        self._said += self._archive.news(now)
        self._position += FRAME
        return self.take_said()

    def take_said(self) -> list[Said]:
        """What there is to say now; for shells that will not wait for the tick with a command's answer."""
        said, self._said = self._said, []
        return said

    def _keep_time(self, now: float) -> None:
        """Tie the sample clock to `now`; jump over ticks that never came."""
        if self._epoch is None:
            self._epoch = now - self._position / 8000
        late_s = now - self._epoch - self._position / 8000
        if abs(late_s) < 1.5 * TICK_S:
            return
        missed = max(0, round(late_s / TICK_S))
        self._epoch += late_s - missed * TICK_S
        if missed:
            self._archive.leave_out(self._position, missed)
        silence = np.zeros((len(self.table.rows), FRAME), np.int16)
        for k in range(max(0, missed - 64), missed):
            self._history.write(self.table.rows, self._position + k * FRAME, silence)
        self._position += missed * FRAME
        if self._echo is not None:
            self._echo.patch(self.table.rows, self._position - FRAME, np.zeros((len(self.table.rows), 2), np.bool_))
        if self._detector is not None:
            self._detector.skip(self.table.rows, missed * FRAME)

    def _time_of(self, position: int) -> float:
        assert self._epoch is not None, "only ticks have positions"
        return self._epoch + position / 8000

    def _hear(self, rows: Int64s, now: float) -> None:
        pcm, have = self._jitter.pop(rows)
        came = self._wide.play(rows, pcm, have)
        self._concealer.conceal(rows, self._position, pcm, have)
        self._noise.fill(rows, self._position, pcm, have)
        if len(self._tones.rows):
            self._said += self._hear_keys(pcm[np.searchsorted(rows, self._tones.rows)], now)
        if self._echo is not None:
            self._echo.patch(rows, self._position, came)
        self._record(rows, pcm)
        pcm, samples = self._suppression.clean(rows, pcm)
        self._history.write(rows, self._position, pcm)
        self._wide.remember(self._position)
        changes: list[SpeechChange] = []
        if self._detector is not None:
            energies = np.einsum("rk,rk->r", samples, samples) / FRAME
            changes = self._detector.step(rows, self._position, energies)
        self._cut(rows, changes, now)

    def _record(self, rows: Int64s, pcm: Int16s) -> None:
        self._archive.record(rows, self._position, pcm, self._transmitter.sent)
        wide = self._archive.wide_rows
        if len(wide):
            heard = self._wide.latest(wide, pcm[np.searchsorted(rows, wide)])
            self._archive.record_wide(self._position, heard, self._transmitter.said(wide))

    def _hear_keys(self, frames: Int16s, now: float) -> list[Said]:
        """Keys by their tones, unless they came as events as well."""
        said: list[Said] = []
        for pressed in self._tones.hear(frames):
            leg = self.table.at(pressed.row)
            if not leg.digits.is_recent(now):
                said.append(DigitPressed(now, leg.name, pressed.digit, pressed.duration_ms, "inband"))
        return said

    def _cut(self, rows: Int64s, changes: list[SpeechChange], now: float) -> None:
        """Tell of speech, in the order a listener wants it: its beginning, its audio, its end."""
        end = self._position + FRAME
        for change in changes:
            if change.began:
                self._began[change.row] = change.position
                self._cutter.begin(change.row, change.position, end)
                began_at = self._time_of(change.position)
                self._said.append(SpeechBegan(now, self.table.at(change.row).name, began_at, change.probability))
        if pieces := self._cutter.cut(rows, end):
            self._said += self._heard(pieces, now)
        for change in changes:
            if not change.began:
                self._began.pop(change.row, None)
                self._said += self._heard(self._cutter.finish(change.row, change.position, end), now)
                ended_at = self._time_of(change.position)
                self._said.append(SpeechEnded(now, self.table.at(change.row).name, ended_at))

    def _heard(self, pieces: list[Piece], now: float) -> list[Said]:
        names, epoch = self.table.names, self._time_of(0)
        return [
            c.HeardAudio(now, names[row], epoch + position / 8000, audio, speech, last)
            for row, position, audio, speech, last in pieces
        ]

    def _watch_silence(self, rows: Int64s, now: float) -> list[Said]:
        table = self.table
        table.last_media[rows[~table.hears[rows]]] = now
        quiet = now - table.last_media[rows] >= table.silent_after[rows]
        changed = rows[quiet != table.silent[rows]]
        table.silent[rows] = quiet
        said: list[Said] = []
        for row in changed.tolist():
            name = table.at(row).name
            fell = table.silent[row]
            said.append(
                LineFellSilent(now, name, now - float(table.last_media[row])) if fell else LineRecovered(now, name)
            )
        return said


def _at_both_rates(pcm: bytes, wide: bytes) -> tuple[Int16s, Int16s | None]:
    """Whole samples at 8 kHz, and the same at 16 kHz where they are as long."""
    whole = len(pcm) // 2 * 2
    return np.frombuffer(pcm[:whole], "<i2"), np.frombuffer(wide, "<i2") if len(wide) == 2 * whole else None


_CARRY_OUT: dict[type[AnyCommand], Callable[[MediaPlane, Leg, Any, float], None]] = {
    c.ConnectLeg: MediaPlane._connect,
    c.CloseLeg: MediaPlane._close,
    c.QueueAudio: MediaPlane._queue_audio,
    c.PausePlayout: MediaPlane._pause,
    c.ResumePlayout: MediaPlane._resume,
    c.FlushPlayout: MediaPlane._flush,
    c.SetLoopback: MediaPlane._set_loopback,
    c.Bridge: MediaPlane._bridge,
    c.SetTone: MediaPlane._set_tone,
    c.Listen: MediaPlane._listen,
    c.SetNoise: MediaPlane._set_noise,
    c.HearTones: MediaPlane._hear_tones,
    c.SendDigits: MediaPlane._send_digits,
    c.PushPcm: MediaPlane._push_pcm,
    c.RelayPacket: MediaPlane._relay,
    c.PlayMusic: MediaPlane._play_music,
    c.SetGain: MediaPlane._set_gain,
    c.TellStats: MediaPlane._tell_stats,
}
