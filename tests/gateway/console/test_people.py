"""The page of people: who sees it, who changes it, and what it never does."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from gateway.admin import AdminError
from gateway.audit import Actor, acting, entry
from gateway.operators import LastOwner
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
async def test_two_owners_who_oust_each_other_leave_one(tmp_path: Path) -> None:
    for path in ("remove", "role"):
        (tmp_path / path).mkdir()
        async with a_console(tmp_path / path) as house:
            await house.gateway.operators.change_role("ann", Role.OWNER)
            ann, root = Browser(house), Browser(house)
            await ann.sign_in("ann")
            await root.sign_in("root")
            statuses: list[int] = []

            async def resign(
                browser: Browser, name: str, path: str = path, told: list[int] = statuses
            ) -> None:
                told.append((await browser.send(f"/people/{path}", name=name, role="auditor")).status)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(resign, ann, "root")
                nursery.start_soon(resign, root, "ann")
            roles = [one.role for one in house.gateway.operators.by_name.values()]
            assert (sorted(statuses)[-1] in (403, 409), roles.count("owner")) == (True, 1), (statuses, roles)


@trio_test(mock_clock=True)
async def test_the_last_owner_stays_one_by_verbs_and_when_its_password_would_go(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        verbs, operators = house.gateway.verbs.table(), house.gateway.operators
        for verb in ("operator.remove", "operator.set"):
            role = {"role": "support"} if verb == "operator.set" else {}
            with acting(Actor("root", "cli", "leaves")), pytest.raises(AdminError, match="the last owner"):
                await verbs[verb]({"name": "root", **role})
        told = entry(7, "operator.password_set", "operator:root", {}, {})
        with pytest.raises(LastOwner):
            await operators.change("root", lambda now: (replace(now, password=""), told))
        assert (operators.by_name["root"].role, bool(operators.by_name["root"].password)) == ("owner", True)


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
