"""The suite is whole: each verb of the interface is used by it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from store.interface import Store, Transaction

SOURCE = "".join(
    path.read_text() for path in Path(__file__).parent.glob("*.py") if path.name != Path(__file__).name
)


@pytest.mark.parametrize(
    "verb", sorted({name for protocol in (Store, Transaction) for name in vars(protocol) if name[0] != "_"})
)
def test_a_verb_of_the_interface_is_used_by_some_test_here(verb: str) -> None:
    assert re.search(rf"\.{verb}\b", SOURCE), f"add a test of {verb}: a second engine has only these to go by"
