"""From datagrams to the jitter buffer: 20 ms packets of known senders all at once, everything odd one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gateway.core.errors import PeerError
from gateway.core.events import DigitPressed
from gateway.media import codecs, g711, rtp
from gateway.media.cells import LONGEST, Cells, are_whole
from gateway.media.coded_stream import CodedPacket
from gateway.media.comfort import NoiseFiller
from gateway.media.commands import Codec, LegLatched
from gateway.media.control import ControlChannel
from gateway.media.datagrams import USUAL_SIZE, Received, Usual
from gateway.media.dtmf import DigitReceiver, Press
from gateway.media.jitter import CELL, JitterBuffer
from gateway.media.legs import Leg, LegTable
from gateway.media.ports import Float64s, Int64s, Said
from gateway.media.receive_coded import CodedReceiver, in_rounds
from gateway.media.reception import Reception
from gateway.media.wide_receive import WideReceiver

_MOVING_S = 3.0
"""For so long a peer that moves may still send from where it was: it reads our answer first, which may be lost once."""


class _Audio(NamedTuple):
    """Packets of one length, in columns; a row may stand here more than once."""

    rows: Int64s
    sequences: Int64s
    timestamps: Int64s
    arrivals: Float64s
    pcm: g711.Int16s

    def pick(self, chosen: Int64s) -> _Audio:
        """Only the packets at these indices."""
        rows, sequences, timestamps = self.rows[chosen], self.sequences[chosen], self.timestamps[chosen]
        return _Audio(rows, sequences, timestamps, self.arrivals[chosen], self.pcm[chosen])


class _OddAudio(NamedTuple):
    row: int
    packet: rtp.RtpPacket
    law: int
    at: float


class Receiver:
    def __init__(
        self,
        table: LegTable,
        jitter: JitterBuffer,
        reception: Reception,
        control: ControlChannel,
        wide: WideReceiver,
        noise: NoiseFiller,
    ) -> None:
        self._table, self._jitter, self._reception, self._control = table, jitter, reception, control
        self._wide, self._noise = wide, noise
        self._coded = CodedReceiver(table, reception, wide)
        self._pressing: set[int] = set()  # rows with a digit that has not ended

    def take(self, received: Sequence[Received], usual: Usual, now: float) -> list[Said]:
        """Sort in everything that came, and say what it means. Nothing a peer sends makes this raise."""
        row_of, latched = self._table.row_of, self._table.latched
        odd: list[tuple[int, Received]] = []
        also_usual: list[tuple[int, bytes, float]] = []
        for datagram in received:
            row = row_of.get(datagram.leg)
            if row is None:
                continue
            if len(datagram.data) == USUAL_SIZE and datagram.source == latched[row]:
                also_usual.append((row, datagram.data, datagram.at))
            else:
                odd.append((row, datagram))
        if also_usual:
            usual = Usual.all_of([usual, Usual.of(*zip(*also_usual, strict=True))])
        if odd:
            usual = self._take_cut(usual, odd)
        if self._table.heard_wide:
            usual, odd = self._coded.take(usual, odd)
        if len(usual.rows):
            odd += self._take_usual(usual)
        said = self._take_odd(odd, now) if odd else []
        return said + self._expire_digits(now) if self._pressing else said

    def _take_cut(self, usual: Usual, odd: list[tuple[int, Received]]) -> Usual:
        """Where a packet is not of whole cells, whatever comes with it may follow on it: all of that row is looked at
        singly, and after it. Gives what is still usual."""
        table = self._table
        cut = {row for row, datagram in odd if self._is_cut(row, datagram.data)}
        if not cut:
            return usual
        for row in cut:
            table.heard_type[row] = -1
        theirs = np.isin(usual.rows, list(cut))
        odd += self._singly(usual.pick(theirs))
        return usual.pick(~theirs)

    def _is_cut(self, row: int, data: bytes) -> bool:
        table = self._table
        if table.heard_wide.get(row) == "opus" or len(data) < rtp.HEADER or are_whole(len(data) - rtp.HEADER):
            return False
        return bool(data[1] & 0x7F == table.heard_type[row])

    def _take_usual(self, usual: Usual) -> list[tuple[int, Received]]:
        """Packets of the common length from the right place. Gives back those that are odd after all."""
        headers = rtp.parse_many(usual.data)
        good = self._table.expects(usual.rows, headers)
        rest: list[tuple[int, Received]] = []
        if np.count_nonzero(good) < len(good):
            rest = self._singly(usual.pick(~good))
            usual, headers = usual.pick(good), headers.pick(good)
        rows, data, at = usual
        if len(rows):
            pcm = g711.decode(data[:, rtp.HEADER :], self._laws(rows))
            self._accept(_Audio(rows, headers.sequences, headers.timestamps, at, pcm))
        return rest

    def _singly(self, usual: Usual) -> list[tuple[int, Received]]:
        table = self._table
        return [
            (row, Received(table.names[row], data, source, at))
            for row, data, at in usual.singly()
            if (source := table.latched[row]) is not None
        ]

    def _laws(self, rows: Int64s) -> Int64s | int:
        laws = self._table.heard_law[rows]
        return laws if np.count_nonzero(laws != laws[0]) else int(laws[0])

    def _accept(self, audio: _Audio) -> None:
        """Into the jitter buffer, in rounds in which each row comes once."""
        for chosen in in_rounds(audio.rows):
            part = audio if chosen is None else audio.pick(chosen)
            good = self._reception.count(part.rows, part.sequences)
            if np.count_nonzero(good) < len(good):
                part = part.pick(np.flatnonzero(good))
                if not len(part.rows):
                    continue
            positions = self._jitter.insert(part.rows, part.timestamps, part.pcm)
            self._reception.time(part.rows, positions, part.arrivals)
            self._table.last_media[part.rows] = part.arrivals

    def _take_odd(self, odd: list[tuple[int, Received]], now: float) -> list[Said]:
        said: list[Said] = []
        audio: list[_OddAudio] = []
        for row, datagram in odd:
            leg = self._table.at(row)
            try:
                packet = self._packet(leg, datagram, now, said)
            except (PeerError, ValueError):
                leg.malformed += 1
                continue
            if packet is not None:
                audio.append(_OddAudio(row, packet, g711.LAW_OF_CODEC[leg.receives[packet.payload_type]], datagram.at))
        for length in {len(a.packet.payload) for a in audio}:
            self._accept(_in_columns([a for a in audio if len(a.packet.payload) == length]))
        return said

    def _packet(self, leg: Leg, datagram: Received, now: float, said: list[Said]) -> rtp.RtpPacket | None:
        """A packet of G.711 to be played, or None when it is something else that has been dealt with."""
        if not self.may_send(leg, datagram):
            leg.foreign += 1
            return None
        if rtp.is_rtcp(datagram.data):
            self._control.receive(leg, datagram.data, datagram.source, datagram.at)
            self._table.last_media[leg.row] = datagram.at
            return None
        packet = rtp.parse(datagram.data)
        codec = leg.receives.get(packet.payload_type)
        _check(leg, packet, codec)
        if leg.latched != datagram.source:
            self._table.latch(leg, datagram.source)
            said.append(LegLatched(now, leg.name, *datagram.source))
        if not self._table.hears[leg.row] or not self._is_source(leg, packet):
            return None
        if codec is None or not packet.payload:
            self._not_audio(leg, packet, now, said)
        elif codec != "opus" and leg.cells.concern(packet.payload):
            self._take_in_cells(leg, packet, codec, datagram.at)
        elif codec == "G722" or codec == "opus":
            self._hears(leg, packet, codec)
            self._coded.accept(
                [CodedPacket(leg.row, codec, packet.sequence, packet.timestamp, packet.payload, datagram.at)]
            )
        else:
            self._hears(leg, packet, codec)
            return packet
        return None

    def _take_in_cells(self, leg: Leg, packet: rtp.RtpPacket, codec: Codec, at: float) -> None:
        """A packet of G.711 or G.722 that is not of whole cells, or follows on one."""
        row, rows = leg.row, np.array([leg.row])
        self._hears(leg, packet, codec)
        if not self._reception.count(rows, np.array([packet.sequence]))[0]:
            return
        self._table.last_media[row] = at
        for k, (timestamp, octets) in enumerate(leg.cells.feed(packet.timestamp, packet.payload)):
            if codec == "G722":
                coded = CodedPacket(row, codec, packet.sequence, timestamp, octets, at)
                positions = self._wide.insert(rows, [coded], len(octets) // CELL)
            else:
                codes = np.frombuffer(octets, np.uint8)[None]
                pcm = g711.decode(codes, g711.LAW_OF_CODEC[codec])
                positions = self._jitter.insert(rows, np.array([timestamp]), pcm)
            if k == 0:
                began = positions + packet.timestamp - timestamp
                self._reception.time(rows, began, np.array([at]))
        self._table.heard_type[row] = -1  # what follows has to be looked at, too

    def _hears(self, leg: Leg, packet: rtp.RtpPacket, codec: Codec) -> None:
        if packet.payload_type != self._table.heard_type[leg.row]:
            self._table.hear(leg.row, packet.payload_type, codec)

    def may_send(self, leg: Leg, datagram: Received) -> bool:
        """Whether this source may be the peer. Latched once, only the address from the SDP may still correct that; or
        another port of the same host, of a peer that is moving but still came from where it was, or of the same stream
        after a silence. A leg without a socket has none."""
        if leg.kind == "pcm" or leg.former == datagram.source != leg.signalled:
            return False
        if leg.latched is None or datagram.source in (leg.latched, leg.signalled):
            return True
        if rtp.is_rtcp(datagram.data):
            return datagram.source[0] in (leg.latched[0], (leg.signalled or ("",))[0])
        moving = leg.latched == leg.moved_from and datagram.at - leg.moved_at < _MOVING_S
        return datagram.source[0] == leg.latched[0] and (moving or self._goes_on(leg, datagram.data))

    def _goes_on(self, leg: Leg, data: bytes) -> bool:
        """Whether it is the stream that fell silent: a NAT that forgot the peer gives it another port. Who would take
        the silence for a chance does not know the stream's SSRC."""
        known = int(self._table.remote_ssrc[leg.row])
        return bool(self._table.silent[leg.row]) and int.from_bytes(data[8:12]) == known

    def _is_source(self, leg: Leg, packet: rtp.RtpPacket) -> bool:
        """Whether the packet is of the stream we play. A new SSRC takes over with its second packet in a row, with none
        of that stream between them."""
        known, count = int(self._table.remote_ssrc[leg.row]), self._reception.of_source(leg.row)
        if packet.ssrc == known:
            leg.probation = None
            return True
        if known >= 0 and leg.probation != (packet.ssrc, packet.sequence, count):
            leg.probation = (packet.ssrc, packet.sequence + 1 & 0xFFFF, count)
            return False
        leg.probation = None
        self._table.remote_ssrc[leg.row] = packet.ssrc
        self._reception.change_source(leg.row)
        self._jitter.expect_new_source(leg.row)
        self._wide.change_source(leg.row)
        leg.digits, leg.cells = DigitReceiver(leg.dtmf_clock_hz), Cells()
        return True

    def _not_audio(self, leg: Leg, packet: rtp.RtpPacket, now: float, said: list[Said]) -> None:
        if not self._reception.count(np.array([leg.row]), np.array([packet.sequence]))[0]:
            return
        self._wide.without_audio(leg.row, packet.sequence)
        self._table.last_media[leg.row] = now
        if packet.payload_type == rtp.COMFORT_NOISE:
            self._noise.announce(leg.row, packet.payload)
        elif packet.payload_type == leg.dtmf_payload_type:
            said += _pressed(leg, leg.digits.receive(packet.payload, packet.timestamp, now), now)
            if leg.digits.waiting:
                self._pressing.add(leg.row)

    def _expire_digits(self, now: float) -> list[Said]:
        said: list[Said] = []
        for row in list(self._pressing):
            leg = self._table.by_row[row]
            if leg is not None:
                said += _pressed(leg, leg.digits.expire(now), now)
            if leg is None or not leg.digits.waiting:
                self._pressing.discard(row)
        return said


def _check(leg: Leg, packet: rtp.RtpPacket, codec: Codec | None) -> None:
    """Raises `PeerError` for a payload that was not agreed on, or of a length nobody sends; none at all is padding, by
    which some try out what the line can carry."""
    length = len(packet.payload)
    if codec is not None and not length:
        return
    if codec == "opus":
        codecs.duration_ms(codec, packet.payload)
    elif codec is not None:
        if length > LONGEST:
            raise PeerError("audio is longer than 200 ms")
    elif packet.payload_type not in (leg.dtmf_payload_type, rtp.COMFORT_NOISE):
        raise PeerError("payload type was not agreed on")


def _pressed(leg: Leg, presses: list[Press], at: float) -> list[Said]:
    return [DigitPressed(at, leg.name, press.digit, press.duration_ms) for press in presses]


def _in_columns(audio: list[_OddAudio]) -> _Audio:
    packets = [a.packet for a in audio]
    codes = np.frombuffer(b"".join(p.payload for p in packets), np.uint8).reshape(len(packets), -1)
    return _Audio(
        np.array([a.row for a in audio]),
        np.array([p.sequence for p in packets]),
        np.array([p.timestamp for p in packets]),
        np.array([a.at for a in audio]),
        g711.decode(codes, np.array([a.law for a in audio])),
    )
