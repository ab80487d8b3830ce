"""Rows of PDU vectors, public ones and our own, and the ways a stream can be cut into reads.

Public rows are read where SIGNALBOX_VECTORS points (tests/conftest.py) and are never copied; our own are in
tests/vectors/smpp_own.jsonl, in the same format. Without the variable there are no public rows, and in CI
that is an error.

Deliberately not here: assertions.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smpp.codec import Framer, decode_frame
from smpp.constants import MAX_PDU_OCTETS
from smpp.errors import FramingError, ProtocolError
from smpp.fields import DestAddress, DistributionList, UnsuccessSme
from smpp.pdu import Pdu

Row = dict[str, Any]

OWN = Path(__file__).resolve().parent.parent / "vectors" / "smpp_own.jsonl"


def own_rows() -> list[Row]:
    return [json.loads(line) for line in OWN.read_text().splitlines()]


def public_rows() -> list[Row]:
    """Empty when the variable is unset: the tests then skip, and in CI fail."""
    folder = os.environ.get("SIGNALBOX_VECTORS")
    if not folder:
        return []
    return [json.loads(line) for line in (Path(folder) / "smpp_vectors.jsonl").read_text().splitlines()]


def octets(row: Row) -> bytes:
    return bytes.fromhex(row["hex"])


def row_id(row: Row) -> str:
    return f"{row['source'].rpartition('/')[2]}-{row['name']}"


@dataclass
class Reading:
    """What a stream came to: PDUs and recoverable errors in order, then perhaps the end of it."""

    results: list[Pdu | ProtocolError] = field(default_factory=list)
    error: FramingError | None = None
    pending: int = 0

    def told(self) -> list[object]:
        """Comparable: errors by what they say."""
        return [str(r) if isinstance(r, ProtocolError) else r for r in self.results] + [
            str(self.error),
            self.pending,
        ]


def read_stream(chunks: Iterable[bytes], max_pdu_octets: int = MAX_PDU_OCTETS) -> Reading:
    """Feed the chunks to a Framer and decode every frame."""
    framer, reading = Framer(max_pdu_octets), Reading()
    for chunk in chunks:
        for frame in framer.feed(chunk):
            try:
                reading.results.append(decode_frame(frame))
            except ProtocolError as error:
                reading.results.append(error)
    reading.error, reading.pending = framer.error, framer.pending
    return reading


def one_by_one(data: bytes) -> Iterator[bytes]:
    return (data[i : i + 1] for i in range(len(data)))


def random_splits(data: bytes, seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    at = 0
    while at < len(data):
        size = rng.choice((1, 2, 3, 4, 5, 11, 15, 16, 17, 40, 300))
        yield data[at : at + size]
        at += size


def as_vector(pdu: Pdu) -> Row:
    """The PDU in the words of the vectors' `decoded` column."""
    told: Row = {"command": pdu.command, "command_id": pdu.command_id}
    for name, value in pdu.as_dict().items():
        if name == "short_message":
            told |= {"sm_length": len(value), "short_message_hex": value.hex()}
        elif name == "dest_address":
            told |= {"number_of_dests": len(value), "dest_address": [_destination(item) for item in value]}
        elif name == "unsuccess_sme":
            told |= {"no_unsuccess": len(value), "unsuccess_sme": [_refused(item) for item in value]}
        elif name == "tlvs":
            told["tlvs"] = [{"tag": t, "length": len(v), "value_hex": v.hex()} for t, v in value]
        else:
            told[name] = value.decode("latin-1") if isinstance(value, bytes) else value
    return told


def _destination(item: DestAddress) -> Row:
    if isinstance(item, DistributionList):
        return {"dest_flag": 2, "dl_name": item.dl_name.decode("latin-1")}
    return {
        "dest_flag": 1,
        "dest_addr_ton": item.dest_addr_ton,
        "dest_addr_npi": item.dest_addr_npi,
        "destination_addr": item.destination_addr.decode("latin-1"),
    }


def _refused(item: UnsuccessSme) -> Row:
    return {
        "dest_addr_ton": item.dest_addr_ton,
        "dest_addr_npi": item.dest_addr_npi,
        "destination_addr": item.destination_addr.decode("latin-1"),
        "error_status_code": item.error_status_code,
    }
