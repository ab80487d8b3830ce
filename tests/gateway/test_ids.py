"""Message ids in other APIs' forms go there and back."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ids import account_sid_of, hex_of, id_of_hex, id_of_sid, id_of_uuid, sid_of, uuid_of


@given(st.integers(1, 2**63 - 1))
def test_every_id_comes_back(id: int) -> None:
    assert id_of_uuid(uuid_of(id)) == id_of_uuid(uuid_of(id).upper()) == id
    assert id_of_sid(sid_of(id)) == id_of_sid(account_sid_of(id)) == id
    assert id_of_hex(hex_of(id)) == id


def test_the_uuid_is_one() -> None:
    made = UUID(uuid_of(2**63 - 1))
    assert made.version == 8
    assert made.variant == "specified in RFC 4122"


@pytest.mark.parametrize(
    "text",
    ["", "x", "5f0c1b9e-7c1d-4b7e-9f57-2f6a4d3c2b1a", "ffffffff-ffff-8fff-bfff-ffffffffffff", "SM12",
     "AC" + "f" * 32, "SM" + "0" * 32, "g" * 16, "0" * 16, "f" * 16, "1" * 400],
)  # fmt: skip
def test_what_nobody_here_made_is_none(text: str) -> None:
    assert (id_of_uuid(text), id_of_sid(text), id_of_hex(text)) == (None, None, None)
