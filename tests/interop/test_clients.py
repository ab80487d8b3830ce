"""Our SMSC side against clients nobody here wrote: npm's smpp, smpplib, Perl's Net::SMPP.

Each is a small program in its own language (client.js, client.py, client.pl) around the library, told what to
do and telling what happened in lines of JSON:

    {"do": "submit", "n", "to", "from", "text", "as": gsm7 | ucs2, "how": plain | udh | sar | payload}
    {"do": "query" | "cancel", "id", "from"}, {"do": "enquire" | "unbind" | "hold" | "go"}

    {"saw": "bound" | "answer" | "deliver" | "state" | "cancelled" | "alive" | "enquire" | "unbind" | …}

Every test runs with all of them. Needs node with `npm ci` in this folder, and libnet-smpp-perl.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from router.nouns import MessageState
from smpp.status import Status
from tests.interop.house import (
    HANDSET,
    HERE,
    NUMBER,
    PASSWORD,
    House,
    Program,
    house,
    needs,
    running,
    tls,
    until,
)
from tests.trio_case import trio_test

GSM7 = "Grüße für 5 €: {@} [~] Ωmega"
UCS2 = "Привет, 世界 👋"
FOXES = "".join(f"{number:03} the quick brown fox; " for number in range(17))  # 408 characters
LONG = FOXES[:152] + "€" + FOXES[152:]  # smpplib cuts between the two octets of the €
LONG_UCS2 = "".join(f"{number:02} Привет; " for number in range(14))  # 154


def _has_perl_module() -> bool:
    perl = shutil.which("perl")
    return (
        perl is not None
        and not subprocess.run([perl, "-MNet::SMPP", "-e1"], stderr=subprocess.DEVNULL).returncode
    )


HAVE_NODE = shutil.which("node") is not None and (HERE / "node_modules" / "smpp").is_dir()
CLIENTS: dict[str, list[str]] = {
    "node": ["node", "client.js"],
    "smpplib": [sys.executable, "client.py"],
    "perl": ["perl", "client.pl"],
}
node = pytest.param("node", marks=needs(HAVE_NODE, "node and npm ci in tests/interop"))
perl = pytest.param("perl", marks=needs(_has_perl_module(), "libnet-smpp-perl"))
every_client = pytest.mark.parametrize("client", [node, "smpplib", perl])


class Customer:
    """One client process."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def saw(self, what: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.program.said if line.startswith("{")]
        return [line for line in lines if line["saw"] == what]

    async def until(self, what: str, times: int = 1) -> list[dict[str, Any]]:
        await self.program.until_so(lambda: len(self.saw(what)) >= times, f"{times} × {what}")
        return self.saw(what)

    async def tell(self, do: str, **wish: object) -> None:
        await self.program.tell(json.dumps({"do": do, **wish}))

    async def submit(
        self, text: str, n: int = 0, to: str = HANDSET, form: str = "gsm7", how: str = "plain"
    ) -> None:
        wish = {"n": n, "to": to, "from": "ACME", "text": text, "as": form, "how": how}
        await self.tell("submit", **wish)

    @property
    def receipts(self) -> list[dict[str, Any]]:
        return [told for told in self.saw("deliver") if told["esm"] & 0x3C]

    @property
    def mos(self) -> list[dict[str, Any]]:
        return [told for told in self.saw("deliver") if not told["esm"] & 0x3C]

    async def until_told(self, receipts: int) -> list[dict[str, Any]]:
        await self.program.until_so(lambda: len(self.receipts) >= receipts, f"{receipts} receipts")
        return self.receipts


@asynccontextmanager
async def connected(
    client: str, port: int, kind: str = "transceiver", password: str = PASSWORD, ca_file: Path | None = None
) -> AsyncIterator[Customer]:
    """A client that has its answer to a bind; with `ca_file` over TLS."""
    secured = [] if ca_file is None else [ca_file]
    async with running([*CLIENTS[client], str(port), kind, "acme", password, *secured]) as program:
        customer = Customer(program)
        await customer.until("bound")
        yield customer


@asynccontextmanager
async def bound(client: str, directory: Path, **account: Any) -> AsyncIterator[tuple[House, Customer]]:
    async with house(directory) as ours:
        await ours.account(**account)
        async with connected(client, ours.smpp) as customer:
            assert customer.saw("bound")[0]["status"] == 0
            yield ours, customer


def ids(answers: Sequence[dict[str, Any]]) -> list[str]:
    assert {one["status"] for one in answers} == {0}, answers
    return [one["id"] for one in answers]


def field(told: dict[str, Any], name: str) -> str:
    """A field of a receipt's text."""
    return str(told["text"].split(f"{name}:")[1].split(" ")[0])


@every_client
@trio_test
async def test_a_client_binds_in_each_of_three_ways(client: str, tmp_path: Path) -> None:
    async with house(tmp_path) as ours:
        await ours.account()
        for kind in ("transmitter", "receiver", "transceiver"):
            async with connected(client, ours.smpp, kind) as customer:
                assert customer.saw("bound") == [{"saw": "bound", "status": 0, "system_id": "Signalbox"}]
                assert ours.bound == [kind]
            await until(lambda: not ours.bound, "it is gone")


@every_client
@trio_test
async def test_a_wrong_password_is_refused_and_the_right_one_taken_after_it(
    client: str, tmp_path: Path
) -> None:
    async with house(tmp_path) as ours:
        await ours.account()
        async with connected(client, ours.smpp, password="wrong") as customer:
            assert customer.saw("bound")[0]["status"] == Status.ESME_RINVPASWD
            assert not ours.bound
        async with connected(client, ours.smpp) as customer:
            assert customer.saw("bound")[0]["status"] == 0


@every_client
@trio_test
async def test_texts_reach_the_carrier_as_written_and_receipts_come_back(client: str, tmp_path: Path) -> None:
    async with bound(client, tmp_path) as (ours, customer):
        for form, text in (("gsm7", GSM7), ("ucs2", UCS2)):
            await customer.submit(text, form=form)
        answered = ids(await customer.until("answer", 2))
        receipts = await customer.until_told(2)
        assert sorted(ours.texts()) == sorted((GSM7, UCS2))
        assert sorted(one["id"] for one in receipts) == sorted(answered)
        assert sorted(field(one, "id") for one in receipts) == sorted(answered)
        for one in receipts:
            assert (one["from"], one["to"], one["esm"]) == (HANDSET, "ACME", 4)
            assert (one["state"], field(one, "stat"), field(one, "err")) == (2, "DELIVRD", "000")
        await until(lambda: not ours.untold, "everything was told")
    assert len(customer.receipts) == 2


@every_client
@trio_test
async def test_a_message_that_fails_is_told_so(client: str, tmp_path: Path) -> None:
    async with bound(client, tmp_path) as (_, customer):
        await customer.submit("to nobody", to="447700909901")
        (id,) = ids(await customer.until("answer"))
        (receipt,) = await customer.until_told(1)
        assert (receipt["id"], receipt["state"], field(receipt, "stat")) == (id, 5, "UNDELIV")
        assert field(receipt, "err") == "001"


@every_client
@pytest.mark.parametrize("how", ["udh", "sar", "payload"])
@trio_test
async def test_a_long_message_reaches_the_carrier_whole(client: str, how: str, tmp_path: Path) -> None:
    async with bound(client, tmp_path) as (ours, customer):
        parts = {"udh": 3, "sar": 3, "payload": 1}[how]
        await customer.submit(LONG, how=how)
        first = ids(await customer.until("answer", parts))
        await customer.submit(LONG_UCS2, form="ucs2", how=how)
        answered = ids(await customer.until("answer", 2 * parts))
        receipts = await customer.until_told(2 * parts)
        assert ours.texts() == [LONG, LONG_UCS2]
        assert len(set(answered)) == 2 * parts
        assert sorted(one["id"] for one in receipts) == sorted(answered)
        assert first == answered[:parts]
        assert {field(one, "stat") for one in receipts} == {"DELIVRD"}


@every_client
@trio_test
async def test_mos_come_as_the_handset_wrote_them(client: str, tmp_path: Path) -> None:
    async with bound(client, tmp_path) as (ours, customer):
        for text in (GSM7, UCS2):
            ours.mo(text)
            await customer.until("deliver", len(customer.mos) + 1)
        assert [one["text"] for one in customer.mos] == [GSM7, UCS2]
        assert {(one["from"], one["to"], one["esm"]) for one in customer.mos} == {(HANDSET, NUMBER, 0)}
        assert [one["to_type"] for one in customer.mos] == [[0, 1], [0, 1]]  # as the carrier said
        ours.mo(LONG)
        *_, first, second, third = await customer.until("deliver", 5)
        assert first["text"] + second["text"] + third["text"] == LONG
        assert [one["udh"][-4:] for one in (first, second, third)] == ["0301", "0302", "0303"]
        await until(lambda: not ours.untold, "everything was told")


@every_client
@trio_test
async def test_either_side_asks_whether_the_link_is_alive(client: str, tmp_path: Path) -> None:
    async with house(tmp_path, enquire_link_s=0.3) as ours:
        await ours.account()
        async with connected(client, ours.smpp) as customer:
            await customer.until("enquire", 2)
            await customer.tell("enquire")
            assert (await customer.until("alive"))[0]["status"] == 0
            assert ours.bound


@every_client
@trio_test
async def test_what_came_while_it_was_unbound_waits_for_the_next_bind(client: str, tmp_path: Path) -> None:
    async with house(tmp_path) as ours:
        await ours.account()
        async with connected(client, ours.smpp) as customer:
            await customer.tell("unbind")
            assert (await customer.until("unbound"))[0]["status"] == 0
            await customer.until("closed")
        await until(lambda: not ours.bound, "it is gone")
        ours.mo("while you were out")
        await until(lambda: ours.untold, "it waits")
        async with connected(client, ours.smpp) as customer:
            (told,) = await customer.until("deliver")
            assert told["text"] == "while you were out"
            await until(lambda: not ours.untold, "it was told")


@every_client
@trio_test
async def test_a_stop_of_ours_is_announced_and_the_client_binds_again_after_it(
    client: str, tmp_path: Path
) -> None:
    async with house(tmp_path, drain_timeout_s=2) as ours:
        await ours.account()
        async with connected(client, ours.smpp) as customer:
            await customer.submit("before")
            answered = ids(await customer.until("answer"))
            await customer.until_told(1)
            await ours.stop()
            await customer.until("unbind")
            await customer.until("closed")
        await ours.start()
        async with connected(client, ours.smpp) as customer:
            await customer.submit("after")
            answered += ids(await customer.until("answer"))
            (receipt,) = await customer.until_told(1)
            assert receipt["id"] == answered[1] != answered[0]


@every_client
@trio_test
async def test_submits_beyond_the_window_wait_and_none_is_lost(client: str, tmp_path: Path) -> None:
    """The client does not keep to the window; while nothing is committed we answer nothing."""
    async with bound(client, tmp_path, window=5) as (ours, customer):
        ours.hold()
        for number in range(40):
            await customer.submit(f"message {number}", number)
        await until(lambda: ours.unanswered >= 5, "the window is full")
        assert not customer.saw("answer")
        ours.release()
        answers = await customer.until("answer", 40)
        assert sorted(one["n"] for one in answers) == list(range(40))
        assert len(set(ids(answers))) == 40
        receipts = await customer.until_told(40)
        assert sorted(one["id"] for one in receipts) == sorted(ids(answers))


@every_client
@trio_test
async def test_receipts_beyond_the_window_wait_for_answers(client: str, tmp_path: Path) -> None:
    async with bound(client, tmp_path, window=5) as (ours, customer):
        await customer.tell("hold")
        await customer.until("holding")
        for _ in range(40):
            ours.mo("one of many")
        await until(lambda: ours.untold == 40, "they wait")
        (port,) = ours.gateway.smpp.deliveries.ports.values()
        await until(lambda: port.in_flight == 5, "the window is full")
        assert len(customer.mos) <= 5
        await customer.tell("go")
        await customer.until("deliver", 40)
        await until(lambda: not ours.untold, "everything was told")
    assert len(customer.mos) == 40


@every_client
@trio_test
async def test_a_message_s_state_can_be_asked_for(client: str, tmp_path: Path) -> None:
    async with bound(client, tmp_path) as (_, customer):
        await customer.submit("where is it?")
        (id,) = ids(await customer.until("answer"))
        await customer.until_told(1)
        await customer.tell("query", id=id, **{"from": "ACME"})
        (state,) = await customer.until("state")
        assert (state["status"], state["state"]) == (0, MessageState.DELIVERED)
        await customer.tell("query", id="999", **{"from": "ACME"})
        assert (await customer.until("state", 2))[1]["status"] == Status.ESME_RINVMSGID


@every_client
@trio_test
async def test_what_is_refused_is_refused_by_name_and_the_bind_stays(client: str, tmp_path: Path) -> None:
    async with bound(client, tmp_path, senders=("ACME",), tps=1) as (ours, customer):
        await customer.submit("to no number", to="12")
        (refused,) = await customer.until("answer")
        assert refused["status"] == Status.ESME_RINVDSTADR
        for number in range(3):
            await customer.submit("too fast", number)
        answers = (await customer.until("answer", 4))[1:]
        assert Status.ESME_RTHROTTLED in {one["status"] for one in answers}
        assert ours.bound == ["transceiver"]


@pytest.mark.parametrize("client", [node, "smpplib"])
@trio_test
async def test_a_client_binds_over_tls(client: str, tmp_path: Path) -> None:
    secured = tls(tmp_path)
    async with house(tmp_path, smpp_more=secured.toml) as ours:
        await ours.account()
        async with connected(client, secured.port, ca_file=secured.ca_file) as customer:
            await customer.submit("in private")
            await customer.until_told(1)
            assert ours.texts() == ["in private"]


@pytest.mark.parametrize("client", [node, perl])  # smpplib has no cancel_sm
@trio_test
async def test_a_waiting_message_can_be_cancelled(client: str, tmp_path: Path) -> None:
    async with bound(client, tmp_path) as (ours, customer):
        ours.hold_carrier()
        await customer.submit("never mind")
        (id,) = ids(await customer.until("answer"))
        await customer.tell("cancel", id=id, **{"from": "ACME"})
        assert (await customer.until("cancelled"))[0]["status"] == 0
        (receipt,) = await customer.until_told(1)
        assert (receipt["id"], receipt["state"], field(receipt, "stat")) == (id, 4, "DELETED")
        await customer.tell("cancel", id=id, **{"from": "ACME"})
        assert (await customer.until("cancelled", 2))[1]["status"] == Status.ESME_RCANCELFAIL
        assert not ours.sent


@pytest.mark.parametrize("client", [node])
@trio_test
async def test_the_encoding_that_the_package_chooses_is_relayed_as_it_is(client: str, tmp_path: Path) -> None:
    """It sends GSM 03.38 octets as data_coding 1, which is ASCII by the specification."""
    async with bound(client, tmp_path) as (ours, customer):
        for number, text in enumerate(("plain", "5 €", "Grüße", "Привет"), 1):
            await customer.submit(text, form="auto")
            await customer.until_told(number)
        seen = [(pdu.data_coding, pdu.short_message) for pdu in ours.sent]
        assert seen == [(1, b"plain"), (1, b"5 \x1be"), (1, b"Gr~\x1ee"), (8, "Привет".encode("utf-16-be"))]
