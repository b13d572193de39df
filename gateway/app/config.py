"""The configuration: one documented value, put together from defaults, a TOML file, the environment, the command line.

Later sources win. Every top-level option exists as `--sip-port`, as `sip_port` in the file, and as `GATEWAY_SIP_PORT`.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from gateway.app import trunk_config
from gateway.app.trunk_config import Account, Trunk
from gateway.call.call import CallOptions
from gateway.call.sessions import SessionOptions
from gateway.core.errors import ConfigError
from gateway.media.codecs import available
from gateway.media.commands import Codec
from gateway.session.conversation import ConversationOptions
from gateway.sip.crypto import SrtpPolicy

ENVIRONMENT_PREFIX = "GATEWAY_"


class ProviderConfig(msgspec.Struct, frozen=True):
    """`kind` names the provider's file; all other keys of the table are its options."""

    kind: str
    options: dict[str, Any] = {}


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    max_calls: int = 500
    """Live calls at once; further ones get 503 with Retry-After."""
    calls_per_s: float = 0.0
    """New SIP calls a second from everybody together, a second's worth at once; the excess gets 503. 0: no limit."""
    calls_per_s_and_source: float = 0.0
    """The same for each source address."""
    media_late_ms: float = 20.0
    """New calls get 503 with Retry-After while more than half of a media worker's ticks begin later. 0: never."""


class Recording(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bundles: bool = True
    """Leave a bundle per call under `data/calls/`: stereo WAV, packet timing, events, provider answers."""
    keep_days: float = 14.0
    """Bundles older than this are deleted at start and once an hour; 0 keeps them for ever."""


class Media(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    echo_guard: bool = True
    """Tell the bot's own voice, returned by the line, from a caller's; off where lines are known to be without echo."""
    gain_control: bool = False
    """Raise quiet callers, in what the recogniser gets and nowhere else. pocketsphinx does so by itself."""
    io_uring: bool = True
    """Send and receive many packets in one system call, where the kernel allows it."""


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: str | None = None
    """Bearer token for `/api`; without one, `/api` answers loopback clients only."""
    origins: tuple[str, ...] = ()
    """Web origins besides our own whose pages may call in."""


class GatewayConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything an operator may set. `config/gateway.toml` documents each key with its default."""

    bind: str = "0.0.0.0"
    advertise: str | None = None
    sip_port: int = 5060
    tls_port: int = 5061
    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_client_authority: str | None = None
    srtp: SrtpPolicy = "off"
    http_port: int = 8080
    rtp_ports: str = "16384-32767"
    data: str = "data"
    dialplan: str | None = None
    media_workers: int = 1
    log_format: Literal["json", "console"] = "console"
    store: str | None = None
    limits: Limits = Limits()
    call: CallOptions = CallOptions()
    session: SessionOptions = SessionOptions()
    conversation: ConversationOptions = ConversationOptions()
    recording: Recording = Recording()
    media: Media = Media()
    http: Http = Http()
    codecs: tuple[Codec, ...] = ("PCMU", "PCMA")
    comfort_noise: bool = False
    stt: dict[str, Any] = msgspec.field(default_factory=lambda: {"kind": "pocketsphinx"})
    tts: dict[str, Any] = msgspec.field(
        default_factory=lambda: {"kind": "prompts", "directory": str(shipped("dialplans/prompts"))}
    )
    turn: dict[str, Any] = {}
    accept_transfers: bool = False
    unknown_sources: Literal["accept", "challenge", "reject"] = "accept"
    nonce_secret_env: str | None = None
    """The environment variable that holds what signs our challenges: the same for all who share callers."""
    nonce_secret_file: str | None = None
    """Or the file whose first line it is."""
    digest_algorithms: tuple[Literal["SHA-512-256", "SHA-256", "MD5"], ...] = ("SHA-256", "MD5")
    dns_servers: tuple[str, ...] = ()
    trunk: tuple[Trunk, ...] = ()
    account: tuple[Account, ...] = ()
    vad: dict[str, Any] = msgspec.field(default_factory=lambda: {"kind": "silero"})
    noise: dict[str, Any] = {}
    speak_ahead: bool = True
    agents: dict[str, dict[str, Any]] = {}

    @property
    def rtp_range(self) -> tuple[int, int]:
        first, last = self.rtp_ports.split("-")
        return int(first), int(last)

    @property
    def data_path(self) -> Path:
        return Path(self.data)

    @property
    def store_url(self) -> str:
        return self.store or f"sqlite:///{self.data_path.absolute() / 'sessions.db'}"

    @property
    def dialplan_path(self) -> Path:
        return Path(self.dialplan) if self.dialplan else shipped("dialplans/default.yaml")


COMMAND_LINE_KEYS = (
    "bind", "advertise", "sip_port", "http_port", "rtp_ports", "data", "dialplan", "media_workers", "log_format",
)  # fmt: skip


_WITHIN = {
    "call.max_s": (1.0, 1e9),
    "call.line_lost_after_s": (0.0, 1e9),
    "call.voice_gain_db": (-60.0, 30.0),
    "session.resume_within_s": (0.0, 1e9),
    "session.keep_days": (0.0, 1e6),
    "recording.keep_days": (0.0, 1e6),
}
"""What values of these keys make sense; what is no number lies nowhere."""


def shipped(relative: str) -> Path:
    """A file that comes with the gateway: beside the package in a checkout, under `share/` in an installation."""
    beside = Path(__file__).resolve().parents[2] / relative
    return beside if beside.exists() else Path(sys.prefix) / "share" / "voicebot-gateway" / relative


def load(path: Path | None, environment: Mapping[str, str], arguments: Mapping[str, Any]) -> GatewayConfig:
    """Raises `ConfigError` naming the file and line, the variable or the option at fault."""
    values = _read_file(path) if path is not None else {}
    from_elsewhere: dict[str, Any] = {}
    for key in (*COMMAND_LINE_KEYS, "store"):
        variable = ENVIRONMENT_PREFIX + key.upper()
        if variable in environment:
            from_elsewhere[key] = _typed(key, environment[variable], variable)
        if arguments.get(key) is not None:
            from_elsewhere[key] = arguments[key]
    config = _validated(values | from_elsewhere, path)
    try:
        _check_values(config, path)
    except ConfigError as error:
        raise _placed(error, path, from_elsewhere) from error
    return msgspec.structs.replace(config, conversation=_in_own_words(config.conversation))


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration: {error.strerror}", path=path) from error
    except UnicodeDecodeError as error:
        raise ConfigError("the configuration is not UTF-8 text", path=path) from error
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line, column = (int(place[1]), int(place[2])) if place else (None, None)
        raise ConfigError(str(error).split(" (at")[0], path=path, line=line, column=column) from error


def _typed(key: str, text: str, source: str) -> Any:
    if key not in ("sip_port", "http_port", "media_workers"):
        return text
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{source} must be a whole number, not {text!r}") from None


def _validated(values: dict[str, Any], path: Path | None) -> GatewayConfig:
    try:
        return msgspec.convert(values, GatewayConfig)
    except msgspec.ValidationError as error:
        raise _explained(str(error), path, _trunk_at_fault(values)) from error


def _in_own_words(options: ConversationOptions) -> ConversationOptions:
    """A text that the operator changed must not be spoken by the recording of the former one."""
    shipped = ConversationOptions()
    if options.apology != shipped.apology and options.apology_file == shipped.apology_file:
        options = msgspec.structs.replace(options, apology_file=None)
    if options.farewell != shipped.farewell and options.farewell_file == shipped.farewell_file:
        options = msgspec.structs.replace(options, farewell_file=None)
    return options


def _trunk_at_fault(values: dict[str, Any]) -> int | None:
    """The number of the first trunk that cannot be read: msgspec does not say which it is."""
    tables = values.get("trunk")
    for number, table in enumerate(tables if isinstance(tables, list) else ()):
        try:
            msgspec.convert(table, Trunk)
        except msgspec.ValidationError:
            return number
    return None


def _explained(message: str, path: Path | None, trunk: int | None) -> ConfigError:
    """msgspec names the key; find its line, and the key that was probably meant."""
    unknown = re.search(r"unknown field `(\w+)`", message)
    missing = re.search(r"missing required field `(\w+)`", message)
    named = unknown or re.search(r"at `\$\.(?:\w+(?:\[\.*\d*\])?\.)*(\w+)(?:\[\.*\d*\])?`", message)
    line = _line_of(path, named[1]) if named else None
    if trunk is not None:
        line = _line_in_trunk(path, trunk, named[1] if named and not missing else "")
    if trunk is not None and missing:
        return ConfigError(f"this [[trunk]] needs a `{missing[1]}`", path=path, line=line)
    if unknown:
        known = {field for struct in _sections() for field in struct.__struct_fields__}
        close = difflib.get_close_matches(unknown[1], known, 1)
        hint = f"; did you mean `{close[0]}`?" if close else "; config/gateway.toml lists every key"
        return ConfigError(f"unknown key `{unknown[1]}`{hint}", path=path, line=line)
    return ConfigError(message, path=path, line=line)


def _placed(error: ConfigError, path: Path | None, from_elsewhere: Mapping[str, Any]) -> ConfigError:
    """With the line of the key that the message begins with, where that stands in the file and counts."""
    key = re.match(r"(?:\w+\.)?(\w+)", str(error))
    line = _line_of(path, key[1]) if error.path is None and key and key[1] not in from_elsewhere else None
    return error if line is None else ConfigError(str(error), path=path, line=line)


def _sections() -> tuple[type[msgspec.Struct], ...]:
    return GatewayConfig, Limits, CallOptions, SessionOptions, ConversationOptions, Recording, Http, Trunk, Account


def _line_of(path: Path | None, key: str) -> int | None:
    if path is None:
        return None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if re.match(rf"\s*\[?\s*(?:\w+\.)*{re.escape(key)}\b", line):
            return number
    return None


def _line_in_trunk(path: Path | None, number: int, key: str) -> int | None:
    """Where the key stands in the `number`-th `[[trunk]]`, counted from 0; that one's heading when it does not."""
    if path is None:
        return None
    heading, seen = None, -1
    for at, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if re.match(r"\s*\[", line):
            seen += bool(re.match(r"\s*\[\[\s*trunk\s*\]\]", line))
            if seen == number and heading is None:
                heading = at
            elif heading is not None:
                break
        elif seen == number and key and re.match(rf"\s*{re.escape(key)}\s*=", line):
            return at
    return heading


def _check_values(config: GatewayConfig, path: Path | None) -> None:
    for name, host in (("bind", config.bind), ("advertise", config.advertise)):
        if host is not None:
            _check_address(name, host)
    for name, port in (("sip_port", config.sip_port), ("tls_port", config.tls_port), ("http_port", config.http_port)):
        if not 0 <= port <= 65535:
            raise ConfigError(f"{name} must lie within 0..65535, not {port}")
    if not re.fullmatch(r"\d{1,5}-\d{1,5}", config.rtp_ports):
        raise ConfigError(f"rtp_ports must look like 16384-32767, not {config.rtp_ports!r}")
    first, last = config.rtp_range
    if not 1024 <= first < last <= 65535 or last - first < 3:
        raise ConfigError(f"rtp_ports must be at least 4 ports within 1024..65535, not {config.rtp_ports}")
    if not 1 <= config.media_workers <= (os.cpu_count() or 1) * 4:
        raise ConfigError(f"media_workers must lie within 1..{(os.cpu_count() or 1) * 4}, not {config.media_workers}")
    if (last - first + 1 - first % 2) // 2 < config.media_workers:
        needed = 2 * config.media_workers
        raise ConfigError(
            f"rtp_ports {config.rtp_ports} are too few for media_workers = {config.media_workers}: each needs a pair, "
            f"even and odd, for every call, so {needed} ports at the very least"
        )
    for name, (least, most) in _WITHIN.items():
        section, key = name.split(".")
        if not least <= (value := getattr(getattr(config, section), key)) <= most:
            raise ConfigError(f"{name} must lie within {least:g}..{most:g}, not {value:g}")
    if config.limits.max_calls < 1:
        raise ConfigError(f"limits.max_calls must be at least 1, not {config.limits.max_calls}")
    for name in ("calls_per_s", "calls_per_s_and_source"):
        if not (rate := getattr(config.limits, name)) >= 0:  # nan is no limit either
            raise ConfigError(f"limits.{name} must not be negative, and is {rate}; 0 is no limit")
    if not (late_ms := config.limits.media_late_ms) >= 0:
        raise ConfigError(f"limits.media_late_ms must not be negative, and is {late_ms:g}; 0 refuses nobody")
    if config.tls_key is not None and config.tls_certificate is None:
        raise ConfigError("tls_key needs the tls_certificate that it belongs to")
    if config.tls_client_authority is not None and config.tls_certificate is None:
        raise ConfigError("tls_client_authority is about who connects over TLS, which needs a tls_certificate")
    if config.tls_certificate is not None and config.tls_port and config.tls_port == config.sip_port:
        raise ConfigError(f"tls_port and sip_port must differ, and are both {config.sip_port}")
    if not config.codecs:
        raise ConfigError("codecs must name at least one of PCMU, PCMA, G722, opus")
    for codec in {*config.codecs, *(codec for trunk in config.trunk for codec in trunk.codecs)}:
        if not available(codec):
            raise ConfigError(f"codecs: the package behind {codec} is not installed; leave it out, or install it")
    if not config.digest_algorithms:
        raise ConfigError("digest_algorithms must name at least one of SHA-512-256, SHA-256, MD5")
    if config.nonce_secret_env and config.nonce_secret_file:
        raise ConfigError("`nonce_secret_env` and `nonce_secret_file` exclude each other")
    for text in config.dns_servers:
        trunk_config.name_server(text)
    trunk_config.check(
        config.trunk,
        config.account,
        config.unknown_sources,
        where=lambda number, key: {"path": path, "line": _line_in_trunk(path, number, key)},
    )


def _check_address(name: str, host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ConfigError(f"{name} must be an IP address such as 192.0.2.1, not {host!r}") from None


def provider(table: Mapping[str, Any], what: str) -> ProviderConfig:
    """Split a provider's table into its kind and its options."""
    options = dict(table)
    kind = options.pop("kind", None)
    if not isinstance(kind, str):
        raise ConfigError(f"[{what}] needs a `kind`, the provider's name")
    return ProviderConfig(kind, options)
