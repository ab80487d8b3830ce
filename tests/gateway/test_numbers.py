"""What the gateway makes of recipients: by each account's country, and by the types it may send to."""

from __future__ import annotations

from pathlib import Path

from gateway.account_settings import NUMBER_TYPES
from router.nouns import Login
from router.plans import KINDS
from smpp.pdu import CancelSm
from smpp.status import Status
from tests.gateway.house import Running, carrier, route, running, simulator
from tests.gateway.smpp_server.esme import bound
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.trio_case import trio_test

TOML = carrier("sim", 2776) + simulator("sim", 2776) + route("sim")
SMPP = '[smpp]\nlisten = ["127.0.0.1:2775"]\n'
HOUSE = '[numbers]\nallowed_types = ["valid"]\n'


async def refusal(house: Running, to: str, sender: str = "Shop") -> tuple[str, str]:
    """(problem, detail) of a message, or ("", its recipient)."""
    status, answer = await house.http("POST", "/v1/messages", {"to": to, "from": sender, "text": "Hello"})
    if status == 202:
        return "", str((await house.message(str(answer["id"])))["to"])
    assert status == 422, answer
    return answer["type"].rpartition(":")[2], answer["detail"]


def test_the_settings_types_are_those_of_the_number_plans() -> None:
    assert NUMBER_TYPES == KINDS


@trio_test
async def test_an_accounts_national_numbers_are_those_of_its_own_country(tmp_path: Path) -> None:
    async with running(tmp_path, TOML, default_region="GB") as house:
        assert await refusal(house, "07400 123456") == ("", "447400123456")
        assert await refusal(house, "+33612345678") == ("", "33612345678")
        await house.gateway.accounts.update("acme", default_region="FR")
        assert await refusal(house, "06 12 34 56 78") == ("", "33612345678")
        assert (await refusal(house, "07400 123456"))[0] == "impossible-length"
        await house.gateway.accounts.update("acme", default_region="")
        assert (await refusal(house, "06 12 34 56 78"))[0] == "unknown-country"


@trio_test
async def test_an_accounts_senders_are_of_its_own_country_too(tmp_path: Path) -> None:
    async with running(tmp_path, TOML, default_region="GB") as house:
        for region, sender in (("GB", "447400123456"), ("FR", "33740012345"), ("GB", "447400123456")):
            await house.gateway.accounts.update("acme", default_region=region)
            text = "07400 123456" if region == "GB" else "07 40 01 23 45"
            status, answer = await house.http(
                "POST", "/v1/messages", {"to": "+447400123456", "from": text, "text": "Hello"}
            )
            assert status == 202
            assert (await house.message(str(answer["id"])))["from"] == sender


@trio_test
async def test_types_that_an_account_may_not_send_to_are_refused_in_words(tmp_path: Path) -> None:
    async with running(tmp_path, TOML, allowed_number_types=("mobile",)) as house:
        assert await refusal(house, "+447400123456") == ("", "447400123456")
        problem, detail = await refusal(house, "+442079460000")
        assert problem == "number-type-not-allowed"
        assert "44207946… is a number of type fixed (GB)" in detail
        assert "may send to mobile" in detail
        problem, detail = await refusal(house, "+447700900123")
        assert problem == "number-type-not-allowed"
        assert "no valid number of GB" in detail


@trio_test
async def test_the_houses_types_are_for_accounts_without_their_own(tmp_path: Path) -> None:
    async with running(tmp_path, HOUSE + TOML) as house:
        assert (await refusal(house, "+442079460000"))[0] == ""
        assert (await refusal(house, "+447700900123"))[0] == "number-type-not-allowed"
        await house.gateway.accounts.update("acme", allowed_number_types=KINDS)
        assert (await refusal(house, "+447700900123"))[0] == ""


@trio_test
async def test_messages_are_cancelled_by_the_number_that_was_submitted(tmp_path: Path) -> None:
    login = Login("acme", (hashed("secret"),))
    toml = SMPP + carrier("down", 2799) + route("down")
    async with running(tmp_path, toml, default_region="GB", logins=(login,)) as house:
        house.gateway.smpp.gate.passwords = Hashing().passwords
        id = await house.submit("07400 123456")
        async with bound(house.world) as esme:
            answer = await esme.ask(
                CancelSm(source_addr=b"12345", source_addr_ton=3, destination_addr=b"07400123456")
            )
        assert answer.command_status == Status.ESME_ROK
        assert (await house.message(id))["state"] == "DELETED"
