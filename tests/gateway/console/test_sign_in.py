"""Signing in with a browser: pages, cookies, where one is led; one's own account; as an attacker, too."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from pathlib import Path

import pyotp
import pytest
import trio

from gateway.console.pages.sign_in import HOME, next_of
from gateway.passwords import Passwords, hash_password, inline
from gateway.sign_in_links import FIRST_OWNER
from router.roles import Role
from tests.gateway.console.house import CARRIERS, Shown, Visitor, text_of
from tests.gateway.house import Running, running
from tests.trio_case import trio_test

RIGHT, OTHER = "correct horse battery", "staple of the house"


class Browser(Visitor):
    """Keeps the session's cookie; `said` are the Set-Cookie headers that it saw."""

    def __init__(self, house: Running, role: str = "") -> None:
        super().__init__(house, role)
        self.said: list[str] = []

    @property
    def token(self) -> str:
        return self._role

    async def get(self, path: str, **headers: str) -> Shown:
        return self._keep(await super().get(path, **headers))

    async def send(self, path: str, **form: str) -> Shown:
        """A form of this site, with the CSRF token of the session that there is."""
        csrf = {"csrf": self.csrf} if self.csrf else {}
        return self._keep(await self.post("/console" + path, {**csrf, **form}, Origin="http://test"))

    @property
    def csrf(self) -> str:
        who = self._house.gateway.sessions.signed_in(self._role, "memory")
        return who.csrf if who is not None else ""

    def _keep(self, shown: Shown) -> Shown:
        if (cookie := shown.headers.get("set-cookie")) is not None:
            self.said.append(cookie)
            self._role = cookie.partition("=")[2].partition(";")[0].strip('"')
        return shown

    async def sign_in(self, name: str = "ann", password: str = RIGHT, **more: str) -> Shown:
        return await self.send("/sign-in", name=name, password=password, **more)


@asynccontextmanager
async def a_console(directory: Path, toml: str = "") -> AsyncIterator[Running]:
    async with running(directory, toml + CARRIERS) as house:
        gateway = house.gateway
        gateway.sign_ins.passwords = Passwords(run=inline, most_remembered=0, make=hash_password)
        for name, role in (("ann", Role.OPERATOR), ("root", Role.OWNER)):
            await gateway.operators.admit(name, role)
            await gateway.sign_ins.set_password(name, RIGHT, due=False)
        yield house


def hidden(shown: Shown, name: str) -> str:
    """A hidden field of the page."""
    found = re.search(rf'name="{name}" value="([^"]*)"', shown.text)
    assert found is not None, shown.text
    return unescape(found[1])


# in and out


@trio_test(mock_clock=True)
async def test_one_signs_in_goes_where_one_wanted_and_signs_out(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        browser = Browser(house)
        sent = await browser.get("/console/overview?a=b")
        form = await browser.get(sent.headers["location"])
        assert (form.status, "Sign in" in form.text) == (200, True)
        shown = await browser.sign_in(next=hidden(form, "next"))
        assert (shown.status, shown.headers["location"]) == (303, "/console/overview?a=b")
        page = await browser.get("/console/overview?a=b")
        assert (page.status, "ann" in text_of(page.text)) == (200, True)
        assert (await browser.get("/console/sign-in")).headers["location"] == HOME
        token, csrf = browser.token, browser.csrf
        shown = await browser.send("/sign-out")
        assert (shown.status, shown.headers["location"]) == (303, "/console/sign-in")
        assert browser.token == ""
        assert (await Browser(house, token).get("/console/overview")).status == 303
        told = [row.entry.act for row in house.gateway.store.audit_log()]
        assert {"session.started", "session.ended"} <= set(told)
        assert csrf


@trio_test(mock_clock=True)
async def test_the_cookie_is_http_only_same_site_and_of_the_console_alone(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        browser = Browser(house)
        await browser.sign_in()
        (cookie,) = browser.said
        flags = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert flags == {"httponly", "samesite=strict", "path=/console"}


@trio_test(mock_clock=True)
async def test_the_cookie_goes_over_tls_only_where_tls_is_in_front_of_us(tmp_path: Path) -> None:
    for number, toml in enumerate(
        ('[console]\npublic_url = "https://sms.example.net"\n', "[console]\nsecure_cookies = true\n")
    ):
        (tmp_path / str(number)).mkdir()
        async with a_console(tmp_path / str(number), toml) as house:
            browser = Browser(house)
            await browser.sign_in()
            assert "; secure" in browser.said[0].lower()


@trio_test(mock_clock=True)
async def test_wrong_name_and_wrong_password_get_the_same_page(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        pages = [
            await Browser(house).sign_in(name, password)
            for name, password in (("ann", OTHER), ("nobody", RIGHT))
        ]
        assert [page.status for page in pages] == [401, 401]
        assert pages[0].text.replace("ann", "nobody") == pages[1].text.replace("ann", "nobody")
        assert all("set-cookie" not in page.headers for page in pages)
        assert OTHER not in pages[0].text


@trio_test(mock_clock=True)
async def test_a_locked_address_is_told_so_with_the_seconds_that_are_left(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        for _ in range(10):
            assert (await Browser(house).sign_in(password=OTHER)).status == 401
        shown = await Browser(house).sign_in()
        assert shown.status == 429
        assert f"Wait {shown.headers['retry-after']} s" in text_of(shown.text)
        await trio.sleep(int(shown.headers["retry-after"]))
        assert (await Browser(house).sign_in()).status == 303


@trio_test(mock_clock=True)
async def test_a_token_that_somebody_planted_is_not_the_sessions(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        planted = "attackers-own-token-0123456789"
        browser = Browser(house, planted)
        await browser.sign_in()
        assert browser.token not in ("", planted)
        first = browser.token
        again = Browser(house)
        await again.sign_in()
        assert again.token != first


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/console/../v1/accounts",
        "/console\\evil",
        "/console/\r\nSet-Cookie: a=b",
        "/consoleevil",
        "/v1/accounts",
        "javascript:alert(1)",
        "/console/sign-out",
        "/console/sign-in",
        "",
    ],
)
def test_nobody_is_led_anywhere_but_into_the_console(wanted: str) -> None:
    assert next_of(wanted) == HOME


@trio_test(mock_clock=True)
async def test_an_open_redirect_is_none(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        browser = Browser(house)
        form = await browser.get("/console/sign-in?next=https%3A%2F%2Fevil.example")
        assert "evil" not in form.text
        assert (await browser.sign_in(next="https://evil.example")).headers["location"] == HOME
        shown = await browser.get("/console/sign-in?next=%2F%2Fevil.example")
        assert shown.headers["location"] == HOME


@trio_test(mock_clock=True)
async def test_a_form_from_another_site_signs_nobody_in(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        form = {"name": "ann", "password": RIGHT}
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            shown = await Browser(house).post("/console/sign-in", form, **headers)
            assert (shown.status, "set-cookie" in shown.headers) == (403, False)


@trio_test(mock_clock=True)
async def test_a_link_from_elsewhere_comes_back_to_itself_once_so_that_a_strict_cookie_is_sent(
    tmp_path: Path,
) -> None:
    async with a_console(tmp_path) as house:
        path = "/console/sign-in?next=%2Fconsole%2Foverview"
        first = await Browser(house).get(path, Sec_Fetch_Site="cross-site")
        refresh = first.headers["refresh"]
        assert refresh == "0; url=/console/sign-in?here=1&next=%2Fconsole%2Foverview"
        again = await Browser(house).get(refresh.partition("url=")[2], Sec_Fetch_Site="cross-site")
        assert (again.status, "refresh" in again.headers) == (200, False)


@trio_test(mock_clock=True)
async def test_no_page_of_it_is_kept_by_a_cache_or_framed(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        browser = Browser(house)
        for path in ("/console/sign-in", "/console/welcome"):
            shown = await browser.get(path)
            assert shown.headers["cache-control"] == "no-store"
            assert "frame-ancestors 'none'" in shown.headers["content-security-policy"]
        await browser.sign_in()
        assert (await browser.get("/console/me")).headers["cache-control"] == "no-store"


# a password that is due, a second factor


@trio_test(mock_clock=True)
async def test_a_password_that_is_due_is_chosen_on_the_way_in(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        await house.gateway.sign_ins.set_password("ann", RIGHT, due=True)
        browser = Browser(house)
        asked = await browser.sign_in(next="/console/me")
        assert (asked.status, browser.token) == (200, "")
        fields = {name: hidden(asked, name) for name in ("ticket", "next")}
        shown = await browser.send(
            "/sign-in/password", **fields, name="ann", password=OTHER, again=OTHER + "x"
        )
        assert (shown.status, "not the same" in shown.text) == (422, True)
        shown = await browser.send("/sign-in/password", **fields, name="ann", password=OTHER, again=OTHER)
        assert (shown.status, shown.headers["location"]) == (303, "/console/me")
        assert browser.csrf


@trio_test(mock_clock=True)
async def test_a_second_factor_is_set_up_asked_for_and_switched_off(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        browser = Browser(house)
        await browser.sign_in()
        page = await browser.send("/me/factor")
        secret = re.search(r'id="secret">([A-Z2-7]+)<', page.text)
        assert secret is not None
        assert "<svg" in page.text
        assert not re.search(r"<style|\sstyle=", page.text)
        totp = pyotp.TOTP(secret[1])
        now_s = house.world.wall_ms() / 1000
        codes = await browser.send("/me/factor/code", ticket=hidden(page, "ticket"), code=totp.at(now_s))
        recovery = re.findall(r"[a-z2-7]{8}-[a-z2-7]{8}", codes.text)
        assert len(recovery) == 10
        assert secret[1] not in (await browser.get("/console/me")).text
        other = Browser(house)
        asked = await other.sign_in()
        assert (asked.status, other.token, "Second factor" in asked.text) == (200, "", True)
        wrong = await other.send("/sign-in/code", ticket=hidden(asked, "ticket"), code="000000", next="")
        assert wrong.status == 401
        right = await other.send("/sign-in/code", ticket=hidden(wrong, "ticket"), code=recovery[0], next="")
        assert (right.status, right.headers["location"]) == (303, HOME)
        await trio.sleep(601)
        asked = await other.send("/me/factor/off")
        assert asked.headers["location"] == "/console/confirm?next=%2Fconsole%2Fme"
        await other.send("/confirm", given=RIGHT, next="/console/me")
        await other.send("/me/factor/off")
        assert not house.gateway.operators.by_name["ann"].totp


# links


@trio_test(mock_clock=True)
async def test_the_first_owner_comes_in_by_the_link(tmp_path: Path) -> None:
    async with running(tmp_path, CARRIERS) as house:
        house.gateway.sign_ins.passwords = Passwords(run=inline, most_remembered=0, make=hash_password)
        browser = Browser(house)
        assert "one-time link" in (await browser.get("/console/sign-in")).text
        token = await house.gateway.sign_ins.make_link(FIRST_OWNER)
        page = await browser.get("/console/welcome")
        assert re.search(r'<script src="/console/static/[0-9a-f]+/welcome.js" defer>', page.text)
        asked = await browser.send("/welcome", link=f"http://127.0.0.1:8080/console/welcome#{token}")
        assert "first owner" in asked.text
        fields = {"link": hidden(asked, "link"), "name": "root"}
        shown = await browser.send("/welcome", **fields, password=RIGHT, again=OTHER)
        assert shown.status == 422
        shown = await browser.send("/welcome", **fields, password="short", again="short")
        assert (shown.status, "12 to 128" in shown.text) == (422, True)
        shown = await browser.send("/welcome", **fields, password=RIGHT, again=RIGHT)
        assert (shown.status, shown.headers["location"]) == (303, HOME)
        page = await browser.get("/console/me")
        assert "operators.write" in page.text
        late = await Browser(house).send("/welcome", **{**fields, "name": "eve"}, password=RIGHT, again=RIGHT)
        assert (late.status, "does not work any more" in late.text) == (401, True)
        assert list(house.gateway.operators.by_name) == ["root"]


@trio_test(mock_clock=True)
async def test_the_pages_of_a_link_are_not_shown_for_a_wrong_one(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        for wrong in ("", "x", "x" * 5_000):
            shown = await Browser(house).send("/welcome", link=wrong)
            assert (shown.status, "does not work any more" in shown.text) == (401, True)


# one's own account


@trio_test(mock_clock=True)
async def test_ones_own_sessions_are_shown_and_ended_and_nobody_elses(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        mine, mine_too, roots = Browser(house), Browser(house), Browser(house)
        await mine.sign_in()
        await mine_too.sign_in()
        await roots.sign_in("root")
        (root,) = house.gateway.sessions.of("root")
        shown = await mine.send("/me/sessions/end", session=root.id)
        assert shown.status == 404
        page = await mine.get("/console/me")
        assert root.id not in page.text
        other = hidden(page, "session")
        await mine.send("/me/sessions/end", session=other)
        assert (bool(mine.csrf), bool(mine_too.csrf), bool(roots.csrf)) == (True, False, True)
        await mine_too.sign_in()
        shown = await mine.send("/me/sessions/end")
        assert "1 other session ended" in text_of(shown.text)
        assert (bool(mine.csrf), bool(mine_too.csrf), bool(roots.csrf)) == (True, False, True)


@trio_test(mock_clock=True)
async def test_another_password_needs_the_one_there_is_and_brings_a_new_session(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        browser, other = Browser(house), Browser(house)
        await browser.sign_in()
        await other.sign_in()
        before = browser.token
        shown = await browser.send("/me/password", old=OTHER, password=OTHER, again=OTHER)
        assert shown.status == 401
        shown = await browser.send("/me/password", old=RIGHT, password=OTHER, again=OTHER)
        assert (shown.status, browser.token != before) == (303, True)
        assert (bool(browser.csrf), bool(other.csrf)) == (True, False)


@trio_test(mock_clock=True)
async def test_a_form_without_the_sessions_token_changes_nothing_of_an_account(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        browser = Browser(house)
        await browser.sign_in()
        for path in ("/me/password", "/me/factor", "/me/factor/off", "/me/sessions/end", "/sign-out"):
            shown = await browser.post("/console" + path, {"csrf": "x"}, Origin="http://test")
            assert shown.status == 403, path
        assert browser.csrf


@trio_test(mock_clock=True)
async def test_another_role_ends_what_one_sees_at_once(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        browser = Browser(house)
        await browser.sign_in()
        await house.gateway.operators.change_role("ann", Role.AUDITOR)
        assert (await browser.get("/console/me")).status == 303
