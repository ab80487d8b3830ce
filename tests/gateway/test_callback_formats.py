"""Callbacks in the formats of other APIs, from a submission with its choice to the customer's server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from gateway.callbacks.choice import Callbacks, jasmin, kannel
from gateway.door import Accepted, Refusal, Submission
from gateway.ids import uuid_of
from smpp.pdu import Pdu, SubmitSm, SubmitSmResp
from smpp.status import Status
from tests.gateway.house import MemoryWorld, Running, Script, carrier, route, running, simulator
from tests.gateway.receiver import Receiver, answer
from tests.trio_case import trio_test

SIM = carrier("sim", 2776) + route("sim")
DELIVERS = SIM + simulator("sim", 2776)


@asynccontextmanager
async def hearing(path: Path, toml: str, **account: object) -> AsyncIterator[tuple[Running, Receiver, str]]:
    """(gateway, receiver, the receiver's URL)"""
    world, receiver = MemoryWorld(), Receiver()
    async with trio.open_nursery() as nursery:
        url = await receiver.listen(world, nursery)
        async with running(path, toml, world, **account) as house:  # type: ignore[arg-type]
            yield house, receiver, url
        nursery.cancel_scope.cancel()


async def submitted(house: Running, chosen: Callbacks, to: str = "447700900123") -> int:
    """The id of an accepted message with these callbacks."""
    results: list[Accepted | Refusal] = []
    house.gateway.door.submit(
        house.gateway.accounts.by_name["acme"],
        [chosen.attach(Submission(to, "ACME", "Hello"))],
        results.extend,
    )
    await house.until(lambda: results)
    (result,) = results
    assert isinstance(result, Accepted), result
    return result.id


@trio_test(mock_clock=True)
async def test_a_kannel_user_hears_that_the_smsc_took_it_and_that_it_arrived(tmp_path: Path) -> None:
    async with hearing(tmp_path, DELIVERS) as (house, receiver, url):
        id = await submitted(house, kannel(f"{url}/dlr?id=%I&status=%d&to=%P&smsc=%i", 31, smsc="north"))
        await house.until(lambda: len(receiver.got) == 2)
        path = f"/dlr?id={uuid_of(id)}&status=%s&to=447700900123&smsc=north"
        assert [(one.method, one.path) for one in receiver.got] == [("GET", path % 8), ("GET", path % 1)]
        assert house.customer.posts == []


@trio_test(mock_clock=True)
async def test_a_kannel_user_hears_only_what_the_mask_asks_for(tmp_path: Path) -> None:
    async with hearing(tmp_path, DELIVERS) as (house, receiver, url):
        silent = await submitted(house, kannel(f"{url}/failures?%d", 2 + 16))
        await submitted(house, kannel(f"{url}/taken?%d", 8))
        await house.until(lambda: receiver.got)
        await house.final(str(silent))
        await trio.sleep(60)
        assert [one.path for one in receiver.got] == ["/taken?8"]


@trio_test(mock_clock=True)
async def test_a_refusal_by_the_carrier_is_told_by_its_status(tmp_path: Path) -> None:
    def refuse(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
        if not isinstance(pdu, SubmitSm):
            return []
        return [SubmitSmResp(command_status=Status.ESME_RINVDSTADR, sequence_number=pdu.sequence_number)]

    world, receiver, script = MemoryWorld(), Receiver(), Script(refuse)
    async with trio.open_nursery() as nursery:
        url = await receiver.listen(world, nursery)
        receiver.say = lambda got: answer(b"ACK/Jasmin")
        nursery.start_soon(script.serve, await world.listen("127.0.0.1", 2776))
        async with running(tmp_path, SIM, world) as house:
            await submitted(house, kannel(f"{url}/k?%d&%A", 31))
            id = await submitted(house, jasmin(f"{url}/j", 3))
            await house.until(lambda: len(receiver.got) == 2)
            told = {one.path: one.body.decode() for one in receiver.got}
            assert told == {
                "/k?16&NACK%2F0x0000000b%2FInvalid+Destination+Address": "",
                "/j": f"id={uuid_of(id)}&level=1&message_status=ESME_RINVDSTADR&connector=signalbox",
            }
        nursery.cancel_scope.cancel()


@trio_test(mock_clock=True)
async def test_a_jasmin_user_of_level_3_hears_twice_and_says_so(tmp_path: Path) -> None:
    async with hearing(tmp_path, DELIVERS) as (house, receiver, url):
        receiver.say = lambda got: answer(b"ACK/Jasmin")
        await submitted(house, jasmin(f"{url}/dlr", 3, "GET"))
        await house.until(lambda: len(receiver.got) == 2)
        first, second = receiver.got
        assert "&level=1&message_status=ESME_ROK&" in first.path
        assert "&level=2&message_status=DELIVRD&" in second.path
        await house.until(lambda: not house.gateway.store.outbox_backlog())
