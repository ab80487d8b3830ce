"""Pages of lists, and queries read as the types that are declared."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.paging import after, cursor, page
from gateway.http.problems import BadRequest
from gateway.http.typed import read_query


class Query(msgspec.Struct, forbid_unknown_fields=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=10, description="a whole number from 1 to 10")] = 2
    cursor: str = ""
    who: str = ""
    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    bodies: bool | None = None


def wrong(query: str) -> dict[str, str]:
    with pytest.raises(BadRequest) as caught:
        read_query(query, Query)
    assert caught.value.status == 422
    return {error.field: error.detail for error in caught.value.errors}


def test_pages_follow_each_other_until_there_is_none() -> None:
    rows = list(range(5))
    request: Any = SimpleNamespace(path="/v1/rows")
    seen: list[int] = []
    text = "who=a%26b"
    while True:
        query = read_query(text, Query)
        start = after(query.cursor, int, -1)
        shown = page(request, query, query.limit, rows[start + 1 : start + 2 + query.limit], int)
        seen += shown.rows
        if shown.next is None:
            assert shown.headers == ()
            break
        assert shown.headers == (("Link", f'<{shown.next}>; rel="next"'),)
        path, _, text = shown.next.partition("?")
        assert path == "/v1/rows"
        assert read_query(text, Query).who == "a&b"
    assert seen == rows


@given(st.integers(0, 1 << 62) | st.text(max_size=80))
def test_a_cursor_gives_back_what_it_was_made_of(key: int | str) -> None:
    assert after(cursor(key), type(key), type(key)()) == key


@pytest.mark.parametrize("text", ["5", "!!!", "é", "pTQ0Ll", "AAAA", "a" * 600])
def test_what_is_no_cursor_of_ours_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="cursor"):
        after(text, str, "")


def test_parameters_are_read_as_what_they_are() -> None:
    read = read_query("limit=7&who=5&since=2030-01-31T09%3A30%3A00Z&bodies=true", Query)
    assert (read.limit, read.who, read.since, read.bodies) == (
        7,
        "5",
        datetime(2030, 1, 31, 9, 30, tzinfo=UTC),
        True,
    )


def test_every_wrong_parameter_is_named() -> None:
    assert wrong("limit=0")["limit"].startswith("a whole number from 1 to 10")
    assert wrong("limit=ten&whom=x") == {
        "limit": "a whole number from 1 to 10 (Expected `int`, got `str`)",
        "whom": "unknown field; did you mean who? Allowed: limit, cursor, who, since, bodies",
    }
    assert set(wrong("since=0.5&bodies=2")) == {"since", "bodies"}
    assert set(wrong("since=2030-01-31T09:30:00")) == {"since"}
    assert wrong("who=a&who=b") == {"who": "give it once"}
    assert wrong("who=%ff") == {"query": "percent-encoded UTF-8"}
    assert "query" in wrong("&".join(f"a{number}=" for number in range(60)))
