"""What the configuration says of the media is what the media workers are told, and what bundles keep for a replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from gateway.app import gateway as house
from gateway.app.config import Media, load
from gateway.media.io import MediaPool
from gateway.media.options import PlaneOptions
from gateway.media.wire import Guest
from gateway.replay.bundle import BundleFolder
from gateway.replay.layout import MediaSetup


class Built(NamedTuple):
    pool: dict[str, Any]
    """What the pool was built with."""
    setup: MediaSetup
    """What bundles keep."""


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Builds a whole gateway of a configuration's text, beside scripted providers; nothing is started."""

    def built(text: str) -> Built:
        pools: list[dict[str, Any]] = []
        setups: list[MediaSetup] = []

        def pool(**given: Any) -> MediaPool:
            pools.append(given)
            return MediaPool(**given)

        def folder(*where: Any, **given: Any) -> BundleFolder:
            setups.append(given["media"])
            return BundleFolder(*where, **given)

        monkeypatch.setattr(house, "MediaPool", pool)
        monkeypatch.setattr(house, "BundleFolder", folder)
        path = tmp_path / "gateway.toml"
        path.write_text(f'{text}\n[stt]\nkind = "scripted"\n[tts]\nkind = "scripted"\n')
        house.Gateway(load(path, {}, {"store": "memory:", "data": str(tmp_path / "data")}))
        ((given,), (setup,)) = pools, setups
        return Built(given, setup)

    return built


def other(default: object) -> object:
    """A value of the same type that is not the default."""
    if isinstance(default, bool):
        return not default
    assert isinstance(default, int | float), f"say here what else than {default!r} it could be"
    return default + 1


@pytest.mark.parametrize("name", Media.__struct_fields__)
def test_every_setting_of_the_media_reaches_the_workers(build: Any, name: str) -> None:
    """Whether it is the plane's or the pool's; and none of them another's place."""
    usual, changed = Media(), other(getattr(Media(), name))
    assert changed != getattr(usual, name)
    built = build(f"[media]\n{name} = {msgspec.json.encode(changed).decode()}")
    expected = {field: changed if field == name else getattr(usual, field) for field in Media.__struct_fields__}
    told = {**msgspec.structs.asdict(built.pool["options"]), **built.pool}
    assert {field: told[field] for field in expected} == expected


@pytest.mark.parametrize("name", sorted({*Media.__struct_fields__} & {*PlaneOptions.__struct_fields__}))
def test_a_replay_hears_with_the_settings_of_the_call(build: Any, name: str) -> None:
    """All that the plane was told; else it would hear other words."""
    built = build(f"[media]\n{name} = {msgspec.json.encode(other(getattr(Media(), name))).decode()}")
    assert getattr(built.setup.plane, name) == other(getattr(Media(), name))
    assert built.setup.plane == built.pool["options"]


def test_the_settings_beside_the_table_reach_the_workers_too(build: Any) -> None:
    """How many, where, on which ports, and who detects speech and suppresses noise."""
    built = build(
        'bind = "127.0.0.2"\nrtp_ports = "30000-30099"\nmedia_workers = 2\n'
        '[vad]\nkind = "energy"\nabove_floor_db = 9\n[noise]\nkind = "spectral"\n'
    )
    pool = built.pool
    assert (pool["workers"], pool["bind"], pool["rtp_ports"]) == (2, "127.0.0.2", (30000, 30099))
    assert (pool["vad"], pool["noise"]) == (Guest("energy", {"above_floor_db": 9}), Guest("spectral"))
    assert (built.setup.vad, built.setup.noise) == (("energy", {"above_floor_db": 9}), ("spectral", {}))


def test_no_noise_is_suppressed_unless_the_configuration_says_so(build: Any) -> None:
    """Neither live nor in a replay."""
    built = build("")
    assert (built.pool["noise"], built.setup.noise) == (None, None)
    assert (built.pool["vad"], built.setup.vad) == (Guest("silero"), ("silero", {}))
