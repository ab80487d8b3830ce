"""Where callbacks may not go: every form of an address, names that lie, and our own sockets."""

from __future__ import annotations

import pytest

from gateway.callbacks.guard import Guard, Refused, check_address, parse_url
from tests.trio_case import trio_test


class Names:
    """A resolver that answers differently each time, as a rebinding server does."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self.answers.pop(0)


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "header"),
    [
        ("http://a.example", "a.example", 80, b"/", b"a.example"),
        ("https://A.Example./x?y=1#z", "a.example", 443, b"/x?y=1", b"a.example"),
        (
            "https://a.example:8443/é b".replace(" ", "%20"),
            "a.example",
            8443,
            b"/%C3%A9%20b",
            b"a.example:8443",
        ),
        ("http://93.184.216.34/", "93.184.216.34", 80, b"/", b"93.184.216.34"),
        ("http://[2606:2800::1]:81/", "2606:2800::1", 81, b"/", b"[2606:2800::1]:81"),
        ("http://bücher.example/", "xn--bcher-kva.example", 80, b"/", b"xn--bcher-kva.example"),
    ],
)
def test_a_good_url_is_taken_apart(url: str, host: str, port: int, path: bytes, header: bytes) -> None:
    target = parse_url(url)
    assert (target.host, target.port, target.path, target.host_header) == (host, port, path, header)


def test_an_origin_names_scheme_host_and_port() -> None:
    assert parse_url("https://A.example/x").origin == "https://a.example:443"
    assert parse_url("http://[2606:2800::1]/x").origin == "http://[2606:2800::1]:80"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.example/x",
        "//a.example/",
        "ftp://a.example/",
        "file:///etc/passwd",
        "gopher://a.example/",
        "javascript:alert(1)",
        "http://",
        "http:///x",
        "http://user:pw@a.example/",
        "http://a.example@10.0.0.1/",
        "http://a.example:0/",
        "http://a.example:65536/",
        "http://a.example:x/",
        "http://a example/",
        "http://a.example/\r\nX: y",
        "http://a.example\\@10.0.0.1/",
        "http://a..example/",
        "http://-a.example/",
        "http://[::1",
        "http://[fe80::1%25eth0]/",
        "http://" + "a" * 64 + ".example/",
        "http://a.example/" + "x" * 2048,
        # addresses in disguise: decimal, octal, hex, short
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://0x7f.0.0.1/",
        "http://0x7f000001/",
        "http://127.1/",
        "http://127.0.1/",
        "http://127.0.0.1.1/",
        "http://0127.0.0.1/",
        "http://256.1.1.1/",
        "http://a.example.0x/",
    ],
)
def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        parse_url(url)


def test_full_width_digits_are_read_as_the_address_they_mean() -> None:
    assert parse_url("http://１２７.０.０.１/").host == "127.0.0.1"


PRIVATE = ["127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1"]
PRIVATE += ["::1", "fc00::1", "fd12:3456::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:7f00:1"]
NEVER = ["0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "192.0.0.192", "192.0.2.1", "198.18.0.1"]
NEVER += ["224.0.0.1", "240.0.0.1", "255.255.255.255", "100.100.100.200", "168.63.129.16", "203.0.113.9"]
NEVER += ["::", "fe80::1", "fe80::1%eth0", "ff02::1", "fd00:ec2::254", "2001:db8::1", "2001::1", "fec0::1"]
NEVER += ["::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "::127.0.0.1", "64:ff9b:1::1", "4000::1", "100::1"]
NEVER += ["64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1", "2606::5efe:169.254.169.254", "5f00::1", "name"]
CARRIES_PRIVATE = ["64:ff9b::10.0.0.1", "2002:7f00:1::1", "2002:0a00:0001::", "2606::200:5efe:192.168.0.1"]
GLOBAL = [
    "93.184.216.34",
    "172.32.0.1",
    "100.63.0.1",
    "2606:2800:220::1",
    "64:ff9b::5db8:d822",
    "2002:5db8:d822::1",
]


@pytest.mark.parametrize("address", [*PRIVATE, *CARRIES_PRIVATE])
def test_a_private_address_needs_leave(address: str) -> None:
    with pytest.raises(Refused):
        check_address(address, allow_private=False)
    check_address(address, allow_private=True)


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_never_called(address: str) -> None:
    for allow_private in (False, True):
        with pytest.raises(Refused):
            check_address(address, allow_private)


@pytest.mark.parametrize("address", GLOBAL)
def test_a_global_address_is_called(address: str) -> None:
    assert str(check_address(address, allow_private=False)) == address


def test_a_mapped_address_is_called_as_what_it_is() -> None:
    assert str(check_address("::ffff:93.184.216.34", allow_private=False)) == "93.184.216.34"


def test_one_bad_address_refuses_the_name() -> None:
    with pytest.raises(Refused):
        Guard().check(["93.184.216.34", "10.0.0.1"], 80, allow_private=False)


def test_a_name_without_addresses_or_with_very_many_is_refused() -> None:
    for addresses in ([], [f"93.184.216.{n}" for n in range(17)]):
        with pytest.raises(Refused):
            Guard().check(addresses, 80, allow_private=False)


def test_private_addresses_may_be_allowed_for_the_whole_gateway() -> None:
    assert Guard(allow_private=True).check(["10.0.0.1"], 80, allow_private=False) == ["10.0.0.1"]


@pytest.mark.parametrize("own", [("127.0.0.1", 8080), ("0.0.0.0", 8080), ("::", 8080)])
def test_our_own_listeners_are_refused_even_to_accounts_that_may_call_loopback(own: tuple[str, int]) -> None:
    guard = Guard()
    guard.own_listeners([own])
    with pytest.raises(Refused):
        guard.check(["127.0.0.1"], 8080, allow_private=True)
    with pytest.raises(Refused):
        guard.check(["::ffff:127.0.0.1"], 8080, allow_private=True)
    assert guard.check(["127.0.0.1"], 8081, allow_private=True) == ["127.0.0.1"]


@trio_test
async def test_a_name_is_resolved_once_and_its_answer_is_what_is_called() -> None:
    names = Names(["93.184.216.34"], ["127.0.0.1"])
    target = parse_url("http://rebind.example/")
    assert await Guard().addresses(names, target, False) == ["93.184.216.34"]
    assert names.asked == 1
    with pytest.raises(Refused):
        await Guard().addresses(names, target, False)


@trio_test
async def test_a_literal_address_is_checked_without_asking_a_resolver() -> None:
    names = Names()
    with pytest.raises(Refused):
        await Guard().addresses(names, parse_url("http://169.254.169.254/latest/meta-data"), True)
    assert names.asked == 0
