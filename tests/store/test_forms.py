"""A record that is filled in between its pieces is, octet for octet, the record as it is encoded whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.nouns import Part, Progress
from store.forms import _MARK, OPEN, pieces_of
from store.records import encode

NUMBERS = st.integers(0, 2**64 - 1)
TEXTS = st.one_of(st.text(max_size=20), st.sampled_from([_MARK.decode("latin-1"), "\xc1", "a" * 300]))


def progress(lease: int, id: str, at_ms: int, number: int, text: str) -> Progress:
    parts = [Part(number, id, number, text)]
    return Progress(5, number, lease=lease, parts=parts, events=[(at_ms, 1, number, text)], cause=text)


@given(NUMBERS, TEXTS, NUMBERS, NUMBERS, TEXTS)
def test_a_record_in_pieces_is_the_record(lease: int, id: str, at_ms: int, number: int, text: str) -> None:
    a, b, c, d = pieces_of(progress(OPEN, OPEN, OPEN, number, text))
    filled = a + encode(lease) + b + encode(id) + c + encode(at_ms) + d
    assert filled == encode(progress(lease, id, at_ms, number, text))
