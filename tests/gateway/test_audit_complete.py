"""That the audit trail is complete: every admin verb that changes something, or shows a text, is told.

A new verb must be said here: what only reads among READS, what changes in STEPS, with arguments that do it,
or in ELSEWHERE, with the test that sees its entry.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from gateway.acts import ACTS
from gateway.admin import AdminError
from gateway.audit import Actor, acting
from router.nouns import InboundMessage
from tests.gateway.conftest import Typed
from tests.gateway.house import NUMBER, Running, carrier, route, running, simulator
from tests.trio_case import trio_test

ONE = carrier("sim", 2776) + simulator("sim", 2776) + route("sim")
HERE = Path(__file__).parent
HASH = "$argon2id$v=19$m=4096,t=2,p=1$" + "A" * 22 + "$" + "B" * 43
TEXT = "Your code is 4711"

Wish = dict[str, object]
Known = dict[str, Any]  # answers of earlier steps, by verb

READS = frozenset(
    {
        *("account.balance", "account.ledger", "account.list", "account.rates", "account.show"),
        *(
            "audit.export",
            "audit.list",
            "audit.verify",
            "binds.list",
            "callbacks.attempts",
            "callbacks.events",
        ),
        *("callbacks.given_up", "callbacks.list", "carrier.list", "carrier.show", "config.diff"),
        *("config.revisions", "config.show", "deliveries.list", "events.list", "key.list", "key.show"),
        *("locks.list", "message.list", "operator.list", "operator.sessions", "ping", "queues.list"),
        *("privacy.proof", "route.explain", "store.check", "store.stats", "table.list", "table.show", "top"),
        *("trace.read", "trace.stop"),  # its start is told, with the text if it shows any
    }
)

# In this order, on one gateway: (verb, arguments, act). Arguments may take what an earlier answer said.
STEPS: tuple[tuple[str, Wish | Callable[[Known], Wish], str], ...] = (
    ("account.create", {"name": "shop"}, "account.created"),
    ("account.set", {"name": "shop", "tps": 7}, "account.changed"),
    ("account.suspend", {"name": "shop"}, "account.suspended"),
    ("account.resume", {"name": "shop"}, "account.resumed"),
    ("account.rotate", {"name": "shop"}, "account.key_rotated"),
    ("account.rotate_callback_secret", {"name": "acme"}, "account.callback_secret_rotated"),
    ("account.login.add", {"name": "shop", "system_id": "s1", "password_hash": HASH}, "login.added"),
    (
        "account.login.rotate",
        {"name": "shop", "system_id": "s1", "password_hash": HASH.replace("B", "C")},
        "login.rotated",
    ),
    ("account.login.remove", {"name": "shop", "system_id": "s1"}, "login.removed"),
    ("account.app.set", {"name": "shop", "user": "kannel", "password_hash": HASH}, "app.password_set"),
    ("account.app.remove", {"name": "shop", "user": "kannel"}, "app.removed"),
    ("key.create", {"account": "shop"}, "key.created"),
    ("key.rotate", lambda known: {"id": known["key.create"]["id"]}, "key.rotated"),
    ("key.revoke", lambda known: {"id": known["key.create"]["id"]}, "key.revoked"),
    ("account.close", {"name": "shop"}, "account.closed"),
    ("operator.create", {"name": "bob"}, "operator.created"),
    ("operator.set", {"name": "bob", "role": "support"}, "operator.role_changed"),
    ("operator.rotate", {"name": "bob"}, "operator.key_rotated"),
    ("operator.password", {"name": "bob", "password": "correct horse battery"}, "operator.password_set"),
    ("operator.totp", {"name": "bob", "on": True}, "operator.totp_on"),
    ("operator.sign_in_link", {"name": "bob"}, "operator.link_made"),
    ("operator.remove", {"name": "bob"}, "operator.removed"),
    ("carrier.suspend", {"name": "sim"}, "carrier.suspended"),
    ("carrier.resume", {"name": "sim"}, "carrier.resumed"),
    ("send", {"to": "447700900123", "sender": NUMBER, "text": TEXT, "account": "acme"}, "message.sent"),
    ("callbacks.test", {"account": "acme"}, "callbacks.tested"),
    ("privacy.export", {"number": "447700900123"}, "privacy.exported"),
    ("store.backup", {"target": "{directory}/backup"}, "store.backed_up"),
)

# What needs more than a line to be done: the test that does it and sees the entry.
ELSEWHERE = {
    "account.credit": ("account.credited", "test_money.py"),
    "binds.drop": ("bind.dropped", "test_audit.py"),
    "callbacks.enable": ("callbacks.enabled", "test_audit_complete.py"),
    "callbacks.replay": ("callbacks.replayed", "test_audit.py"),
    "config.end_rollback": ("config.rollback_ended", "test_audit_complete.py"),
    "config.reload": ("config.reloaded", "test_reload.py"),
    "config.rollback": ("config.rolled_back", "test_reload.py"),
    "deliveries.move": ("deliveries.moved", "test_deliveries.py"),
    "deliveries.replay": ("deliveries.replayed", "test_deliveries.py"),
    "held.release": ("held.released", "test_audit.py"),
    "inbox": ("message.viewed", "test_audit_complete.py"),
    "locks.release": ("lock.released", "test_audit.py"),
    "message": ("message.viewed", "test_audit_complete.py"),
    "message.cancel": ("message.cancelled", "test_audit.py"),
    "receipts.unmatched": ("message.viewed", "test_audit_complete.py"),
    "store.release": ("held.released", "test_audit.py"),
    "table.drop": ("table.dropped", "test_tables.py"),
    "trace.start": ("trace.started", "test_tracing.py"),
    "table.use": ("table.imported", "test_tables.py"),
    "operator.end_sessions": ("session.ended", "test_sessions.py"),
    "operator.unlock": ("lock.released", "test_audit_complete.py"),
}


async def ask(house: Running, verb: str, **args: object) -> Any:
    with acting(Actor("ann", "cli", "ticket 7")):
        return msgspec.json.decode(msgspec.json.encode(await house.gateway.verbs.table()[verb](args)))


def trail(house: Running) -> list[tuple[str, str, str]]:
    """(act, who, reason), newest first."""
    rows = house.gateway.store.audit_log(10_000)
    return [(row.entry.act, row.entry.who, row.entry.reason) for row in rows]


@trio_test(mock_clock=True)
async def test_every_verb_is_said_to_read_or_to_be_told(tmp_path: Path) -> None:
    told = {verb for verb, _, _ in STEPS} | ELSEWHERE.keys() | {one.verb for one in ACTS}
    async with running(tmp_path, ONE) as house:
        unsaid = house.gateway.verbs.table().keys() - READS - told
    assert not unsaid, "say in this file whether it reads, or how it is told"
    assert not told & READS


@pytest.mark.parametrize("verb", sorted(ELSEWHERE))
def test_what_is_seen_elsewhere_is_seen_there(verb: str) -> None:
    act, file = ELSEWHERE[verb]
    assert f'"{act}"' in (HERE / file).read_text(), f"{file} does not look for {act}"


@trio_test(mock_clock=True)
async def test_every_verb_that_changes_something_is_told_with_who_and_why(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        known: Known = {}
        for verb, wish, act in STEPS:
            args = wish(known) if callable(wish) else wish
            filled = {
                name: one.replace("{directory}", str(tmp_path)) if isinstance(one, str) else one
                for name, one in args.items()
            }
            before = len(trail(house))
            known[verb] = await ask(house, verb, **filled)
            told = trail(house)
            assert len(told) > before, f"{verb} is not told"
            assert (act, "ann", "ticket 7") in told[: len(told) - before], (verb, told[0])
        assert (await ask(house, "audit.verify"))["findings"] == []
        entries = json.dumps([row.entry.after for row in house.gateway.store.audit_log(10_000)])
        for secret in (HASH, TEXT, "447700900123", house.key, known["key.create"]["key"]):
            assert secret not in entries


@trio_test(mock_clock=True)
async def test_an_endpoint_that_is_called_again_and_a_lock_that_is_ended_are_told(tmp_path: Path) -> None:
    toml = ONE + "[callbacks]\nretry_s = [600]\nbreaker_failures = 1\n"
    async with running(tmp_path, toml, callback_url="http://127.0.0.1:9100/hook") as house:
        await house.submit("447700900123")
        await house.until(lambda: house.gateway.pump.endpoints() and trail_shut(house))
        await ask(house, "callbacks.enable", account="acme")
        assert trail(house)[0] == ("callbacks.enabled", "ann", "ticket 7")
        sign_ins = house.gateway.sign_ins
        for _ in range(200):
            sign_ins._locks.failed("192.0.2.7", "bob", spared=False)
        assert (await ask(house, "operator.unlock", name_or_address="192.0.2.7"))["unlocked"]
        await trio.sleep(2)
        assert ("lock.released", "ann", "ticket 7") in trail(house)[:3]


def trail_shut(house: Running) -> bool:
    return any(state.health.value != "good" for state in house.gateway.pump.endpoints())


@trio_test(mock_clock=True)
async def test_every_view_of_a_text_on_the_command_line_is_told_before_it_is_shown(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        id = await house.submit("447700900123", TEXT, send_at="2026-10-30T00:00:00Z")
        store, now_ms = house.gateway.store, house.gateway.world.wall_ms()
        acme, sim = house.gateway.accounts.named("acme").id, store.carrier_id("sim")
        mo = InboundMessage(
            store.next_ids(1, now_ms), acme, sim, now_ms, "447700900001", NUMBER, 0, TEXT, b"", parts=1
        )
        await house.gateway.committer.execute(lambda txn: txn.inbound([mo], now_ms))
        for verb, args, subject in (
            ("message", {"id": id}, f"message:{id}"),
            ("inbox", {"text": True}, "mo:"),
            ("inbox", {"text": True, "account": "acme"}, "mo:"),
        ):
            before = len(trail(house))
            assert TEXT in json.dumps(await ask(house, verb, **args))
            (row, *_) = store.audit_log(1)
            assert len(trail(house)) == before + 1
            told = row.entry
            assert (told.act, told.subject, told.who) == ("message.viewed", subject, "ann")
            assert TEXT not in json.dumps(told.after)
        before = len(trail(house))
        for verb, args in (
            ("message", {"id": id, "text": False}),
            ("message.list", {}),
            ("inbox", {}),
            ("receipts.unmatched", {"text": True}),  # there is none
            ("callbacks.given_up", {}),
            ("audit.list", {}),
            ("events.list", {}),
        ):
            assert TEXT not in json.dumps(await ask(house, verb, **args)), verb
        assert len(trail(house)) == before


def test_a_roll_back_that_is_ended_on_a_stopped_gateway_is_told(typed: Typed, tmp_path: Path) -> None:
    async def roll_back() -> None:
        async with running(tmp_path, ONE) as house:
            await ask(house, "config.rollback", number=1)

    trio.run(roll_back, clock=trio.testing.MockClock(autojump_threshold=0))
    assert typed("reload", "--reason", "ticket 7", "--config", str(tmp_path / "gateway.toml"))[0] == 0
    (told, *_) = json.loads(typed("audit", "list", "--json")[1])
    assert (told["act"], told["via"]) == ("config.rollback_ended", "cli")


def test_a_view_on_a_stopped_gateway_is_told_too(typed: Typed, tmp_path: Path) -> None:
    async def begin() -> str:
        async with running(tmp_path, ONE) as house:
            return await house.submit("447700900123", TEXT, send_at="2026-10-30T00:00:00Z")

    id = trio.run(begin, clock=trio.testing.MockClock(autojump_threshold=0))
    assert TEXT in typed("message", id)[1]
    (told, *_) = json.loads(typed("audit", "list", "--json")[1])
    assert (told["act"], told["subject"], told["via"]) == ("message.viewed", f"message:{id}", "cli")
    assert TEXT not in typed("message", id, "--no-text")[1]
    assert json.loads(typed("audit", "list", "--json")[1])[0] == told


@trio_test(mock_clock=True)
async def test_where_the_trail_takes_nothing_no_text_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from store.interface import StoreFull

    async def full(*_: object) -> None:
        raise StoreFull("the store is full", "free some disk")

    async with running(tmp_path, ONE) as house:
        id = await house.submit("447700900123", TEXT, send_at="2026-10-30T00:00:00Z")
        monkeypatch.setattr(house.gateway.verbs._of_traffic, "_execute", full)
        with pytest.raises(AdminError, match="no text is shown"):
            await ask(house, "message", id=id)
        assert (await ask(house, "message", id=id, text=False))["text"] == ""


@trio_test(mock_clock=True)
async def test_a_start_with_another_file_than_before_is_told_with_what_changed(tmp_path: Path) -> None:
    for toml in (ONE, ONE, ONE.replace("[[routes]]", "[messages]\nmax_parts = 7\n[[routes]]", 1)):
        async with running(tmp_path, toml) as house:
            started = [
                row.entry for row in house.gateway.store.audit_log() if row.entry.act == "config.started"
            ]
    (told,) = started
    assert (told.who, told.via) == ("signalbox", "gateway")
    assert (told.before, told.after) == ({"messages.max_parts": 10}, {"messages.max_parts": 7})


@trio_test(mock_clock=True)
async def test_every_act_that_is_done_as_its_example_says_is_told_and_its_preview_is_not(
    tmp_path: Path,
) -> None:
    toml = (
        '[smpp]\nlisten = ["127.0.0.1:2775"]\n'
        + carrier("north", 2776)
        + carrier("south", 2777)
        + simulator("north", 2776)
        + simulator("south", 2777)
        + route("north", "south", name="all")
    )
    done: set[str] = set()
    async with running(tmp_path, toml) as house:
        await house.bound()
        for act in ACTS:
            example = dict(act.example)
            if act.verb.startswith("message."):
                example["id"] = await house.submit("447700900123", TEXT, send_at="2026-10-30T00:00:00Z")
            before = trail(house)
            try:
                await ask(house, act.verb, **example, preview=True)
                assert trail(house) == before, f"a preview of {act.verb} is told"
                await ask(house, act.verb, **example)
            except AdminError:
                assert trail(house) == before, f"{act.verb} was refused, and is told"
                continue
            told = trail(house)[: len(trail(house)) - len(before)]
            assert all(one[1:] == ("ann", "ticket 7") for one in told), act.verb
            if told:
                done.add(act.verb)
    assert len(done) >= 15, sorted(done)
