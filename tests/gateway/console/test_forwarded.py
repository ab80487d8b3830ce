"""Where a browser is, behind proxies: what is believed of X-Forwarded-For, and of whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.load import ConfigErrors, load
from gateway.console.forwarded import address_of
from gateway.smpp_server.networks import Networks
from tests.gateway.console.house import CARRIERS
from tests.gateway.console.test_sign_in import OTHER, RIGHT, Browser, a_console
from tests.gateway.house import write_config
from tests.trio_case import trio_test

PROXIES = Networks(("10.0.0.0/8", "2001:db8::/32"))


@pytest.mark.parametrize(
    ("peer", "header", "is_at"),
    [
        ("192.0.2.7", b"198.51.100.9", "192.0.2.7"),  # no proxy of ours: made up
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", b"198.51.100.9", "198.51.100.9"),
        ("10.0.0.1", b"203.0.113.5, 198.51.100.9", "198.51.100.9"),  # the first came with the request
        ("10.0.0.1", b"203.0.113.5, 198.51.100.9, 10.0.0.2", "198.51.100.9"),
        ("10.0.0.1", b"10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", b"198.51.100.9, nonsense", "10.0.0.1"),
        ("10.0.0.1", b"nonsense, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", b"", "10.0.0.1"),
        ("10.0.0.1", b"::ffff:198.51.100.9", "198.51.100.9"),
        ("2001:db8::1", b"2001:db9::7", "2001:db9::7"),
        ("10.0.0.1", b"1.2.3.4," * 10_000 + b"198.51.100.9", "198.51.100.9"),
    ],
)
def test_only_what_a_proxy_of_ours_wrote_is_believed(peer: str, header: bytes | None, is_at: str) -> None:
    assert address_of(peer, header, PROXIES) == is_at
    assert address_of(peer, header, Networks(())) == peer


@trio_test(mock_clock=True)
async def test_a_header_of_nobody_we_know_neither_hides_nor_locks_anybody(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        for number in range(10):
            form = {"name": "ann", "password": OTHER}
            await Browser(house).post(
                "/console/sign-in", form, Origin="http://test", X_Forwarded_For=f"198.51.100.{number}"
            )
        assert (await Browser(house).sign_in(password=RIGHT)).status == 429


def test_a_proxy_that_is_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="no address and no network"):
        load(write_config(tmp_path, '[console]\nproxy_from = ["nginx"]\n' + CARRIERS))
