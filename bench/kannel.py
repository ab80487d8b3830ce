"""Kannel 1.4.5 from Debian as the rival: bearerbox and smsbox, spool store, one SMPP link, both cores.

Deliberately not here: tuning it beyond its documented settings; a missing Kannel is simply left out.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from bench.rig import ALL_CORES, SINK, SMSC, final_json, last_json, running, scratch, smsc, wait_for_port

ADMIN, BEARER, SENDSMS = 13000, 13001, 13013
_CONFIG = """
group = core
admin-port = {admin}
admin-password = x
smsbox-port = {bearer}
box-deny-ip = "*.*.*.*"
box-allow-ip = "127.0.0.1"
store-type = spool
store-location = "{path}/spool"
dlr-storage = internal
log-level = 4

group = smsc
smsc = smpp
smsc-id = c
host = 127.0.0.1
port = {smsc}
transceiver-mode = true
smsc-username = u
smsc-password = p
system-type = ""
max-pending-submits = 500

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {sendsms}
log-level = 4

group = sendsms-user
username = u
password = p
max-messages = 10

group = sms-service
keyword = default
text = "no"
max-messages = 0
"""


def installed() -> bool:
    return shutil.which("bearerbox") is not None or Path("/usr/sbin/bearerbox").exists()


def run(tool: Path, count: int, *, callbacks: bool) -> dict[str, Any]:
    """Messages a second: accepted over HTTP, or, with callbacks, until the last dlr-url was called."""
    with scratch() as path, smsc(tool), running(tool, "sink", "--port", SINK) as sink:
        (path / "spool").mkdir()
        config = path / "kannel.conf"
        config.write_text(_CONFIG.format(admin=ADMIN, bearer=BEARER, sendsms=SENDSMS, smsc=SMSC, path=path))
        wait_for_port(SINK)
        with running("/usr/sbin/bearerbox", config, core=ALL_CORES):
            wait_for_port(BEARER)
            with running("/usr/sbin/smsbox", config, core=ALL_CORES):
                wait_for_port(SENDSMS)
                time.sleep(1)
                return _measure(tool, sink, count, callbacks)


def _measure(tool: Path, sink: Any, count: int, callbacks: bool) -> dict[str, Any]:
    target = "/cgi-bin/sendsms?username=u&password=p&from=BENCH&to={to}&text={text}"
    if callbacks:
        target += f"&dlr-mask=1&dlr-url=http%3A%2F%2F127.0.0.1%3A{SINK}%2Fdlr"
    with running(
        tool, "http", "--port", SENDSMS, "--n", count, "--conns", 32, "--target", target, "--ok", "202"
    ) as load:
        found = final_json(load, within_s=300)
    if not callbacks:
        return {"per_s": found["req_per_s"], "p99_ms": found["latency"]["p99_ms"], "bad": found["bad"]}
    time.sleep(max(3.0, count / 1000))
    told = last_json(sink)
    return {"per_s": told["per_s"], "callbacks": told["requests"], "bad": found["bad"]}
