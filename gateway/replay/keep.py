"""Bundles kept as tests: made small enough for a repository, and brought up to date by accepting a replay."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import msgspec

from gateway.core.errors import ConfigError
from gateway.replay import layout
from gateway.replay.audio import mulaw_wav, speech_name
from gateway.replay.bundle import encode_meta
from gateway.replay.reading import Recorded, read_bundle
from gateway.session.resample import Resampler


def keep(bundle: Path, kept: Path) -> None:
    """Copy a bundle into a small one: speech as mu-law at 8 kHz, the trace gzipped and no recording beside it.

    The line sounds the same: G.711 is what it carries anyway. Raises `ConfigError` when `kept` is there already.
    """
    recorded = read_bundle(bundle)
    if kept.exists():
        raise ConfigError("is there already; a bundle is kept in a new folder", path=kept)
    (kept / layout.SPEECH).mkdir(parents=True)
    if recorded.dialplan is not None:
        shutil.copytree(recorded.dialplan, kept / layout.DIALPLAN)
    (kept / layout.META).write_bytes(encode_meta(msgspec.structs.replace(recorded.meta, dialplan="")))
    for name in (layout.EVENTS, layout.SESSION):
        _copy(bundle, kept, name)
    answers = [_small(answer, recorded, kept) for answer in recorded.answers]
    _write_gzipped(kept / layout.PROVIDERS, b"".join(msgspec.json.encode(answer) + b"\n" for answer in answers))
    if recorded.datagrams:
        for name in layout.traces(bundle):
            _pack(bundle, kept, name)
    else:
        _copy(bundle, kept, layout.RECORDING)


def accept(bundle: Path, replayed: Path) -> None:
    """Put a replay's outcome in the place of what the bundle held; from now on it is compared exactly.

    `replayed` is the replay's own bundle. The caller's packets stay as they were recorded.
    """
    fresh, old = bundle.with_name(bundle.name + ".new"), bundle.with_name(bundle.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    keep(replayed, fresh)
    for name in dict.fromkeys([*layout.traces(bundle), *layout.traces(fresh), layout.RECORDING, layout.SESSION]):
        for form in (name, name + ".gz"):
            if (bundle / form).exists():
                (fresh / name).unlink(missing_ok=True)
                (fresh / (name + ".gz")).unlink(missing_ok=True)
                shutil.copy(bundle / form, fresh / form)
    before = read_bundle(bundle).meta
    meta = msgspec.structs.replace(read_bundle(replayed).meta, exact=True, seed=before.seed, dialplan=before.dialplan)
    (fresh / layout.META).write_bytes(encode_meta(meta))
    bundle.rename(old)
    fresh.rename(bundle)
    shutil.rmtree(old)


def _small(answer: layout.AnyAnswer, recorded: Recorded, kept: Path) -> layout.AnyAnswer:
    match answer:
        case layout.PromptPlayed(name=name, audio=audio, sample_rate=rate):
            audio = _keep_speech(recorded.speech(audio, 8000), kept) if audio and rate == 8000 else ""
            return msgspec.structs.replace(answer, name=_kept_name(name, recorded.meta.dialplan), audio=audio)
        case layout.Spoken(audio=audio) if audio:
            return _small_speech(answer, recorded.speech(audio, answer.sample_rate), kept)
        case _:
            return answer


def _kept_name(prompt: str, dialplan: str) -> str:
    """The same wherever the dialplan was."""
    base = Path(dialplan).resolve()
    if not dialplan or not Path(prompt).is_relative_to(base):
        return prompt
    return str(Path(layout.KEPT_DIALPLAN, Path(prompt).relative_to(base)))


def _small_speech(spoken: layout.Spoken, pcm: bytes, kept: Path) -> layout.Spoken:
    """Chunk by chunk, so that each brings the samples that its audio makes at the line's rate."""
    resampler, pieces, at = Resampler(spoken.sample_rate), [], 0
    for chunk in spoken.chunks:
        pieces.append(resampler.feed(pcm[at : at + chunk.bytes]))
        at += chunk.bytes
    pieces[-1] += resampler.finish()
    chunks = tuple(
        msgspec.structs.replace(chunk, bytes=len(piece)) for chunk, piece in zip(spoken.chunks, pieces, strict=True)
    )
    audio = _keep_speech(b"".join(pieces), kept)
    return msgspec.structs.replace(spoken, sample_rate=8000, chunks=chunks, audio=audio)


def _keep_speech(pcm: bytes, kept: Path) -> str:
    name = speech_name(pcm, 8000)
    (kept / layout.SPEECH / name).write_bytes(mulaw_wav(pcm))
    return name


def _copy(bundle: Path, kept: Path, name: str) -> None:
    for form in (name, name + ".gz"):
        if (bundle / form).exists():
            shutil.copy(bundle / form, kept / form)


def _pack(bundle: Path, kept: Path, name: str) -> None:
    if (bundle / name).exists():
        _write_gzipped(kept / name, (bundle / name).read_bytes())
    else:
        _copy(bundle, kept, name)


def _write_gzipped(path: Path, data: bytes) -> None:
    # No time of writing in it: the same content gives the same bytes.
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(data, mtime=0))
