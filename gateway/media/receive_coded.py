"""From datagrams of wideband codecs to where they wait to be played: all of a tick's at once, of any length."""

from __future__ import annotations

import numpy as np

from gateway.core.errors import PeerError
from gateway.media import cells, codecs, rtp
from gateway.media.coded_stream import CodedPacket
from gateway.media.datagrams import Received, Usual
from gateway.media.jitter import CELL
from gateway.media.legs import LegTable
from gateway.media.ports import Int64s
from gateway.media.reception import Reception
from gateway.media.wide_receive import WideReceiver


class CodedReceiver:
    def __init__(self, table: LegTable, reception: Reception, wide: WideReceiver) -> None:
        self._table, self._reception, self._wide = table, reception, wide

    def take(self, usual: Usual, odd: list[tuple[int, Received]]) -> tuple[Usual, list[tuple[int, Received]]]:
        """The packets that are as expected. Gives back what of both is left; what came as `usual` and is odd after
        all is among the odd ones."""
        heard, latched = self._table.heard_wide, self._table.latched
        ours = np.isin(usual.rows, list(heard))
        came, usual = usual.pick(ours).singly(), usual.pick(~ours)
        rest: list[tuple[int, Received]] = []
        for row, datagram in odd:
            if row in heard and datagram.source == latched[row] and len(datagram.data) > rtp.HEADER:
                came.append((row, datagram.data, datagram.at))
            else:
                rest.append((row, datagram))
        if not came:
            return usual, rest
        heads = np.frombuffer(b"".join([data[: rtp.HEADER] for _, data, _ in came]), np.uint8).reshape(-1, rtp.HEADER)
        headers = rtp.parse_many(heads)
        good = self._table.expects(np.array([row for row, _, _ in came]), headers).tolist()
        sequences, timestamps = headers.sequences.tolist(), headers.timestamps.tolist()
        packets: list[CodedPacket] = []
        for k, (row, data, at) in enumerate(came):
            if good[k] and (heard[row] == "opus" or cells.are_whole(len(data) - rtp.HEADER)):
                packets.append(CodedPacket(row, heard[row], sequences[k], timestamps[k], data[rtp.HEADER :], at))
            elif (source := latched[row]) is not None:
                rest.append((row, Received(self._table.names[row], data, source, at)))
        self.accept(packets)
        return usual, rest

    def accept(self, packets: list[CodedPacket]) -> None:
        """To their places, in rounds of one length in which each row comes once."""
        by_length: dict[int, list[CodedPacket]] = {}
        for packet in packets:
            try:
                length = codecs.duration_ms(packet.codec, packet.payload) // 10
                if length > cells.MOST_CELLS:
                    self._accept_long(packet)
                else:
                    by_length.setdefault(length, []).append(packet)
            except PeerError:
                self._table.at(packet.row).malformed += 1
        for length, of_length in by_length.items():
            rows = np.array([packet.row for packet in of_length])
            for chosen in in_rounds(rows):
                if chosen is None:
                    self._accept(rows, of_length, length)
                else:
                    self._accept(rows[chosen], [of_length[k] for k in chosen], length)

    def _accept_long(self, packet: CodedPacket) -> None:
        """A packet of Opus of more than 60 ms, frame by frame. Raises `PeerError` for frames shorter than 10 ms."""
        frames, length = codecs.opus_frames(packet.payload), int(codecs.opus_frame_ms(packet.payload)) // 10
        if not length:
            raise PeerError("frames of less than 10 ms in a packet of more than 60")
        rows, step = np.array([packet.row]), length * CELL * codecs.CLOCK_RATIO[packet.codec]
        if not self._reception.count(rows, np.array([packet.sequence]))[0]:
            return
        self._table.last_media[packet.row] = packet.at
        for k, frame in enumerate(frames):
            timestamp = packet.timestamp + k * step & 0xFFFFFFFF
            positions = self._wide.insert(rows, [packet._replace(timestamp=timestamp, payload=frame)], length)
            if k == 0:
                self._reception.time(rows, positions, np.array([packet.at]))

    def _accept(self, rows: Int64s, packets: list[CodedPacket], length: int) -> None:
        good = self._reception.count(rows, np.array([packet.sequence for packet in packets]))
        if np.count_nonzero(good) < len(good):
            rows, packets = rows[good], [packet for packet, is_good in zip(packets, good, strict=True) if is_good]
            if not packets:
                return
        arrivals = np.array([packet.at for packet in packets])
        positions = self._wide.insert(rows, packets, length)
        self._reception.time(rows, positions, arrivals)
        self._table.last_media[rows] = arrivals


def in_rounds(rows: Int64s) -> list[Int64s | None]:
    """Index sets in which no row repeats, in the order of arrival; [None] when that holds as it stands."""
    counts = np.bincount(rows)
    if np.count_nonzero(counts) == len(rows):
        return [None]
    by_row = rows.argsort(kind="stable")
    turn = np.empty(len(rows), np.int64)
    turn[by_row] = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows[by_row]]
    return [np.flatnonzero(turn == n) for n in range(np.max(counts))]
