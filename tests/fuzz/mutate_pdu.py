"""Damages PDUs as networks, foreign stacks and attackers do: a lean, seeded mutation loop.

`mutations(seeds, count, seed)` yields whole octet strings. A run replays exactly from its seed. About half
keep a command_length that fits, so that the damage reaches the fields and does not end in the framer.

Run by hand for longer: `python -m tests.fuzz.mutate_pdu COUNT [SEED]`.

Deliberately not here: what must hold for the result (tests.smpp.test_fuzz).
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence

_EDGES = (0, 1, 2, 3, 4, 5, 15, 16, 17, 0x20, 0x40, 0x7F, 0x80, 0xFE, 0xFF)


def mutations(seeds: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """`count` mutants of the seeds, one to three damages each."""
    rng = random.Random(seed)
    chance = rng.random
    many = len(seeds)
    for _ in range(count):
        data = bytearray(seeds[int(chance() * many)])
        for _ in range(1 + int(chance() * 3)):
            _damage(data, chance(), int(chance() * (len(data) + 1)), chance(), seeds)
        if chance() < 0.5:
            data[0:4] = len(data).to_bytes(4, "big")
        yield bytes(data)


def _damage(data: bytearray, kind: float, at: int, how: float, seeds: Sequence[bytes]) -> None:
    if kind < 0.35:  # one octet, to a telling value
        data[at : at + 1] = bytes((_EDGES[int(how * len(_EDGES))],))
    elif kind < 0.55:  # one octet, to any value
        data[at : at + 1] = bytes((int(how * 256),))
    elif kind < 0.65:
        del data[at:]
    elif kind < 0.75:
        del data[at : at + 1 + int(how * 8)]
    elif kind < 0.85:  # octets more: NULs, a TLV header that lies, one octet again and again
        data[at:at] = (b"\0" * int(how * 9), b"\x04\x27\xff\xff", b"\xff" * int(how * 300))[int(how * 3)]
    elif kind < 0.95:  # half of another PDU
        other = seeds[int(how * len(seeds))]
        data[at:] = other[at:]
    else:  # a command_id of another kind
        data[4:8] = ((0x8000_0000 if how < 0.5 else 0) | int(how * 0x120)).to_bytes(4, "big")


if __name__ == "__main__":
    from tests.smpp.test_fuzz import SEEDS, survive

    survive(SEEDS, int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
