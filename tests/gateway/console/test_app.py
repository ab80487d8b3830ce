"""The console's frame: who sees a page, what every answer says, and what changes nothing."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.responses import Response

from gateway.console.app import Console
from gateway.console.assets import HERE
from gateway.console.frame import TEMPLATES
from gateway.console.page import ANYBODY, Page, Visit
from gateway.console.pages import PAGES
from router.roles import HOUSE, PUBLIC, SCOPES, allows
from tests.gateway.console.house import Visitor, console, text_of
from tests.trio_case import trio_test


@trio_test(mock_clock=True)
async def test_whoever_is_not_signed_in_is_sent_to_sign_in_and_back(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        shown = await Visitor(house, "").get("/console/overview?a=b")
        assert shown.status == 303
        assert shown.headers["location"] == "/console/sign-in?next=%2Fconsole%2Foverview%3Fa%3Db"
        by_htmx = await Visitor(house, "").get("/console/overview", HX_Request="true")
        assert (by_htmx.status, by_htmx.headers["hx-redirect"][:16]) == (401, "/console/sign-in")


@trio_test(mock_clock=True)
async def test_whoever_is_to_sign_in_again_for_a_form_is_sent_back_to_the_page_it_stood_on(
    tmp_path: Path,
) -> None:
    async with console(tmp_path) as house:
        nobody = Visitor(house, "")
        for referer, then in (
            ("http://test/console/carriers/north?a=b", "/console/carriers/north?a=b"),
            ("https://test/console/queues", "/console/queues"),
            ("http://test/console/carriers/a%20b", "/console/carriers/a%20b"),
            ("http://test/console/routes/explain", "/console/overview"),  # a page for POST only
            ("http://test/console/sign-out", "/console/overview"),
            ("http://test/console/nothing", "/console/overview"),
            ("http://test/v1/messages", "/console/overview"),
            ("http://elsewhere.example/console/queues", "/console/overview"),
            ("http://[/console/queues", "/console/overview"),
            ("", "/console/overview"),
        ):
            shown = await nobody.post(
                "/console/messages/7/text", {}, **({"Referer": referer} if referer else {})
            )
            to = f"/console/sign-in?next={quote(then, safe='')}"
            assert (shown.status, shown.headers["location"]) == (303, to), referer
            by_htmx = await nobody.post("/console/act/carrier.suspend", {}, HX_Request="1", Referer=referer)
            assert by_htmx.headers["hx-redirect"] == to, referer


@trio_test(mock_clock=True)
async def test_every_page_is_shown_to_those_who_have_its_scope_and_to_nobody_else(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        for page in house.gateway.console.pages:
            if page.method != "GET" or "{" in page.path or page.scope == PUBLIC:
                continue
            for role in HOUSE:
                shown = await Visitor(house, role.value).get("/console" + page.path)
                allowed = page.scope == ANYBODY or allows(role.value, page.scope)
                assert (shown.status == 200) == allowed, (page.path, role, shown.status)


@trio_test(mock_clock=True)
async def test_every_answer_has_a_policy_that_lets_nothing_in_from_elsewhere(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        for path in ("/console", "/console/overview", "/console/nothing", "/console/static/nothing"):
            shown = await Visitor(house).get(path)
            policy = shown.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert shown.headers["x-frame-options"] == "DENY"


@trio_test(mock_clock=True)
async def test_no_page_has_a_script_or_a_style_of_its_own_or_an_address_elsewhere(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        for page in house.gateway.console.pages:
            if page.method == "GET" and "{" not in page.path:
                html = (await Visitor(house).get("/console" + page.path)).text
                assert not re.search(r"<script(?![^>]*\ssrc=)", html), page.path
                assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", html), page.path
                outside = re.findall(r"""(?:src|href|action)=["']?(https?:)?//""", html)
                assert not outside, page.path


@trio_test(mock_clock=True)
async def test_assets_have_hashed_names_and_are_kept_for_ever(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        visitor = Visitor(house, "")
        html = (await Visitor(house).get("/console/overview")).text
        urls = re.findall(r'(?:src|href)="(/console/static/[^"]+)"', html)
        assert any(url.endswith("/htmx.js") for url in urls), "npm's packages are not installed"
        for url in urls:
            shown = await visitor.get(url)
            assert shown.status == 200
            assert "immutable" in shown.headers["cache-control"]


async def acted(visit: Visit) -> Response:
    return Response("done by " + (visit.who.name if visit.who else "nobody"))


@trio_test(mock_clock=True)
async def test_a_form_needs_its_sessions_token_and_its_own_site(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        gateway = house.gateway
        page = Page("/act", "carriers.write", acted, method="POST")
        gateway.console = Console(gateway, gateway.console.whois, (*gateway.console.pages, page))
        gateway.http.routes._mounts.clear()
        gateway.console.add_to(gateway.http.routes)
        visitor = Visitor(house)
        assert (await visitor.post("/console/act", {"csrf": "csrf-token"})).text == "done by a-owner"
        assert (await visitor.post("/console/act", {}, X_CSRF_Token="csrf-token")).status == 200
        for form, headers in (
            ({}, {}),
            ({"csrf": "csrf-tokem"}, {}),
            ({"csrf": "csrf-token"}, {"Origin": "https://evil.example"}),
            ({"csrf": "csrf-token"}, {"Sec_Fetch_Site": "cross-site"}),
        ):
            shown = await visitor.post("/console/act", form, **headers)
            assert shown.status == 403, (form, headers)
        assert (await Visitor(house, "support").post("/console/act", {"csrf": "csrf-token"})).status == 403
        assert (await Visitor(house, "").post("/console/act", {"csrf": "csrf-token"})).status == 303


@trio_test(mock_clock=True)
async def test_a_page_that_breaks_says_so_and_the_log_says_why(tmp_path: Path) -> None:
    def broken(visit: Visit) -> Response:
        raise RuntimeError("secret detail")

    async with console(tmp_path) as house:
        gateway = house.gateway
        gateway.console = Console(gateway, gateway.console.whois, (Page("/broken", ANYBODY, broken),))
        gateway.http.routes._mounts.clear()
        gateway.console.add_to(gateway.http.routes)
        shown = await Visitor(house).get("/console/broken")
        assert shown.status == 500
        assert "secret detail" not in shown.text
        assert "Its log says why" in text_of(shown.text)


@trio_test(mock_clock=True)
async def test_a_page_that_there_is_not_is_said_in_the_frame(tmp_path: Path) -> None:
    async with console(tmp_path) as house:
        shown = await Visitor(house).get("/console/nothing")
        assert shown.status == 404
        assert "There is no page /console/nothing" in text_of(shown.text)


def test_a_page_without_a_scope_that_anybody_knows_is_not_served() -> None:
    with pytest.raises(ValueError, match="no scope"):
        Console(None, lambda: None, (Page("/x", "made.up", acted),), ())  # type: ignore[arg-type, return-value]


def test_every_key_of_the_navigation_goes_to_one_page() -> None:
    keys = [page.key for page in PAGES if page.nav]
    assert len(set(keys)) == len(keys)
    assert all(keys)


def test_no_key_of_the_navigation_does_something_by_itself() -> None:
    script = (HERE / "static" / "console.js").read_text()
    alone = set(re.findall(r'^\s+"?(\S)"?: act\(', script, re.MULTILINE))
    assert {"/", "?", "j", "k"} < alone
    assert not alone & {page.key for page in PAGES}
    told = set(re.findall(r"<div><dt><kbd>(.)</kbd>", (TEMPLATES / "base.html").read_text()))
    assert alone - {"k"} <= told  # k stands beside j


def test_every_scope_of_the_pages_is_one_of_the_table() -> None:
    assert ANYBODY not in SCOPES
