"""Speech that was spoken before, so that the greeting is synthesised once and not for every caller."""

from __future__ import annotations

from collections import OrderedDict

from gateway.session.ports import SpeechChunk


class SpokenCache:
    """Texts with their audio, the least recently used going first when `max_bytes` of audio are full."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._spoken: OrderedDict[str, SpeechChunk] = OrderedDict()
        self.bytes = 0

    def get(self, text: str) -> SpeechChunk | None:
        chunk = self._spoken.get(text)
        if chunk is not None:
            self._spoken.move_to_end(text)
        return chunk

    def put(self, text: str, chunk: SpeechChunk) -> None:
        """Larger ones than the whole cache are not kept."""
        if text in self._spoken or len(chunk.pcm) > self._max_bytes:
            return
        self._spoken[text] = chunk
        self.bytes += len(chunk.pcm)
        while self.bytes > self._max_bytes:
            self.bytes -= len(self._spoken.popitem(last=False)[1].pcm)
