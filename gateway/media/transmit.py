"""What each leg says in a tick (clips, a tone, its own echo, keys), coded and put into packets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateway.media import comfort, g711, rtp, tones
from gateway.media.commands import ClipFinished, ClipStarted
from gateway.media.datagrams import Departures, ToSend
from gateway.media.dtmf import DigitSender, EventPacket
from gateway.media.echo import EchoGuard
from gateway.media.history import FRAME, AudioHistory
from gateway.media.jitter import Bools
from gateway.media.legs import Leg, LegTable
from gateway.media.music import Music
from gateway.media.playout import Passed, Playouts
from gateway.media.ports import Int64s, Said
from gateway.media.record_wide import Sound
from gateway.media.voice import WideFrames
from gateway.media.wide_receive import WideReceiver
from gateway.media.wide_send import Coded


@dataclass(slots=True)
class _Tone:
    hz: float
    dbm0: float
    position: int = 0


class Transmitter:
    def __init__(
        self,
        slots: int,
        table: LegTable,
        playouts: Playouts,
        history: AudioHistory,
        heard_wide: WideReceiver,
        echo: EchoGuard | None,
    ) -> None:
        self._table, self._playouts, self._history, self._echo = table, playouts, history, echo
        self._heard_wide = heard_wide
        self._tones: dict[int, _Tone] = {}
        self._keys: dict[int, DigitSender] = {}
        self._resting = comfort.Resting(slots)
        self.music = Music()
        self.sent = np.zeros((slots, FRAME), np.int16)
        """The frame each row said last; silence where it said nothing. For the recording."""

        self._sent_wide: WideFrames | None = None
        """The same at 16 kHz, in this tick."""

    def reset(self, row: int) -> None:
        self._tones.pop(row, None)
        self._keys.pop(row, None)
        self._resting.reset(row)
        self.music.reset(row)
        self.hush(row)

    def hush(self, row: int) -> None:
        """It says nothing from here on."""
        self.sent[row] = 0
        if self._sent_wide is not None and (wider := self._sent_wide.of(row)) is not None:
            wider[:] = 0

    def said(self, rows: Int64s) -> Sound:
        """This tick's frame of each of `rows`."""
        sound = Sound(self.sent[rows], np.zeros((len(rows), 2 * FRAME), np.int16), np.zeros((len(rows), 2), np.bool_))
        if self._sent_wide is not None:
            here, there = self._sent_wide.among(rows)
            sound.wide[there], sound.there[there] = self._sent_wide.pcm[here], True
        return sound

    def set_tone(self, row: int, hz: float | None, dbm0: float) -> None:
        self._tones.pop(row, None)
        if hz is not None:
            self._tones[row] = _Tone(hz, dbm0)

    def send_digits(self, row: int, digits: str, duration_ms: int) -> None:
        sender = self._keys.setdefault(row, DigitSender(self._table.at(row).dtmf_clock_hz))
        sender.send(digits, duration_ms)
        if not sender.busy:
            del self._keys[row]

    def tick(self, now: float, position: int) -> tuple[Departures, list[Said]]:
        """This tick's packets. `position` is where the history ends."""
        rows, self._sent_wide = self._table.sending, None
        departures, said = self._speak(rows, now, position) if len(rows) else (Departures.nothing(), [])
        self._table.timestamp[self._table.rows] += FRAME
        return departures, said

    def _speak(self, rows: Int64s, now: float, position: int) -> tuple[Departures, list[Said]]:
        frames = np.zeros((len(rows), FRAME), np.int16)
        wide = WideFrames(self._table.sending_wide) if self._table.speaking_wide else None
        passed = self._say(rows, frames, wide, position)
        said = [self._report(p, now) for p in passed]
        events = self._press_keys(rows, frames, wide) if self._keys else []
        self.sent[rows], self._sent_wide = frames, wide
        if self._echo is not None:
            self._echo.keep(rows, position, frames)
        return self._packets(rows, frames, wide, events), said

    def _say(self, rows: Int64s, frames: g711.Int16s, wide: WideFrames | None, position: int) -> list[Passed]:
        looped = self._table.loopback[rows]
        busy = looped.copy()
        for special in (self._tones, self._keys):
            if special:
                busy |= np.isin(rows, list(special))
        if not np.count_nonzero(busy):
            return self._play(rows, frames, wide)
        spoken = np.zeros((int((~busy).sum()), FRAME), np.int16)
        passed = self._play(rows[~busy], spoken, wide)
        frames[~busy] = spoken
        if looped.any():
            frames[looped] = self._history.read(self._table.sounds_like[rows[looped]], position, FRAME)
            if wide is not None:
                self._loop_wide(rows[looped], wide, position)
        if self._tones:
            self._sound(rows, frames, wide)
        return passed

    def _play(self, rows: Int64s, frames: g711.Int16s, wide: WideFrames | None) -> list[Passed]:
        """Clips and music."""
        passed = self._playouts.take(rows, frames, wide)
        if not self.music.idle:
            self.music.mix(rows, frames, wide)
        return passed

    def _loop_wide(self, looped: Int64s, wide: WideFrames, position: int) -> None:
        """What is heard where it came as wideband, and its narrowband at twice the rate elsewhere."""
        here, there = wide.among(looped)
        if len(here):
            sources = self._table.sounds_like[looped[there]]
            wide.pcm[here] = self._heard_wide.read(sources, np.full(len(sources), position), FRAME)

    def _sound(self, rows: Int64s, frames: g711.Int16s, wide: WideFrames | None) -> None:
        for k in np.flatnonzero(np.isin(rows, list(self._tones))):
            row = int(rows[k])
            tone, law = self._tones[row], int(self._table.law[row])
            frames[k] = tones.sine(tone.hz, tone.dbm0, law, tone.position)
            if wide is not None and (wider := wide.of(row)) is not None:
                wider[:] = tones.sine(tone.hz, tone.dbm0, law, tone.position, 2)
            tone.position += FRAME

    def _press_keys(self, rows: Int64s, frames: g711.Int16s, wide: WideFrames | None) -> list[tuple[int, EventPacket]]:
        """Digits go before everything else. Gives the rows whose packet is an event this time, with it."""
        events = []
        for k in np.flatnonzero(np.isin(rows, list(self._keys))):
            row = int(rows[k])
            digit, sounded, packet = self._keys[row].tick()
            if not self._keys[row].busy:
                del self._keys[row]
            tones_wanted = self._table.at(row).dtmf_payload_type is None
            frames[k] = tones.key(digit, sounded) if digit is not None and tones_wanted else 0
            if wide is not None and (wider := wide.of(row)) is not None:
                wider[:] = tones.key(digit, sounded, 2) if digit is not None and tones_wanted else 0
            if packet is not None and not tones_wanted:
                events.append((row, packet))
        return events

    def _report(self, passed: Passed, now: float) -> Said:
        name, at = self._table.at(passed.row).name, now + passed.offset / 8000
        if passed.played is None:
            return ClipStarted(at, name, passed.clip)
        return ClipFinished(at, name, passed.clip, passed.played / 8000, passed.complete)

    def _packets(
        self,
        rows: Int64s,
        frames: g711.Int16s,
        wide: WideFrames | None,
        events: list[tuple[int, EventPacket]],
    ) -> Departures:
        table = self._table
        laws = table.law[rows]
        codes = g711.encode(frames, laws if np.count_nonzero(laws != laws[0]) else int(laws[0]))
        audio = table.reachable[rows]
        others: list[ToSend] = []
        for row, event in events:
            audio[np.searchsorted(rows, row)] = False
            others += self._event_packet(table.at(row), event)
        if np.count_nonzero(table.may_rest[rows]):
            others += self._rest(rows, frames, audio)
        usual = table.usual[rows]
        if wide is not None:
            others += self._wide_packets(rows, wide, codes, audio, usual)
        plain = audio & usual
        if np.count_nonzero(plain) < len(rows):
            for k in np.flatnonzero(audio & ~usual):
                others += self._repacked(table.at(int(rows[k])), codes[k].tobytes())
            rows, codes = rows[plain], codes[plain]
        made_packets = self._plain_packets(rows, codes)
        singly = table.singly[rows]
        if np.count_nonzero(singly):
            others += self._addressed(rows[singly], made_packets[singly])
            rows, made_packets = rows[~singly], made_packets[~singly]
        return Departures(rows, made_packets, others)

    def _rest(self, rows: Int64s, frames: g711.Int16s, audio: Bools) -> list[ToSend]:
        """Take those who have nothing to say out of `audio`; packets that say so, where it is time."""
        table = self._table
        able = np.flatnonzero(audio & table.may_rest[rows])
        quiet = np.array([not (frames[k].any() or table.at(int(rows[k])).has_unsent) for k in able], np.bool_)
        rests, announces, wakes = self._resting.tick(rows[able], quiet)
        audio[able[rests]] = False
        table.marker[rows[able[wakes]]] = True
        legs = [table.at(int(row)) for row in rows[able[announces]]]
        noise = comfort.announcement()
        return [
            made for leg in legs for made in self._one(leg, rtp.COMFORT_NOISE, int(table.timestamp[leg.row]), noise)
        ]

    def _addressed(self, rows: Int64s, packets: g711.Bytes) -> list[ToSend]:
        """Packets that have to be looked at one by one on their way."""
        table = self._table
        return [
            ToSend(table.names[row], data.tobytes(), remote)
            for row, data in zip(rows.tolist(), packets, strict=True)
            if (remote := table.remote[row]) is not None
        ]

    def _plain_packets(self, rows: Int64s, codes: g711.Bytes) -> g711.Bytes:
        """(rows, `USUAL_SIZE`): the usual packet of each row, counted as sent."""
        table = self._table
        headers = rtp.Headers(
            np.ones(len(rows), np.bool_),
            table.payload_type[rows],
            table.sequence[rows] & 0xFFFF,
            table.timestamp[rows] & 0xFFFFFFFF,
            table.ssrc[rows],
        )
        packets = rtp.build_many(headers, table.marker[rows], codes)
        table.marker[rows] = False
        table.sequence[rows] += 1
        table.sent[rows] += 1
        return packets

    def _repacked(self, leg: Leg, codes: bytes) -> list[ToSend]:
        """Packets of another length than the tick's, as they fill up."""
        row, size = leg.row, int(self._table.packet_samples[leg.row])
        leg.unsent += codes
        packets = []
        while len(leg.unsent) >= size:
            timestamp = int(self._table.timestamp[row]) + FRAME - len(leg.unsent)
            packets += self._one(leg, int(self._table.payload_type[row]), timestamp, bytes(leg.unsent[:size]))
            del leg.unsent[:size]
        return packets

    def _wide_packets(
        self, rows: Int64s, wide: WideFrames, codes: g711.Bytes, audio: Bools, usual: Bools
    ) -> list[ToSend]:
        """What codecs with a memory make of their rows: into `codes` where it is a usual packet, the others as they
        fill up; these are taken out of `audio`."""
        table = self._table
        packets: list[ToSend] = []
        places = np.searchsorted(rows, wide.rows).tolist()
        for place, row, frame in zip(places, wide.rows.tolist(), wide.pcm, strict=True):
            if not audio[place]:
                continue
            made = table.senders[row].feed(frame)
            if usual[place]:
                codes[place] = np.frombuffer(made[0].payload, np.uint8)
            else:
                audio[place] = False
                packets += self._coded(table.at(row), made)
        return packets

    def _coded(self, leg: Leg, made: list[Coded]) -> list[ToSend]:
        kind, now = int(self._table.payload_type[leg.row]), int(self._table.timestamp[leg.row])
        return [one for p in made for one in self._one(leg, kind, now - p.ago, p.payload)]

    def _event_packet(self, leg: Leg, event: EventPacket) -> list[ToSend]:
        kind, now = leg.dtmf_payload_type, int(self._table.timestamp[leg.row])
        assert kind is not None
        leg.unsent.clear()
        if leg.sender is not None:
            leg.sender.clear()
        return self._one(leg, kind, now - event.ago, event.payload, event.marker)

    def _one(self, leg: Leg, kind: int, timestamp: int, payload: bytes, marker: bool = False) -> list[ToSend]:
        row, remote = leg.row, self._table.remote[leg.row]
        if remote is None:
            return []
        marker |= bool(self._table.marker[row])
        sequence, ssrc = int(self._table.sequence[row]) & 0xFFFF, int(self._table.ssrc[row])
        self._table.marker[row] = False
        self._table.sequence[row] += 1
        self._table.sent[row] += 1
        self._table.octets_beside[row] += len(payload) - FRAME
        packet = rtp.RtpPacket(kind, sequence, timestamp * leg.clock_ratio & 0xFFFFFFFF, ssrc, payload, marker)
        return [ToSend(leg.name, rtp.build(packet), remote)]
