"""What is kept of a message that was cut anew, and when nothing is cut."""

from __future__ import annotations

from gateway.carriers import anew
from gateway.carriers.anew import Anew
from gateway.carriers.render import Renderer
from router.nouns import Message, Relay
from tests.gateway.carriers.test_render import message, settings

LATIN1, GSM7 = Renderer(settings(alphabet="latin1")), Renderer(settings())


def part(index: int, text: str, total: int = 2, id: int = 100) -> Message:
    return message(id=id + index, text=text, relay=Relay(reference=8 << 16 | 7, total=total, index=index))


BOTH = [part(1, "€" * 70), part(2, "b" * 60)]


def test_a_part_that_comes_back_alone_is_given_what_it_had_whatever_was_reloaded() -> None:
    kept = Anew()
    shares = kept.shares(BOTH, LATIN1, 255)
    assert [len(share) for share in shares] == [1, 1]
    assert kept.shares(BOTH[1:], GSM7, 255) == shares[1:]
    assert kept.shares(BOTH, GSM7, 1) == shares


def test_a_part_that_has_another_text_by_now_is_not_given_the_old_one() -> None:
    kept = Anew()
    kept.shares(BOTH, LATIN1, 255)
    assert kept.shares([part(2, "replaced")], LATIN1, 255) == [()]


def test_parts_that_fit_are_incomplete_or_would_be_too_many_go_as_they_came() -> None:
    for parts, renderer, most in (
        (BOTH, GSM7, 255),
        (BOTH[:1], LATIN1, 255),
        ([BOTH[1], BOTH[0]], LATIN1, 255),
        (BOTH, LATIN1, 1),
        ([part(1, "€" * 153), part(2, "€" * 153)], LATIN1, 4),
    ):
        assert Anew().shares(parts, renderer, most) == [()] * len(parts)


def test_what_is_kept_is_bounded() -> None:
    kept, most = Anew(), anew._MOST_KEPT
    for number in range(most // 2 + 5):
        kept.shares([part(1, "€", id=number * 10), part(2, "b", id=number * 10)], LATIN1, 255)
    assert len(kept._kept) == most
