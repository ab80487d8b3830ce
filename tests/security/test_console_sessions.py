"""Sessions of the console: a cookie opens the console alone, and what people type is in no log."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import logs
from gateway.http.table import ENDPOINTS
from gateway.passwords import Passwords, hash_password, inline
from gateway.sign_in import Started
from router.roles import PUBLIC, Role
from tests.gateway.console.test_sign_in import RIGHT, Browser, a_console
from tests.gateway.house import carrier, route, running
from tests.trio_case import trio_test

ONE = carrier("north", 2790) + route("north")


@trio_test(mock_clock=True)
async def test_no_endpoint_of_the_api_takes_a_session_so_that_no_other_site_can_use_one(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, ONE) as house:
        sign_ins = house.gateway.sign_ins
        sign_ins.passwords = Passwords(run=inline, most_remembered=0, make=hash_password)
        await house.gateway.operators.admit("root", Role.OWNER)
        await sign_ins.set_password("root", RIGHT, due=False)
        one = await sign_ins.with_password("root", RIGHT, "memory")
        assert isinstance(one, Started)
        browser = Browser(house, one.token)
        paths = {(end.method, end.path) for end in ENDPOINTS if end.access != PUBLIC}
        assert len(paths) > 50
        for method, path in sorted(paths):
            if method not in ("GET", "POST") or "{" in path:
                continue
            ask = browser.get(path) if method == "GET" else browser.post(path, {}, Origin="http://test")
            shown = await ask
            assert shown.status in (401, 429), (method, path, shown.status)


@trio_test(mock_clock=True)
async def test_a_key_is_no_session(tmp_path: Path) -> None:
    async with a_console(tmp_path) as house:
        _, key = await house.gateway.operators.create("robot", Role.OWNER)
        for browser in (Browser(house, key), Browser(house)):
            shown = await browser.get("/console/overview", Authorization=f"Bearer {key}")
            assert shown.status == 303


@trio_test(mock_clock=True)
async def test_nothing_that_people_type_or_are_given_is_in_the_log_the_trail_or_the_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.set_level("debug")
    try:
        async with a_console(tmp_path) as house:
            link = await house.gateway.sign_ins.make_link("ann")
            browser = Browser(house)
            await browser.sign_in("ann", "not the phrase one")
            await browser.sign_in("a password typed as a name", "not the phrase two")
            await browser.send("/welcome", link="wrong-link-of-somebody")
            await browser.sign_in()
            secrets = [browser.token, browser.csrf]
            page = await browser.send("/me/factor")
            secrets += [page.text.partition('id="secret">')[2].partition("<")[0]]
            await house.gateway.sessions.save()
            trail = repr([row.entry for row in house.gateway.store.audit_log(1_000)])
            rows = [house.gateway.store.meta(f"sessions:{number}") or b"" for number in range(64)]
            rows += [house.gateway.store.meta(name) or b"" for name in ("operators", "sign_in_links")]
    finally:
        logs.set_level("info")
    logged = capsys.readouterr()
    said = logged.out + logged.err + trail + repr(rows)
    for secret in (*secrets, link, RIGHT, "not the phrase", "typed as a name", "wrong-link"):
        assert secret
        assert secret not in said
