"""A bundle on disk: complete after a call, readable after a crash, silent about a full disk, clear about damage."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from gateway.core import events as e
from gateway.core.errors import ConfigError
from gateway.replay import layout
from gateway.replay.bundle import BundleFolder, FolderBundle, Sources
from gateway.replay.reading import read_bundle
from gateway.replay.spool import InlineSpool, ThreadSpool

STARTED = e.CallStarted(5.0, "c-1", "sip", "alice", "200", "desk")
ANSWERED = e.CallAnswered(5.1, "c-1", "PCMU")
ENDED = e.CallEnded(9.0, "c-1", "hangup", "caller", 4.0)
SPOKEN = layout.Spoken(0.5, "Hello", 8000, (layout.Chunk(0.01, 4),), done_s=0.02)


class StoppedClock:
    """A quarter past something, for ever."""

    def now(self) -> float:
        return 5.0

    def wall(self) -> float:
        return 1_800_000_000.0

    async def sleep_until(self, t: float) -> None:
        raise AssertionError("a bundle waits for nothing")


def folder_in(path: Path, **options: object) -> BundleFolder:
    chosen = {"clock": StoppedClock(), "spool": InlineSpool(), "settings": {"max_calls": 7}, **options}
    return BundleFolder(path / "calls", **chosen)  # type: ignore[arg-type]


def a_call(bundle: FolderBundle) -> None:
    for event in (STARTED, ANSWERED):
        bundle.event(event)
    bundle.note_audio(SPOKEN, b"\1\0\2\0", 8000)
    bundle.event(ENDED)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Events, answers, audio, settings and facts come back as they went in."""
    folder = folder_in(tmp_path, dialplan=lambda: Sources("/etc/dialplans", {"default.yaml": b"routes: {}\n"}))
    bundle = folder("c-1")
    bundle.resumes([e.SessionStarted(1.0, "c-0", "s-1")])
    a_call(bundle)
    bundle.close()
    read = read_bundle(tmp_path / "calls" / "c-1")
    assert read.events == (STARTED, ANSWERED, ENDED)
    assert read.session == (e.SessionStarted(1.0, "c-0", "s-1"),)
    (spoken,) = read.answers
    assert isinstance(spoken, layout.Spoken)
    assert (spoken.text, read.speech(spoken.audio, 8000)) == ("Hello", b"\1\0\2\0")
    meta = read.meta
    assert (meta.caller, meta.called, meta.route, meta.codec, meta.door) == ("alice", "200", "desk", "PCMU", "sip")
    assert (meta.wall, meta.at, meta.settings, meta.complete) == (1_800_000_000.0, 5.0, {"max_calls": 7}, True)
    assert meta.dialplan == "/etc/dialplans"
    assert read.dialplan is not None
    assert (read.dialplan / "default.yaml").read_bytes() == b"routes: {}\n"


def test_a_bundle_is_nobody_else_s_to_read(tmp_path: Path) -> None:
    """Whoever may not enter its folder gets none of its files, whoever wrote them."""
    before = os.umask(0o022)
    try:
        folder_in(tmp_path)("c-1")
    finally:
        os.umask(before)
    assert (tmp_path / "calls" / "c-1").stat().st_mode & 0o777 == 0o750


def test_a_killed_gateway_leaves_a_readable_bundle(tmp_path: Path) -> None:
    """Without any closing, and with a last line that was cut off in writing, everything before it counts."""
    bundle = folder_in(tmp_path)("c-1")
    a_call(bundle)
    path = tmp_path / "calls" / "c-1"
    with (path / layout.EVENTS).open("ab") as file:
        file.write(e.encode(ENDED)[:20])
    read = read_bundle(path)
    assert read.events == (STARTED, ANSWERED, ENDED)
    assert not read.meta.complete


def test_a_disk_that_refuses_costs_the_bundle_and_not_the_call(tmp_path: Path) -> None:
    """Nothing raises, whatever cannot be written; the bundle says what it lost, once."""
    folder = folder_in(tmp_path)
    bundle = folder("c-1")
    (tmp_path / "calls" / "c-1" / layout.EVENTS).mkdir()
    a_call(bundle)
    bundle.close()
    meta = json.loads((tmp_path / "calls" / "c-1" / layout.META).read_bytes())
    assert not meta["complete"]
    assert meta["lost"] == ["events.jsonl: Is a directory"]
    with pytest.raises(ConfigError, match=r"events\.jsonl"):
        read_bundle(tmp_path / "calls" / "c-1")


def test_without_a_folder_the_call_goes_on_unrecorded(tmp_path: Path) -> None:
    """A data directory that cannot be written: no recording is asked of the media plane, and no wrapper is put on."""
    (tmp_path / "calls").write_text("a file is in the way")
    bundle = folder_in(tmp_path)("c-1")
    assert (bundle.recording, bundle.trace) == (None, None)
    a_call(bundle)
    voice = object()
    assert bundle.speak_through(voice) is voice  # type: ignore[arg-type, comparison-overlap]
    bundle.close()


def test_the_callers_number_can_be_kept_out(tmp_path: Path) -> None:
    """Redaction reaches headers and earlier calls too; the route still says where the call went."""
    bundle = folder_in(tmp_path, redact_caller=True)("c-1")
    before = e.CallStarted(
        1.0, "c-0", "sip", "alice", "200", "desk", {"P-Asserted-Identity": "<sip:alice@example.com>"}
    )
    bundle.resumes([before])
    a_call(bundle)
    bundle.close()
    path = tmp_path / "calls" / "c-1"
    assert all(b"alice" not in file.read_bytes() for file in path.rglob("*") if file.is_file())
    assert read_bundle(path).meta.caller == "redacted"


def test_a_lost_recording_makes_the_bundle_incomplete(tmp_path: Path) -> None:
    """The media plane writes it, and tells by an event when it cannot."""
    bundle = folder_in(tmp_path)("c-1")
    bundle.event(STARTED)
    bundle.event(e.RecordingFailed(6.0, "c-1", "No space left on device"))
    bundle.close()
    meta = read_bundle(tmp_path / "calls" / "c-1").meta
    assert (meta.complete, meta.lost) == (False, ("call.wav: No space left on device",))


def test_equal_audio_is_stored_once(tmp_path: Path) -> None:
    """A question asked five times costs its samples once."""
    bundle = folder_in(tmp_path)("c-1")
    for _ in range(5):
        a_call(bundle)
    assert len(list((tmp_path / "calls" / "c-1" / layout.SPEECH).iterdir())) == 1


def test_the_spool_finishes_what_was_put(tmp_path: Path) -> None:
    """With the writing thread too, closing the folder means that everything is on disk."""
    folder = folder_in(tmp_path, spool=ThreadSpool())
    bundle = folder("c-1")
    a_call(bundle)
    bundle.close()
    folder.close()
    assert read_bundle(tmp_path / "calls" / "c-1").meta.complete


def test_a_disk_that_hangs_makes_nobody_wait() -> None:
    """When too much waits for the disk, further work is refused at once, and its owner told."""
    spool = ThreadSpool(max_waiting=1)
    lost: list[str] = []
    import threading

    gate, reached = threading.Event(), threading.Event()

    def hang() -> None:
        reached.set()
        gate.wait(10)

    spool.put(hang, lost.append)
    assert reached.wait(10)
    spool.put(lambda: None, lost.append)
    spool.put(lambda: None, lost.append)
    assert lost == ["the disk is too slow"]
    gate.set()
    spool.close()


def test_packed_files_are_read_too(tmp_path: Path) -> None:
    """A bundle kept for years may be gzipped file by file."""
    bundle = folder_in(tmp_path)("c-1")
    a_call(bundle)
    bundle.close()
    path = tmp_path / "calls" / "c-1"
    for name in (layout.EVENTS, layout.PROVIDERS):
        plain = path / name
        plain.with_name(name + ".gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    assert read_bundle(path).events == (STARTED, ANSWERED, ENDED)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / layout.META).unlink(), r"c-1: not a bundle"),
        (lambda path: (path / layout.META).write_text("{"), r"meta\.json: damaged"),
        (lambda path: (path / layout.META).write_text("[1]"), r"meta\.json: damaged"),
        (lambda path: (path / layout.META).write_text('{"format": 99}'), r"meta\.json: bundle format 99"),
        (lambda path: (path / layout.EVENTS).unlink(), r"events\.jsonl: missing"),
        (lambda path: (path / layout.EVENTS).write_text(""), r"events\.jsonl: the bundle holds no events"),
        (lambda path: (path / layout.EVENTS).write_text('{"type":"Surprise"}\n'), r"events\.jsonl:1: "),
        (lambda path: (path / layout.EVENTS).write_text("x"), r"events\.jsonl:1: the last line is cut off"),
        (lambda path: (path / layout.PROVIDERS).write_bytes(b"\xff\n"), r"providers\.jsonl:1: "),
        (lambda path: (path / layout.TRACE).write_bytes(b"noise"), r"packets\.trace: not an RTP trace"),
    ],
)
def test_damage_is_named_with_its_place(tmp_path: Path, damage: object, message: str) -> None:
    """An operator sees which file is wrong, and in which line."""
    bundle = folder_in(tmp_path)("c-1")
    a_call(bundle)
    bundle.close()
    path = tmp_path / "calls" / "c-1"
    damage(path)  # type: ignore[operator]
    with pytest.raises(ConfigError, match=message):
        read_bundle(path)


def test_no_folder_is_no_bundle(tmp_path: Path) -> None:
    """A mistyped path is answered as such."""
    with pytest.raises(ConfigError, match="there is no such bundle"):
        read_bundle(tmp_path / "nothing")


def test_a_new_call_waits_for_a_hanging_disk_once_and_briefly(tmp_path: Path) -> None:
    """The first gives up its bundle after its patience, the next ones at once; when the disk answers, all is well."""
    import threading

    spool, gate = ThreadSpool(patience_s=0.01), threading.Event()

    def hang() -> None:
        gate.wait(10)

    assert spool.at_once(hang) == "the disk is too slow"
    folder = folder_in(tmp_path, spool=spool)
    unrecorded = folder("c-1")
    assert (unrecorded.recording, unrecorded.trace) == (None, None)
    assert not (tmp_path / "calls").exists()
    gate.set()
    assert spool._urgent is not None
    spool._urgent.join(10)
    patient = folder_in(tmp_path, spool=ThreadSpool(patience_s=10))("c-2")
    assert patient.recording is not None
    folder.close()
