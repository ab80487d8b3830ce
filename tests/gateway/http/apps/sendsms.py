"""Requests to sendsms with what a real smsbox 1.4.5 answered: status and body, and whether a body is ours.

The transcripts were taken from Debian's kannel 1.4.5-12 (bearerbox, smsbox with global-sender, one SMPP link
up); tests/interop/test_sendsms.py asks that smsbox again. `ours` is what Signalbox answers where it differs
on purpose (gateway.http.apps.kannel says why).

Deliberately not here: asking.
"""

from __future__ import annotations

from typing import NamedTuple

USER, PASSWORD = "alice", "geheim-geheim"
BASE = f"/cgi-bin/sendsms?username={USER}&password={PASSWORD}&from=12345"
TO = "447700900123"
OK = b"0: Accepted for delivery"
QUEUED = b"3: Queued for later delivery"
DENIED = b"Number(s) has/have been denied by white- and/or black-lists."


class Asked(NamedTuple):
    name: str
    raw: bytes
    status: int
    body: bytes
    ours: tuple[int, bytes] | None = None


def get(target: str, version: str = "1.1") -> bytes:
    return f"GET {target} HTTP/{version}\r\nHost: gateway\r\n\r\n".encode("latin-1")


def post(body: bytes, *headers: str, who: bool = True) -> bytes:
    known = [f"X-Kannel-Username: {USER}", f"X-Kannel-Password: {PASSWORD}", "X-Kannel-From: 12345"]
    lines = ["POST /cgi-bin/sendsms HTTP/1.1", "Host: gateway", *(known if who else ()), *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body


def _misformed(field: str, *parameters: str) -> list[Asked]:
    words = f"{field} field misformed, rejected".encode()
    return [Asked(one, get(f"{BASE}&to={TO}&text=x&{one}"), 400, words) for one in parameters]


ASKED = (
    Asked("plain", get(f"{BASE}&to={TO}&text=hi"), 202, OK),
    Asked("HTTP/1.0", get(f"{BASE}&to={TO}&text=hi", "1.0"), 202, OK),
    Asked(
        "user and pass", get(f"/cgi-bin/sendsms?user={USER}&pass={PASSWORD}&from=1&to={TO}&text=x"), 202, OK
    ),
    Asked(
        "wrong password",
        get(f"/cgi-bin/sendsms?username={USER}&password=x&to={TO}"),
        403,
        b"Authorization failed for sendsms",
    ),
    Asked("nobody", get(f"/cgi-bin/sendsms?to={TO}"), 403, b"Authorization failed for sendsms"),
    Asked("no receiver", get(f"{BASE}&text=x"), 400, b"Missing receiver number, rejected"),
    Asked("empty receiver", get(f"{BASE}&to=&text=x"), 400, b"Empty receiver number not allowed, rejected"),
    Asked("letters", get(f"{BASE}&to=abc&text=x"), 400, DENIED),
    Asked("a blank", get(f"{BASE}&to=%20&text=x"), 400, DENIED),
    Asked("two", get(f"{BASE}&to={TO}+447700900124&text=x"), 202, OK),
    Asked(
        "one of two is none",
        get(f"{BASE}&to={TO}+abc&text=x"),
        202,
        OK,
        (202, b"Sent. Denied receivers are: abc"),
    ),
    Asked("long", get(f"{BASE}&to={TO}&text={'x' * 400}"), 202, OK),
    Asked(
        "a header that is none",
        get(f"{BASE}&to={TO}&text=x&udh=%05%00"),
        400,
        b"UDH field misformed, rejected",
    ),
    *_misformed("MClass", "mclass=7"),
    *_misformed("DLR-Mask", "dlr-mask=99"),
    *_misformed("DLR-URL", "dlr-url=ftp%3A%2F%2Fxxx", "dlr-url=abc"),
    *_misformed("Coding", "coding=5"),
    *_misformed("Validity", "validity=-5"),
    *_misformed("Deferred", "deferred=-5"),
    *_misformed("Priority", "priority=9"),
    *_misformed("PID", "pid=900"),
    *_misformed("Alt-DCS", "alt-dcs=3"),
    *_misformed("MWI", "mwi=9"),
    *_misformed("RPI", "rpi=9"),
    *_misformed("Compress", "compress=9"),
    Asked(
        "account",
        get(f"{BASE}&to={TO}&text=x&account=a%5Bb"),
        400,
        b"Account field misformed or too long, rejected",
    ),
    Asked(
        "an unknown charset",
        get(f"{BASE}&to={TO}&text=x&charset=nonsense"),
        400,
        b"Charset or body misformed, rejected",
    ),
    Asked(
        "no UTF-8",
        get(f"{BASE}&to={TO}&text=%ff%fe"),
        202,
        OK,
        (400, b"Charset or body misformed, rejected"),
    ),
    Asked("UCS-2", get(f"{BASE}&to={TO}&text=%04%16%00A&coding=2"), 202, OK),
    Asked(
        "half a character of UCS-2",
        get(f"{BASE}&to={TO}&text=%00A%00&coding=2"),
        202,
        OK,
        (400, b"Charset or body misformed, rejected"),
    ),
    Asked("a mask that is no number", get(f"{BASE}&to={TO}&text=x&dlr-mask="), 202, OK),
    Asked("a validity of nothing", get(f"{BASE}&to={TO}&text=x&validity=0"), 202, OK),
    Asked("meta-data", get(f"{BASE}&to={TO}&text=x&meta-data=%3Fsmpp%3Fdest_addr_subunit%3D1"), 202, OK),
    Asked("post", post(b"hi", f"X-Kannel-To: {TO}", "Content-Type: text/plain"), 202, OK),
    Asked("post without a type", post(b"hi", f"X-Kannel-To: {TO}"), 202, OK),
    Asked(
        "post of JSON",
        post(b"{}", f"X-Kannel-To: {TO}", "Content-Type: application/json"),
        400,
        b"Invalid content-type",
    ),
    Asked(
        "post without a receiver",
        post(b"hi", "Content-Type: text/plain"),
        400,
        b"Missing receiver(s) number(s), rejected",
    ),
    Asked(
        "post of a form",
        post(
            f"username={USER}&password={PASSWORD}&from=1&to={TO}&text=x".encode(),
            "Content-Type: application/x-www-form-urlencoded",
            who=False,
        ),
        400,
        b"Invalid content-type",
        (202, OK),
    ),
)
