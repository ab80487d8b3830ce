"""Standard Webhooks signatures: the public vectors, our own round trips, and what must be refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.callbacks.signature import BadSecret, BadSignature, decode_secret, encode_secret, sign, verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_every_public_vector_holds(vectors: Path) -> None:
    rows = [
        msgspec.json.decode(line) for line in (vectors / "webhook_vectors.jsonl").read_bytes().splitlines()
    ]
    assert len(rows) >= 3
    for row in rows:
        given = ([row["secret"]], row["id"], row["timestamp"], row["payload"].encode(), row["signature"])
        if row["valid"]:
            verify(*given, now_s=None)
            made = sign(
                [decode_secret(row["secret"])], row["id"].encode(), row["timestamp"].encode(), given[3]
            )
            assert made.decode() in row["signature"].split(" ")
        else:
            with pytest.raises(BadSignature):
                verify(*given, now_s=None)


def test_one_of_two_secrets_is_enough() -> None:
    new = encode_secret(bytes(range(32)))
    signature = sign([decode_secret(new), decode_secret(SECRET)], b"msg_1", b"1700000000", b"{}").decode()
    assert signature.count("v1,") == 2
    for secret in (SECRET, new):
        verify([secret], "msg_1", "1700000000", b"{}", signature, 1_700_000_100)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook_id": "msg_2"},
        {"timestamp": "1700000001"},
        {"body": b"{ }"},
        {"signature": ""},
        {"signature": "v2,AAAA"},
        {"now_s": 1_700_000_301.0},
        {"now_s": 1_699_999_699.0},
        {"timestamp": "-1"},
        {"timestamp": "1e9"},
        {"timestamp": "٣"},
    ],
)
def test_anything_changed_is_refused(change: dict[str, object]) -> None:
    good: dict[str, object] = {
        "secrets": [SECRET],
        "webhook_id": "msg_1",
        "timestamp": "1700000000",
        "body": b"{}",
        "signature": sign([decode_secret(SECRET)], b"msg_1", b"1700000000", b"{}").decode(),
        "now_s": 1_700_000_300.0,
    }
    verify(**good)  # type: ignore[arg-type]
    with pytest.raises(BadSignature):
        verify(**(good | change))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [24, 32, 64])
def test_secrets_of_24_to_64_bytes_come_back_as_they_were(size: int) -> None:
    assert decode_secret(encode_secret(bytes(size))) == bytes(size)


@pytest.mark.parametrize(
    "secret", ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_***", "whsec_QUFB"]
)
def test_a_bad_secret_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(BadSecret) as refused:
        decode_secret(secret)
    assert "QUFB" not in str(refused.value)


@pytest.mark.parametrize("size", [23, 65])
def test_a_secret_of_another_size_cannot_be_made(size: int) -> None:
    with pytest.raises(BadSecret):
        encode_secret(bytes(size))
