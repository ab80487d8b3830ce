"""One number on a whole gateway: told, erased with everything that follows, proved; over crashes, too."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from gateway.admin import AdminError
from gateway.cli import root
from gateway.cli.failure import FAILED, OK, USAGE
from gateway.privacy import Privacy
from router.nouns import InboundMessage
from router.roles import Role
from store.interface import StoreError
from store.lmdb_store import LmdbStore
from tests.gateway.house import NUMBER, MemoryWorld, Running, carrier, route, running, simulator
from tests.store.test_erasing import forms
from tests.trio_case import trio_test

WHO, OTHER = "447700900123", "447700900777"
SAID = "meet me at the blue door"
WAYS = carrier("sim", 2776) + simulator("sim", 2776) + route("sim")
CDRS = "[cdrs]\nenabled = true\ncsv = true\n"
LATER = "2026-09-25T14:13:00Z"


def traces(directory: Path) -> list[str]:
    """Files with the number or what was said, but for the index's hashes, which no form of it shows."""
    wanted = [*forms(WHO), *forms(SAID), int(WHO).to_bytes(8, "big")]
    files = [one for one in sorted(directory.rglob("*")) if one.is_file()]
    return [
        str(one.relative_to(directory)) for one in files if any(form in one.read_bytes() for form in wanted)
    ]


class Later(MemoryWorld):
    """An hour after the other worlds began."""

    def wall_ms(self) -> int:
        return super().wall_ms() + 3_600_000


async def ask(house: Running, verb: str, **args: object) -> Any:
    return msgspec.to_builtins(await house.gateway.verbs.table()[verb](args))


async def exported(house: Running, number: str = WHO) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    after = ""
    while True:
        portion = await ask(house, "privacy.export", number=number, after=after)
        records += portion["records"]
        after = portion["after"]
        if not after:
            return records


async def hears(house: Running) -> int:
    """An MO from the number; its id."""
    store = house.gateway.store
    message = InboundMessage(store.next_ids(1), 1, 1, house.world.wall_ms(), WHO, NUMBER, 0, SAID, b"")
    await house.gateway.committer.execute(lambda txn: txn.inbound([message], house.world.wall_ms()))
    return message.id


async def told(house: Running) -> None:
    """Nothing waits to be delivered."""
    await house.until(lambda: not house.gateway.store.outbox_backlog())


async def lived(house: Running) -> tuple[str, str]:
    """Some traffic with the number, archived and not; the ids of an old and of a new message."""
    await house.bound()
    old = await house.submit(WHO, SAID, client_ref=f"to-{WHO}")
    await house.submit(OTHER, "of somebody else")
    await house.final(old)
    await trio.sleep(700)
    await house.until(lambda: house.gateway.store.archive.find(int(old)))
    new = await house.submit(WHO, SAID)
    await house.submit(OTHER, "of somebody else")
    await house.final(new)
    await hears(house)
    await told(house)
    return old, new


@trio_test(mock_clock=True)
async def test_a_number_is_told_then_erased_and_nobody_finds_it_any_more(tmp_path: Path) -> None:
    async with running(tmp_path, CDRS + WAYS) as house:
        old, new = await lived(house)
        await trio.sleep(3)
        kinds = [one["kind"] for one in await exported(house)]
        assert {kind: kinds.count(kind) for kind in set(kinds)} == {"message": 2, "inbound": 1, "record": 4}
        assert len((await ask(house, "message.list", to=WHO))["messages"]) == 2
        preview = await ask(house, "privacy.erase", number=WHO, preview=True)
        assert preview["messages"] == 2
        assert "archived messages lose number and text: 1" in preview["touches"]
        sizes = {one.name: one.stat().st_size for one in (tmp_path / "var" / "cdr").iterdir()}
        result = await ask(house, "privacy.erase", number="+44 7700 900123")
        counts = {kind: count for kind, count in result["erased"].items() if count}
        assert counts.items() >= {"message": 1, "archived_message": 1, "inbound": 1, "record": 4}.items()
        assert result["left"] == {}
        assert await exported(house) == []
        for id in (old, new):
            message = await house.message(id)
            assert (message["to"], message["text"], message["final"]) == ("", "", True)
            assert message["erased_at"] == message["timeline"][-1]["at"]
            assert message["timeline"][-1]["step"] == "erased"
        found = await ask(house, "message.list", account="acme")
        assert [(one["to"], bool(one.get("erased_at"))) for one in found["messages"]] == [
            (OTHER, False), ("", True), (OTHER, False), ("", True)
        ]  # fmt: skip
        assert (await ask(house, "message.list", to=WHO))["messages"] == []
        (mo,) = (await house.http("GET", "/v1/mos"))[1]["mos"]
        assert (mo["from"], mo["text"]) == ("", "")
        assert mo["erased_at"]
        whole = {one.name.removesuffix(".part"): one for one in (tmp_path / "var" / "cdr").iterdir()}
        assert {name.removesuffix(".part"): size for name, size in sizes.items()} == {
            name: one.stat().st_size for name, one in whole.items()
        }
        texts = [one.read_text() for one in whole.values() if ".jsonl" in one.name]
        lines = [json.loads(line) for text in texts for line in text.splitlines()]
        assert [one["to"] for one in lines].count("*" * len(WHO)) == 4
        assert [one["to"] for one in lines].count(OTHER) == 4
        (table,) = [one for one in whole.values() if ".csv" in one.name]
        rows = list(csv.DictReader(io.StringIO(table.read_text(), newline="")))
        assert [row["to"] for row in rows] == [one["to"] for one in lines]
        assert {row["client_ref"] for row in rows} == {"", f"to-{'*' * len(WHO)}"}
        assert house.gateway.store.check() == []
        entries = await ask(house, "audit.list", subject=result["subject"])
        acts = ["privacy.exported", "privacy.erased", "privacy.erasing", "privacy.exported"]
        assert [one["act"] for one in entries] == acts
        assert WHO not in json.dumps(await ask(house, "audit.list", limit=1000))
        proof = await ask(house, "privacy.proof", number=WHO)
        assert (proof["subject"], proof["under_way"]) == (result["subject"], False)
        fresh = await house.submit(WHO, "again")
        assert (await house.final(fresh))["to"] == WHO


def test_after_compacting_no_file_of_the_data_directory_has_a_byte_of_it(tmp_path: Path) -> None:
    @trio_test(mock_clock=True)
    async def live_and_erase() -> None:
        async with running(tmp_path, CDRS + WAYS) as house:
            await lived(house)
            await exported(house)
            await ask(house, "privacy.erase", number=WHO)

    live_and_erase()
    var = tmp_path / "var"
    assert traces(var) == ["store/data.mdb"]
    assert root.run(["store", "compact", "--data-dir", str(var)]) == OK
    assert traces(var) == []
    assert root.run(["store", "check", "--data-dir", str(var)]) == OK
    assert root.run(["store", "backup", str(tmp_path / "copy"), "--data-dir", str(var)]) == OK
    assert traces(tmp_path / "copy") == []
    assert root.run(["audit", "verify", "--data-dir", str(var)]) == OK


@trio_test(mock_clock=True)
async def test_what_has_not_ended_is_refused_or_ended_and_its_customer_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, CDRS + WAYS) as house:
        await house.bound()
        waiting = await house.submit(WHO, SAID, send_at=LATER)
        with pytest.raises(AdminError, match="have not ended") as refused:
            await ask(house, "privacy.erase", number=WHO)
        assert refused.value.code == "unfinished"
        assert (await house.message(waiting))["to"] == WHO
        result = await ask(house, "privacy.erase", number=WHO, cancel_unfinished=True)
        assert result["left"] == {}
        assert (await house.message(waiting))["state"] == "DELETED"
        assert (await house.message(waiting))["to"] == ""
        (event,) = [one for one in house.customer.events if one["data"]["message_id"] == waiting]
        assert event["data"]["to"] == WHO  # told before it was erased
        assert await exported(house) == []
        assert house.gateway.store.check() == []


@trio_test(mock_clock=True)
async def test_events_that_nobody_takes_are_waited_for_then_refused_or_dropped(tmp_path: Path) -> None:
    async with running(tmp_path, WAYS) as house:
        await house.bound()
        house.customer.answer = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
        await house.final(await house.submit(WHO, SAID))
        with pytest.raises(AdminError, match="wait to be delivered") as refused:
            await ask(house, "privacy.erase", number=WHO)
        assert refused.value.code == "waiting"
        result = await ask(house, "privacy.erase", number=WHO, now=True)
        assert result["left"] == {}
        assert await exported(house) == []
        assert not house.gateway.store.outbox_backlog()


@trio_test(mock_clock=True)
async def test_an_accounts_own_number_is_not_erased(tmp_path: Path) -> None:
    async with running(tmp_path, WAYS, numbers=(WHO,)) as house:
        with pytest.raises(AdminError, match="a number of account acme"):
            await ask(house, "privacy.erase", number=WHO)
        with pytest.raises(AdminError):
            await ask(house, "privacy.erase", number="somebody")


@pytest.mark.parametrize("step", ["_rows", "_archive", "_index", "_files", "_end_of"])
def test_an_erasing_that_was_cut_short_goes_on_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    ids: list[str] = []

    @trio_test(mock_clock=True)
    async def live() -> None:
        async with running(tmp_path, CDRS + WAYS) as house:
            ids.extend(await lived(house))

    live()

    async def die(*_: object) -> None:
        raise KeyboardInterrupt

    line = ["privacy", "erase", WHO, "--reason", "asked for", "--data-dir", str(tmp_path / "var")]
    with monkeypatch.context() as patched:
        patched.setattr(Privacy, step, die)
        assert root.run(line) != OK
    store = LmdbStore(tmp_path / "var" / "store")
    assert store.meta("erasing")
    store.close()

    @trio_test(mock_clock=True)
    async def go_on() -> None:
        async with running(tmp_path, CDRS + WAYS, Later()) as house:
            await house.until(lambda: house.gateway.privacy.under_way() is None)
            assert await exported(house) == []
            assert (await ask(house, "message.list", to=WHO))["messages"] == []
            for id in ids:
                assert (await house.message(id))["to"] == ""
            (erased,) = [one for one in await ask(house, "audit.list") if one["act"] == "privacy.erased"]
            assert erased["reason"] == "asked for"
            assert house.gateway.store.check() == []

    go_on()
    assert root.run(["store", "compact", "--data-dir", str(tmp_path / "var")]) == OK
    assert traces(tmp_path / "var") == []


@trio_test(mock_clock=True)
async def test_a_full_disk_postpones_an_erasing_and_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, WAYS) as house:
        await lived(house)
        real, times = house.gateway.privacy._archive, iter((True, True, False))

        async def refused(*args: Any) -> None:
            if next(times):
                raise StoreError("the disk is full")
            await real(*args)

        monkeypatch.setattr(house.gateway.privacy, "_archive", refused)
        with trio.fail_after(100):
            await ask(house, "privacy.erase", number=WHO)
        assert await exported(house) == []


def test_the_command_line_exports_erases_and_proves_on_a_stopped_gateway(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @trio_test(mock_clock=True)
    async def live() -> None:
        async with running(tmp_path, CDRS + WAYS) as house:
            await lived(house)

    live()
    place = ["--data-dir", str(tmp_path / "var")]
    output = tmp_path / "export.ndjson"
    line = ["privacy", "export", f"+{WHO}", "--output", str(output), "--reason", "asked for", *place]
    assert root.run(line) == OK
    assert (output.stat().st_mode & 0o777) == 0o600
    kinds = [json.loads(one)["kind"] for one in output.read_text().splitlines()]
    assert sorted(set(kinds)) == ["inbound", "message", "record"]
    assert root.run(line) == USAGE  # it is there already
    assert root.run(["privacy", "erase", WHO, *place]) == USAGE  # without a reason
    assert root.run(["privacy", "erase", WHO, "--preview", *place]) == OK
    assert root.run(["privacy", "erase", WHO, "--reason", "asked for", *place]) == OK
    capsys.readouterr()
    assert root.run(["privacy", "export", WHO, *place]) == OK
    assert capsys.readouterr().out == ""
    assert root.run(["privacy", "proof", WHO, *place]) == OK
    said = capsys.readouterr().out
    assert "privacy.erased" in said
    assert WHO not in said
    assert root.run(["privacy", "erase", "12", "--reason", "x", *place]) in (USAGE, FAILED)


@trio_test(mock_clock=True)
async def test_an_owner_exports_over_http_and_nobody_else(tmp_path: Path) -> None:
    async with running(tmp_path, CDRS + WAYS) as house:
        await lived(house)
        operators = house.gateway.operators
        _, owner = await operators.create("ann", role=Role.OWNER)
        _, clerk = await operators.create("bob", role=Role.OPERATOR)
        path, body = "/v1/privacy/export", {"number": WHO}
        assert (await house.http("POST", path, body))[0] == 403
        assert (await house.http("POST", path, body, key=clerk))[0] == 403
        *records, end = [json.loads(line) for line in (await _lines(house, path, body, owner)).splitlines()]
        assert end == {"kind": "end", "records": len(records)}
        assert {one["kind"] for one in records} >= {"message", "inbound"}
        for wrong in ({"number": "somebody"}, {"numbers": WHO}, "no object", {"number": "1" * 5_000}):
            (line,) = (await _lines(house, path, wrong, owner)).splitlines()
            told = json.loads(line)
            assert (told["kind"], told["records"], told["problem"]["status"] in (400, 413, 422)) == (
                "end",
                0,
                True,
            )
        act = "/v1/acts/privacy.erase"
        assert (await house.http("POST", act, {"number": WHO, "preview": True}, key=clerk))[0] == 403
        status, answer = await house.http("POST", act, {"number": WHO, "reason": "asked for"}, key=owner)
        assert (status, answer["done"]) == (200, True), answer
        assert WHO not in json.dumps(answer)
        assert await exported(house) == []


async def _lines(house: Running, path: str, body: object, key: str) -> str:
    """The body of a chunked answer, of ASCII."""
    payload = json.dumps(body)
    stream = await house.world.connect("127.0.0.1", house.http_port)
    async with stream:
        await stream.send_all(
            f"POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n{payload}".encode()
        )
        with trio.fail_after(120):
            answer = b"".join([part async for part in stream]).decode()
    head, _, said = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200"), answer
    assert "application/x-ndjson" in head
    lines = ""
    while said:
        size, _, said = said.partition("\r\n")
        lines, said = lines + said[: int(size, 16)], said[int(size, 16) + 2 :]
    return lines
