"""Whole calls replayed: through the real desk, dialplan, conversation and media plane, to the byte."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from gateway.call.ports import Incoming
from gateway.core import events as e
from gateway.core.errors import ConfigError
from gateway.media import rtp
from gateway.media.options import PlaneOptions
from gateway.media.opus_library import OpusEncoder
from gateway.media.plane import MediaPlane, Received, Tick
from gateway.providers.load import build_tts
from gateway.replay import cli, layout, run
from gateway.replay.audio import wav
from gateway.replay.bundle import BundleFolder, encode_meta
from gateway.replay.far_side import FarSide, Interruption
from gateway.replay.keep import keep
from gateway.replay.reading import read_bundle
from gateway.replay.run import Replayed, ReplayOptions, replay_bundle, replay_wav
from gateway.replay.spool import InlineSpool

REPOSITORY = Path(__file__).parents[2]
DIALPLAN = """
default: order
flows:
  order:
    greeting: Hello.
    slots:
      drink:
        choices: {tea: [tea, a tea], coffee: [coffee, a coffee]}
    nodes:
      drink: {ask: "What would you like, tea or coffee?"}
      done: {finish: ordered, say: "Thank you."}
routes:
  order:
    steps:
      - answer
      - bot: order
"""


async def _synthesised(text: str) -> bytes:
    voice = build_tts("flite", {"inline": True, "voice": "rms"})
    return b"".join([chunk.pcm async for chunk in voice.speak(text)])


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a caller's WAV, a dialplan, and the bundle of the one played to the other."""
    folder = tmp_path_factory.mktemp("calls")
    speech = asyncio.run(_synthesised("coffee please"))
    (folder / "caller.wav").write_bytes(wav(bytes(32000 * 4) + speech + bytes(32000 * 2), 16000))
    (folder / "plan.yaml").write_text(DIALPLAN)
    replay_wav(folder / "caller.wav", ReplayOptions(dialplan=folder / "plan.yaml", out=folder / "bundle"))
    return folder


@pytest.fixture
def bundle(calls: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(calls / "bundle", tmp_path / "bundle"))


def outcome(replayed: Replayed) -> tuple[str, dict[str, object]] | None:
    done = [event for event in replayed.events if isinstance(event, e.DialogueCompleted)]
    return (done[0].outcome, dict(done[0].data)) if done else None


def test_a_recording_holds_a_whole_dialogue_with_the_bot(calls: Path) -> None:
    """A WAV is a caller: heard by the recogniser, understood by the flow, answered by the voice, many times faster
    than it takes, and the same to the byte every time."""
    options = ReplayOptions(dialplan=calls / "plan.yaml")
    first = replay_wav(calls / "caller.wav", options)
    assert outcome(first) == ("ordered", {"drink": "coffee"})
    assert first.speed > 5
    again = replay_wav(calls / "caller.wav", options)
    assert (again.log, again.wav) == (first.log, first.wav)
    assert len(first.wav) > 44 + 32000 * 5


def test_a_bundle_replays_exactly_as_it_was(calls: Path) -> None:
    """What a replay leaves is a bundle, and its replay is the same call: nothing is asked that it cannot answer."""
    recorded = read_bundle(calls / "bundle")
    replayed = replay_bundle(recorded)
    difference = cli.against(recorded, replayed, tolerance_s=0)
    assert difference.same, difference.render()
    assert replayed.wav == (calls / "bundle" / layout.RECORDING).read_bytes()
    assert replayed.unanswered == ()


def test_ticks_that_never_came_do_not_come_in_the_replay(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine that is too busy a plane leaves ticks out: the bot waits, the caller's words are cut up, and what
    came meanwhile comes at once. The replay does the same at the same moments, and gives the same bytes."""
    stalls = [*range(40, 55), *range(150, 201), *range(207, 217), *range(300, 312), *range(320, 331), *range(332, 350)]
    ticks, waiting, tick = iter(range(100_000)), list[Received](), MediaPlane.tick

    def too_busy(plane: MediaPlane, now: float, received: Sequence[Received]) -> Tick:
        waiting.extend(received)
        if next(ticks) in stalls:
            return Tick([], [])
        taken = waiting.copy()
        waiting.clear()
        return tick(plane, now, taken)

    monkeypatch.setattr(MediaPlane, "tick", too_busy)
    options = ReplayOptions(dialplan=calls / "plan.yaml", out=tmp_path / "busy")
    busy = replay_wav(calls / "caller.wav", options)
    monkeypatch.undo()
    recorded = read_bundle(tmp_path / "busy")
    assert sum(one.ticks for one in recorded.left_out) == len(stalls)
    replayed = replay_bundle(recorded, ReplayOptions(out=tmp_path / "again"))
    difference = cli.against(recorded, replayed, tolerance_s=0)
    assert difference.same, difference.render()
    assert replayed.wav == busy.wav
    traces = [(tmp_path / name / layout.TRACE).read_bytes() for name in ("busy", "again")]
    assert traces[0] == traces[1]


def test_a_call_whose_media_process_died_goes_on_and_so_does_its_replay(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once in the bot's words, which go on with none lost, and once in the caller's: the call reaches its end. Its
    bundle says when there was no audio, holds the traces of all three processes, and replays to the same bytes."""
    breaks, talking = ((1.5, 1.8), (4.96, 5.26)), run.talking

    def interrupted(*told: Any, **options: Any) -> FarSide:
        return msgspec.structs.replace(
            talking(*told, **options), interruptions=tuple(Interruption(*one) for one in breaks)
        )

    monkeypatch.setattr(run, "talking", interrupted)
    broken = replay_wav(calls / "caller.wav", ReplayOptions(dialplan=calls / "plan.yaml", out=tmp_path / "broken"))
    monkeypatch.undo()
    assert outcome(broken) == ("ordered", {"drink": "coffee"})
    told = [event for event in broken.events if isinstance(event, e.AudioInterrupted)]
    assert [(round(event.at, 3), round(event.for_s, 3)) for event in told] == [(1.8, 0.3), (5.26, 0.3)]
    played = [event for event in broken.events if isinstance(event, e.UtterancePlayed)]
    assert [event.heard for event in played][:2] == ["Hello.", "What would you like, tea or coffee?"]
    assert all(event.complete for event in played)
    sound = np.frombuffer(broken.wav[44:], "<i2").reshape(-1, 2)
    assert [bool(sound[round(8000 * lost) + 160 : round(8000 * found)].any()) for lost, found in breaks] == [False] * 2
    recorded = read_bundle(tmp_path / "broken")
    replayed = replay_bundle(recorded, ReplayOptions(out=tmp_path / "again"))
    difference = cli.against(recorded, replayed, tolerance_s=0)
    assert difference.same, difference.render()
    assert replayed.wav == broken.wav
    names = [layout.TRACE, "packets.2.trace", "packets.3.trace"]
    assert layout.traces(tmp_path / "broken") == layout.traces(tmp_path / "again") == names
    for name in names:
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    keep(tmp_path / "broken", tmp_path / "kept")
    assert read_bundle(tmp_path / "kept").datagrams == recorded.datagrams
    assert cli.main([str(tmp_path / "kept"), "--update"]) == 0
    assert cli.main([str(tmp_path / "kept")]) == 0


@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_browsers_call_replays_at_the_rate_of_its_recording(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int
) -> None:
    """Of whichever rate: those of before browsers were heard in wideband as they were then, in narrowband. The caller
    is understood, the recording is of that rate, and each replay gives the same bytes as the one before."""

    def browser(pcm: bytes, incoming: Incoming, *told: Any, **options: Any) -> FarSide:
        caller = (calls / "caller.wav").read_bytes()[44:] if rate == 16000 else pcm
        caller += bytes(4 * rate)
        frames = tuple(caller[k : k + rate // 25] for k in range(0, len(caller) - rate // 25, rate // 25))
        return FarSide(incoming, codec="opus", frames=frames, hangs_up_s=len(frames) * 0.02)

    monkeypatch.setattr(run, "talking", browser)
    first = replay_wav(calls / "caller.wav", ReplayOptions(dialplan=calls / "plan.yaml", out=tmp_path / "first"))
    monkeypatch.undo()
    assert outcome(first) == ("ordered", {"drink": "coffee"})
    assert int.from_bytes(first.wav[24:28], "little") == rate
    recorded = read_bundle(tmp_path / "first")
    assert recorded.datagrams == ()
    # The jitter buffer's tick passes a second time.
    again = replay_bundle(recorded, ReplayOptions(out=tmp_path / "again"))
    difference = cli.against(recorded, again, tolerance_s=0.08)
    assert difference.same, difference.render()
    assert len(again.wav) == pytest.approx(len(first.wav), abs=rate)
    once_more = replay_bundle(recorded)
    assert (once_more.log, once_more.wav) == (again.log, again.wav)
    keep(tmp_path / "again", tmp_path / "kept")
    assert cli.main([str(tmp_path / "kept"), "--update"]) == 0
    assert cli.main([str(tmp_path / "kept")]) == 0


def test_what_was_lost_of_opus_is_recovered_alike_in_the_replay(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every seventh packet never comes, and twice in a row now and then: the caller is understood, and each replay of
    the call's trace gives the same sound and events."""

    def phone(*told: Any, **options: Any) -> FarSide:
        side, coder = talking(*told, **options), OpusEncoder(loss_percent=20)
        pcm = np.frombuffer((calls / "caller.wav").read_bytes()[44:], "<i2")
        coded = [coder.encode(pcm[k : k + 320]) for k in range(0, len(pcm) - 319, 320)]
        came = [
            one._replace(data=rtp.build(rtp.RtpPacket(107, k, 960 * k, 7, payload)))
            for k, (one, payload) in enumerate(zip(side.datagrams, coded, strict=False))
            if k % 7 and k % 50 != 1
        ]
        return msgspec.structs.replace(side, codec="opus", payload_type=107, datagrams=tuple(came))

    talking = run.talking
    monkeypatch.setattr(run, "talking", phone)
    first = replay_wav(calls / "caller.wav", ReplayOptions(dialplan=calls / "plan.yaml", out=tmp_path / "first"))
    monkeypatch.undo()
    assert outcome(first) == ("ordered", {"drink": "coffee"})
    recorded = read_bundle(tmp_path / "first")
    again = replay_bundle(recorded)
    difference = cli.against(recorded, again, tolerance_s=0)
    assert difference.same, difference.render()
    assert again.wav == first.wav
    once_more = replay_bundle(recorded)
    assert (once_more.log, once_more.wav) == (again.log, again.wav)


def test_a_stored_prompt_is_as_wide_in_the_replay_as_it_was(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle's dialplan names a file that only the bundle has: 6 kHz of it, where it is held at 16 kHz, are in the
    replay's recording. A kept bundle has the 8 kHz."""
    t = np.arange(16000) / 16000
    both = np.rint(5000 * (np.sin(2 * np.pi * 1000 * t) + np.sin(2 * np.pi * 6000 * t))).astype("<i2")
    low = np.rint(5000 * np.sin(2 * np.pi * 1000 * t[::2])).astype("<i2")
    (tmp_path / "tone.wav").write_bytes(wav(low.tobytes(), 8000))
    (tmp_path / "plan.yaml").write_text("default: d\nroutes: {d: {steps: [answer, play: tone.wav, wait: 1s]}}\n")
    frames = tuple([bytes(640)] * 200)
    monkeypatch.setattr(run, "talking", lambda pcm, incoming, *_, **__: FarSide(incoming, "opus", frames=frames))
    options = ReplayOptions(dialplan=tmp_path / "plan.yaml", out=tmp_path / "call")
    first = replay_wav(calls / "caller.wav", options)

    notes = BundleFolder(tmp_path / "notes", spool=InlineSpool())("c-1")
    notes.play_through(lambda name: both.tobytes(), 16000)(str(tmp_path / "tone.wav"))
    notes.close()
    answers = tmp_path / "call" / layout.PROVIDERS
    narrow = [line for line in answers.read_bytes().splitlines(keepends=True) if b'"sample_rate":8000' in line]
    answers.write_bytes(b"".join(narrow) + (tmp_path / "notes" / "c-1" / layout.PROVIDERS).read_bytes())
    (tmp_path / "tone.wav").unlink()  # who replays may not have it
    (told,) = (tmp_path / "notes" / "c-1" / layout.SPEECH).iterdir()
    shutil.copy(told, tmp_path / "call" / layout.SPEECH / told.name)
    again = replay_bundle(tmp_path / "call", ReplayOptions(out=tmp_path / "again"))
    keep(tmp_path / "again", tmp_path / "kept")
    kept = replay_bundle(tmp_path / "kept")
    for replayed, upper in ((first, 0.0), (again, 5000.0), (kept, 0.0)):
        bot = np.frombuffer(replayed.wav[44:], "<i2")[1::2]
        begins = int(np.flatnonzero(bot)[0]) + 4000
        levels = [2 * abs(np.mean(bot[begins:][:8000] * np.exp(-2j * np.pi * hz * t[:8000]))) for hz in (1000, 6000)]
        assert levels == [pytest.approx(5000, rel=0.1), pytest.approx(upper, rel=0.1, abs=50)]
        assert cli.against(read_bundle(tmp_path / "call"), replayed, tolerance_s=0.08).same
    assert cli.main([str(tmp_path / "kept"), "--update"]) == 0
    assert cli.main([str(tmp_path / "kept")]) == 0


# What numpy and OpenBLAS do on a processor of 2008.
OLD_PROCESSOR = {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"}


def test_the_bytes_do_not_depend_on_the_process(calls: Path, tmp_path: Path) -> None:
    """Another interpreter, hash seed and processor write the same events and the same sound."""
    digests = set()
    for seed, processor in (("1", {}), ("4711", OLD_PROCESSOR)):
        out = tmp_path / seed
        command = [sys.executable, "-m", "gateway.replay", str(calls / "bundle"), "--out", str(out)]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": f"UTC{seed[0]}", **processor}
        subprocess.run(command, check=True, capture_output=True, cwd=REPOSITORY, env=environment, timeout=60)
        files = [(out / name).read_bytes() for name in (layout.EVENTS, layout.RECORDING, layout.TRACE)]
        digests.add(hashlib.sha256(b"".join(files)).hexdigest())
    assert len(digests) == 1


def test_the_command_says_same_or_different(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0 and 1, the timeline, the speed, and the difference where the call went another way."""
    assert cli.main([str(bundle)]) == 0
    printed = capsys.readouterr().out
    assert 'UserTurnEnded "coffee' in printed
    assert "times real time" in printed
    assert printed.splitlines()[-1].endswith("events, all the same")
    log = bundle / layout.EVENTS
    log.write_text(log.read_text().replace('"coffee', '"tea'))
    assert cli.main([str(bundle), "--speed", "report"]) == 1
    printed = capsys.readouterr().out
    assert '- UserTurnEnded "tea' in printed
    assert '+ UserTurnEnded "coffee' in printed
    assert "CallStarted" not in printed


def test_what_happens_now_can_be_accepted(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--update` makes it the golden call, which is then compared with no tolerance at all."""
    log = bundle / layout.EVENTS
    log.write_text(log.read_text().replace('"coffee', '"tea'))
    assert cli.main([str(bundle)]) == 1
    assert cli.main([str(bundle), "--update"]) == 0
    assert cli.main([str(bundle)]) == 0
    assert read_bundle(bundle).meta.exact
    assert "within" not in capsys.readouterr().out.splitlines()[-1]


def test_a_kept_bundle_is_small_and_the_same_call(calls: Path, tmp_path: Path) -> None:
    """Small enough for a repository; the conversation is the same to the microsecond."""
    keep(calls / "bundle", tmp_path / "kept")
    size = sum(file.stat().st_size for file in (tmp_path / "kept").rglob("*") if file.is_file())
    assert size < 150_000
    recorded = read_bundle(tmp_path / "kept")
    difference = cli.against(recorded, replay_bundle(recorded), tolerance_s=0)
    assert difference.same, difference.render()
    with pytest.raises(ConfigError, match="already"):
        keep(calls / "bundle", tmp_path / "kept")


def test_a_changed_dialplan_meets_the_recorded_caller(calls: Path, bundle: Path, tmp_path: Path) -> None:
    """The caller says the same; the new question has no recorded voice, which is said, and the live one speaks it."""
    (tmp_path / "new.yaml").write_text(DIALPLAN.replace("tea or coffee?", "coffee or tea?"))
    options = ReplayOptions(dialplan=tmp_path / "new.yaml", answers="recorded-then-live")
    replayed = replay_bundle(bundle, options)
    assert [what for _, what in replayed.unanswered] == ['"What would you like, coffee or tea?" was to be spoken']
    assert outcome(replayed) == ("ordered", {"drink": "coffee"})
    assert not cli.against(read_bundle(bundle), replayed).same


def test_a_new_text_is_spoken_and_kept_when_it_is_accepted(calls: Path, tmp_path: Path) -> None:
    """`--update` after the dialplan changed: a live voice speaks what is new; the bundle can say it then."""
    keep(calls / "bundle", tmp_path / "kept")
    plan = tmp_path / "kept" / layout.DIALPLAN / "plan.yaml"
    plan.write_text(plan.read_text().replace("Hello.", "Good morning."))
    assert cli.main([str(tmp_path / "kept")]) == 1
    assert cli.main([str(tmp_path / "kept"), "--update"]) == 0
    assert cli.main([str(tmp_path / "kept")]) == 0


def test_without_a_live_voice_a_new_text_fails_audibly(bundle: Path) -> None:
    """By default nothing but the bundle answers; the difference says what was asked in vain."""
    plan = bundle / layout.DIALPLAN / "plan.yaml"
    plan.write_text(plan.read_text().replace("Hello.", "Good morning."))
    recorded = read_bundle(bundle)
    replayed = replay_bundle(recorded)
    assert replayed.unanswered[0][1] == '"Good morning." was to be spoken'
    assert '! "Good morning." was to be spoken' in cli.against(recorded, replayed).render()


def test_a_call_that_went_on_with_a_session_does_so_again(bundle: Path) -> None:
    """The bundle brings along what the session held: the replay is greeted as a return, with the slots kept."""
    recorded = read_bundle(bundle)
    cut = next(index for index, event in enumerate(recorded.events) if isinstance(event, e.UserTurnEnded))
    session = next(event.session for event in recorded.events if isinstance(event, e.SessionStarted))
    before = b"".join(e.encode(event) + b"\n" for event in recorded.events[:cut])
    (bundle / layout.SESSION).write_bytes(before)
    resumed = e.SessionResumed(0.0, recorded.meta.call, session, "order/1:bot", 120.0)
    events = [resumed if isinstance(event, e.SessionStarted) else event for event in recorded.events]
    (bundle / layout.EVENTS).write_bytes(b"".join(e.encode(event) + b"\n" for event in events))
    replayed = replay_bundle(bundle, ReplayOptions(answers="live"))
    again = next(event for event in replayed.events if isinstance(event, e.SessionResumed))
    assert (again.session, again.step, again.away_s) == (session, "order/1:bot", pytest.approx(120.0))


def test_a_call_with_a_text_replays_exactly_as_it_was(bundle: Path, tmp_path: Path) -> None:
    """A caller who writes before speaking is understood by what was written, at the same moment every time."""
    recorded = read_bundle(bundle)
    asked = max(event.at for event in recorded.events if isinstance(event, e.UtteranceStarted) and event.clip <= 2)
    events = sorted((*recorded.events, e.TextReceived(asked + 0.5, recorded.meta.call, "tea please")), key=_at)
    (bundle / layout.EVENTS).write_bytes(b"".join(e.encode(event) + b"\n" for event in events))
    written = replay_bundle(bundle, ReplayOptions(out=tmp_path / "written"))
    assert outcome(written) == ("ordered", {"drink": "tea"})
    assert [event.by for event in written.events if isinstance(event, e.BargedIn)] == ["text"]
    again = read_bundle(tmp_path / "written")
    replayed = replay_bundle(again)
    difference = cli.against(again, replayed, tolerance_s=0)
    assert difference.same, difference.render()
    assert replayed.wav == written.wav
    assert replay_bundle(again).log == replayed.log


def test_a_text_answers_the_questions_of_a_dialplan(bundle: Path, tmp_path: Path) -> None:
    """A written "1" is the key of a menu, and words are kept by a `gather` as spoken ones are."""
    (tmp_path / "menu.yaml").write_text(
        "default: ask\nroutes:\n  ask:\n    steps:\n      - answer\n"
        "      - gather: {say: The day please., into: day, phrases: [monday, tuesday]}\n"
        "      - menu: {say: Press one., choices: [{digits: '1', then: chosen}]}\n"
        "  chosen:\n    steps: [{say: Thank you.}, hangup]\n"
    )
    recorded = read_bundle(bundle)
    opened = next(event.at for event in recorded.events if isinstance(event, e.CallAnswered))
    written = [e.TextReceived(opened + at, "c", text) for at, text in ((0.5, "on tuesday!"), (1.5, "1"))]
    events = sorted((*recorded.events, *written), key=_at)
    (bundle / layout.EVENTS).write_bytes(b"".join(e.encode(event) + b"\n" for event in events))
    replayed = replay_bundle(bundle, ReplayOptions(dialplan=tmp_path / "menu.yaml", answers="live"))
    turns = [(event.text, event.digits) for event in replayed.events if isinstance(event, e.UserTurnEnded)]
    assert turns == [("on tuesday!", ""), ("", "1")]
    assert [event.value for event in replayed.events if isinstance(event, e.VariableSet)] == ["tuesday"]
    assert "chosen" in [event.step.partition("/")[0] for event in replayed.events if isinstance(event, e.StepEntered)]


def _at(event: e.AnyEvent) -> float:
    return event.at


def test_a_browsers_call_replays_from_its_recording(bundle: Path) -> None:
    """It has no packets; what the bot heard is in the recording's left channel, and goes in without RTP."""
    (bundle / layout.TRACE).unlink()
    replayed = replay_bundle(bundle)
    assert outcome(replayed) == ("ordered", {"drink": "coffee"})
    difference = cli.against(read_bundle(bundle), replayed)
    assert difference.same, difference.render()


def test_a_wrong_route_or_folder_is_named(bundle: Path, calls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 and a line that says what there is."""
    assert cli.main([str(bundle), "--route", "nowhere"]) == 2
    assert "no route `nowhere`; there are order" in capsys.readouterr().err
    assert cli.main([str(calls / "none.wav")]) == 2
    assert cli.main([str(calls / "caller.wav")]) == 2
    assert "needs a dialplan to talk to" in capsys.readouterr().err
    assert cli.main([str(bundle), "--out", str(calls)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_settings_of_another_gateway_are_named(bundle: Path) -> None:
    """A bundle whose settings mean nothing here is refused, not replayed with others."""
    meta = read_bundle(bundle).meta
    meta.settings["conversation"]["loudness"] = 11
    (bundle / layout.META).write_bytes(encode_meta(meta))
    with pytest.raises(ConfigError, match=r"meta\.json: settings of another gateway.*loudness"):
        replay_bundle(bundle)


def test_the_caller_is_heard_as_the_recorded_gateway_heard(bundle: Path, tmp_path: Path) -> None:
    """Echo guard, detector and noise suppression are the bundle's, not this gateway's, and are kept with it."""
    meta = read_bundle(bundle).meta
    deaf = layout.MediaSetup(PlaneOptions(echo_guard=False), vad=("none", {}), noise=("spectral", {}))
    (bundle / layout.META).write_bytes(encode_meta(msgspec.structs.replace(meta, media=deaf)))
    replayed = replay_bundle(bundle, ReplayOptions(out=tmp_path / "again"))
    assert not [event for event in replayed.events if isinstance(event, e.SpeechBegan)]
    assert read_bundle(tmp_path / "again").meta.media == deaf


def test_a_folder_of_bundles_is_a_test_suite(calls: Path, bundle: Path) -> None:
    """Each bundle is a test named by its folder, its failure text the difference; `--update-bundles` accepts."""
    shutil.copytree(calls / "bundle", bundle.parent / "suite" / "fine")
    spoiled = Path(shutil.move(bundle, bundle.parent / "suite" / "spoiled"))
    log = spoiled / layout.EVENTS
    log.write_text(log.read_text().replace('"coffee', '"tea'))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "gateway.replay.pytest_plugin",
               "--rootdir", str(spoiled.parent), str(spoiled.parent)]  # fmt: skip
    # Only the plugin that is named: those that happen to be installed take half of the time.
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

    def suite(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *more], capture_output=True, text=True, cwd=spoiled.parent, env=environment, timeout=100
        )

    failed = suite()
    assert "1 failed, 1 passed" in failed.stdout
    assert "spoiled is another call now" in failed.stdout
    assert '+ UserTurnEnded "coffee' in failed.stdout
    assert suite("--update-bundles").returncode == 0
    assert suite().returncode == 0


TRANSFERRING = """
default: desk
routes:
  desk:
    steps:
      - transfer: {to: "100", mode: attended, ring: 2s, otherwise: [{say: Nobody there.}]}
"""


def test_a_transfer_is_replayed_without_those_who_took_part(calls: Path, tmp_path: Path) -> None:
    """What they told then is told again, not before they are asked; what the gateway makes of it, it makes anew."""
    (tmp_path / "plan.yaml").write_text(TRANSFERRING)
    options = ReplayOptions(dialplan=tmp_path / "plan.yaml", out=tmp_path / "bundle")
    unanswered = replay_wav(calls / "caller.wav", options)
    (ended,) = [event for event in unanswered.events if isinstance(event, e.TransferEnded)]
    assert ended.outcome == "no_answer"
    recorded = read_bundle(tmp_path / "bundle")
    assert cli.against(recorded, replay_bundle(recorded), tolerance_s=0).same
    begun = next(k for k, event in enumerate(recorded.events) if isinstance(event, e.TransferStarted))
    at, call = recorded.events[begun].at, recorded.events[begun].call
    news = (
        e.TransferProgressed(at - 0.001, call, "target", 180),
        e.TransferProgressed(at + 0.5, call, "target", 200),
        e.TransferProgressed(at + 0.9, call, "referred", 100),
        e.TransferProgressed(at + 1.0, call, "referred", 200),
    )
    connected = replay_bundle(msgspec.structs.replace(recorded, events=(*recorded.events[: begun + 1], *news)))
    told = [event.status for event in connected.events if isinstance(event, e.TransferProgressed)]
    assert told == [180, 200, 100, 200]
    last = connected.events[-1]
    assert isinstance(last, e.CallEnded)
    assert (last.reason, last.by) == ("transferred", "bot")
