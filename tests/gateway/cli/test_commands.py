"""What the commands ask, print and exit with. The gateway is a table of answers behind AdminClient."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.admin_client import AdminAbsent, AdminBroken, AdminClient, AdminError
from gateway.certificates import CertificateProblem
from gateway.cli import VERSION, offline, place, root, send, tools
from gateway.cli.account import password_hash
from gateway.cli.failure import CONFIG, FAILED, OK, STORE, UNREACHABLE, USAGE, Failure
from gateway.cli.run import failure_of, only_leaf
from gateway.cli.status import takes_work
from gateway.client import Problem, Refused, Signalbox
from store.interface import StoreBusy, StoreDamaged
from tests.gateway.house import free_ports

ACCOUNT: dict[str, Any] = {
    "id": 1,
    "name": "shop",
    "key_prefixes": ["ab12"],
    "callback_url": "https://shop.example/sms",
    "queued": 1200,
    "suspended": False,
    "closed": False,
}
MESSAGE: dict[str, Any] = {
    "id": "7",
    "state": "DELIVERED",
    "priority": 0,
    "text": "Grüße",
    "parts": [{"carrier": "north", "carrier_message_id": "c1", "state": "DELIVERED", "error": ""}],
    "timeline": [{"at": "2026-01-01T00:00:00.000Z", "step": "SENT", "carrier": "north", "detail": "c1"}],
}


MO: dict[str, Any] = {
    "id": "9",
    "account": "",
    "carrier": "north",
    "received_at": "2026-01-01T00:00:00.000Z",
    "from": "447700900777",
    "to": "12345",
    "parts": 1,
    "complete": True,
}
STRAY: dict[str, Any] = {
    "carrier": "north",
    "ids": ["c1", "C1"],
    "recipient": "447700900123",
    "sender": "Shop",
    "state": "DELIVERED",
    "error": "000",
    "received_at": "2026-01-01T00:00:00.000Z",
    "waiting": True,
}


ENDPOINT: dict[str, Any] = {
    "endpoint": 3,
    "account": "shop",
    "origin": "https://shop.example:443",
    "state": "disabled",
    "tried_again_at": "2026-01-02T00:00:00.000Z",
    "backlog": 12,
    "retrying": 1,
    "given_up": 3,
    "oldest_at": "2026-01-01T00:00:00.000Z",
    "last_error": "HTTP 410: endpoint disabled",
    "reason": "",
}
GIVEN_UP: dict[str, Any] = {
    "id": "rcpt_7_2_1",
    "account": "shop",
    "origin": "https://shop.example:443",
    "state": "DELIVERED",
    "given_up_at": "2026-01-02T00:00:00.000Z",
    "attempts": 11,
    "last_error": "HTTP 500",
}


class FakeGateway:
    """Answers by verb: a value, or an exception to raise. Keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"ping": {"version": VERSION}}
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def call(self, client: AdminClient, verb: str, *, timeout_s: float | None = None, **args: Any) -> Any:
        self.asked.append((verb, args))
        answer = self.answers[verb]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGateway:
    fake = FakeGateway()
    monkeypatch.setattr(AdminClient, "call", lambda client, verb, **args: fake.call(client, verb, **args))
    monkeypatch.setenv("SIGNALBOX_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("SIGNALBOX_API_KEY", raising=False)
    return fake


def test_a_new_accounts_key_is_printed_for_programs(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["account.create"] = {**ACCOUNT, "api_key": "sbk_ab12_x", "callback_secret": "whsec_x"}
    assert root.run(["account", "create", "shop", "--number", "12345", "--json"]) == OK
    assert json.loads(capsys.readouterr().out)["api_key"] == "sbk_ab12_x"
    ((_, args),) = gateway.asked
    assert (args["name"], args["numbers"]) == ("shop", ["12345"])
    assert "weight" not in args, "what is not given is the configuration's"


def test_a_new_accounts_key_is_printed_for_people(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["account.create"] = {**ACCOUNT, "api_key": "sbk_ab12_x"}
    assert root.run(["account", "create", "shop"]) == OK
    printed = capsys.readouterr().out
    assert "Authorization: Bearer sbk_ab12_x" in printed
    assert "once" in printed


def test_an_smpp_password_leaves_the_command_only_as_a_hash(gateway: FakeGateway) -> None:
    gateway.answers["account.create"] = {**ACCOUNT, "api_key": "k"}
    assert root.run(["account", "create", "shop", "--system-id", "shop", "--password", "geheim1"]) == OK
    ((_, args),) = gateway.asked
    assert "geheim1" not in json.dumps(args)
    assert args["password_hash"].startswith("$argon2id$v=19$")


@pytest.mark.parametrize("password", ["ninechars", "ü", "a\nb"])
def test_a_password_that_smpp_cannot_carry_is_refused(password: str) -> None:
    with pytest.raises(Failure, match="8 printable"):
        password_hash(password)


def test_the_same_password_never_hashes_alike() -> None:
    assert password_hash("secret") != password_hash("secret")


def test_rotating_says_whether_the_previous_key_stays(gateway: FakeGateway) -> None:
    gateway.answers["account.rotate"] = {**ACCOUNT, "api_key": "k"}
    root.run(["account", "rotate", "shop"])
    root.run(["account", "rotate", "shop", "--drop-previous"])
    assert [args["keep_previous"] for _, args in gateway.asked] == [True, False]


def test_setting_sends_only_what_was_given(gateway: FakeGateway) -> None:
    gateway.answers["account.set"] = ACCOUNT
    assert root.run(["account", "set", "shop", "--suspend"]) == OK
    assert gateway.asked == [("account.set", {"name": "shop", "suspended": True})]
    assert root.run(["account", "set", "shop"]) == USAGE


def test_accounts_are_listed_in_columns(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers["account.list"] = [ACCOUNT]
    assert root.run(["account", "list"]) == OK
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.index("CALLBACK") == row.index("https://")
    assert "1,200" in row


def test_no_accounts_yet_teaches_how_to_make_one(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["account.list"] = []
    root.run(["account", "list"])
    assert "signalbox account create" in capsys.readouterr().out


BIND: dict[str, Any] = {
    "id": "3", "account": "shop", "system_id": "shop1", "bind": "transceiver",
    "address": "192.0.2.7", "tls": True, "version": "3.4",
    "since": "2026-01-01T00:00:00.000Z", "last_active": "2026-01-02T00:00:00.000Z",
    "submits": 1200, "unanswered": 5, "window": 100, "delivering": 7, "outbox": 10_000,
}  # fmt: skip
LOCK: dict[str, Any] = {
    "network": "192.0.2.7", "system_id": "", "failures": 20, "left_s": 300,
    "until": "2026-01-01T00:05:00.000Z",
}  # fmt: skip


def test_binds_are_listed_in_columns_and_dropped(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers = {
        "binds.list": [BIND],
        "binds.drop": {"id": "3", "account": "shop", "system_id": "shop1"},
    }
    for line in (["binds", "--account", "shop"], ["binds", "list", "--account", "shop"]):
        assert root.run(line) == OK
        heading, row = capsys.readouterr().out.splitlines()
        assert heading.index("SYSTEM ID") == row.index("shop1")
        assert ("5/100" in row, "192.0.2.7 TLS" in row) == (True, True)
    assert root.run(["binds", "drop", "3", "--reason", "ticket 7"]) == OK
    assert "shop1 of shop is asked to leave" in capsys.readouterr().out
    gateway.answers["binds.list"] = []
    assert root.run(["binds"]) == OK
    assert capsys.readouterr().out == "Nobody is bound.\n"
    assert [args for _, args in gateway.asked] == [{"account": "shop"}] * 2 + [{"id": "3"}, {"account": ""}]


def test_locks_are_listed_and_ended(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers = {"locks.list": [LOCK], "locks.release": {"who": "192.0.2.7", "released": 2}}
    assert root.run(["locks"]) == OK
    assert "(all)" in capsys.readouterr().out
    assert root.run(["unlock", "192.0.2.7", "--reason", "ticket 7"]) == OK
    assert capsys.readouterr().out == "2 locks ended.\n"
    gateway.answers["locks.list"] = []
    assert root.run(["locks"]) == OK
    assert capsys.readouterr().out == "Nobody is locked out.\n"


STATUS: dict[str, Any] = {
    "version": VERSION,
    "not_ready": "",
    "config": {"file": "/etc/gateway.toml", "differs_from_file": "", "needs_restart": []},
    "carriers": {
        "north": {
            "able": True,
            "suspended": False,
            "out": None,
            "in_flight": 3,
            "window": 10,
            "window_used": 3,
            "tps": 50,
            "paused_until": "",
            "links": {
                "north/1": {"state": "bound", "bind": "transceiver", "host": "n:2775", "last_error": ""}
            },
        },
        "south": {
            "able": False,
            "suspended": False,
            "out": None,
            "in_flight": 0,
            "window": 0,
            "window_used": 0,
            "tps": 0,
            "paused_until": "",
            "links": {
                "south/1": {
                    "state": "connecting",
                    "bind": "transceiver",
                    "host": "s:1",
                    "last_error": "refused",
                }
            },
        },
    },
    "customers": {"shop": {"binds": 2, "max_binds": 4, "transceiver": 2}},
    "backlog": {"ready": 1200, "events": 12},
    "lanes": {
        "north>south": {
            "ready": 1200,
            "leased": 3,
            "reason": "window_full",
            "carriers": {"north": "window_full", "south": "no_bind"},
        }
    },
    "stalled": [],
}
STALL = {
    "part": "lane",
    "name": "north>south",
    "waiting": 1200,
    "since": "2026-01-01T00:00:00.000Z",
    "reason": "nothing is in the way",
}


def test_status_says_what_waits_and_why(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers["ping"] = STATUS
    assert root.run(["status"]) == OK
    out = capsys.readouterr().out
    assert f"Signalbox {VERSION}, ready" in out
    assert "north    yes" in out
    assert "3/10" in out
    assert "refused" in out
    assert "shop          2   4" in out
    assert "12 events wait for customers" in out
    assert "1,200" in out
    assert "window full (south: no bind)" in out
    assert "STALLED" not in out


def test_a_stall_is_shown_and_is_the_exit_code(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["ping"] = {**STATUS, "lanes": {}, "stalled": [STALL]}
    assert root.run(["status"]) == FAILED
    out = capsys.readouterr().out
    assert "No message waits." in out
    assert "STALLED  lane north>south: 1,200 since 2026-01-01T00:00:00.000Z, nothing is in the way" in out


def test_status_says_that_the_search_index_stands_still(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    search = {
        "indexed_until": "",
        "lag_s": 75.2,
        "days_to_build": ["2026-01-01"],
        "bytes": 1,
        "problem": "disk",
    }
    gateway.answers["ping"] = {**STATUS, "search": search}
    assert root.run(["status"]) == OK
    out = capsys.readouterr().out
    assert "SEARCH  the index is 75 s behind, 1 days to build: disk; searches take longer" in out
    gateway.answers["ping"] = {
        **STATUS,
        "search": {**search, "lag_s": 2.0, "days_to_build": [], "problem": ""},
    }
    assert root.run(["status"]) == OK
    assert "SEARCH" not in capsys.readouterr().out


def test_status_says_that_the_file_is_not_what_is_in_force(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {
        "file": "/etc/gateway.toml",
        "differs_from_file": "a restart is needed for a part of it",
        "needs_restart": ["http.listen"],
    }
    gateway.answers["ping"] = {**STATUS, "config": config}
    assert root.run(["status"]) == OK
    assert "differs from the file /etc/gateway.toml: a restart is needed" in capsys.readouterr().out


def test_a_gateway_that_is_not_ready_says_why(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["ping"] = {**STATUS, "not_ready": "no carrier is bound"}
    assert root.run(["status"]) == FAILED
    assert "no carrier is bound" in capsys.readouterr().out


def test_status_needs_a_running_gateway(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers["ping"] = AdminAbsent("nobody")
    assert root.run(["status"]) == UNREACHABLE
    assert "signalbox run" in capsys.readouterr().err


def test_a_message_is_shown_with_parts_and_timeline(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["message"] = MESSAGE
    assert root.run(["message", "7"]) == OK
    printed = capsys.readouterr().out
    assert "DELIVERED" in printed
    assert "SENT" in printed
    assert root.run(["message", "7", "--json"]) == OK
    assert json.loads(capsys.readouterr().out) == MESSAGE


def test_show_may_be_left_out_before_a_message_id(gateway: FakeGateway) -> None:
    gateway.answers["message"] = MESSAGE
    for line in (["message", "show", "7"], ["message", "7"], ["message", "--json", "7"]):
        assert root.run(line) == OK
    assert gateway.asked == [("message", {"id": "7"})] * 3


def test_messages_are_listed_by_filters_in_pages(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    view = {"id": "7", "account": "shop", "accepted_at": "2026-01-01T00:00:00.000Z", "from": "Shop"} | {
        "to": "447700900123", "state": "ENROUTE", "phase": "deferred", "reason": "throttled",
        "carriers": ["north"],
    }  # fmt: skip
    gateway.answers["message.list"] = {"messages": [view], "next": "", "complete": True}
    assert root.run(["message", "find", "--to", "+447700900123", "--since", "2h", "--from", "Shop"]) == OK
    asked = {"to": "+447700900123", "from": "Shop", "since": "2h", "limit": 20, "cursor": ""}
    assert gateway.asked == [("message.list", asked)]
    assert "shop     Shop  447700900123  ENROUTE  deferred  throttled  north" in capsys.readouterr().out
    gateway.answers["message.list"] = {"messages": [view], "next": "abc", "complete": False}
    gateway.asked.clear()
    assert root.run(["message", "list", "--limit", "2"]) == OK
    assert gateway.asked == [
        ("message.list", {"limit": 2, "cursor": ""}),
        ("message.list", {"limit": 1, "cursor": "abc"}),
    ]
    assert "There may be more: --limit" in capsys.readouterr().out
    assert root.run(["message", "list", "--limit", "1", "--json"]) == OK
    assert json.loads(capsys.readouterr().out) == {"messages": [view], "more": True}
    gateway.answers["message.list"] = {"messages": [], "next": "", "complete": True}
    assert root.run(["message", "list", "--client-ref", "x", "--tag", "y"]) == OK
    assert "No message fits." in capsys.readouterr().out
    assert root.run(["message", "list", "--limit", "0"]) == USAGE


@pytest.mark.parametrize(("outcome", "word"), [("cancelled", "DELETED"), ("leased", "not sent again")])
def test_a_cancel_says_what_it_could_do(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str], outcome: str, word: str
) -> None:
    gateway.answers["message.cancel"] = {"id": "7", "outcome": outcome}
    assert root.run(["message", "cancel", "7", "--reason", "ticket 7"]) == OK
    assert word in capsys.readouterr().out
    assert root.run(["message", "cancel", "7", "--json", "--reason", "ticket 7"]) == OK
    assert json.loads(capsys.readouterr().out) == {"id": "7", "outcome": outcome}
    assert gateway.asked[0] == ("message.cancel", {"id": "7"})


@pytest.mark.parametrize(
    ("line", "args", "word"),
    [
        ([], {"reason": "restored", "carrier": ""}, "2 messages released. What was sent after the backup"),
        (["--reason", "unknown"], {"reason": "unknown", "carrier": ""}, "Each may arrive twice"),
        (
            ["--reason", "unknown", "--carrier", "north"],
            {"reason": "unknown", "carrier": "north"},
            "whether north took it before is not known",
        ),
    ],
)
def test_a_release_says_how_many_and_what_may_come_of_it(
    gateway: FakeGateway,
    capsys: pytest.CaptureFixture[str],
    line: list[str],
    args: dict[str, str],
    word: str,
) -> None:
    gateway.answers["held.release"] = {"released": 2, **args}
    assert root.run(["store", "release", *line, "--because", "ticket 7"]) == OK
    assert word in capsys.readouterr().out
    asked = {"held_as": args["reason"], "carrier": args["carrier"], "preview": False}
    assert gateway.asked == [("held.release", asked)]


def test_the_inbox_is_shown_in_columns_and_its_texts_on_request(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["inbox"] = [MO]
    assert root.run(["inbox", "--unowned", "--limit", "1"]) == OK
    heading, row, _, more = capsys.readouterr().out.splitlines()
    assert heading.index("FROM") == row.index("447700900777")
    assert "--before 9" in more
    gateway.answers["inbox"] = [{**MO, "text": "two\nlines", "data": "", "complete": False}]
    assert root.run(["inbox", "--account", "shop", "--text", "--before", "10"]) == OK
    assert "two\\u000alines [parts are missing]" in capsys.readouterr().out
    unowned = {"account": "", "unowned": True, "before": "", "limit": 1, "text": False}
    shop = {"account": "shop", "unowned": False, "before": "10", "limit": 100, "text": True}
    assert gateway.asked == [("inbox", unowned), ("inbox", shop)]
    assert root.run(["inbox", "--limit", "0"]) == USAGE


def test_unclaimed_receipts_are_shown_in_columns(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["receipts.unmatched"] = [STRAY]
    assert root.run(["receipts", "unmatched"]) == OK
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.index("CARRIER ID") == row.index("c1, C1")
    assert row.endswith("yes")
    gateway.answers["receipts.unmatched"] = [{**STRAY, "text": "id:c1"}]
    assert root.run(["receipts", "unmatched", "--text", "--limit", "1"]) == OK
    printed = capsys.readouterr().out
    assert "id:c1" in printed
    assert "--limit shows more" in printed
    gateway.answers["receipts.unmatched"] = []
    assert root.run(["receipts", "unmatched"]) == OK
    assert "Every receipt belongs to a message" in capsys.readouterr().out


def test_endpoints_are_listed_with_their_state_and_what_is_behind(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["callbacks.list"] = [{**ENDPOINT, "endpoint": 1234}]
    assert root.run(["callbacks", "list", "--account", "shop", "--all"]) == OK
    heading, row = capsys.readouterr().out.splitlines()
    assert row.startswith("1234 ")
    assert heading.index("WHY") == row.index("HTTP 410")
    assert "disabled until 2026-01-02" in row
    assert gateway.asked == [("callbacks.list", {"endpoint": 0, "account": "shop", "all": True})]
    gateway.answers["callbacks.list"] = []
    assert root.run(["callbacks", "list"]) == OK
    assert "Every callback was taken" in capsys.readouterr().out


def test_events_that_were_given_up_are_listed(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["callbacks.given_up"] = [GIVEN_UP]
    assert root.run(["callbacks", "given-up", "--endpoint", "3", "--limit", "1"]) == OK
    heading, row, _, more = capsys.readouterr().out.splitlines()
    assert heading.index("EVENT") == row.index("rcpt_7_2_1")
    assert "--limit" in more
    gateway.answers["callbacks.given_up"] = []
    assert root.run(["callbacks", "given-up"]) == OK
    assert [args for _, args in gateway.asked] == [
        {"endpoint": 3, "account": "", "limit": 1},
        {"endpoint": 0, "account": "", "limit": 100},
    ]


def test_a_replay_says_how_many_and_which_endpoint_is_shut(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["callbacks.replay"] = {"replayed": 1, "shut": [ENDPOINT]}
    assert root.run(["callbacks", "replay", "--account", "shop", "--reason", "ticket 7"]) == OK
    printed = capsys.readouterr().out
    assert "1 event put back" in printed
    assert "signalbox callbacks enable --endpoint 3" in printed
    gateway.answers["callbacks.replay"] = {"replayed": 0, "shut": []}
    assert root.run(["callbacks", "replay", "--all", "--reason", "ticket 7"]) == OK
    assert capsys.readouterr().out == "No event was given up there.\n"


def test_enabling_says_what_was_shut(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers["callbacks.enable"] = {"enabled": [ENDPOINT], "replayed": 0}
    assert root.run(["callbacks", "enable", "--endpoint", "3"]) == OK
    assert capsys.readouterr().out == "https://shop.example:443 was disabled; it is tried now.\n"
    gateway.answers["callbacks.enable"] = {"enabled": [], "replayed": 2}
    assert root.run(["callbacks", "enable", "--endpoint", "3"]) == OK
    assert "2 events that 410 held up put back, due now." in capsys.readouterr().out
    gateway.answers["callbacks.enable"] = {"enabled": [], "replayed": 0}
    assert root.run(["callbacks", "enable", "--all"]) == OK
    assert "No endpoint there is shut" in capsys.readouterr().out


def test_a_test_shows_what_went_and_came_and_exits_by_it(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    request = {
        "method": "POST",
        "url": "https://shop.example/sms",
        "headers": {"webhook-id": "x"},
        "body": "{}",
    }
    told = {"taken": True, "error": "", "status": 204, "answer": "", "duration_s": 0.25, "request": request}
    gateway.answers["callbacks.test"] = told
    assert root.run(["callbacks", "test", "shop"]) == OK
    shown = capsys.readouterr().out
    assert shown.startswith("POST https://shop.example/sms\nwebhook-id: x\n\n{}\n")
    assert shown.endswith("Answer after 0.250 s: 204\nTaken.\n")
    gateway.answers["callbacks.test"] = told | {"taken": False, "error": "HTTP 500", "status": 500}
    assert root.run(["callbacks", "test", "shop", "--kind", "received"]) == FAILED
    assert "Not taken: HTTP 500" in capsys.readouterr().out
    assert gateway.asked[-1] == ("callbacks.test", {"account": "shop", "kind": "received"})


def test_an_endpoints_events_are_listed_page_by_page(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    event = {
        "id": "rcpt_7", "type": "message.receipt", "at": "then", "state": "DELIVERED", "attempts": 3,
        "due_at": "soon", "given_up_at": "", "last_error": "HTTP 500",
    }  # fmt: skip
    gateway.answers["callbacks.events"] = {"events": [event], "after": "ff"}
    assert root.run(["callbacks", "events", "7", "--limit", "2"]) == OK
    assert capsys.readouterr().out.count("rcpt_7") == 2
    assert [args["after"] for verb, args in gateway.asked if verb == "callbacks.events"] == ["", "ff"]
    gateway.answers["callbacks.attempts"] = []
    assert root.run(["callbacks", "attempts", "7"]) == OK
    assert "Nothing was sent there" in capsys.readouterr().out


LISTINGS = {
    "inbox": ["inbox"],
    "receipts.unmatched": ["receipts", "unmatched"],
    "callbacks.list": ["callbacks", "list"],
    "callbacks.given_up": ["callbacks", "given-up"],
    "callbacks.replay": ["callbacks", "replay", "--all", "--reason", "ticket 7"],
    "callbacks.enable": ["callbacks", "enable", "--all"],
    "message.cancel": ["message", "cancel", "7", "--reason", "ticket 7"],
    "held.release": ["store", "release", "--because", "ticket 7"],
}


@pytest.mark.parametrize("verb", LISTINGS)
def test_every_verb_prints_the_gateways_answer_for_programs(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    gateway.answers[verb] = answer = {"anything": ["Grüße", 1, True]}
    assert root.run([*LISTINGS[verb], "--json"]) == OK
    assert json.loads(capsys.readouterr().out) == answer
    assert [asked for asked, _ in gateway.asked] == [verb]


@pytest.mark.parametrize("steering", ["\x1b]0;title\x07", "\x9b2J", "a\u202eb", "\u2066x", "\r", "\x7f"])
def test_what_a_stranger_wrote_cannot_steer_the_terminal(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str], steering: str
) -> None:
    gateway.answers["receipts.unmatched"] = [{**STRAY, "ids": [steering], "sender": steering}]
    gateway.answers["message"] = {**MESSAGE, "text": steering}
    for line in (["receipts", "unmatched"], ["message", "7"]):
        assert root.run(line) == OK
        printed = capsys.readouterr().out
        assert not set(printed) & (set(steering) - set("]0;title2Jabx"))
        assert root.run([*line, "--json"]) == OK
        printed = capsys.readouterr().out
        assert not set(printed) & (set(steering) - set("]0;title2Jabx"))
        read = json.loads(printed)
        assert steering in (read[0]["sender"] if isinstance(read, list) else read["text"])


def test_a_release_of_nothing_says_so(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers["held.release"] = {"released": 0}
    why = ["--because", "ticket 7"]
    assert root.run(["store", "release", "--reason", "unknown", "--carrier", "north", *why]) == OK
    assert capsys.readouterr().out == "No message is held with an unknown outcome at north.\n"
    assert root.run(["store", "release", "--reason", "everything"]) == USAGE


def test_what_the_gateway_refuses_is_told_with_its_hint(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["message"] = AdminError("not_found", "no message 9", "ids are decimal")
    assert root.run(["message", "9"]) == FAILED
    assert capsys.readouterr().err == "signalbox: no message 9\n  ids are decimal\n"


def test_a_gateway_that_does_not_answer_has_its_own_exit_code(gateway: FakeGateway) -> None:
    gateway.answers["message"] = AdminBroken("did not answer")
    assert root.run(["message", "9"]) == UNREACHABLE


def test_without_gateway_and_store_the_command_says_where_it_looked(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["message"] = AdminAbsent()
    assert root.run(["message", "9"]) == FAILED
    assert "data/store" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"), [(StoreBusy("in use"), UNREACHABLE), (StoreDamaged("broken", "salvage it"), STORE)]
)
def test_a_store_that_cannot_be_opened_has_its_own_exit_code(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, code: int
) -> None:
    def refuse(directory: Path) -> None:
        raise error

    (tmp_path / "data" / "store").mkdir(parents=True)
    monkeypatch.setattr(offline, "open_store", refuse)
    gateway.answers["message"] = AdminAbsent()
    assert root.run(["message", "9"]) == code


def test_sending_needs_a_running_gateway(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers["send"] = AdminAbsent()
    assert root.run(["send", "--to", "+447700900123", "--from", "Me", "--text", "hi"]) == UNREACHABLE
    assert "signalbox run" in capsys.readouterr().err


def test_a_message_sent_over_the_admin_socket_shows_its_id(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["send"] = {"id": "7", "state": "ENROUTE", "segments": 1}
    assert root.run(["send", "--to", "+447700900123", "--from", "Me", "--text", "hi"]) == OK
    assert capsys.readouterr().out.startswith("7  ENROUTE, 1 segment\n")


def test_a_carrier_on_trial_takes_work_until_its_trial_is_used_up() -> None:
    out = {"why": "trial", "reason": "too many submits failed", "since": "", "until": ""}
    carrier = {"suspended": False, "out": out, "able": True, "paused_until": ""}
    assert takes_work(carrier) == "on trial: too many submits failed"
    assert takes_work({**carrier, "able": False}) == "no: trial: too many submits failed"


def test_smart_encoding_is_asked_for_only_where_it_is_said(gateway: FakeGateway) -> None:
    gateway.answers["send"] = {"id": "7", "state": "ENROUTE", "segments": 1}
    line = ["send", "--to", "+447700900123", "--from", "Me", "--text", "hi"]
    for more in ([], ["--smart-encoding"], ["--no-smart-encoding"]):
        assert root.run([*line, *more]) == OK
    asked = [wish.get("smart_encoding") for verb, wish in gateway.asked if verb == "send"]
    assert asked == [None, True, False]


def test_a_message_sent_with_a_key_goes_by_http(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    posted: list[Any] = []

    def post(url: str, key: str, *said: str, **more: Any) -> Any:
        posted.append((url, key, said, more))
        return {"id": "7", "state": "ENROUTE", "segments": 1}

    monkeypatch.setattr(send, "post", post)
    line = ["send", "--to", "1", "--from", "Me", "--text", "hi", "--key", "k", "--url", "http://h:1"]
    assert root.run(line) == OK
    assert root.run([*line, "--smart-encoding"]) == OK
    said = ("http://h:1", "k", ("1", "Me", "hi"))
    assert posted == [(*said, {}), (*said, {"smart_encoding": True})]


def test_a_key_that_is_refused_or_a_gateway_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (port,) = free_ports(1)
    line = ["send", "--to", "1", "--from", "Me", "--text", "hi", "--key", "k", "--url"]
    assert root.run([*line, f"http://127.0.0.1:{port}"]) == UNREACHABLE
    assert "is the gateway running?" in capsys.readouterr().err

    def refuse(*_: object, **__: object) -> None:
        raise Refused(401, Problem("urn:signalbox:problem:not-authenticated", "", 401, "no such key"))

    monkeypatch.setattr(Signalbox, "send", refuse)
    assert root.run([*line, "http://h:1"]) == FAILED
    assert "(401): no such key" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("[::]:80", "http://[::1]:80"),
        ("gate:81", "http://gate:81"),
    ],
)
def test_the_http_address_comes_from_the_configuration(tmp_path: Path, listen: str, url: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        f'[http]\nlisten = ["{listen}"]\n'
        '[[carriers]]\nname = "a"\nhost = "h"\nport = 1\nsystem_id = "s"\npassword = "p"\n'
        '[[routes]]\nname = "r"\nlane = ["a"]\n'
    )
    assert send.http_url(place.Place(path)) == url


def test_store_figures_that_do_not_add_up_fail(gateway: FakeGateway) -> None:
    figures = {
        "accepted": {"messages": 2, "segments": 2},
        "phases": {"ready": {"messages": 1, "segments": 1}},
    }
    gateway.answers["store.stats"] = {**figures, "conserved": False}
    assert root.run(["store", "stats"]) == FAILED
    gateway.answers["store.stats"] = {**figures, "conserved": True}
    assert root.run(["store", "stats"]) == OK


def test_a_store_check_with_findings_fails(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers["store.check"] = [{"where": "message 7", "what": "CRC differs"}]
    assert root.run(["store", "check"]) == FAILED
    assert "CRC differs" in capsys.readouterr().out
    gateway.answers["store.check"] = []
    assert root.run(["store", "check"]) == OK


def test_a_backup_never_writes_into_a_directory_with_files(gateway: FakeGateway, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("x")
    assert root.run(["store", "backup", str(tmp_path / "full")]) == USAGE
    assert gateway.asked == []


def test_a_backup_is_asked_for_with_an_absolute_path(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    gateway.answers["store.backup"] = {}
    assert root.run(["store", "backup", "copy"]) == OK
    assert gateway.asked == [("store.backup", {"target": str(tmp_path / "copy")})]


@pytest.mark.parametrize("line", [[], ["--help"], ["account", "--help"], ["store", "check", "--help"]])
def test_help_needs_neither_gateway_nor_configuration(line: list[str]) -> None:
    assert root.run([*line, "--help"]) == OK


def test_the_help_names_every_verb_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    root.run(["--help"])
    printed = capsys.readouterr().out
    assert all(verb in printed for verb in root.VERBS)
    assert "Exit codes" in printed


@pytest.mark.parametrize("line", [["frobnicate"], ["message"], ["account", "create"], ["--nope"]])
def test_a_wrong_command_line_has_its_own_exit_code(line: list[str]) -> None:
    assert root.run(line) == USAGE


def test_every_verb_loads() -> None:
    import click

    context = click.Context(root.signalbox)
    for verb in root.VERBS:
        command = root.signalbox.get_command(context, verb)
        assert command is not None
        assert command.name == verb


def test_a_program_gets_its_arguments_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(tools, "program", lambda module: lambda arguments: seen.append(arguments))
    assert root.run(["simulate", "--help", "--port", "2775", "-x"]) == OK
    assert seen == [["--help", "--port", "2775", "-x"]]


def test_a_program_that_is_not_installed_is_named() -> None:
    with pytest.raises(Failure, match="no_such_program"):
        tools.program("no_such_program.cli")


def test_a_missing_configuration_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert root.run(["check", "--config", str(tmp_path / "none.toml")]) == CONFIG
    assert "none.toml" in capsys.readouterr().err


def test_every_error_of_a_configuration_is_told_with_its_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('[gateway]\ndata_dri = "x"\n\n[http]\nlisten = ["nonsense"]\n')
    assert root.run(["check", "--config", str(path)]) == CONFIG
    told = capsys.readouterr().err
    assert f"{path}:2:" in told
    assert f"{path}:5:" in told
    assert root.run(["check", "--config", str(path), "--json"]) == CONFIG
    assert len(json.loads(capsys.readouterr().out)["problems"]) >= 2


def test_warnings_of_a_configuration_are_told_with_their_line_and_do_not_fail(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "odd.toml"
    path.write_text('[gateway]\ndata_dir = "x"\n\n[callbacks]\nretry_s = []\n')
    assert root.run(["check", "--config", str(path)]) == OK
    told = capsys.readouterr().out
    assert f"{path}: fine, with 2 warnings" in told
    assert f"warning: {path}:5: callbacks.retry_s: is empty" in told
    assert root.run(["check", "--config", str(path), "--json"]) == OK
    answer = json.loads(capsys.readouterr().out)
    assert (answer["valid"], answer["problems"]) == (True, [])
    assert [(warning["key"], warning["line"]) for warning in answer["warnings"]] == [
        ("callbacks.retry_s", 5),
        ("routes", 0),
    ]


def test_the_shipped_configuration_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert root.run(["check"]) == OK
    assert "fine" in capsys.readouterr().out


FAST = (
    "account",
    "audit",
    "binds",
    "deliveries",
    "message",
    "send",
    "check",
    "run",
    "inbox",
    "receipts",
    "callbacks",
)


def test_the_small_verbs_start_without_the_gateways_machinery() -> None:
    """trio, lmdb and msgspec cost a tenth of a second and more: not for `message` on a running gateway."""
    verbs = ", ".join(f"gateway.cli.{verb}" for verb in FAST)
    slow = ("trio", "lmdb", "msgspec", "structlog", "phonenumbers")
    script = f"import sys, gateway.cli.root, {verbs}; print(*sorted(set({slow}) & set(sys.modules)))"
    command = [sys.executable, "-c", script]
    root_directory = place.SHIPPED.parent.parent
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root_directory)
    assert done.stdout.strip() == ""


# run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreBusy("in use"), UNREACHABLE),
        (StoreDamaged("broken", "salvage it"), STORE),
        (AdminError("in_use", "another gateway answers"), UNREACHABLE),
        (OSError(98, "Address already in use"), FAILED),
        (CertificateProblem("tls_key_file key.pem: Permission denied"), CONFIG),
    ],
)
def test_why_a_gateway_cannot_start_is_told_in_words_even_from_inside_nurseries(
    error: Exception, code: int
) -> None:
    wrapped = ExceptionGroup("nursery", [ExceptionGroup("nursery", [error])])
    failure = failure_of(only_leaf(wrapped))
    assert failure is not None
    assert failure.exit_code == code


def test_a_bug_keeps_its_traceback() -> None:
    assert failure_of(only_leaf(ExceptionGroup("two", [OSError(), OSError()]))) is None
    assert failure_of(RuntimeError()) is None


def test_moving_asks_until_it_is_complete_and_says_what_stays(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = {"moved": 300, "segments": 300, "to": "route spare", "stayed": {"too long": 2}}
    answers = [
        {**first, "complete": False, "next": "0201"},
        {**first, "moved": 7, "complete": True, "next": ""},
    ]
    asked: list[dict[str, Any]] = []

    def call(client: AdminClient, verb: str, timeout_s: float | None = None, **args: Any) -> Any:
        asked.append(args)
        return answers[len(asked) - 1]

    monkeypatch.setattr(AdminClient, "call", call)
    line = ["queue", "move", "--carrier", "north", "--older-than", "10m", "--to", "spare", "--yes"]
    assert root.run([*line, "--reason", "north is down"]) == OK
    told = capsys.readouterr().out
    assert "307 messages moved to route spare." in told
    assert "4 messages stay: too long." in told
    assert [one.get("after", "") for one in asked] == ["", "0201"]
    assert asked[0]["older_than_s"] == 600


def test_nothing_is_moved_or_bounced_without_a_reason_or_a_yes(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in (["queue", "move", "--all", "--to", "spare"], ["queue", "bounce", "--account", "shop"]):
        assert root.run([*line, "--yes"]) == USAGE
        assert "--reason" in capsys.readouterr().err
        assert root.run([*line, "--reason", "x", "--json"]) == USAGE
        assert "--yes" in capsys.readouterr().err
    for line in (["message", "force", "7"], ["message", "reroute", "7", "--to", "spare"]):
        assert root.run(line) == USAGE
    assert gateway.asked == []


def test_a_preview_of_a_bounce_says_what_it_would_touch(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["queue.bounce"] = {
        "touches": ["3 messages end as UNDELIVERABLE"], "messages": 3, "more": False,
        "warnings": ["for good"],
    }  # fmt: skip
    assert root.run(["queue", "bounce", "--account", "shop", "--preview"]) == OK
    told = capsys.readouterr().out
    assert "3 messages end as UNDELIVERABLE" in told
    assert "! for good" in told


def test_a_forced_message_says_over_which_carrier_and_what_is_first(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["message.force"] = {
        "id": "7", "outcome": "forced", "carrier": "north", "waits_for": "the carrier is at its limit",
    }  # fmt: skip
    assert root.run(["message", "force", "7", "--reason", "x"]) == OK
    assert "7 is the next that north takes of its lane. First: the carrier is" in capsys.readouterr().out
    gateway.answers["message.reroute"] = {
        "id": "7", "outcome": "moved", "to": "carrier south", "lane": "@south",
    }  # fmt: skip
    assert root.run(["message", "reroute", "7", "--carrier", "south", "--reason", "x"]) == OK
    assert "7 goes to carrier south: lane @south." in capsys.readouterr().out


def test_both_spellings_of_a_carrier_to_go_to_are_taken(gateway: FakeGateway) -> None:
    gateway.answers["message.reroute"] = {
        "id": "7", "outcome": "moved", "to": "carrier south", "lane": "@south",
    }  # fmt: skip
    for option in ("--carrier", "--to-carrier"):
        assert root.run(["message", "reroute", "7", option, "south", "--reason", "x"]) == OK
    assert [args["to_carrier"] for _, args in gateway.asked] == ["south", "south"]


def test_a_move_without_where_to_says_which_option_that_is(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--carrier` of `queue move` says what is moved, not where to."""
    assert root.run(["queue", "move", "--carrier", "south", "--yes", "--reason", "x"]) == USAGE
    said = capsys.readouterr().err
    assert "say where to: --to ROUTE or --to-carrier NAME" in said
    assert "--carrier south says which messages" in said
    assert gateway.asked == []


@pytest.mark.parametrize("module", ["admin_verbs", "admin_traffic", "admin_queues", "acts", "app"])
def test_it_can_be_imported_first(module: str) -> None:
    """A stopped gateway's store is opened by a process that has imported nothing else."""
    line = [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, '.'); import gateway.{module}"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=place.SHIPPED.parent.parent)
    assert (done.returncode, done.stderr) == (0, "")
