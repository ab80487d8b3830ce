"""Callbacks in the formats of other APIs, from a submission with its choice to the customer's server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import trio

from gateway.callbacks.choice import Callbacks, jasmin, kannel
from gateway.callbacks.formats.twilio import signature_of
from gateway.callbacks.signature import verify
from gateway.door import Accepted, Refusal, Submission
from gateway.ids import uuid_of
from smpp.pdu import DeliverSm, Pdu, SubmitSm, SubmitSmResp
from smpp.status import Status
from store.interface import StoreFull
from tests.gateway.house import (
    NUMBER,
    SECRET,
    MemoryWorld,
    Running,
    Script,
    carrier,
    route,
    running,
    simulator,
)
from tests.gateway.receiver import Got, Receiver, answer
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


async def verb(house: Running, verb: str, /, **args: object) -> Any:
    """An admin verb's answer."""
    return await house.gateway.verbs.table()[verb](args)


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


# TwiML

TWILIO = {"callback_format": "twilio", "callback_url": "http://127.0.0.1:9001/sms"}


def replying(text: str) -> Callable[[Got], bytes]:
    body = f"<Response><Message>{text}</Message></Response>".encode()
    return lambda got: answer(body if b"Body=" in got.body else b"", 200, "Content-Type: text/xml")


async def wrote(house: Running, script: Script, text: bytes = b"Hello?") -> None:
    """A handset writes to the account's number."""
    await house.bound()
    await script.send(
        DeliverSm(source_addr=b"447700900123", destination_addr=NUMBER.encode(), short_message=text,
                  source_addr_ton=1, source_addr_npi=1, sequence_number=5)
    )  # fmt: skip


@asynccontextmanager
async def conversing(path: Path, **account: object) -> AsyncIterator[tuple[Running, Receiver, Script]]:
    world, receiver, script = MemoryWorld(), Receiver(), Script()
    async with trio.open_nursery() as nursery:
        await receiver.listen(world, nursery)
        nursery.start_soon(script.serve, await world.listen("127.0.0.1", 2776))
        async with running(path, SIM, world, **(TWILIO | account)) as house:  # type: ignore[arg-type]
            yield house, receiver, script
        nursery.cancel_scope.cancel()


@trio_test(mock_clock=True)
async def test_twiml_in_the_answer_to_an_inbound_message_is_sent_back(tmp_path: Path) -> None:
    async with conversing(tmp_path) as (house, receiver, script):
        receiver.say = replying("Hi there")
        await wrote(house, script)
        await house.until(lambda: script.submits)
        (submit,) = script.submits
        assert (submit.destination_addr, submit.source_addr, submit.short_message) == (
            b"447700900123", NUMBER.encode(), b"Hi there",
        )  # fmt: skip
        await house.until(lambda: not house.gateway.store.outbox_backlog())
        assert len(receiver.got) == 1
        signature = receiver.got[0].headers["x-twilio-signature"]
        fields = parse_qsl(receiver.got[0].body.decode(), keep_blank_values=True)
        assert signature == signature_of(SECRET, "http://127.0.0.1:9001/sms", fields)


@trio_test(mock_clock=True)
async def test_a_retried_inbound_message_is_answered_once(tmp_path: Path) -> None:
    async with conversing(tmp_path) as (house, receiver, script):
        tries = iter([answer(b"", 500), answer(b"", 503)])
        receiver.say = lambda got: next(tries, None) or replying("Hi")(got)
        await wrote(house, script)
        await house.until(lambda: script.submits)
        await trio.sleep(60)
        assert (len(receiver.got), len(script.submits)) == (3, 1)


@trio_test(mock_clock=True)
async def test_a_reply_that_cannot_be_kept_waits_with_its_inbound_message(tmp_path: Path) -> None:
    async with conversing(tmp_path) as (house, receiver, script):
        receiver.say = replying("Hi")
        await house.bound()
        refusals = [StoreFull("no room", "")]
        plain = house.gateway.store.admission
        house.gateway.store.admission = lambda: refusals[0] if refusals else plain()  # type: ignore[method-assign]
        await wrote(house, script)
        await house.until(lambda: receiver.got)
        await trio.sleep(1)
        assert house.gateway.store.outbox_backlog() == 1
        refusals.clear()
        await house.until(lambda: script.submits)
        await trio.sleep(60)
        assert (len(receiver.got), len(script.submits)) == (2, 1)
        assert house.gateway.store.outbox_backlog() == 0


@trio_test(mock_clock=True)
async def test_a_reply_that_the_door_refuses_ends_the_event_all_the_same(tmp_path: Path) -> None:
    async with conversing(tmp_path, destinations=("49",)) as (house, receiver, script):
        receiver.say = replying("Hi")
        await wrote(house, script)
        await house.until(lambda: receiver.got and not house.gateway.store.outbox_backlog())
        await trio.sleep(60)
        assert (len(receiver.got), script.submits) == (1, [])


@trio_test(mock_clock=True)
async def test_an_inbound_message_that_is_told_again_is_not_answered_again(tmp_path: Path) -> None:
    async with conversing(tmp_path) as (house, receiver, script):
        receiver.say = replying("Hi")
        await wrote(house, script)
        await house.until(lambda: script.submits and not house.gateway.store.outbox_backlog())
        again = {"account": "acme", "since": "1970-01-01", "kind": "received"}
        assert (await verb(house, "deliveries.replay", **again))["receipts"] == 1
        await house.until(lambda: len(receiver.got) == 2 and not house.gateway.store.outbox_backlog())
        await trio.sleep(60)
        assert len(script.submits) == 1


# 410 and secrets


@trio_test(mock_clock=True)
async def test_410_ends_callbacks_until_somebody_opens_them_again_over_a_restart_too(tmp_path: Path) -> None:
    async with hearing(tmp_path, DELIVERS, callback_url="http://127.0.0.1:9001/gone") as (house, receiver, _):
        receiver.say = lambda got: answer(b"", 410)
        await house.submit("447700900123")
        accounts = house.gateway.accounts
        await house.until(lambda: accounts.by_name["acme"].callbacks_gone)
        await trio.sleep(60)
        assert len(receiver.got) == 1
        assert accounts.by_name["acme"].callbacks_gone == ("http://127.0.0.1:9001/gone",)
        (shut,) = await verb(house, "callbacks.list", account="acme")
        assert (shut["state"], shut["tried_again_at"], shut["given_up"]) == ("disabled", "", 1)
        shown = await verb(house, "account.show", name="acme")
        assert shown["callbacks_gone"] == ["http://127.0.0.1:9001/gone"]
        (told, *_) = await verb(house, "events.list", subject="account:acme")
        assert (told["kind"], told["warning"]) == ("callbacks.gone", True)
    async with hearing(tmp_path, DELIVERS) as (house, receiver, _):
        await house.submit("447700900124")
        await house.until(lambda: house.gateway.store.given_up_count() == 2)
        assert receiver.got == []
        assert (await verb(house, "callbacks.enable", account="acme"))["replayed"] == 2
        await house.until(lambda: len(receiver.got) == 2 and not house.gateway.store.outbox_backlog())
        assert house.gateway.accounts.by_name["acme"].callbacks_gone == ()


@trio_test(mock_clock=True)
async def test_setting_the_url_anew_opens_what_410_closed(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9001/gone"
    async with hearing(tmp_path, DELIVERS, callback_url=url) as (house, receiver, _):
        receiver.say = lambda got: answer(b"", 410)
        await house.submit("447700900123")
        await house.until(lambda: house.gateway.accounts.by_name["acme"].callbacks_gone)
        receiver.say = lambda got: answer()
        await verb(house, "account.set", name="acme", callback_url=url)
        await house.submit("447700900124")
        await house.until(lambda: len(receiver.got) == 2)
        assert (await verb(house, "callbacks.replay", account="acme"))["replayed"] == 1
        await house.until(lambda: len(receiver.got) == 3)


@trio_test(mock_clock=True)
async def test_410_of_one_url_leaves_others_of_the_same_server_alone(tmp_path: Path) -> None:
    own = {"callback_url": "http://127.0.0.1:9001/gone", "mo_url": "http://127.0.0.1:9001/mo"}
    async with hearing(tmp_path, DELIVERS, **own) as (house, receiver, url):
        receiver.say = lambda got: answer(b"", 410 if got.path == "/gone" else 200)
        await house.submit("447700900123")
        await house.until(lambda: house.gateway.accounts.by_name["acme"].callbacks_gone)
        await house.submit("447700900124", callback_url=f"{url}/own")
        await house.until(lambda: "/own" in [got.path for got in receiver.got])
        assert house.gateway.accounts.by_name["acme"].callbacks_gone == (own["callback_url"],)


@trio_test(mock_clock=True)
async def test_both_secrets_sign_until_the_overlap_ends(tmp_path: Path) -> None:
    async with running(tmp_path, DELIVERS) as house:
        made = await verb(house, "account.rotate_callback_secret", name="acme", overlap_s=60)
        assert made["callback_secrets"] == 2
        await house.submit("447700900123")
        await house.until(lambda: len(house.customer.posts) == 1)
        await trio.sleep(61)
        await house.submit("447700900124")
        await house.until(lambda: len(house.customer.posts) == 2)
        for (headers, body), secrets in zip(
            house.customer.posts, ([SECRET, made["callback_secret"]], [made["callback_secret"]]), strict=True
        ):
            signed = headers["webhook-signature"]
            assert len(signed.split()) == len(secrets)
            for secret in secrets:
                verify([secret], headers["webhook-id"], headers["webhook-timestamp"], body, signed, None)
        assert (await verb(house, "account.show", name="acme"))["callback_secrets"] == 1
        now = await verb(house, "account.rotate_callback_secret", name="acme", overlap_s=0)
        assert (now["callback_secrets"], now["callback_secrets_until"]) == (1, "")
        acts = [one["act"] for one in (await verb(house, "audit.list", limit=20))]
        assert acts.count("account.callback_secret_rotated") == 2


@trio_test(mock_clock=True)
async def test_a_second_rotation_does_not_end_the_secret_that_receivers_still_have(tmp_path: Path) -> None:
    """Its overlap was promised; a rotation that got no answer is sent again."""
    async with running(tmp_path, DELIVERS) as house:
        fresh: list[str] = []
        for _ in range(2):
            made = await verb(house, "account.rotate_callback_secret", name="acme", overlap_s=60)
            fresh.append(made["callback_secret"])
        assert made["callback_secrets"] == 3
        await house.submit("447700900123")
        await house.until(lambda: len(house.customer.posts) == 1)
        headers, body = house.customer.posts[0]
        for secret in (SECRET, *fresh):
            signed = headers["webhook-signature"]
            verify([secret], headers["webhook-id"], headers["webhook-timestamp"], body, signed, None)
        for _ in range(9):
            made = await verb(house, "account.rotate_callback_secret", name="acme", overlap_s=60)
        assert made["callback_secrets"] == 5, "there is an end to it"
        await trio.sleep(61)
        assert (await verb(house, "account.show", name="acme"))["callback_secrets"] == 1
        made = await verb(house, "account.rotate_callback_secret", name="acme", overlap_s=60)
        assert made["callback_secrets"] == 2, "those that have ended do not come back"


@trio_test(mock_clock=True)
async def test_an_account_hears_that_it_is_suspended_and_resumed(tmp_path: Path) -> None:
    async with running(tmp_path, DELIVERS, mo_url="http://127.0.0.1:9000/mo") as house:
        for suspended in (True, True, False):
            await verb(house, "account.set", name="acme", suspended=suspended)
        await house.until(lambda: len(house.customer.events) == 2)
        told = sorted((one["type"], one["data"]) for one in house.customer.events)
        assert told == [("account.resumed", {"account": "acme"}), ("account.suspended", {"account": "acme"})]
