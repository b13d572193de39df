"""The configuration: later sources win, and every fault is told with its place and its remedy."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.app import config as configuration
from gateway.app.config import GatewayConfig, Limits, load, provider, shipped
from gateway.app.gateway import _endpoint_options
from gateway.core.errors import ConfigError


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    return path


def test_nothing_at_all_is_a_configuration() -> None:
    """The embedded defaults: SQLite, the shipped dialplan and its stored prompts, grammar recognition, flite."""
    config = load(None, {}, {})
    assert config.store_url.startswith("sqlite:///")
    assert config.dialplan_path.is_file()
    assert (config.stt["kind"], config.tts["kind"]) == ("pocketsphinx", "prompts")


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    """The nearer to the operator's fingers, the stronger."""
    path = written(tmp_path, "sip_port = 1111\nhttp_port = 2222\nmedia_workers = 1\n")
    config = load(path, {"GATEWAY_SIP_PORT": "3333", "GATEWAY_HTTP_PORT": "4444"}, {"sip_port": 5555})
    assert (config.sip_port, config.http_port, config.media_workers) == (5555, 4444, 1)


@pytest.mark.parametrize(
    ("text", "place", "remedy"),
    [
        ("sip_prot = 5060\n", ":1:", "did you mean `sip_port`"),
        ('bind = "127.0.0.1"\n[limits]\nmax_cals = 3\n', ":3:", "did you mean `max_calls`"),
        ("[conversation]\nsilence_ms = 'long'\n", ":2:", "Expected `int`"),
        ('bind = "127.0.0.1\n', ":1:", "Illegal"),
        ('log_format = "xml"\n', ":1:", "xml"),
    ],
)
def test_a_fault_in_the_file_names_its_line_and_what_was_meant(
    tmp_path: Path, text: str, place: str, remedy: str
) -> None:
    """An operator goes straight to the line."""
    with pytest.raises(ConfigError) as fault:
        load(written(tmp_path, text), {}, {})
    assert place in str(fault.value)
    assert remedy in str(fault.value)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"bind": "localhost"}, "bind"),
        ({"advertise": "example.com"}, "advertise"),
        ({"sip_port": 70000}, "sip_port"),
        ({"rtp_ports": "5000"}, "rtp_ports"),
        ({"rtp_ports": "6000-5000"}, "rtp_ports"),
        ({"rtp_ports": "80-900"}, "rtp_ports"),
        ({"media_workers": 0}, "media_workers"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(values: dict[str, Any], word: str) -> None:
    """Before any door opens, not when the first caller comes."""
    with pytest.raises(ConfigError, match=word):
        load(None, {}, values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nmedia_workers = 0\n", "gateway.toml:2: media_workers must lie within 1.."),
        ('codecs = ["PCMU"]\ncodecs_ = 1\n', "gateway.toml:2: unknown key `codecs_`"),
        ("codecs = []\n", "gateway.toml:1: codecs must name at least one"),
        ("[call]\nmax_s = 60\nline_lost_after_s = -1\n", "gateway.toml:3: call.line_lost_after_s must lie within 0.."),
        ("[call]\nvoice_gain_db = nan\n", "gateway.toml:2: call.voice_gain_db must lie within -60..30, not nan"),
        ("[call]\nmax_s = -inf\n", "gateway.toml:2: call.max_s must lie within 1.."),
        ("[session]\nkeep_days = -1\n", "gateway.toml:2: session.keep_days must lie within 0.."),
        ("[limits]\nmax_calls = 0\n", "gateway.toml:2: limits.max_calls must be at least 1"),
        ('rtp_ports = "30001-30004"\nmedia_workers = 2\n', "rtp_ports 30001-30004 are too few for media_workers = 2"),
    ],
)
def test_a_value_that_cannot_work_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    """Where it stands in the file, and what would do."""
    with pytest.raises(ConfigError) as refused:
        load(written(tmp_path, text), {}, {})
    assert message in str(refused.value)


def test_the_file_is_not_blamed_for_the_command_line(tmp_path: Path) -> None:
    """The key stands in the file too, and is right there."""
    path = written(tmp_path, "media_workers = 1\n")
    with pytest.raises(ConfigError) as refused:
        load(path, {}, {"media_workers": 0})
    assert str(refused.value).startswith("media_workers must lie within")


@pytest.mark.parametrize("value", ["-1", "nan"])
@pytest.mark.parametrize("key", ["calls_per_s", "calls_per_s_and_source", "media_late_ms"])
def test_a_limit_below_none_is_refused_by_name(tmp_path: Path, key: str, value: str) -> None:
    """And it is said how to have none: 0."""
    with pytest.raises(ConfigError, match=rf"limits\.{key} must not be negative.* 0 "):
        load(written(tmp_path, f"[limits]\n{key} = {value}\n"), {}, {})


def test_a_changed_apology_is_not_spoken_by_the_recording_of_the_former_one(tmp_path: Path) -> None:
    """The stored prompt says the shipped words; with other words it counts only when it is named."""
    own = written(tmp_path, '[conversation]\napology = "Pardon?"\n')
    assert load(own, {}, {}).conversation.apology_file is None
    assert load(own, {}, {}).conversation.farewell_file == "farewell"
    named = written(tmp_path, '[conversation]\napology = "Pardon?"\napology_file = "pardon"\n')
    assert load(named, {}, {}).conversation.apology_file == "pardon"


def test_a_number_in_the_environment_must_be_one() -> None:
    """The variable is named, as it is what the operator set."""
    with pytest.raises(ConfigError, match="GATEWAY_SIP_PORT"):
        load(None, {"GATEWAY_SIP_PORT": "five"}, {})


def test_a_missing_file_is_told_apart_from_an_unreadable_one(tmp_path: Path) -> None:
    """No traceback for a typo in a path."""
    with pytest.raises(ConfigError, match=r"nowhere\.toml.*cannot read"):
        load(tmp_path / "nowhere.toml", {}, {})
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(binary, {}, {})


def test_a_provider_table_needs_its_kind() -> None:
    """The rest of the table is the provider's own."""
    assert provider({"kind": "acme", "key": "k"}, "stt").options == {"key": "k"}
    with pytest.raises(ConfigError, match=r"\[stt\] needs a `kind`"):
        provider({"key": "k"}, "stt")


def _defaults(struct: msgspec.Struct) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(struct)
    return values


def test_the_documented_file_documents_every_key_with_its_default() -> None:
    """config/gateway.toml with every example line switched on is exactly the default configuration."""
    lines = []
    for line in shipped("config/gateway.toml").read_text().splitlines():
        if line.startswith(("#[agents", "#[turn", "#[vad", "#[noise")):
            break
        key = line[1:].split("=")[0].strip()
        example = line.startswith("#") and not line.startswith("# ") and key.isidentifier() and "=" in line
        lines.append(line[1:] if example else line)
    documented = tomllib.loads("\n".join(lines))
    defaults = _defaults(GatewayConfig())
    free = {"tls_certificate", "tls_key", "tls_client_authority", "nonce_secret_env", "nonce_secret_file"} | {
        "advertise",
        "dialplan",
        "store",
        "agents",
        "stt",
        "tts",
        "turn",
        "vad",
        "noise",
        "trunk",
        "account",
    }
    assert set(documented) | free | {"conversation"} >= set(defaults) - {"conversation"}
    for key, value in documented.items():
        if key in free:
            continue
        if isinstance(value, dict):
            shown = {k: v for k, v in value.items() if k not in ("token", "origins")}
            assert shown == {k: defaults[key][k] for k in shown}, key
        else:
            assert value == defaults[key] or tuple(value) == tuple(defaults[key]), key


def test_every_command_line_key_is_an_option_of_the_configuration() -> None:
    """`--sip-port`, `sip_port`, `GATEWAY_SIP_PORT`: one name in three spellings."""
    assert set(configuration.COMMAND_LINE_KEYS) <= set(GatewayConfig.__struct_fields__)


def test_the_sip_layer_has_room_for_as_many_calls_as_the_desk_admits() -> None:
    """However many an operator allows; twice that, as a call that is connected on has two dialogs."""
    config = msgspec.structs.replace(GatewayConfig(), limits=Limits(max_calls=5000, calls_per_s=7.5))
    options = _endpoint_options(config)
    assert (options.max_calls, options.invites_per_s) == (10_000, 7.5)


@pytest.mark.parametrize("where", ["codecs = ['G722']", "[[trunk]]\nname = 'a'\nhost = '192.0.2.1'\ncodecs = ['G722']"])
def test_a_codec_whose_package_is_missing_is_said_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Not in the middle of the first call that wants it."""
    (tmp_path / "gateway.toml").write_text(where)
    assert load(tmp_path / "gateway.toml", {}, {})
    monkeypatch.setattr("gateway.media.codecs.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="the package behind G722 is not installed"):
        load(tmp_path / "gateway.toml", {}, {})
