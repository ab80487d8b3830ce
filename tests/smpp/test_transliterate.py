"""Likenesses of GSM 7-bit: what is replaced, what is left, and that nothing else changes."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smpp import alphabet, transliterate
from smpp.transliterate import transliterate as alike


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("“Hi” ‘you’ «there»", '"Hi" \'you\' "there"'),
        ("a – b — c‑d", "a - b - c-d"),
        ("wait… now", "wait... now"),
        ("a\u00a0b\u2009c\u202fd\te", "a b c d e"),
        ("soft\u00adhyphen zero\u200bwidth\ufeff", "softhyphen zerowidth"),
        ("façade ação Łódź Ğüneş őű", "facade acao Lodz Günes ou"),
        ("e\u0301 a\u0303", "é a"),
        ("½ × 3° • № 5 ™", "1/2 x 3deg * No. 5 (tm)"),
        ("ﬁne Ⅷ œuvre Þór", "fine VIII oeuvre Thor"),
        ("ｆｕｌｌ", "full"),
        ("line\u2028line", "line\nline"),
    ],
)
def test_typography_and_accents_become_their_plain_forms(text: str, plain: str) -> None:
    assert alike(text) == plain
    assert alphabet.is_gsm7(plain)


@pytest.mark.parametrize("text", ["привет", "你好", "😀", "שלום", "ई", "ł + 😀", "x\u094d", "x\u064b"])
def test_what_has_no_likeness_stays(text: str) -> None:
    assert not alphabet.is_gsm7(alike(text))
    assert alike(text)[-1] == text[-1]


@given(st.text(st.sampled_from(sorted(alphabet.GSM7_CHARACTERS))))
def test_what_the_alphabet_has_is_never_touched(text: str) -> None:
    assert alike(text) == text


@given(st.text())
def test_only_what_the_alphabet_lacks_is_replaced_and_twice_is_once(text: str) -> None:
    once = alike(text)
    assert alike(once) == once
    kept = [one for one in unicodedata.normalize("NFC", text) if one in alphabet.GSM7_CHARACTERS]
    rest = iter(once)
    assert all(one in rest for one in kept)


def test_every_likeness_is_of_the_alphabet_and_each_character_has_one() -> None:
    assert all(alphabet.is_gsm7(plain) for plain in transliterate._ALIKE)
    letters = [one for letters in transliterate._ALIKE.values() for one in letters]
    assert len(letters) == len(set(letters))
