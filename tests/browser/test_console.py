"""The console as people use it, in a real browser: signing in, watching, finding, acting, by mouse and keys.

Needs Debian's chromium and `npm ci` in this folder (.ci/run does both); skipped without them unless CI is
set. Screenshots of every page are left in build/screenshots.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.browser.house import (
    NEEDED,
    PASSWORD,
    PATIENCE_MS,
    THEMES,
    WIDTHS,
    House,
    Looker,
    browser,
    in_ci,
    looking,
    running,
    traffic,
)

pytestmark = pytest.mark.skipif(not NEEDED and not in_ci(), reason="needs chromium, and npm ci in its folder")

PAGES = (
    "/overview", "/carriers", "/carriers/north", "/carriers/silent", "/routes", "/routes/default", "/queues",
    "/messages", "/accounts", "/accounts/shop", "/callbacks", "/mos", "/unmatched", "/events", "/audit",
    "/config", "/config/1", "/me", "/act/carrier.suspend?name=south", "/act/queue.bounce",
    "/act/queue.move?country=GB", "/act/carrier.rate?name=south&tps=abc", "/nothing-here",
)  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("browser")) as one, traffic(one):
        yield one


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def cookies(house: House, chromium: Browser) -> list[Any]:
    """The session of the first owner, who came by the link that the gateway printed."""
    with looking(house, chromium) as ann:
        ann.page.goto(house.link)
        ann.page.get_by_label("Name").fill("ann")
        for field in ann.page.locator("input[type=password]").all():
            field.fill(PASSWORD)
        ann.shot("welcome_1440_light")
        ann.page.get_by_role("button", name="Sign in").click()
        expect(ann.page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
        return list(ann.context.cookies())


def number(looker: Looker, tile: str) -> float:
    """The figure on one of the overview's tiles."""
    text = looker.page.locator(".tile", has_text=tile).locator("dd").first.inner_text()
    return float(re.sub(r"[^\d.]", "", text.partition("/")[0]) or "0")


def test_a_one_time_link_works_once_and_a_password_opens_the_console(
    house: House, chromium: Browser, cookies: list[Any]
) -> None:
    with looking(house, chromium) as ann:
        ann.expected = ["401", "403", "404", "409", "410", "429"]  # chromium says each refusal aloud
        ann.page.goto(house.link)
        expect(ann.page.get_by_role("alert")).to_be_visible()
        ann.go("/queues")
        ann.page.get_by_label("Name").fill("ann")
        ann.page.get_by_label("Password").fill("wrong" + PASSWORD)
        ann.page.get_by_role("button", name="Sign in").click()
        expect(ann.page.get_by_role("alert")).to_be_visible()
        ann.page.get_by_label("Name").fill("ann")
        ann.page.get_by_label("Password").fill(PASSWORD)
        ann.page.get_by_role("button", name="Sign in").click()
        expect(ann.page).to_have_url(re.compile("/console/queues$"))
        ann.page.get_by_role("button", name="Sign out").click()
        ann.go("/overview")
        expect(ann.page).to_have_url(re.compile("/console/sign-in"))


def test_counters_and_charts_move_while_traffic_flows(
    house: House, chromium: Browser, cookies: list[Any]
) -> None:
    with looking(house, chromium, cookies=cookies) as ann:
        ann.go("/overview")
        accepted = ann.page.locator(".tile", has_text="Accepted").locator("dd").first
        expect(accepted).to_have_text(re.compile(r"[1-9]"), timeout=PATIENCE_MS)
        seen = accepted.inner_text()
        with traffic(house, rate=50):
            expect(accepted).not_to_have_text(seen, timeout=PATIENCE_MS)
        expect(ann.page.locator(".chart canvas").first).to_be_visible()
        expect(ann.page.locator("#live-state")).to_have_text("live")


def test_a_page_goes_live_however_late_its_scripts_come(
    house: House, chromium: Browser, cookies: list[Any]
) -> None:
    with looking(house, chromium, cookies=cookies) as ann:

        def late(route: Route) -> None:
            ann.page.wait_for_function("window.htmx")
            ann.page.evaluate("new Promise(then => setTimeout(then))")  # what htmx does by itself is done
            route.continue_()

        ann.page.route("**/hx-sse.js", late)
        ann.go("/queues")
        expect(ann.page.locator("#live-state")).to_have_text("live")


def test_a_page_whose_stream_is_refused_stays_whole_and_goes_live_later(
    house: House, chromium: Browser, cookies: list[Any]
) -> None:
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        body = '{"type": "too-many-connections", "detail": "you watch 20 pages already"}'
        route.fulfill(status=503, content_type="application/problem+json", body=body)

    with looking(house, chromium, cookies=cookies) as ann:
        ann.expected = ["503"]  # chromium says it aloud
        ann.page.route("**/live/queues", refuse)
        ann.go("/queues")
        expect(ann.page.locator("#live-state")).to_contain_text("trying again")
        expect(ann.page.get_by_role("heading", level=1, name="Queues")).to_be_visible()
        expect(ann.page.get_by_label("Lane")).to_be_visible()
        assert asked
        ann.page.unroute("**/live/queues")
        expect(ann.page.locator("#live-state")).to_have_text("live")


def test_a_message_is_found_and_its_timeline_tells_all(
    house: House, chromium: Browser, cookies: list[Any]
) -> None:
    id = house.submit("+447700900999", "plums at noon", client_ref="order-4711")
    with looking(house, chromium, cookies=cookies) as ann:
        ann.go("/overview")
        ann.page.get_by_role("searchbox").fill("+44 7700 900999")
        ann.page.keyboard.press("Enter")
        ann.page.get_by_role("link", name=id).click()
        expect(ann.page.get_by_role("heading", level=1)).to_contain_text(id)

        def told() -> None:
            ann.page.reload()
            steps = ann.page.locator(".steps").last
            expect(steps).to_contain_text("submit_sm_resp ESME_ROK", timeout=2_000)
            expect(steps).to_contain_text("deliver_sm, a receipt", timeout=2_000)

        again(told)
        assert "plums at noon" not in ann.page.content()
        ann.page.get_by_role("button", name="Show the text").click()
        expect(ann.page.locator("#text")).to_have_text("plums at noon")
        ann.go(f"/audit?subject=message:{id}")
        expect(ann.page.get_by_role("cell", name="message.viewed")).to_be_visible()


def again(check: Any, times: int = 10) -> None:
    """Until it holds; each try waits by itself."""
    for left in reversed(range(times)):
        try:
            check()
            return
        except AssertionError:
            if not left:
                raise


def test_suspending_a_carrier_changes_why_its_lane_waits(
    house: House, chromium: Browser, cookies: list[Any]
) -> None:
    with looking(house, chromium, cookies=cookies) as ann, looking(house, chromium, cookies=cookies) as bob:
        house.submit("+33612345678")
        bob.go("/queues")
        ann.go("/carriers/south")
        ann.page.get_by_role("link", name="Suspend").first.click()
        dialog = ann.page.locator("#act")
        expect(dialog).to_contain_text("What it touches")
        ann.shot("dialog_1440_light")
        dialog.get_by_label("Why").fill("fibre cut")
        dialog.get_by_role("button", name="Suspend a carrier").click()
        expect(dialog).to_contain_text("Done")
        house.submit("+33612345678")
        lane = bob.page.locator("tbody", has_text="south").first
        expect(lane).to_contain_text(re.compile("suspended", re.I), timeout=PATIENCE_MS)
        expect(lane).to_contain_text("ann", timeout=PATIENCE_MS)
        dialog.get_by_role("link", name="Back to the page").click()
        ann.page.get_by_role("link", name="Resume").first.click()
        dialog = ann.page.locator("#act")
        dialog.get_by_label("Why").fill("mended")
        dialog.get_by_role("button", name="Resume a carrier").click()
        expect(dialog).to_contain_text("Done")
        expect(bob.page.locator("#lanes, main").first).not_to_contain_text("fibre cut", timeout=PATIENCE_MS)


def test_a_dialog_that_was_closed_stays_closed(house: House, chromium: Browser, cookies: list[Any]) -> None:
    held: list[Route] = []
    with looking(house, chromium, cookies=cookies) as ann:
        dialog = ann.page.locator("#act")

        def hold(route: Route) -> None:
            if route.request.method == "POST":
                held.append(route)
            else:
                route.continue_()

        def ask() -> None:
            ann.page.get_by_role("link", name="Suspend", exact=True).first.click()
            expect(dialog).to_contain_text("What it touches")
            expect(dialog).to_be_visible()

        ann.page.route("**/act/carrier.suspend*", hold)
        ann.go("/carriers/north")
        expect(ann.page.locator("#live-state")).to_have_text("live")
        ask()
        ann.page.keyboard.press("Escape")
        told(ann, 2)
        expect(dialog).to_be_hidden(timeout=1)
        ask()
        dialog.get_by_role("link", name="Cancel").click()
        told(ann, 2)
        expect(dialog).to_be_hidden(timeout=1)
        ask()
        with ann.page.expect_request("**/act/carrier.suspend"):
            dialog.get_by_role("button", name="Preview").click()
        ann.page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        (pending,) = held
        with ann.page.expect_event("requestfinished", lambda one: one == pending.request):
            pending.continue_()
        told(ann, 2)
        expect(dialog).to_be_hidden(timeout=1)


def told(looker: Looker, events: int) -> None:
    """Until so many events of the page's stream were put in place."""
    looker.page.evaluate(
        """count => new Promise(then => document.addEventListener("htmx:after:swap", ({detail}) => {
            if (detail.ctx.sourceElement.matches("[data-live]") && --count === 0) requestAnimationFrame(then);
        }))""",
        events,
    )


def test_a_dialog_says_beside_a_field_what_is_wrong_with_it_and_then_what_is_true(
    house: House, chromium: Browser, cookies: list[Any]
) -> None:
    with looking(house, chromium, cookies=cookies) as ann:
        ann.go("/carriers/south")
        ann.page.get_by_role("link", name="Change its rate").click()
        dialog = ann.page.locator("#act")
        expect(dialog).to_contain_text("fill in: Rate")
        expect(dialog.get_by_role("alert")).to_have_count(0)
        rate = dialog.get_by_label("Rate (segments a second)")
        expect(rate).to_be_focused()
        rate.fill("abc")
        dialog.get_by_role("button", name="Preview").click()
        expect(dialog.get_by_role("alert")).to_have_text("Rate: a number, as 50 or 0.5; 0: as configured")
        expect(rate).to_be_focused()
        expect(rate).to_have_accessible_description(re.compile("Rate: a number"))
        rate.fill("50")
        dialog.get_by_label("Or an end of its own").fill("45")
        dialog.get_by_label("Why").fill("their wish")
        dialog.get_by_role("button", name="Preview").click()
        expect(dialog).to_contain_text("What it touches")
        dialog.get_by_role("button", name="Change a carrier's rate").click()
        expect(dialog.get_by_role("status")).to_have_text(
            re.compile(
                r"^south is sent at most 50 segments a second until [0-9 :-]+ UTC by ann: their wish\.$"
            )
        )
    house.command("carrier", "rate", "south", "0", "--reason", "tried")


def test_a_message_that_waits_is_cancelled_from_its_page(
    house: House, chromium: Browser, cookies: list[Any]
) -> None:
    id = house.submit("+4915112345678")
    with looking(house, chromium, cookies=cookies) as ann:
        ann.go(f"/messages/{id}")
        ann.page.get_by_role("link", name="Cancel").click()
        dialog = ann.page.locator("#act")
        dialog.get_by_label("Why").fill("its customer asked")
        dialog.get_by_role("button", name="Cancel a message").click()
        expect(dialog).to_contain_text("Done")
        dialog.get_by_role("link", name="Back to the page").click()
        expect(ann.page.get_by_text("DELETED").first).to_be_visible()


def test_the_keyboard_alone_is_enough(house: House, chromium: Browser, cookies: list[Any]) -> None:
    """To a page, to a row, into it, an act with a reason, a search: no mouse."""
    with looking(house, chromium, cookies=cookies) as ann:
        keys = ann.page.keyboard
        ann.go("/overview")
        keys.press("?")
        expect(ann.page.locator("#help")).to_be_visible()
        keys.press("Escape")
        expect(ann.page.locator("#help")).to_be_hidden()
        keys.press("g")
        keys.press("c")
        arrived(ann, "/console/carriers$")
        keys.press("j")
        keys.press("j")
        keys.press("k")
        keys.press("Enter")
        arrived(ann, "/console/carriers/[a-z]+$")
        tab_to(ann, re.compile("Suspend|Resume"))
        keys.press("Enter")
        expect(ann.page.locator("#act")).to_contain_text("Why")
        expect(ann.page.locator("#act-reason")).to_be_focused()
        keys.press("Escape")
        expect(ann.page.locator("#act")).to_be_hidden()
        keys.press("/")
        expect(ann.page.get_by_role("searchbox")).to_be_focused()
        keys.type("order-nobody-made")
        keys.press("Enter")
        arrived(ann, "order-nobody-made")
        expect(ann.page.get_by_text("No message fits")).to_be_visible()
        before = ann.page.evaluate("getComputedStyle(document.body).backgroundColor")
        keys.press("l")
        assert ann.page.evaluate("getComputedStyle(document.body).backgroundColor") != before
        keys.press("g")
        keys.press("t")
        arrived(ann, "/console/audit$")


def arrived(looker: Looker, url: str) -> None:
    """On that page, with its scripts: keys that come before them are lost."""
    expect(looker.page).to_have_url(re.compile(url))
    looker.page.wait_for_load_state("load")


def tab_to(looker: Looker, name: re.Pattern[str], most: int = 60) -> None:
    """Tab until what has the focus is called so."""
    for _ in range(most):
        looker.page.keyboard.press("Tab")
        if name.search(looker.page.evaluate("document.activeElement.textContent")):
            return
    raise AssertionError(f"{name.pattern} cannot be reached with {most} tabs")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_is_accessible_and_stays_inside_its_window(
    house: House, chromium: Browser, cookies: list[Any], width: int, theme: Any
) -> None:
    wrong: list[str] = []
    with looking(house, chromium, cookies=cookies, width=width, theme=theme) as ann:
        ann.expected = ["/nothing-here"]  # chromium says a 404 aloud
        for path in PAGES:
            assert ann.go(path) == (404 if path == "/nothing-here" else 200), path
            name = re.sub(r"\W+", "_", path.strip("/"))
            ann.shot(f"{name}_{width}_{theme}")
            wrong += [f"{path}: {one}" for one in ann.axe()]
            wide = ann.page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                wrong.append(f"{path} is {wide} pixels wide in a window of {width}")
    with looking(house, chromium, width=width, theme=theme) as nobody:
        nobody.go("/sign-in")
        nobody.shot(f"sign_in_{width}_{theme}")
        wrong += [f"/sign-in: {one}" for one in nobody.axe()]
    assert not wrong, "\n".join(wrong)


def test_pages_are_whole_without_scripts(house: House, chromium: Browser, cookies: list[Any]) -> None:
    context = chromium.new_context(java_script_enabled=False)
    context.add_cookies(cookies)
    page = context.new_page()
    for path in ("/overview", "/carriers", "/queues", "/messages", "/accounts"):
        page.goto(f"{house.url}/console{path}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.goto(f"{house.url}/console/act/carrier.suspend?name=silent")
    page.get_by_label("Why").fill("without scripts")
    page.get_by_role("button", name="Suspend a carrier").click()
    expect(page.get_by_text("Done: Suspend a carrier")).to_be_visible()
    context.close()
    house.command("carrier", "resume", "silent", "--reason", "tried")
