"""The examples of docs/bots.md and of the README, installed as a package would be, do what the pages say."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from docs_pages import blocks, page

from gateway.app.config import GatewayConfig, provider
from gateway.core.loops import run_virtual
from gateway.core.speech import Expectation
from gateway.providers.load import build_agent, build_stt, build_tts, build_vad
from gateway.providers.wav import write_wav
from gateway.replay.run import ReplayOptions, replay_wav
from gateway.replay.stage import Live
from gateway.session.ports import CallerSaid, Context, Expect, Opened, Say

TEXT = page("docs/bots.md")
PLAN = next(text for text in blocks(TEXT, "yaml") if "parrot" in text)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The modules of the page, and the metadata that installing its pyproject.toml would leave."""
    folder = tmp_path_factory.mktemp("acme")
    for text in blocks(TEXT, "python"):
        name = text.splitlines()[0].removeprefix("# ")
        (folder / name).write_text(text)
    project = next(tomllib.loads(text)["project"] for text in blocks(TEXT, "toml") if "[project]" in text)
    info = folder / "acme_bots-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{kind} = {module}\n" for kind, module in of.items()) for group, of in groups]
    (info / "entry_points.txt").write_text("\n".join(lines))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    yield folder
    sys.path.remove(str(folder))
    for path in folder.glob("*.py"):
        sys.modules.pop(path.stem, None)


async def acts(agent: Any, prompted: Any, context: Context) -> list[Any]:
    return [act async for act in agent.respond(prompted, context)]


def test_the_agent_of_the_page_answers(package: Path) -> None:
    """Found by its entry point, with options as a table of the configuration names them."""
    table = next(tomllib.loads(text)["agents"]["polly"] for text in blocks(TEXT, "toml") if "agents." in text)
    kind = provider(table, "agents.polly")
    said = run_virtual(acts(build_agent(kind.kind, kind.options), Opened(), Context("c", "1", "2")))
    assert said[0] == Say("I am Polly the Second. Say something.")
    assert isinstance(said[-1], Expect)


def test_the_recogniser_of_the_page_hears(package: Path) -> None:
    """The first thing expected once there is enough audio, nothing for a noise."""

    async def hear(seconds: float) -> str:
        stream = await build_stt("acme", {"least_s": 0.4}).open(Expectation(phrases=("yes", "no")))
        await stream.feed(bytes(round(16000 * seconds)))
        return (await stream.finish()).text

    assert run_virtual(hear(0.1)) == ""
    assert run_virtual(hear(1.0)) == "yes"


def test_the_voice_of_the_page_beeps(package: Path) -> None:
    """A fifth of a second for each word, timed."""

    async def speak() -> list[Any]:
        return [chunk async for chunk in build_tts("beeps").speak("one two three")]

    chunks = run_virtual(speak())
    assert [chunk.words[0].text for chunk in chunks] == ["one", "two", "three"]
    assert sum(len(chunk.pcm) for chunk in chunks) == 3 * 2 * 3200


def test_the_detector_of_the_page_tells_loud_from_quiet(package: Path) -> None:
    """For several calls at once."""
    vad = build_vad("loud", slots=4)
    audio = np.stack([np.full(256, 0.3), np.zeros(256)]).astype(np.float32)
    probabilities = vad.probabilities(np.array([0, 3]), audio)
    assert probabilities.dtype == np.float32
    assert probabilities[0] > 0.9
    assert probabilities[1] == 0


def test_the_test_of_the_page_passes(package: Path) -> None:
    """As its reader would run it."""
    paths = os.pathsep.join([str(package), *(path for path in sys.path if path)])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_parrot.py"]
    ran = subprocess.run(command, cwd=package, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


def test_a_call_runs_with_all_of_them(package: Path, tmp_path: Path) -> None:
    """The page's dialplan, agent, recogniser and voice in one call: the caller is heard and answered."""
    (tmp_path / "plan.yaml").write_text(PLAN)
    noise = (np.random.default_rng(1).normal(0, 6000, 8000 * 2)).astype("<i2")
    silence = np.zeros(8000 * 5, "<i2")
    write_wav(tmp_path / "caller.wav", np.concatenate([silence, noise, silence]).tobytes(), 8000)
    live = Live(stt=("acme", {}), tts=("beeps", {}), vad="energy")
    options = ReplayOptions(route="bird", dialplan=tmp_path / "plan.yaml", live=live)
    replayed = replay_wav(tmp_path / "caller.wav", options)
    assert b"Say something." in replayed.log
    assert b"You said hello." in replayed.log


def test_the_agent_of_the_readme_answers() -> None:
    """Shorter, without options."""
    (text,) = blocks(page("README.md"), "python")
    scope: dict[str, Any] = {}
    exec(compile(text, "README.md", "exec"), scope)
    said = run_virtual(acts(scope["build"]({}), CallerSaid("hello"), Context("c", "1", "2")))
    assert said[0] == Say("You said hello.")


def test_the_kinds_the_page_names_are_configured_as_it_says() -> None:
    """`[stt]`, `[tts]`, `[vad]`, `[turn]`, `[noise]` and `[agents.NAME]` are tables of the configuration."""
    assert {"stt", "tts", "vad", "turn", "noise", "agents"} <= set(GatewayConfig.__struct_fields__)
