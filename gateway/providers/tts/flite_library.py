"""libflite by ctypes: text to samples and the exact place of every word.

The library keeps its voices and reference counts in plain global memory, so one thread at a time may use it; that is
why it runs as an engine (`flite_engine`), by default in a process of its own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from ctypes import CDLL, POINTER, RTLD_GLOBAL, Structure, c_char_p, c_float, c_int, c_short, c_void_p
from functools import cache
from itertools import groupby
from typing import Any, Final, NamedTuple

from gateway.core.errors import ProviderError

VOICES: Final = {"slt": 16000, "rms": 16000, "awb": 16000, "kal": 8000, "kal16": 16000}
"""The voices of Debian's libflite1 with their sample rates in Hz: slt is female; rms, awb and kal are male."""


class Token(NamedTuple):
    """A piece of the text as the library cut it, without its punctuation, and its time in seconds."""

    text: str
    start_s: float
    end_s: float


class _Wave(Structure):
    _fields_ = (
        ("type", c_char_p),
        ("sample_rate", c_int),
        ("num_samples", c_int),
        ("num_channels", c_int),
        ("samples", POINTER(c_short)),
    )


class _Voice(Structure):
    """The head of it; what follows is not our concern."""

    _fields_ = (("name", c_char_p), ("features", c_void_p))


_C: Final = CDLL(None)
_SIGNATURES: Final[dict[str, tuple[Any, ...]]] = {
    "flite_init": (c_int,),
    "flite_synth_text": (c_void_p, c_char_p, POINTER(_Voice)),
    "flite_feat_set_float": (None, c_void_p, c_char_p, c_float),
    "utt_wave": (POINTER(_Wave), c_void_p),
    "utt_relation": (c_void_p, c_void_p, c_char_p),
    "relation_head": (c_void_p, c_void_p),
    "item_next": (c_void_p, c_void_p),
    "path_to_item": (c_void_p, c_void_p, c_char_p),
    "flite_ffeature_string": (c_char_p, c_void_p, c_char_p),
    "flite_ffeature_float": (c_float, c_void_p, c_char_p),
    "delete_utterance": (None, c_void_p),
}
_WORD_START: Final = b"R:SylStructure.daughter.daughter.R:Segment.p.end"
_WORD_END: Final = b"R:SylStructure.daughtern.daughtern.end"


@cache
def _library() -> CDLL:
    library = _open("libflite.so.1")
    for needed in ("libflite_usenglish.so.1", "libflite_cmulex.so.1"):
        _open(needed)
    for name, (result, *arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.flite_init()
    return library


def _open(name: str) -> CDLL:
    try:
        return CDLL(name, mode=RTLD_GLOBAL)  # the voices find the language's symbols in the global table
    except OSError as error:
        message = f"flite is not installed ({error}); remedy: apt-get install libflite1"
        raise ProviderError(message, category="unavailable", retryable=False) from error


class Voice:
    """`pace` 1.25 speaks a quarter faster. Raises `ProviderError` when the library is not there."""

    def __init__(self, name: str, pace: float = 1.0) -> None:
        self.sample_rate = VOICES[name]
        self._library = _library()
        register = _open(f"libflite_cmu_us_{name}.so.1")[f"register_cmu_us_{name}"]
        register.restype, register.argtypes = POINTER(_Voice), (c_char_p,)
        self._voice = register(None)
        self._library.flite_feat_set_float(self._voice.contents.features, b"duration_stretch", 1.0 / pace)

    def synthesise(self, text: str) -> tuple[bytes, list[Token]]:
        """PCM16 at `sample_rate`, and the tokens in order. `text` is ASCII and has something to say in it."""
        _C.srand(1)  # breath is made of chance: the same text shall be the same samples
        utterance = self._library.flite_synth_text(text.encode("ascii"), self._voice)
        if not utterance:
            raise ProviderError("flite could not speak this text", category="bad_request", retryable=False)
        try:
            wave = self._library.utt_wave(utterance).contents
            return ctypes.string_at(wave.samples, wave.num_samples * 2), list(self._tokens(utterance))
        finally:
            self._library.delete_utterance(utterance)

    def _tokens(self, utterance: int) -> Iterator[Token]:
        """Each token once, from its first spoken word to its last ("10:30" is spoken as two)."""
        for _, words in groupby(self._words(utterance), key=lambda word: word[0]):
            spoken = [token for _, token in words if token.end_s > token.start_s]
            if spoken:
                yield Token(spoken[0].text, spoken[0].start_s, spoken[-1].end_s)

    def _words(self, utterance: int) -> Iterator[tuple[int, Token]]:
        """Spoken words with the address of their token. A word without a sound, a dot, has no time: it ends at 0."""
        library = self._library
        word = library.relation_head(library.utt_relation(utterance, b"Word"))
        while word:
            token = library.path_to_item(word, b"R:Token.parent")
            name = library.flite_ffeature_string(token, b"name")
            start, end = (library.flite_ffeature_float(word, path) for path in (_WORD_START, _WORD_END))
            yield token, Token(name.decode("ascii", "replace"), start, end)
            word = library.item_next(word)
