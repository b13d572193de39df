"""The audio side of a phone whose line returns what it is sent, and whose owner may speak over it."""

from __future__ import annotations

import threading
import time

import numpy as np
from rtp_peer import PACKET, RtpPeer
from sounds import Sound

from gateway.media import g711


class EchoingPeer(RtpPeer):
    """Sends everything back `delay_ms` after it came, `loss_db` fainter, with line noise at -55 dBFS."""

    def __init__(self, *, delay_ms: int, loss_db: float) -> None:
        super().__init__(Sound(np.zeros(0)))
        self._late, self._gain = delay_ms * 8 // PACKET, 10 ** (-loss_db / 20)
        self._noise = np.random.default_rng(1)
        self._speaking: list[np.ndarray] = []
        self._lock = threading.Lock()

    def say(self, sound: Sound) -> None:
        """From the next packet on."""
        samples = np.concatenate([sound.samples, np.zeros(-len(sound.samples) % PACKET)])
        with self._lock:
            self._speaking = list(samples.reshape(-1, PACKET))

    def _send(self) -> None:
        self._called.wait()
        begun, count = time.monotonic(), 0
        while not self._over.wait(max(0.0, begun + count * 0.02 - time.monotonic())):
            self._send_one(count, self._returned(count - self._late) + self._said() + self._noise.normal(0, 58, PACKET))
            count += 1

    def _returned(self, number: int) -> np.ndarray:
        if not 0 <= number < len(self.received):
            return np.zeros(PACKET)
        return g711.decode(np.frombuffer(self.received[number].payload, np.uint8)) * self._gain

    def _said(self) -> np.ndarray:
        with self._lock:
            return self._speaking.pop(0) if self._speaking else np.zeros(PACKET)

    def _send_one(self, count: int, samples: np.ndarray) -> None:
        pcm = np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
        self.send_audio(count, g711.encode(pcm).tobytes())
