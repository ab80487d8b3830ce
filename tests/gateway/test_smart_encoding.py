"""Smart encoding is somebody's choice: by message or by account it replaces, and the answer says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from router.nouns import Login
from smpp.constants import Tlv
from smpp.segment import Concat, sar_tlvs
from tests.gateway.house import Script, carrier, route, running_with
from tests.gateway.smpp_server.esme import bound
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.trio_case import trio_test

ONE = '[smpp]\nlisten = ["127.0.0.1:2775"]\n' + carrier("one", 2790) + route("one")
QUOTED = "It’s “ready” – call us…" + " and thank you" * 5
PLAIN = 'It\'s "ready" - call us...' + " and thank you" * 5


def message(text: str = QUOTED, **fields: Any) -> dict[str, Any]:
    return {"to": "447700900123", "from": "ACME", "text": text, **fields}


@trio_test(mock_clock=True)
async def test_nothing_is_replaced_unless_somebody_chose_it(tmp_path: Path) -> None:
    async with running_with(tmp_path, ONE, Script()) as (house, script):
        _, answer = await house.http("POST", "/v1/messages", message())
        assert (answer["encoding"], answer["segments"]) == ("ucs2", 2)
        assert "smart_encoding" not in answer
        await house.until(lambda: len(script.submits) == 2)
        assert (await house.message(answer["id"]))["text"] == QUOTED


@trio_test(mock_clock=True)
async def test_a_request_may_ask_for_it_and_is_told_what_was_sent(tmp_path: Path) -> None:
    async with running_with(tmp_path, ONE, Script()) as (house, script):
        _, answer = await house.http("POST", "/v1/messages", message(smart_encoding=True))
        assert (answer["encoding"], answer["segments"], answer["smart_encoding"]) == ("gsm7", 1, True)
        await house.until(lambda: script.submits)
        assert script.submits[0].short_message.decode("ascii") == PLAIN
        assert (await house.message(answer["id"]))["text"] == PLAIN


@trio_test(mock_clock=True)
@pytest.mark.parametrize(
    "fields",
    [
        {"text": "It’s one segment either way"},
        {"text": "😀" + QUOTED},
        {"encoding": "ucs2"},
        {"smart_encoding": False},
    ],
    ids=str,
)
async def test_a_text_that_saves_nothing_or_shall_not_change_is_left_alone(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    async with running_with(tmp_path, ONE, Script(), smart_encoding=True) as (house, _):
        _, answer = await house.http("POST", "/v1/messages", message(**fields))
        assert answer["encoding"] == "ucs2"
        assert "smart_encoding" not in answer


@trio_test(mock_clock=True)
async def test_an_account_may_choose_it_for_all_it_sends(tmp_path: Path) -> None:
    logins = (Login("acme", (hashed("secret"),)),)
    async with running_with(tmp_path, ONE, Script(), smart_encoding=True, logins=logins) as (house, script):
        house.gateway.smpp.gate.passwords = Hashing().passwords
        _, batch = await house.http("POST", "/v1/messages/batch", [message(), message("Hi")])
        assert [one.get("smart_encoding") for one in batch["results"]] == [True, None]
        await house.until(lambda: len(script.submits) == 2)
        async with bound(house.world) as esme:
            await esme.submit(
                text=b"", data_coding=0x18, tlvs=((Tlv.MESSAGE_PAYLOAD, QUOTED.encode("utf-16-be")),)
            )
            await house.until(lambda: len(script.submits) == 3)
            assert script.submits[2].short_message.decode("ascii") == PLAIN
            assert script.submits[2].data_coding == 0x10  # the class stays
            for index in (1, 2):
                part = QUOTED[:60].encode("utf-16-be")
                await esme.submit(text=part, data_coding=8, tlvs=sar_tlvs(Concat(7, 2, index)))
            await house.until(lambda: len(script.submits) == 5)
            assert {pdu.data_coding for pdu in script.submits[3:]} == {8}


@trio_test(mock_clock=True)
async def test_what_would_be_too_long_may_be_short_enough_then(tmp_path: Path) -> None:
    toml = ONE + "[messages]\nmax_parts = 1\n"
    async with running_with(tmp_path, toml, Script()) as (house, _):
        status, _ = await house.http("POST", "/v1/messages", message())
        assert status == 422
        status, _ = await house.http("POST", "/v1/messages", message(smart_encoding=True))
        assert status == 202
