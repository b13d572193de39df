"""Sending codecs with a memory: 20 ms a tick in at 16 kHz, packets of the agreed length out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gateway.media import codecs
from gateway.media.codecs import Int16s, Wide
from gateway.media.commands import ConnectLeg
from gateway.media.opus_library import OpusEncoder


class Coded(NamedTuple):
    """A packet's audio, that began `ago` samples of 8 kHz before this tick's."""

    payload: bytes
    ago: int


class WideSender:
    """One leg's coder, with what does not fill a packet yet."""

    def __init__(self, codec: Wide, ptime_ms: int, opus_bits_per_s: int | None = None) -> None:
        self.agreed = codec, ptime_ms, opus_bits_per_s
        self._encoder = codecs.encoder(codec, opus_bits_per_s)
        self._packet = 16 * codecs.packet_ms(codec, ptime_ms)
        self._unsent = np.zeros(0, np.int16)

    def note_loss(self, percent: int) -> None:
        """What the peer's latest report says. Only Opus can do something about it."""
        if isinstance(self._encoder, OpusEncoder):
            self._encoder.note_loss(percent)

    def feed(self, frame: Int16s) -> list[Coded]:
        """The next 320 samples."""
        if len(frame) == self._packet and not self.has_unsent:
            return [Coded(self._encoder.encode(frame), 0)]
        self._unsent = np.concatenate([self._unsent, frame])
        packets = []
        while len(self._unsent) >= self._packet:
            payload = self._encoder.encode(self._unsent[: self._packet])
            packets.append(Coded(payload, (len(self._unsent) - len(frame)) // 2))
            self._unsent = self._unsent[self._packet :]
        return packets

    @property
    def has_unsent(self) -> bool:
        return bool(len(self._unsent))

    def clear(self) -> None:
        """Something else is sent in the place of what waits."""
        self._unsent = self._unsent[:0]


def sender_for(command: ConnectLeg, ptime_ms: int, before: WideSender | None) -> WideSender | None:
    """The coder that its codec needs: the one that was there, where nothing changed; None for G.711."""
    codec, opus_bits_per_s = command.codec, command.opus_bits_per_s
    if codec != "G722" and codec != "opus":
        return None
    if before is not None and before.agreed == (codec, ptime_ms, opus_bits_per_s):
        return before
    return WideSender(codec, ptime_ms, opus_bits_per_s)
