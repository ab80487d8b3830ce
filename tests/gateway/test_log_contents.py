"""What the whole gateway logs: events are fixed words, and no record has what is secret or private."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import structlog.testing
import trio

from gateway import logs
from smpp import codec
from smpp.pdu import BindTransceiver, DeliverSm, SubmitSmResp
from smpp.status import Status
from store.interface import StoreFull
from tests.gateway.house import NUMBER, Script, carrier, route, running_with
from tests.gateway.smpp_server.esme import connected
from tests.trio_case import trio_test

PACKAGES = [Path(__file__).resolve().parents[2] / name for name in ("gateway", "store", "config")]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
TO, SENDER_NUMBER, HANDSET = "447700900123", "447700900456", "447700900789"
TEXT, REPLY = "Kennwort-Blaubeere-4711", "Antwort-Himbeere-0815"
CARRIER_PASSWORD, ESME_PASSWORD = "Geheim1", "Falsch22"
CALLBACK_SECRET = "whsec_" + "R2VoZWltbmlzLWRlcy1SdWVja3J1ZnMtMDE="


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a module's `log`."""
    for package in PACKAGES:
        for file in package.rglob("*.py"):
            if "node_modules" in file.parts or "load" in file.parts:
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in LEVELS
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id == "log"
                ):
                    yield f"{file.relative_to(package.parent)}:{node.lineno}", node


def test_every_event_is_fixed_words_so_that_records_can_be_counted_and_searched_by_it() -> None:
    found = list(calls())
    assert len(found) > 50
    free = [where for where, call in found if not isinstance(call.args[0], ast.Constant | ast.Name)]
    assert free == [], "what varies goes into fields"
    assert [where for where, call in found if len(call.args) > 1] == []


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """All that is logged, at debug, as the service manager would get it."""
    written: list[str] = []
    before = structlog.get_config()
    logs.configure(json=True, level="debug", write=written.append)
    anew()
    yield written
    structlog.configure(**before)
    logs.set_level("info")
    anew()


def anew() -> None:
    """Loggers that were used before keep where they wrote; these have not been."""
    for name, module in list(sys.modules.items()):
        log: Any = getattr(module, "log", None)
        if name.startswith(("gateway.", "store.")) and hasattr(log, "_logger_factory_args"):
            module.__dict__["log"] = structlog.get_logger(*log._logger_factory_args)


class Bad:
    """A carrier that refuses, throttles, loses links, and sends receipts and MOs of all kinds."""

    def __init__(self) -> None:
        self.submits = 0

    def __call__(self, script: Script, pdu: Any) -> Iterator[Any]:
        if pdu.command != "submit_sm":
            return
        self.submits += 1
        turn = self.submits % 5
        sequence = pdu.sequence_number
        if turn == 1:
            yield SubmitSmResp(command_status=Status.ESME_RINVDSTADR, sequence_number=sequence)
        elif turn == 2:
            yield SubmitSmResp(command_status=Status.ESME_RTHROTTLED, sequence_number=sequence)
        elif turn == 3:
            yield b"\x00\x00\x00\x07rubbish"  # no PDU at all
        else:
            id = b"id%d" % self.submits
            yield SubmitSmResp(message_id=id, sequence_number=sequence)
            receipt = b"id:%s sub:001 dlvrd:000 stat:UNDELIV err:021 text:%s" % (id, TEXT.encode()[:20])
            yield DeliverSm(
                source_addr=TO.encode(), destination_addr=NUMBER.encode(), esm_class=4, short_message=receipt,
                sequence_number=1000 + self.submits,
            )  # fmt: skip
            yield DeliverSm(
                source_addr=HANDSET.encode(), destination_addr=SENDER_NUMBER.encode(),
                short_message=REPLY.encode(), sequence_number=2000 + self.submits,
            )  # fmt: skip
            yield DeliverSm(
                source_addr=b"+" + HANDSET.encode(), destination_addr=b"9" * 20, esm_class=4,
                short_message=b"no receipt " + REPLY.encode(), sequence_number=3000 + self.submits,
            )  # fmt: skip


@trio_test(mock_clock=True)
async def test_no_record_has_a_text_a_number_or_a_secret_whatever_fails(
    tmp_path: Path, lines: list[str]
) -> None:
    toml = (
        '[smpp]\nlisten = ["127.0.0.1:2775"]\nlock_failures = 2\n'
        + carrier("north", 2790, password=CARRIER_PASSWORD)
        + route("north")
        + "[callbacks]\nretry_s = [1, 5]\nbreaker_failures = 1\n"
    )
    url = f"http://user:{ESME_PASSWORD}@127.0.0.1:9000/hook?token={ESME_PASSWORD}"
    async with running_with(
        tmp_path, toml, Script(Bad()), callback_secrets=(CALLBACK_SECRET,), numbers=(NUMBER, SENDER_NUMBER)
    ) as (house, _):
        house.customer.answer = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
        await house.bound()
        for to, sender in ((TO, SENDER_NUMBER), ("+" + TO, NUMBER), ("12", NUMBER), (TO, "ACME")):
            for extra in ({}, {"callback_url": url}, {"validity_s": 1}):
                body = {"to": to, "from": sender, "text": TEXT, **extra}
                await house.http("POST", "/v1/messages", body)
        await house.http("POST", "/v1/messages", {"to": TO, "text": {"nested": TEXT}})
        await house.http("GET", f"/v1/messages?to={TO}", key="sbk_wrong_" + "a" * 40)
        await house.http("GET", f"/v1/unknown/{TO}")
        for password in (ESME_PASSWORD, ESME_PASSWORD, CARRIER_PASSWORD):
            async with connected(house.world) as esme:
                await esme.stream.send_all(encoded(password))
                await trio.sleep(2)
        await trio.sleep(600)
        key = house.key
    everything = "\n".join(lines)
    events = {json.loads(line)["event"] for line in lines}
    assert {"bound", "callback failed", "bind refused"} <= events, events
    assert len(lines) > 15
    for secret in (TEXT, REPLY, CARRIER_PASSWORD, ESME_PASSWORD, CALLBACK_SECRET, key, "a" * 40):
        assert secret not in everything, [line for line in lines if secret in line][:3]
    for number in (TO, SENDER_NUMBER, HANDSET, TO[3:], HANDSET[3:]):
        assert number not in everything, [line for line in lines if number in line][:3]
    for line in lines:
        assert json.loads(line)["component"], line


def encoded(password: str) -> bytes:
    return codec.encode(BindTransceiver(system_id=TO.encode(), password=password.encode(), sequence_number=1))


@trio_test(mock_clock=True)
async def test_a_disk_that_stays_full_is_one_record_and_its_end_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_with(tmp_path, carrier("north", 2790) + route("north"), Script()) as (house, _):
        committer = house.gateway.committer
        whole, is_full = committer._apply, [True]

        def apply(txn: Any, batch: Any, with_claims: bool) -> Any:
            if is_full[0] and batch.accepts:
                raise StoreFull("the disk is full", "free some")
            return whole(txn, batch, with_claims)

        monkeypatch.setattr(committer, "_apply", apply)
        with structlog.testing.capture_logs() as found:
            for _ in range(5):
                body = {"to": TO, "from": NUMBER, "text": TEXT}
                assert (await house.http("POST", "/v1/messages", body))[0] == 503
            is_full[0] = False
            await house.submit(TO)
        told = [(one["event"], one.get("refused", 0) >= 5) for one in found if "commit" in one["event"]]
        assert told == [("commit refused", False), ("commits are taken again", True)]
