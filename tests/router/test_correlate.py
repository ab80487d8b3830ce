"""Receipt ids in all their forms, the form a carrier is found to use, and many parts as one state.

Deliberately not here: the look-ups and the parking themselves (tests/store).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.correlate import FormLearner, believable_done_ms, fold, reference_of, variants
from router.nouns import FINAL_STATES, MessageState, Part
from smpp import receipt
from tests.smpp.text_vectors import rows

D, E, A = MessageState.DELIVERED, MessageState.ENROUTE, MessageState.ACCEPTED
U, X, R = MessageState.UNDELIVERABLE, MessageState.EXPIRED, MessageState.REJECTED


def test_fm14_every_id_pair_of_the_vectors_matches(vectors: Path) -> None:
    pairs = 0
    for row in rows(vectors / "dlr_samples.jsonl"):
        expected = row.get("expected", {})
        if "correlate_id" not in expected:
            continue
        tlvs = [(0x001E, row["tlvs"]["receipted_message_id"].encode())] if row.get("tlvs") else []
        found = receipt.parse(row["text"].encode("latin-1"), 0, tlvs)
        assert found is not None
        stored = expected["correlate_id"]
        assert any(stored == id or stored in variants(id) for id in found.ids), row
        assert stored == found.id or found.id in variants(stored), row
        pairs += 1
    assert pairs >= 5


@pytest.mark.parametrize(
    ("receipt_id", "stored"),
    [
        ("0972660181", "39f99dd5"),
        ("972660181", "39F99DD5"),
        ("39F99DD5", "972660181"),
        ("39f99dd5", "0972660181"),
        ("24", "000024"),
        ("000024", "24"),
        ("abcdef0", "ABCDEF0"),
        ("ABCDEF", "abcdef"),
        ("00ab12", "AB12"),
        ("AB12", "0000ab12"),
        ("1101C1-C9D03D-F000", "1101c1-c9d03d-f000"),
        ("5516a151497045b6b73e95aefdb11cbf", "5516a151-4970-45b6-b73e-95aefdb11cbf"),
        ("5516A151-4970-45B6-B73E-95AEFDB11CBF", "5516a151497045b6b73e95aefdb11cbf"),
        ("5516a151-4970-45b6-b73e-95aefdb11cbf", str(0x5516A151497045B6B73E95AEFDB11CBF)),
        (str(0x5516A151497045B6B73E95AEFDB11CBF), "5516a151-4970-45b6-b73e-95aefdb11cbf"),
        ("340282366920938463463374607431768211455", "f" * 32),
        ("4062581461565934000241", "04062581461565934000241"),
    ],
)
def test_fm14_an_id_may_be_written_in_many_forms(receipt_id: str, stored: str) -> None:
    assert stored in variants(receipt_id)
    assert receipt_id in variants(stored)


def test_fm14_more_than_128_bits_are_no_number() -> None:
    assert not [other for other in variants(str(1 << 128)) if set(other) & set("abcdef")]
    assert not any(other.isdigit() for other in variants("f" * 33))


@pytest.mark.parametrize(
    "id", ["", "0", "000", "msg-1", "1479978899.393701000100", "ünïcode", "٣٤", "a" * 300]
)
def test_any_id_has_a_bounded_set_of_forms_without_itself(id: str) -> None:
    others = variants(id)
    assert id not in others
    assert "" not in others
    assert len(set(others)) == len(others) <= 80


@given(st.text(max_size=70))
def test_no_id_of_a_peer_is_beyond_forms(id: str) -> None:
    others = variants(id)
    assert id not in others
    assert len(set(others)) == len(others) <= 80
    learner = FormLearner("3:dec>hex,upper;undash")
    assert learner.apply(id)[0] == id


@given(st.integers(0, 2**128 - 1), st.sampled_from(["d", "x", "X"]), st.sampled_from(["d", "x", "X"]))
def test_fm14_every_number_matches_in_every_base_and_case(number: int, one: str, other: str) -> None:
    first, second = format(number, one), format(number, other)
    assert first == second or second in variants(first)


def test_fm14_a_form_is_used_only_after_several_matches_agree() -> None:
    learner = FormLearner()
    for decimal in (20000001, 20000012, 20000031):
        assert learner.apply(str(decimal)) == (str(decimal),)
        assert learner.form == ""
        learner.observe(str(decimal), f"{decimal:x}")
    assert learner.apply("20000045") == ("20000045", f"{20000045:x}")
    assert "dec>hex" in learner.form


@pytest.mark.parametrize(
    ("pairs", "id", "stored"),
    [
        ([("11", "000011"), ("123456", "123456"), ("7", "000007"), ("42", "000042")], "5", "000005"),
        ([("AB", "ab"), ("12", "12"), ("CD", "cd"), ("EF", "ef")], "A1", "a1"),
        ([("0972660181", "39f99dd5"), ("0972660182", "39f99dd6"), ("0972660183", "39f99dd7")], "10", "a"),
        ([("171", "000000AB"), ("172", "000000AC"), ("173", "000000AD")], "174", "000000AE"),
        ([("00ab", "171"), ("00ac", "172"), ("00ad", "173")], "00ae", "174"),
    ],
)
def test_fm14_the_form_that_all_matches_share_is_learned(
    pairs: list[tuple[str, str]], id: str, stored: str
) -> None:
    learner = FormLearner()
    for receipt_id, matched_id in pairs:
        learner.observe(receipt_id, matched_id)
    assert stored in learner.apply(id)
    assert stored in FormLearner(str(learner)).apply(id)


def test_a_carrier_that_answers_in_its_receipts_own_form_teaches_nothing() -> None:
    learner = FormLearner()
    for id in ("1", "a", "B"):
        learner.observe(id, id)
    assert (str(learner), learner.apply("AbC")) == ("", ("AbC",))


def test_a_learned_form_is_forgotten_when_the_carrier_changes() -> None:
    learner = FormLearner("3:upper")
    for id in ("abc", "bcd", "cde"):
        assert len(learner.apply("xyz")) == 2
        learner.observe(id, id)
    assert learner.apply("xyz") == ("xyz",)


@pytest.mark.parametrize("learned", ["", "1:upper;hex>dec", "3:upper"])
@pytest.mark.parametrize(
    ("receipts", "matched"),
    [
        (["abc", "bcd", "cde"], ["abc", "bcd", "cde"]),
        (["ab", "ac", "", "ad", "ae"], ["AB", "AC", "AD", "", "AE"]),
    ],
)
def test_the_receipts_of_a_commit_teach_what_each_teaches(
    learned: str, receipts: list[str], matched: list[str]
) -> None:
    together, one_by_one = FormLearner(learned), FormLearner(learned)
    together.observe_all(receipts, matched)
    for id, matched_id in zip(receipts, matched, strict=True):
        if id and matched_id:
            one_by_one.observe(id, matched_id)
    assert (str(together), together._contradicted) == (str(one_by_one), one_by_one._contradicted)


@pytest.mark.parametrize("persisted", ["", "x", "3", "3:", ":", "3:nonsense", "-1:upper", "3:pad", "٣:upper"])
def test_nonsense_that_was_persisted_is_ignored(persisted: str) -> None:
    assert FormLearner(persisted).apply("abc") == ("abc",)


def test_a_configured_form_is_used_at_once_and_kept() -> None:
    assert FormLearner(configured="dec").apply("255")[:2] == ("255", "ff")
    assert FormLearner(configured="hex").apply("ff") == ("ff", "255")
    assert FormLearner(configured="upper,pad8").apply("ff") == ("ff", "000000FF")
    exact = FormLearner("3:upper", configured="exact")
    exact.observe("ff", "FF")
    assert (exact.apply("ff"), exact.form) == (("ff",), "")
    with pytest.raises(ValueError, match="octal"):
        FormLearner(configured="octal")


@given(st.lists(st.tuples(st.text(max_size=40), st.text(max_size=40)), max_size=12), st.text(max_size=40))
def test_no_observation_breaks_the_learner(pairs: list[tuple[str, str]], id: str) -> None:
    learner = FormLearner()
    for receipt_id, matched_id in pairs:
        learner.observe(receipt_id, matched_id)
    ids = learner.apply(id)
    assert ids[0] == id
    assert len(ids) <= 3
    assert str(FormLearner(str(learner))) == str(learner)


@given(st.integers(1, 2**64), st.data())
def test_every_form_that_a_variant_hits_can_be_learned(number: int, data: st.DataObject) -> None:
    id = data.draw(st.sampled_from([str(number), f"{number:x}", f"{number:X}", f"{number:010}"]))
    matched = data.draw(st.sampled_from(variants(id) or (id,)))
    learner = FormLearner()
    for _ in range(FormLearner.CONFIDENT):
        learner.observe(id, matched)
    assert matched in learner.apply(id)


def parts(*states: MessageState) -> list[Part]:
    return [Part(1, str(index), state) for index, state in enumerate(states)]


@pytest.mark.parametrize(
    ("states", "state", "final"),
    [
        ((), E, False),
        ((E,), E, False),
        ((D,), D, True),
        ((U,), U, True),
        ((A,), A, False),
        ((D, D, D), D, True),
        ((D, D, E), E, False),
        ((D, A), A, False),
        ((E, A), E, False),
        ((U, E), E, False),
        ((U, A), A, False),
        ((D, U), U, True),
        ((X, U), U, True),
        ((R, X), R, True),
        ((MessageState.UNKNOWN, D), MessageState.UNKNOWN, True),
        ((MessageState.SKIPPED, MessageState.UNKNOWN), MessageState.SKIPPED, True),
    ],
)
def test_fm16_parts_fold_into_one_state(
    states: tuple[MessageState, ...], state: MessageState, final: bool
) -> None:
    assert fold(parts(*states)) == (state, final)


def test_fm16_one_receipt_for_the_first_part_may_stand_for_all() -> None:
    assert fold(parts(D, E, E), first_decides=True) == (D, True)
    assert fold(parts(E, D, D), first_decides=True) == (E, False)
    assert fold([], first_decides=True) == (E, False)


@given(st.lists(st.sampled_from(MessageState), min_size=1, max_size=8), st.randoms())
def test_fm13_the_order_in_which_parts_end_does_not_matter(
    states: list[MessageState], shuffle: object
) -> None:
    folded = fold(parts(*states))
    assert folded == fold(parts(*reversed(states)))
    if folded[1]:
        assert folded[0] in FINAL_STATES
        assert all(state in FINAL_STATES for state in states)


# dates and references


@pytest.mark.parametrize(
    ("done_ms", "believed_ms"),
    [
        (0, 0),
        (90_000_000, 90_000_000),
        (100_000_000, 100_000_000),
        (100_000_000 + 300_000, 100_000_000),  # a clock five minutes fast
        (100_000_000 + 300_001, 0),
        (3_600_000, 3_600_000),  # a day before it was submitted
        (3_599_999, 0),
    ],
)
def test_a_done_date_in_the_future_or_long_before_the_message_is_not_believed(
    done_ms: int, believed_ms: int
) -> None:
    assert believable_done_ms(done_ms, 100_000_000, 90_000_000) == believed_ms


def test_messages_of_different_moments_have_different_references() -> None:
    ids = [(1_790_000_000_000 + moment) << 20 for moment in range(1_000)]
    assert len({reference_of(id) for id in ids}) == len(ids)
