"""From `kind` to a provider: what can be written, and what is said when it cannot."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from types import ModuleType

import msgspec
import pytest

from gateway.core.errors import ConfigError
from gateway.providers import load
from gateway.providers.agent.echo import EchoAgent
from gateway.providers.load import build, build_agent, build_stt, build_tts, build_vad, kinds


def test_every_room_lists_its_kinds() -> None:
    """A file with a `build` is a kind; helpers beside it are not."""
    assert kinds("tts") == ["flite", "prompts", "scripted"]
    assert kinds("stt") == ["pocketsphinx", "scripted"]
    assert {"echo", "flow", "scripted", "webhook"} <= {*kinds("agent")}


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("flit", "no tts provider `flit`; did you mean `flite`? (kinds: flite, prompts, scripted)"),
        ("acme", "no tts provider `acme`; kinds: flite, prompts, scripted"),
        ("cache", "no tts provider `cache`; kinds:"),
        ("../flite", "no tts provider `../flite`;"),
        ("", "no tts provider ``;"),
    ],
)
def test_an_unknown_kind_is_answered_with_those_there_are(kind: str, complaint: str) -> None:
    """Helpers of the room and paths are no kinds either."""
    with pytest.raises(ConfigError) as caught:
        build_tts(kind, {})
    assert str(caught.value).startswith(complaint)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"voise": "slt"}, "tts flite: no option `voise`; did you mean `voice`? (options: "),
        ({"voice": "bob"}, "tts flite: option `voice`: invalid enum value 'bob'"),
        ({"pace": 9}, "tts flite: option `pace`: expected `float` <= 2.0"),
        ({"processes": "two"}, "tts flite: option `processes`: expected `int`, got `str`"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], complaint: str) -> None:
    """Unknown, out of range or of the wrong type: room, kind and option are in the message."""
    with pytest.raises(ConfigError) as caught:
        build_tts("flite", options)
    assert str(caught.value).startswith(complaint)


def test_options_may_come_as_text() -> None:
    """The environment knows only text."""
    assert build_vad("energy", {"above_floor_db": "9.5"}, slots=2).window == 256


def test_a_pronunciation_with_a_wrong_phone_is_refused_at_the_start() -> None:
    """Not at the first call that would need it."""
    with pytest.raises(ConfigError, match="pronunciation of `Nguyen`: WX is no phone"):
        build_stt("pocketsphinx", {"pronunciations": {"Nguyen": "WX IH N"}})


def _offer(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    def offered(*, group: str) -> list[EntryPoint]:
        return [EntryPoint("acme", value, group)] if group == "voicebot_gateway.agent" else []

    monkeypatch.setattr(load, "entry_points", offered)


def test_another_package_offers_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point names a module of the same form as ours."""
    _offer(monkeypatch, "gateway.providers.agent.echo")
    assert "acme" in kinds("agent")
    assert isinstance(build_agent("acme", {"greeting": "Hi."}), EchoAgent)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("nowhere.to.be.found", "agent provider `acme` cannot be loaded: No module named 'nowhere'; install it: pip"),
        ("gateway.providers.wav", "must name a module with `build`"),
        ("gateway.providers.agent.echo:EchoAgent", "must name a module with `build`"),
    ],
)
def test_an_offer_that_cannot_be_taken_says_why(monkeypatch: pytest.MonkeyPatch, value: str, complaint: str) -> None:
    """A package that is not installed, or one that points at something else."""
    _offer(monkeypatch, value)
    with pytest.raises(ConfigError) as caught:
        build_agent("acme")
    assert complaint in str(caught.value)


def test_a_provider_without_options_gets_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortest provider is a file with a function."""
    module = ModuleType("shortest")
    module.build = dict  # type: ignore[attr-defined]
    monkeypatch.setattr(load, "_find", lambda room, kind: module)
    assert build("agent", "shortest", {"anything": 1}) == {"anything": 1}


def test_every_option_of_every_provider_has_a_default_or_is_refused_by_name() -> None:
    """Left out, a needed option is named, and not with a traceback."""
    with pytest.raises(ConfigError, match=r"tts prompts: .*`directory`"):
        build_tts("prompts", {})
    for room in ("stt", "tts", "agent", "turn"):
        for kind in kinds(room):  # type: ignore[arg-type]
            module = load._find(room, kind)  # type: ignore[arg-type]
            assert issubclass(module.Options, msgspec.Struct)
