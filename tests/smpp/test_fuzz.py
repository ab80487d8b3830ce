"""A million damaged PDUs: only ProtocolError escapes, memory and time stay bounded.

SIGNALBOX_FUZZ sets the count: 1,000,000 in CI, 50,000 elsewhere. Seeds are the public vectors and our rows.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from time import process_time

import pytest

from smpp.codec import Framer, decode, decode_frame, encode
from smpp.compiler import read_carefully
from smpp.constants import HEADER_OCTETS, MAX_PDU_OCTETS
from smpp.errors import EncodeError, ProtocolError
from smpp.pdu import PDUS, Pdu
from tests.fuzz.mutate_pdu import mutations
from tests.smpp.vector_rows import octets, own_rows, public_rows

# Short seeds only: damage in a kilobyte of payload finds nothing.
SEEDS = [data for row in public_rows() + own_rows() if 16 <= len(data := octets(row)) <= 512]
COUNT = int(os.environ.get("SIGNALBOX_FUZZ") or (1_000_000 if os.environ.get("CI") else 50_000))
ROUNDS = 10
BATCH = 1_000
MEMORY_KIB = 64 * 1024  # what a whole run may add to the peak
BATCH_CPU_S = 5.0  # 1,000 PDUs take about 10 ms: this only catches loops that do not end


def test_no_damaged_pdu_raises_anything_but_a_protocol_error() -> None:
    survive(SEEDS, COUNT, seed=1)


def survive(seeds: Sequence[bytes], count: int, seed: int) -> None:
    """Decode `count` mutants alone and as a stream; look closer at some of them."""
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    framer, refused, began_s = Framer(), 0, process_time()
    for number, data in enumerate(mutations(seeds, count, seed)):
        try:
            pdu = decode(data)
        except ProtocolError:
            refused += 1
        else:
            if not number % 16:
                look_closer(data, pdu)
        if not number % 4:
            framer = feed(framer, data)
        if not number % BATCH:
            assert process_time() - began_s < BATCH_CPU_S
            began_s = process_time()
    assert count // 10 < refused < count - count // 10  # the mutants are neither all good nor all bad
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kib < MEMORY_KIB


def feed(framer: Framer, data: bytes) -> Framer:
    """Give a stream its next octets; a new one when it is out of step."""
    for frame in framer.feed(data):
        try:
            decode_frame(frame)
        except ProtocolError as error:
            if not error.recoverable:
                raise AssertionError("a frame is always recoverable") from error
    assert framer.pending < MAX_PDU_OCTETS
    # A length of 60,000 would swallow the next hundreds: look at it once in a while only.
    return Framer() if framer.error or framer.pending > 2_000 else framer


def look_closer(data: bytes, pdu: Pdu) -> None:
    """What was read can be written again, means the same, and is no larger than what came."""
    if len(data) > HEADER_OCTETS or not pdu.is_response:
        assert read_carefully(type(pdu), data, pdu.command_status, pdu.sequence_number) == pdu
    try:
        again = encode(pdu)
    except EncodeError:
        return  # longer than we would write
    assert decode(again) == pdu
    assert len(again) <= max(len(data), HEADER_OCTETS + 20)


@pytest.mark.parametrize("command_id", sorted(PDUS))
def test_every_pdu_survives_its_own_damage(command_id: int) -> None:
    own = [data for data in SEEDS if int.from_bytes(data[4:8], "big") == command_id]
    for data in mutations(own, 300, seed=command_id):
        try:
            pdu = decode(data)
        except ProtocolError:
            continue
        look_closer(data, pdu)


def test_the_largest_pdu_of_the_smallest_tlvs_is_read_in_bounded_memory() -> None:
    data = encode(PDUS[0x15](tlvs=[(1, b"")] * ((MAX_PDU_OCTETS - HEADER_OCTETS) // 4)))
    assert len(data) == MAX_PDU_OCTETS
    began_s = process_time()
    for _ in range(ROUNDS):
        assert len(decode(data).tlvs) == 16_384
    assert process_time() - began_s < BATCH_CPU_S
