"""The console shows whole numbers and texts to those alone who may see them: every page, as every role."""

from __future__ import annotations

from pathlib import Path

from gateway.console.page import ANYBODY
from router.roles import HOUSE, SCOPES, Role, allows
from tests.gateway.console.house import Known, Visitor
from tests.security.house import Staffed, staffed
from tests.trio_case import trio_test

MESSAGE = {"to": "447700900777", "from": "ACME", "text": "Your code is 90210"}
TEXTS = (MESSAGE["text"], ">Yes<")
NUMBERS = (MESSAGE["to"], "447700900001")


def paths(home: Staffed, message: str) -> list[tuple[str, str]]:
    """(scope, path) of every page that is only looked at, about something that there is."""
    things = {
        "/messages/": message,
        "/accounts/": "acme",
        "/carriers/": "north",
    }
    found = []
    for page in home.house.gateway.console.pages:
        if page.method != "GET" or page.scope not in (ANYBODY, *SCOPES):
            continue
        head, brace, rest = page.path.partition("{")
        path = page.path
        if brace:
            path = head + things.get(head, "none") + rest.partition("}")[2]
        found.append((page.scope, "/console" + path))
    return found


@trio_test(mock_clock=True)
async def test_no_page_shows_a_number_or_a_text_to_a_role_that_may_not_see_it(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        known = Known()
        home.house.gateway.console.whois = lambda: known
        sent = await home.ask(
            "account", "POST", "/v1/messages", {**MESSAGE, "send_at": "2026-12-01T09:30:00Z"}
        )
        seen: dict[str, set[str]] = {role.value: set() for role in HOUSE}
        for role in HOUSE:
            for scope, path in paths(home, sent.json["id"]):
                for query in ("", "?q=" + MESSAGE["to"]) if path.endswith("/messages") else ("",):
                    shown = await Visitor(home.house, role.value).get(path + query)
                    may = scope == ANYBODY or allows(role.value, scope)
                    assert may or shown.status == 403, (role, path, shown.status)
                    asked = f'value="{MESSAGE["to"]}"'  # what somebody typed stands in the box
                    page = shown.text.replace(asked, "")
                    if not allows(role.value, "messages.numbers"):
                        assert not [one for one in NUMBERS if one in page], (role, path)
                    if not allows(role.value, "messages.text"):
                        assert not [one for one in TEXTS if one in page], (role, path)
                    seen[role.value] |= {one for one in NUMBERS if one in page}
        assert seen[Role.AUDITOR.value] == set()
        assert seen[Role.OWNER.value] == set(NUMBERS), "nothing was looked at"
