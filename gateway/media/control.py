"""RTCP of all legs: a report every few seconds, and what the far side reports of us."""

from __future__ import annotations

import math

from gateway.media import rtcp
from gateway.media.commands import LegStats
from gateway.media.datagrams import Address, ToSend
from gateway.media.history import FRAME
from gateway.media.jitter import JitterBuffer
from gateway.media.legs import Leg, LegTable
from gateway.media.options import PlaneOptions
from gateway.media.reception import Reception
from gateway.media.wide_receive import WideReceiver

_PACKETISATION_MS = 20.0
_LONGEST_ROUND_TRIP_S = 30.0


class ControlChannel:
    def __init__(
        self, table: LegTable, reception: Reception, jitter: JitterBuffer, wide: WideReceiver, options: PlaneOptions
    ) -> None:
        self._table, self._reception, self._jitter, self._wide = table, reception, jitter, wide
        self._interval_s, self._wall_ahead_s = options.rtcp_interval_s, options.wall_ahead_s

    def begin(self, leg: Leg, now: float) -> None:
        # RFC 3550 6.2: spread out, so that calls which began together do not report together.
        self._table.next_report[leg.row] = now + self._interval_s * (0.5 + leg.row % 16 / 16)

    def due(self, now: float) -> list[ToSend]:
        """The reports whose time has come."""
        table = self._table
        rows = table.rows[table.next_report[table.rows] <= now]
        table.next_report[rows] = now + self._interval_s
        reports = (self.report(table.at(int(row)), now) for row in rows)
        return [report for report in reports if report is not None]

    def report(self, leg: Leg, now: float, *, bye: bool = False) -> ToSend | None:
        """A compound packet of this leg; None while nobody is there to get it."""
        remote, row = self._table.remote[leg.row], leg.row
        if remote is None or leg.kind == "pcm":
            return None
        sender: rtcp.SenderInfo | None = None
        blocks: tuple[rtcp.Block, ...] = ()
        if packets := int(self._table.sent[row]):
            # Of the frame that left at `now`.
            timestamp = int(self._table.timestamp[row] - FRAME) * leg.clock_ratio & 0xFFFFFFFF
            octets = packets * FRAME + int(self._table.octets_beside[row])
            sender = rtcp.SenderInfo(self._ntp(now), timestamp, packets, octets & 0xFFFFFFFF)
        if (source := int(self._table.remote_ssrc[row])) >= 0:
            since = None if leg.last_sender_report_at is None else now - leg.last_sender_report_at
            block = self._reception.block(row, source, leg.last_sender_report, since)
            blocks = (block._replace(jitter=block.jitter * leg.clock_ratio),)
        data = rtcp.build(rtcp.Report(int(self._table.ssrc[row]), sender, blocks), leg.cname, bye=bye)
        return ToSend(leg.name, data, _reports_to(leg, remote), control=not leg.rtcp_mux)

    def _ntp(self, now: float) -> int:
        return rtcp.ntp(now + self._wall_ahead_s)

    def receive(self, leg: Leg, data: bytes, source: Address, at: float) -> None:
        """Raises `PeerError` for a packet that is none."""
        reports = rtcp.parse(data)
        if source != leg.latched:
            leg.reports_from = source
        for report in reports:
            if report.sender is not None:
                leg.last_sender_report = rtcp.middle(report.sender.ntp)
                leg.last_sender_report_at = at
            for block in report.blocks:
                if block.ssrc == int(self._table.ssrc[leg.row]):
                    self._learn(leg, block, at)

    def _learn(self, leg: Leg, block: rtcp.Block, at: float) -> None:
        round_trip_s: float | None = None
        if block.last_report:
            # RFC 3550 6.4.1: now, minus when our report left, minus how long the far side held it.
            turn = (rtcp.middle(self._ntp(at)) - block.last_report - block.delay) & 0xFFFFFFFF
            round_trip_s = turn / 65536
        leg.remote_lost = max(0, block.lost)  # below it where copies count as received, RFC 3550 6.4.1
        if leg.sender is not None and leg.copies:
            leg.sender.note_loss(math.ceil(100 * block.fraction / 256))
        if round_trip_s is not None and round_trip_s < _LONGEST_ROUND_TRIP_S:
            leg.round_trip_s = round_trip_s

    def stats(self, leg: Leg) -> LegStats:
        row, reception = leg.row, self._reception
        round_trip_ms = None if leg.round_trip_s is None else 1000 * leg.round_trip_s
        one_way_ms = (round_trip_ms or 0.0) / 2 + self._jitter.delay_ms(row) + _PACKETISATION_MS
        late, broken, recovered = int(self._jitter.late[row]), self._wide.broken(row), self._wide.recovered(row)
        mos = reception.mos(row, one_way_ms, late + broken, recovered)
        return LegStats(
            codec=leg.codec or "",
            packets_received=int(reception.received[row]),
            packets_sent=int(self._table.sent[row]),
            packets_lost=reception.lost(row),
            packets_recovered=recovered,
            packets_late=late,
            packets_foreign=leg.foreign,
            packets_malformed=leg.malformed + broken + int(reception.stray[row]),
            packets_forged=leg.forged,
            jitter_ms=round(reception.jitter_ms(row), 2),
            round_trip_ms=None if round_trip_ms is None else round(round_trip_ms, 1),
            mos=None if mos is None else round(mos, 2),
            remote_lost=leg.remote_lost,
        )


def _reports_to(leg: Leg, remote: Address) -> Address:
    """Where its own come from (RFC 4961), which need not be the port beside the audio's: a NAT gives it any."""
    if leg.rtcp_mux:
        return remote
    if leg.reports_from is not None and leg.reports_from[0] == remote[0]:
        return leg.reports_from
    return remote[0], min(remote[1] + 1, 0xFFFF)
