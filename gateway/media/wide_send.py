"""Sending codecs with a memory: 20 ms a tick in at 8 kHz, packets of the agreed length out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gateway.media import codecs
from gateway.media.codecs import Int16s, Wide
from gateway.media.commands import Codec
from gateway.media.resample import TAPS, double_rate


class Coded(NamedTuple):
    """A packet's audio, that began `ago` samples of 8 kHz before this tick's."""

    payload: bytes
    ago: int


class WideSender:
    """One leg's coder, with what does not fill a packet yet."""

    def __init__(self, codec: Wide, ptime_ms: int) -> None:
        self.codec, self.ptime_ms = codec, ptime_ms
        self.octets = 0
        self._encoder = codecs.encoder(codec, ptime_ms)
        self._packet = 16 * codecs.packet_ms(codec, ptime_ms)
        self._past = np.zeros(TAPS - 1, np.int16)
        self._unsent = np.zeros(0, np.int16)

    def feed(self, frame: Int16s) -> list[Coded]:
        """The next 160 samples."""
        heard = np.concatenate([self._past, frame])
        self._past = heard[len(frame) :]
        self._unsent = np.concatenate([self._unsent, double_rate(heard[None])[0]])
        packets = []
        while len(self._unsent) >= self._packet:
            payload = self._encoder.encode(self._unsent[: self._packet])
            packets.append(Coded(payload, len(self._unsent) // 2 - len(frame)))
            self._unsent = self._unsent[self._packet :]
            self.octets += len(payload)
        return packets

    @property
    def has_unsent(self) -> bool:
        return bool(len(self._unsent))

    def clear(self) -> None:
        """Something else is sent in the place of what waits."""
        self._unsent = self._unsent[:0]


def sender_for(codec: Codec, ptime_ms: int, before: WideSender | None) -> WideSender | None:
    """The coder that a codec needs: the one that was there, where nothing changed; None for G.711."""
    if codec != "G722" and codec != "opus":
        return None
    if before is not None and (before.codec, before.ptime_ms) == (codec, ptime_ms):
        return before
    return WideSender(codec, ptime_ms)
