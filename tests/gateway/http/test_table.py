"""The table of endpoints: what it says is whole, and is what a gateway serves."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from gateway.http.codes import CODES
from gateway.http.endpoint import Endpoint
from gateway.http.table import ENDPOINTS
from router.roles import PUBLIC, SCOPES
from tests.gateway.house import running
from tests.trio_case import trio_test


def test_no_path_and_no_id_is_declared_twice() -> None:
    assert max(Counter((one.method, one.path) for one in ENDPOINTS).values()) == 1
    assert max(Counter(one.id for one in ENDPOINTS).values()) == 1


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.id)
def test_a_declaration_names_what_there_is(endpoint: Endpoint) -> None:
    assert endpoint.access == PUBLIC or endpoint.access in SCOPES
    assert set(endpoint.codes) <= set(CODES)
    assert set(endpoint.params) == set(re.findall(r"\{(\w+)\}", endpoint.path))
    assert endpoint.summary
    assert not endpoint.summary.endswith(".")
    assert endpoint.answers


@trio_test(mock_clock=True)
async def test_a_gateway_serves_the_table(tmp_path: Path) -> None:
    async with running(tmp_path, "") as house:
        served = Counter(one.id for one in house.gateway.http.routes.served)
        assert served == Counter(one.id for one in ENDPOINTS)
