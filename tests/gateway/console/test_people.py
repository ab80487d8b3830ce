"""The page of people: who sees it, who changes it, and what it never does."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import trio

from router.roles import Role
from tests.gateway.console.house import text_of
from tests.gateway.console.test_sign_in import OTHER, RIGHT, Browser, a_console
from tests.trio_case import trio_test

ACTS = ("link", "role", "end", "factor", "remove")


@trio_test(mock_clock=True)
async def test_an_owner_invites_somebody_who_comes_in_by_the_link(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        root = Browser(house)
        await root.sign_in("root")
        shown = await root.send("/people/new", name="bob@noc", role="support")
        link = re.search(r'<pre id="link">([^<]+)</pre>', shown.text)
        assert link is not None
        assert link[1].startswith("http://test/console/welcome#")
        assert link[1].partition("#")[2] not in (await root.get("/console/people")).text
        bob = Browser(house)
        token = unescape(link[1]).partition("#")[2]
        await bob.send("/welcome", link=token, name="bob@noc", password=OTHER, again=OTHER)
        assert bob.csrf
        assert house.gateway.operators.by_name["bob@noc"].role == "support"
        told = [
            (row.entry.act, row.entry.who) for row in house.gateway.store.audit_log(100, subject="bob@noc")
        ]
        assert ("operator.created", "root") in told
        assert ("operator.link_made", "root") in told
        assert ("operator.password_set", "bob@noc") in told


@trio_test(mock_clock=True)
async def test_changes_need_a_password_that_was_shown_a_moment_ago(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        root = Browser(house)
        await root.sign_in("root")
        await trio.sleep(601)
        for path in ("new", *ACTS):
            shown = await root.send(f"/people/{path}", name="ann", role="owner")
            assert (shown.status, shown.headers["location"]) == (
                303,
                "/console/confirm?next=%2Fconsole%2Fpeople",
            )
        assert house.gateway.operators.by_name["ann"].role == "operator"
        shown = await root.send("/confirm", given=RIGHT, next="/console/people")
        assert shown.headers["location"] == "/console/people"
        shown = await root.send("/people/role", name="ann", role="auditor")
        assert "ann is auditor now" in text_of(shown.text)
        assert house.gateway.operators.by_name["ann"].role == "auditor"


@trio_test(mock_clock=True)
async def test_nobody_but_an_owner_changes_anybody(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        await house.gateway.operators.admit("eve", Role.AUDITOR)
        await house.gateway.sign_ins.set_password("eve", RIGHT, due=False)
        for name, sees in (("ann", False), ("eve", True)):
            browser = Browser(house)
            await browser.sign_in(name)
            page = await browser.get("/console/people")
            assert (page.status == 200, "Invite" in page.text) == (sees, False)
            for path in ("new", *ACTS):
                shown = await browser.send(f"/people/{path}", name="root", role="owner")
                assert shown.status == 403, (name, path)
        assert {one.role for one in house.gateway.operators.by_name.values()} == {
            "owner",
            "operator",
            "auditor",
        }


@trio_test(mock_clock=True)
async def test_the_last_owner_stays_one(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        root = Browser(house)
        await root.sign_in("root")
        await house.gateway.operators.create("robot", Role.OWNER)  # has a key, and cannot sign in
        for path in ("remove", "role"):
            shown = await root.send(f"/people/{path}", name="root", role="support")
            assert (shown.status, "the last owner" in shown.text) == (409, True)
        await root.send("/people/role", name="ann", role="owner")
        await root.send("/people/role", name="root", role="support")
        assert house.gateway.operators.by_name["root"].role == "support"
        assert root.csrf == ""


@trio_test(mock_clock=True)
async def test_sessions_second_factors_and_operators_end(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        root, ann = Browser(house), Browser(house)
        await root.sign_in("root")
        await ann.sign_in()
        await house.gateway.sign_ins.make_factor("ann")
        assert "1 session of ann ended" in text_of((await root.send("/people/end", name="ann")).text)
        assert ann.csrf == ""
        await root.send("/people/factor", name="ann")
        assert not house.gateway.operators.by_name["ann"].totp
        await ann.sign_in()
        await root.send("/people/remove", name="ann")
        assert (ann.csrf, list(house.gateway.operators.by_name)) == ("", ["root"])
        assert (await root.send("/people/remove", name="ann")).status == 404
        assert (await root.send("/people/new", name="two words", role="owner")).status == 422
        assert (await root.send("/people/new", name="bob", role="account")).status == 422
        assert (await root.send("/people/new", name="root", role="owner")).status == 409
