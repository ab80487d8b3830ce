"""The five scenarios of a NOC, each caused for real: on top of Overview, in an alert, in the reason, in time.

A gateway that runs as a process, a carrier that is another, a real Prometheus with ops/prometheus/alerts.yml.
"In time" is 15 s from the cause, by what they say themselves (a problem's `since`, an alert's activeAt and
its `for`), so that a busy machine that shows it late is no failure.

Deliberately not here: the words of each problem (tests/gateway/test_troubles.py), rules alone (test_alerts).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.interop.house import needs
from tests.ops.house import PROMETHEUS, WITHIN_S, House, Seen, Silent, broken_hook, for_s, gateway, until

pytestmark = needs(PROMETHEUS, "Debian's prometheus")

SLACK_S = 1.0  # clocks are read a moment before or after what they time


def in_time(seen: Seen, name: str) -> None:
    print(f"{name}: known after {seen.known_after_s:.1f} s, active after {seen.active_after_s:.1f} s")
    print(f"  {seen.problem['subject']}: {seen.problem['what']}\n  {seen.reason}")
    assert -SLACK_S <= seen.known_after_s <= WITHIN_S, seen
    assert -SLACK_S <= seen.active_after_s <= WITHIN_S - for_s(name), seen
    notes = seen.alert["annotations"]
    assert Path(notes["runbook_url"]).stem == name
    assert "{{" not in notes["summary"] + notes["description"]


def test_a_carrier_throttles(tmp_path: Path) -> None:
    with gateway(tmp_path, "--tps", "2") as house:
        key = house.account("shop")
        caused_at = time.time()
        house.submit(key, 300)
        seen = house.seen(
            caused_at, "carrier-throttled", "CarrierThrottled", house.lane_reason, "throttles: "
        )
        in_time(seen, "CarrierThrottled")
        assert seen.problem["subject"] == "carrier:north"
        assert "answers are ESME_RTHROTTLED" in seen.problem["what"]
        assert "carrier north: throttles: " in seen.reason
        assert seen.alert["annotations"]["summary"] == "carrier:north answers that it is sent too much"


def test_a_carrier_is_dead(tmp_path: Path) -> None:
    with gateway(tmp_path) as house:
        key = house.account("shop")
        assert house.carrier is not None
        caused_at = time.time()
        house.carrier.terminate()
        until(lambda: house.problems(), lambda: "the loss is not seen")
        house.submit(key, 20)
        words = "no bind since "
        seen = house.seen(caused_at, "carrier-no-bind", "CarrierNoBind", house.lane_reason, words)
        in_time(seen, "CarrierNoBind")
        assert seen.problem["severity"] == "critical"
        assert "Connection refused; 20 messages wait" in seen.problem["what"]
        assert seen.reason.startswith("carrier north: no bind since ")


def test_a_customer_does_not_read(tmp_path: Path) -> None:
    with gateway(tmp_path) as house:
        house.account("shop", binds=True)
        with contextlib.closing(Silent(house.smpp_port, "shop")) as customer:
            caused_at = time.time()
            customer.submit(60)

            def reason() -> str:
                rows: list[dict[str, Any]] = house.admin.call("deliveries.list")
                return str(rows[0]["reason"]) if rows else ""

            seen = house.seen(caused_at, "account-not-reading", "AccountNotReading", reason, "does not read")
            in_time(seen, "AccountNotReading")
            assert seen.problem["subject"] == "account:shop"
            assert seen.problem["what"].startswith("does not read: ")
            assert seen.reason.startswith("bound, and does not read: no answer for ")


def test_a_callback_endpoint_is_down(tmp_path: Path) -> None:
    with gateway(tmp_path) as house, broken_hook() as hook:
        key = house.account("shop", callback_url=hook.url, private_callbacks=True)
        house.submit(key, 20)
        until(lambda: hook.first_at, lambda: "no callback came")

        def reason() -> str:
            rows: list[dict[str, Any]] = house.admin.call("callbacks.list")
            return str(rows[0]["reason"]) if rows else ""

        seen = house.seen(hook.first_at, "callback-down", "CallbackDown", reason, "it fails: HTTP 500")
        in_time(seen, "CallbackDown")
        assert seen.problem["subject"] == "account:shop"
        assert "fails: HTTP 500; " in seen.problem["what"]
        assert hook.url.removesuffix("/hook") in seen.problem["what"]


@contextmanager
def small_disk(directory: Path, size_mb: int) -> Iterator[Path | None]:
    """A disk of its own, where this user may mount one."""
    place = directory / "disk"
    place.mkdir()
    mount, options = shutil.which("mount"), ["-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(place)]
    if mount is None or os.geteuid() or subprocess.run([mount, *options], check=False).returncode:
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(file: Path, leave_mb: int) -> None:
    """Until only so much is free on its disk."""
    more = shutil.disk_usage(file.parent).free - (leave_mb << 20)
    with file.open("ab") as out:
        os.posix_fallocate(out.fileno(), out.tell(), more)


def test_the_disk_is_nearly_full(tmp_path: Path) -> None:
    with small_disk(tmp_path, 200) as disk:
        if disk is None:
            the_reserve_is_nearly_reached(tmp_path)
            return
        with gateway(tmp_path, data=disk, reserve_mb=40) as house:
            key = house.account("shop")
            until(lambda: house.problems() == [], lambda: f"not well: {house.problems()}")
            caused_at = time.time()
            fill(disk / "filler", 60)
            seen = house.seen(
                caused_at, "disk-nearly-full", "DiskNearlyFull", lambda: top(house), "nearly full"
            )
            in_time(seen, "DiskNearlyFull")
            assert (seen.problem["severity"], seen.alert["labels"]["severity"]) == ("warning", "warning")
            assert "new messages are refused below 40 MB" in seen.reason
            house.submit(key, 1)

            fill(disk / "filler", 30)
            until(lambda: refused(house, key), lambda: "new messages are taken on a full disk")
            until(lambda: house.problems()[0]["severity"] == "critical", lambda: str(house.problems()))
            assert house.ask("GET", "/readyz")[0] == 503
            (disk / "filler").unlink()
            until(lambda: not refused(house, key), lambda: "messages are refused with room again")
            until(lambda: house.problems() == [], lambda: f"not well again: {house.problems()}")


def the_reserve_is_nearly_reached(directory: Path) -> None:
    """Without a disk of our own: a reserve that leaves too little of this one, from the start."""
    reserve_mb = int(shutil.disk_usage(directory).free * 0.7) >> 20
    caused_at = time.time()
    with gateway(directory, reserve_mb=reserve_mb) as house:
        seen = house.seen(caused_at, "disk-nearly-full", "DiskNearlyFull", lambda: top(house), "nearly full")
        assert "new messages are refused below" in seen.reason


def top(house: House) -> str:
    """Nothing waits for the disk yet: the reason is the problem's own."""
    found = house.problems()
    return str(found[0]["what"]) if found else ""


def refused(house: House, key: str) -> bool:
    """Whether a submit is refused, with the disk as the reason."""
    message = {"to": "447700900123", "from": "12345", "text": "Hello"}
    status, answer = house.ask("POST", "/v1/messages", key, message)
    assert status in (202, 503), answer
    if status == 503:
        assert "disk is nearly full" in str(answer)
    return status == 503
