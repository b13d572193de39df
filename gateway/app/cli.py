"""The `gateway` command. Exit codes: 0 done, 1 the answer is no (a fault, a difference, a refused call), 2 misuse."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway import __version__
from gateway.app import config as configuration
from gateway.core.errors import ConfigError, GatewayError
from gateway.replay.arguments import add_arguments as add_replay_arguments

Command = Callable[[argparse.Namespace], int]
_INTERRUPTED = 130
"""As shells have it: 128 and the number of SIGINT."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    chosen = parser.parse_args(arguments)
    run: Command = chosen.command
    try:
        return run(chosen)
    except ConfigError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 2
    except GatewayError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gateway", description="A voice-bot gateway: SIP and browser calls talk to a bot, and can be resumed."
    )
    parser.add_argument("--version", action="version", version=f"gateway {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="take calls until told to stop"))
    _add_check(commands.add_parser("check", help="report every fault of a dialplan"))
    _add_route(commands.add_parser("route", help="explain which route a call would take, and why"))
    _add_call(commands.add_parser("call", help="call a SIP URI from the command line"))
    _add_trunks(commands.add_parser("trunks", help="show whether a running gateway's trunks are registered and answer"))
    _add_replay(commands.add_parser("replay", help="send a recorded call through the pipeline and compare"))
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--config", metavar="FILE", type=Path, help="TOML file; see config/gateway.toml (GATEWAY_CONFIG)")
    add("--bind", metavar="IP", help="address to listen on (0.0.0.0)")
    add("--advertise", metavar="IP", help="address that callers see, when we stand behind NAT")
    add("--sip-port", metavar="N", type=int, help="SIP over UDP and TCP (5060)")
    add("--http-port", metavar="N", type=int, help="page, WHIP and API (8080)")
    add("--rtp-ports", metavar="A-B", help="range for RTP and RTCP (16384-32767)")
    add("--data", metavar="DIR", help="where sessions and recordings live (data)")
    add("--dialplan", metavar="PATH", help="dialplan file or folder (the shipped one)")
    add("--media-workers", metavar="N", type=int, help="media processes (1)")
    add("--log-format", choices=("json", "console"), help="how to log (console)")
    parser.set_defaults(command=_run)


def _run(chosen: argparse.Namespace) -> int:
    configured = _configured(chosen)  # first: who mistyped a word should not wait for what comes next
    from gateway.app.serve import serve

    return serve(configured)


def _configured(chosen: argparse.Namespace) -> configuration.GatewayConfig:
    named = chosen.config or os.environ.get("GATEWAY_CONFIG")
    return configuration.load(Path(named) if named else None, os.environ, vars(chosen))


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", nargs="?", type=Path, help="dialplan file or folder (the shipped one)")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of a dialplan, for editors")
    parser.set_defaults(command=_check)


def _check(chosen: argparse.Namespace) -> int:
    from gateway.app.plans import check, print_schema

    return print_schema() if chosen.schema else check(_plan_path(chosen.path))


def _plan_path(path: Path | None) -> Path:
    return path or configuration.load(None, os.environ, {}).dialplan_path


def _add_route(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--to", required=True, metavar="NUMBER", help="the called number or name")
    add("--from", dest="caller", default="", metavar="NUMBER", help="the caller; none is anonymous")
    add("--at", metavar="TIME", help="the moment, as 2026-05-01T18:30 (now)")
    add("--header", action="append", default=[], metavar="K=V", help="a SIP header; may be repeated")
    add("--fact", action="append", default=[], metavar="K=V", help="a fact about it, as diverted-from; may be repeated")
    add("--trunk", default="", metavar="NAME", help="the trunk it comes by")
    add("--dialplan", type=Path, metavar="PATH", help="dialplan file or folder (the shipped one)")
    parser.set_defaults(command=_route)


def _route(chosen: argparse.Namespace) -> int:
    from gateway.app.plans import explain

    return explain(
        _plan_path(chosen.dialplan),
        called=chosen.to,
        caller=chosen.caller,
        at=chosen.at,
        headers=chosen.header,
        facts=chosen.fact,
        trunk=chosen.trunk,
    )


def _add_call(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("uri", metavar="SIP-URI", help="for example sip:desk@127.0.0.1; with --trunk the number")
    add("--trunk", metavar="NAME", help="call through this trunk of the configuration")
    add("--config", metavar="FILE", type=Path, help="where the trunk is configured (GATEWAY_CONFIG)")
    add("--play", metavar="WAV", type=Path, help="speak this recording when the far side is first quiet")
    add("--say", metavar="TEXT", action="append", default=[], help="speak this, after the far side; may be repeated")
    add("--dtmf", metavar="DIGITS", help="press these keys, as in 12#")
    add("--record", metavar="WAV", help="record both sides: left what we hear, right what we say")
    add("--duration", metavar="S", type=float, default=30.0, help="hang up after S seconds (30)")
    add("--from", dest="caller", metavar="NUMBER", help="our number (1001, or the trunk's)")
    add("--bind", metavar="IP", help="our address (127.0.0.1 for callees on this machine, else all)")
    add("--voice", default="rms", metavar="NAME", help="flite voice for --say (rms)")
    parser.set_defaults(command=_call)


def _call(chosen: argparse.Namespace) -> int:
    from gateway.app.dial import dial

    return dial(chosen)


def _add_trunks(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--http", default="http://127.0.0.1:8080", metavar="URL", help="the gateway's page (http://127.0.0.1:8080)")
    add("--token", default=os.environ.get("GATEWAY_TOKEN"), help="the operator's http.token (GATEWAY_TOKEN)")
    parser.set_defaults(command=_trunks)


def _trunks(chosen: argparse.Namespace) -> int:
    from gateway.app.trunk_table import show

    return show(chosen.http, chosen.token)


def _add_replay(parser: argparse.ArgumentParser) -> None:
    add_replay_arguments(parser, dialplan=configuration.shipped("dialplans/default.yaml"))
    parser.set_defaults(command=_replay)


def _replay(chosen: argparse.Namespace) -> int:
    from gateway.replay.cli import run

    return run(chosen)


if __name__ == "__main__":
    sys.exit(main())
