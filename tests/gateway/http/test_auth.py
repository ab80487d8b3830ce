"""API keys: made, hashed, found, forgotten; failures slowed down without locking out the good."""

from __future__ import annotations

import hashlib

import pytest

from gateway.http.auth import OPERATOR_KEY, Keys, key_hash, new_key
from gateway.http.problems import BadRequest
from gateway.operators import Operator
from router.nouns import Account


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_new_key_carries_256_random_bits_and_only_its_hash_is_kept() -> None:
    key, prefix, digest = new_key()
    assert key.startswith(f"sbk_{prefix}_")
    assert len(bytes.fromhex(key.rsplit("_", 1)[1])) == 32
    assert digest == key_hash(key) == hashlib.sha256(key.encode()).hexdigest()
    assert new_key()[0] != key


def test_a_key_finds_its_account_until_the_account_drops_it() -> None:
    old, _, old_hash = new_key()
    new, _, new_hash = new_key()
    keys = Keys([Account(id=1, name="a", key_hashes=(new_hash, old_hash))], Clock())
    for key in (old, new):
        assert keys.authenticate(f"Bearer {key}".encode(), "192.0.2.1").name == "a"
    keys.rebuild([Account(id=1, name="a", key_hashes=(new_hash,))])
    assert keys.authenticate(f"bearer {new}".encode(), "192.0.2.1").name == "a"
    with pytest.raises(BadRequest, match="not known"):
        keys.authenticate(f"Bearer {old}".encode(), "192.0.2.1")


@pytest.mark.parametrize("header", [None, b"", b"Bearer", b"Bearer ", b"Basic x", b"Bearer " + b"x" * 9999])
def test_any_other_header_is_a_401(header: bytes | None) -> None:
    with pytest.raises(BadRequest) as refused:
        Keys([], Clock()).authenticate(header, "192.0.2.1")
    assert refused.value.status == 401


def test_many_failures_are_told_to_wait_but_a_good_key_passes() -> None:
    clock = Clock()
    key, _, digest = new_key()
    keys = Keys([Account(id=1, name="a", key_hashes=(digest,))], clock)

    def fail(address: str = "192.0.2.1") -> int:
        with pytest.raises(BadRequest) as refused:
            keys.authenticate(b"Bearer wrong", address)
        return refused.value.status

    assert [fail() for _ in range(12)] == [401] * 10 + [429] * 2
    assert keys.authenticate(f"Bearer {key}".encode(), "192.0.2.1").id == 1
    assert fail("192.0.2.2") == 401
    clock.now += 1.1
    assert [fail(), fail()] == [401, 429]  # the wait doubles
    clock.now += 1.1
    assert fail() == 429
    clock.now += 400
    assert fail() == 401  # forgotten


def test_an_ipv6_peer_counts_by_its_network() -> None:
    keys = Keys([], Clock())
    statuses = []
    for host in range(12):
        with pytest.raises(BadRequest) as refused:
            keys.authenticate(None, f"2001:db8:1:2::{host:x}")
        statuses.append(refused.value.status)
    assert statuses[-1] == 429


def test_a_scan_from_many_addresses_takes_bounded_memory() -> None:
    keys = Keys([], Clock())
    for number in range(10_000):
        with pytest.raises(BadRequest):
            keys.authenticate(None, f"10.0.{number >> 8}.{number & 255}")
    assert len(keys._failures) <= 4096


def both() -> tuple[str, str, Keys]:
    """An account's key, an operator's key, and who knows them."""
    account_key, _, account_hash = new_key()
    operator_key, prefix, operator_hash = new_key(OPERATOR_KEY)
    assert operator_key.startswith(f"sbo_{prefix}_")
    keys = Keys([Account(id=1, name="a", key_hashes=(account_hash,))], Clock())
    keys.rebuild_operators([Operator("ann", operator_hash, prefix, 0)])
    return account_key, operator_key, keys


def test_an_account_and_an_operator_each_need_their_own_kind_of_key() -> None:
    account_key, operator_key, keys = both()
    assert keys.operator(f"Bearer {operator_key}".encode(), "192.0.2.1").name == "ann"
    for ask, key, code, hint in (
        (keys.operator, account_key, "operator-key-needed", "signalbox operator create"),
        (keys.authenticate, operator_key, "account-key-needed", "signalbox account create"),
    ):
        for _ in range(30):  # a known key of the wrong kind is no guess
            with pytest.raises(BadRequest, match=hint) as refused:
                ask(f"Bearer {key}".encode(), "192.0.2.1")
            assert (refused.value.status, refused.value.code) == (403, code)
    keys.rebuild_operators([])
    with pytest.raises(BadRequest, match="not known") as unknown:
        keys.operator(f"Bearer {operator_key}".encode(), "192.0.2.1")
    assert unknown.value.status == 401


@pytest.mark.parametrize("header", [None, b"", b"Bearer", b"Bearer ", b"Basic x", b"Bearer " + b"x" * 9999])
def test_any_other_header_is_a_401_for_operators_too(header: bytes | None) -> None:
    _, operator_key, keys = both()
    refusals = []
    for _ in range(12):
        with pytest.raises(BadRequest) as refused:
            keys.operator(header, "192.0.2.1")
        refusals.append((refused.value.status, refused.value.headers[0][0]))
    assert refusals == [(401, "WWW-Authenticate")] * 10 + [(429, "Retry-After")] * 2
    assert keys.operator(f"Bearer {operator_key}".encode(), "192.0.2.1").name == "ann"
