"""Kamailio in a process of its own: registrar and authenticating proxy, or dispatcher in front of several gateways.

Either way it stays in the path (Record-Route).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest
from gateway_process import LEASH
from ports import free_port
from waiting import wait_until

PROGRAM = shutil.which("kamailio") or "/usr/sbin/kamailio"
DOMAIN, USER, PASSWORD = "trunk.example", "4711", "open-sesame"

BEGINNING = """
debug=1
log_stderror=yes
fork=yes
disable_tcp=yes
auto_aliases=no
listen=udp:127.0.0.1:{port}

loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "textops.so"
"""

DIALOGS = """\
    if (has_totag()) {
        if (loose_route()) { t_relay(); exit; }
        if (is_method("ACK")) { if (t_check_trans()) t_relay(); exit; }
        sl_send_reply("404", "Not here");
        exit;
    }
    if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
    t_check_trans();
"""
"""What belongs to a call that is up, or being set up."""

CONFIGURATION = """{beginning}children=1
alias="{domain}"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"

modparam("registrar", "min_expires", 60)
# RFC 3327: who comes by a proxy that stays in the path must know of it (420 else).
modparam("registrar", "use_path", 1)
modparam("registrar", "path_mode", 2)
modparam("auth", "nonce_expire", 300)

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
{dialogs}    if (is_method("OPTIONS")) {{ sl_send_reply("200", "Alive"); exit; }}
    if (is_method("REGISTER") && $tU == "team") {{ save("location"); exit; }}
    if (is_method("REGISTER")) {{
        if (!pv_www_authenticate("{domain}", "{password}", "0")) {{ www_challenge("{domain}", "1"); exit; }}
        if (is_present_hf("Path")) append_to_reply("Service-Route: $hdr(Path)\\r\\n");
        save("location");
        exit;
    }}
    if (!is_method("INVITE")) {{ sl_send_reply("405", "Not allowed"); exit; }}
    if ($fU == "{user}") {{
        if (!pv_proxy_authenticate("{domain}", "{password}", "0")) {{ proxy_challenge("{domain}", "1"); exit; }}
        consume_credentials();
    }}
    record_route();
    if ($rU == "outside") {{ $du = "sip:127.0.0.1:{outside}"; t_relay(); exit; }}
    if ($rU == "moved") {{
        append_to_reply("Contact: <sip:outside@{domain}>\\r\\n");
        sl_send_reply("302", "Moved Temporarily");
        exit;
    }}
    if ($rU == "busy") {{ sl_send_reply("486", "Busy Here"); exit; }}
    if (!lookup("location")) {{ sl_send_reply("404", "Not found"); exit; }}
    t_relay();
}}
"""

EDGE = """{beginning}children=2
loadmodule "xlog.so"
loadmodule "path.so"

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (is_method("OPTIONS")) {{ sl_send_reply("200", "Alive"); exit; }}
{dialogs}    if (is_method("REGISTER")) {{ add_path(); $du = "sip:127.0.0.1:{registrar}"; t_relay(); exit; }}
    xlog("$rm to $rU routed by: $hdr(Route)\\n");
    # Takes our own address off the route; says no where nothing is left of that.
    loose_route();
    record_route();
    if ($si == "127.0.0.1" && $sp == {registrar}) {{ t_relay(); exit; }}
    $du = "sip:127.0.0.1:{registrar}";
    t_relay();
}}
"""

DISPATCHER = """{beginning}children=2
alias="{domain}"
loadmodule "dispatcher.so"

# A gateway that says nothing for a second is passed over: by the call at hand, and then by its OPTIONS.
modparam("tm", "fr_timer", 1000)
modparam("dispatcher", "list_file", "{folder}/gateways.list")
modparam("dispatcher", "flags", 2)
modparam("dispatcher", "ds_ping_interval", 1)
modparam("dispatcher", "ds_probing_mode", 1)
modparam("dispatcher", "ds_probing_threshold", 1)
modparam("dispatcher", "ds_inactive_threshold", 1)
modparam("dispatcher", "ds_ping_reply_codes", "class=2")

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
{dialogs}    if (is_method("OPTIONS")) {{ sl_send_reply("200", "Alive"); exit; }}
    if (!is_method("INVITE")) {{ sl_send_reply("405", "Not allowed"); exit; }}
    record_route();
    # Round robin.
    if (!ds_select_dst("1", "4")) {{ sl_send_reply("503", "No gateway"); exit; }}
    t_on_failure("NEXT");
    t_relay();
}}

failure_route[NEXT] {{
    if (t_is_canceled()) exit;
    if (!t_check_status("503") && !(t_branch_timeout() && !t_branch_replied())) exit;
    ds_mark_dst("ip");
    if (ds_next_dst()) {{
        t_on_failure("NEXT");
        t_relay();
    }}
}}
"""


def trunk(name: str, **keys: object) -> str:
    """A `[[trunk]]` of a gateway's configuration."""
    return "[[trunk]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in {"name": name, **keys}.items())


def account(secret: Path) -> dict[str, object]:
    """Keys of a trunk that registers with the Kamailio here; `secret` is a file with the password."""
    keys = {"domain": DOMAIN, "register": True, "username": USER, "password_file": str(secret)}
    return {**keys, "options_interval_s": 1}


class Kamailio:
    """A context manager. `outside` is the port that calls to `sip:outside@...` are sent to.

    With `gateways`, the ports of several, it only hands calls on to these, one after the other.
    With `registrar`, the port of another, it stands between that and its users, in the path (RFC 3327).
    """

    def __init__(
        self, folder: Path, *, outside: int = 9, gateways: Sequence[int] = (), registrar: int | None = None
    ) -> None:
        if not Path(PROGRAM).exists():
            pytest.skip("kamailio is not installed (apt install kamailio)")
        self.sip_port = free_port()
        self._folder = folder
        self._outside = outside
        self._gateways, self._registrar = gateways, registrar
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "kamailio.cfg"
        file.write_text(self._configuration())
        self._log = (self._folder / "kamailio.log").open("wb")
        command = [PROGRAM, "-f", str(file), "-DD", "-E", "-m", "32", "-M", "4", "-Y", str(self._folder)]
        self._process = subprocess.Popen(
            [*LEASH, *command],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        wait_until(self._answers, within_s=10)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._log.close()

    def _configuration(self) -> str:
        common = {"beginning": BEGINNING.format(port=self.sip_port), "dialogs": DIALOGS, "domain": DOMAIN}
        if self._registrar is not None:
            return EDGE.format(**common, registrar=self._registrar)
        if not self._gateways:
            names = {"user": USER, "password": PASSWORD, "outside": self._outside}
            return CONFIGURATION.format(**common, **names)
        listed = "".join(f"1 sip:127.0.0.1:{port}\n" for port in self._gateways)
        (self._folder / "gateways.list").write_text(listed)
        return DISPATCHER.format(**common, folder=self._folder)

    def log(self) -> str:
        return (self._folder / "kamailio.log").read_text(errors="replace")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            probe.settimeout(0.2)
            host, port = probe.getsockname()
            probe.sendto(
                f"OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};branch=z9hG4bKup\r\n"
                f"From: <sip:t@t>;tag=1\r\nTo: <sip:{DOMAIN}>\r\nCall-ID: up\r\nCSeq: 1 OPTIONS\r\n"
                "Max-Forwards: 5\r\nContent-Length: 0\r\n\r\n".encode(),
                ("127.0.0.1", self.sip_port),
            )
            try:
                return probe.recv(2048).startswith(b"SIP/2.0 200")
            except OSError:
                return False
