"""What the gateway does not start with: exit code 2, and one line that names the place and the remedy."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_process import NO_WORDS, GatewayProcess

pytestmark = pytest.mark.interop


def refused(data: Path, *arguments: str, config: str = "") -> str:
    """What it says at last, on its way out with code 2."""
    gateway = GatewayProcess(data, *arguments, config=config)
    done = subprocess.run(
        gateway.command, env=gateway.environment, capture_output=True, text=True, timeout=40, check=False
    )
    told = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "gateway.ready" not in done.stdout
    assert len([line for line in told if not line.startswith(("usage:", " "))]) == 1, done.stderr
    return told[-1]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else has, for UDP and for TCP."""
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        udp.bind(tcp.getsockname())
        yield tcp.getsockname()[1]


@pytest.mark.parametrize("option", ["--sip-port", "--http-port"])
def test_a_port_that_is_taken(tmp_path: Path, taken: int, option: str) -> None:
    """The line says which port, that it is in use, and with which option to choose another."""
    told = refused(tmp_path / "data", option, str(taken), config=NO_WORDS)
    assert f"port {taken} on 127.0.0.1 is in use" in told
    assert option in told


BAD_OPTIONS = {
    "--frobnicate": ("1", "--frobnicate"),
    "--sip-port": ("70000", "sip_port must lie within 0..65535"),
    "--rtp-ports": ("20000", "rtp_ports must look like 16384-32767"),
}


@pytest.mark.parametrize("option", BAD_OPTIONS)
def test_a_bad_option(tmp_path: Path, option: str) -> None:
    """The line names the option, and what it would take."""
    value, expected = BAD_OPTIONS[option]
    assert expected in refused(tmp_path / "data", option, value)


BAD_CONFIGURATIONS = {
    "sip_prot = 5070\n": "data.toml:1: unknown key `sip_prot`; did you mean `sip_port`?",
    "\n[session]\nresume_within = 60\n": "data.toml:3: unknown key `resume_within`; did you mean `resume_within_s`?",
    "[stt]\nkind = 'pocketsfinx'\n": "no stt provider `pocketsfinx`; did you mean `pocketsphinx`?",
    "[agents.support]\nkind = 'nobody'\n": "agent `support`: no agent provider `nobody`",
}


@pytest.mark.parametrize("config", BAD_CONFIGURATIONS, ids=lambda config: config.strip().partition("\n")[0])
def test_a_bad_configuration(tmp_path: Path, config: str) -> None:
    """The line names the file and the line, or the table, and the word that was probably meant."""
    assert BAD_CONFIGURATIONS[config] in refused(tmp_path / "data", config=config)


TYPO = """\
routes:
  a:
    match: {caled: "1"}
    steps: [answer]
"""
UNKNOWN_AGENT = """\
routes:
  a:
    match: {}
    steps:
      - bot: {agent: nobody}
"""
NO_SOUND = """\
routes:
  a:
    match: {}
    steps:
      - play: plan.yaml
"""
BAD_DIALPLANS = {
    "typo": (TYPO, "plan.yaml:3:13: `match` has no `caled`; did you mean `called`?"),
    "no text": ("\udcff\udcfe", "plan.yaml:1:1: cannot be read: it is not UTF-8 text"),
    "no sound": (NO_SOUND, "plan.yaml is no readable WAV file: file does not start with RIFF id"),
    "unknown agent": (UNKNOWN_AGENT, "agent `nobody`: no agent provider `nobody`"),
}


@pytest.mark.parametrize("fault", BAD_DIALPLANS)
def test_a_dialplan_with_a_fault(tmp_path: Path, fault: str) -> None:
    """The line has the file, the line and the column, where the file is at fault."""
    text, expected = BAD_DIALPLANS[fault]
    path = tmp_path / "plan.yaml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    told = refused(tmp_path / "data", "--dialplan", str(path))
    assert expected in told


def test_a_dialplan_that_is_not_there(tmp_path: Path) -> None:
    """The line has its name."""
    path = tmp_path / "plan.yaml"
    assert f"{path}:1:1: cannot be read: No such file" in refused(tmp_path / "data", "--dialplan", str(path))


def test_a_file_where_the_data_should_be(tmp_path: Path) -> None:
    """Without a place for sessions nothing would survive: said at the start, with the option to change."""
    (tmp_path / "data").write_text("not a folder")
    told = refused(tmp_path / "data")
    assert str(tmp_path / "data") in told
    assert "--data" in told
