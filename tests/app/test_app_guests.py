"""Detectors and suppressors of one file each reach the media workers by configuration alone."""

import asyncio
from pathlib import Path

import pytest

from gateway.app.config import GatewayConfig
from gateway.app.gateway import Gateway
from gateway.core.clock import SystemClock
from gateway.core.errors import ConfigError
from gateway.media.commands import CloseLeg, LegClosed, LegOpened, OpenLeg
from gateway.media.io import MediaPool
from gateway.media.ports import Said
from gateway.media.wire import Guest

SUPPRESSOR = '''
"""`kind: acme`"""

import sys


class Acme:
    def __init__(self, slots):
        open({marker!r}, "a").write(f"{{slots}}\\n")

    def clean(self, rows, audio):
        return audio * 0.5

    def reset(self, rows):
        pass


def build_noise(kind, options, *, slots):
    assert kind == "acme", kind
    return Acme(slots)


def build_vad(kind, options, *, slots):
    from gateway.providers.load import build_vad as build

    return build(kind, options, slots=slots)
'''


async def test_a_suppressor_of_somebody_elses_runs_in_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plane asks the guests' module for what it does not have itself; the energy detector comes that way too."""
    marker = tmp_path / "built"
    (tmp_path / "acme_guests.py").write_text(SUPPRESSOR.format(marker=str(marker)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pool = MediaPool(
        workers=1,
        bind="127.0.0.1",
        rtp_ports=(28000, 28019),
        clock=SystemClock(),
        vad=Guest("energy", {"above_floor_db": 10.0}),
        noise=Guest("acme"),
        guests="acme_guests",
    )
    said: asyncio.Queue[Said] = asyncio.Queue()
    await pool.start()
    try:
        pool.subscribe("leg", said.put_nowait)
        pool.send(OpenLeg("leg"))
        pool.send(CloseLeg("leg"))
        async with asyncio.timeout(10):
            assert isinstance(await said.get(), LegOpened)
            assert isinstance(await said.get(), LegClosed)
    finally:
        await pool.close()
    assert marker.read_text()


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({"vad": {"kind": "silerro"}}, "silero"),
        ({"vad": {"kind": "energy", "above_flor_db": 9}}, "above_floor_db"),
        ({"noise": {"kind": "acme"}}, "no noise provider `acme`"),
        ({"turn": {"kind": "fixed", "silence_ms": "long"}}, "silence_ms"),
        ({"stt": {"kind": "pocketsfinx"}}, "pocketsphinx"),
    ],
)
def test_a_fault_in_a_providers_table_is_told_before_anything_starts(table: dict[str, object], fault: str) -> None:
    """Not by a worker that dies in the background."""
    with pytest.raises(ConfigError, match=fault):
        Gateway(GatewayConfig(bind="127.0.0.1", store="memory:", **table))  # type: ignore[arg-type]


def test_a_route_that_asks_for_what_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    """A suppressor by route is looked for before the first call comes in."""
    plan = tmp_path / "plan.yaml"
    plan.write_text("routes:\n  desk:\n    noise: webrtk\n    steps: [answer]\ndefault: desk\n")
    with pytest.raises(ConfigError, match=r"webrtk.*webrtc"):
        Gateway(GatewayConfig(bind="127.0.0.1", store="memory:", dialplan=str(plan)))
