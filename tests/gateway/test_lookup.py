"""A web service is asked for a network where a route needs it: never for longer than its deadline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from config.load import ConfigErrors
from gateway.asking_door import AskingDoor
from gateway.door import Door, Submission
from gateway.lookup import Lookup
from tests.gateway.house import MemoryWorld, Running, carrier, route, running
from tests.trio_case import trio_test

EE, O2 = "+447400123456", "+447400123457"
LOOKUP = '[numbers.lookup]\nurl = "http://127.0.0.1:9900/v1/{number}?x=1"\nallow_private = true\n'
HLR = LOOKUP + 'header = "X-Key: s3cret"\n'
ROUTES = (
    carrier("sim", 2799)
    + '[[routes]]\nname = "ee"\nlane = ["sim"]\nmatch = { mcc_mnc = ["23430"] }\n'
    + '[[routes]]\nname = "default"\nlane = ["sim"]\n'
)

Answer = Callable[[str], str | None]  # number → JSON; None = hang


class Service:
    """An HTTP service of the test's own; `status` and `answer` are what it says."""

    def __init__(self) -> None:
        self.status = 200
        self.answer: Answer = lambda number: '{"mccmnc": "234-30"}' if number.endswith("6") else "{}"
        self.heads: list[str] = []
        self.connections = 0
        self.closes = False  # after each answer, without saying so

    @property
    def numbers(self) -> list[str]:
        return [head.split("/v1/")[1].split("?")[0] for head in self.heads]

    async def serve(self, listeners: list[trio.abc.Listener[trio.abc.Stream]]) -> None:
        await trio.serve_listeners(self._carry, listeners)

    async def _carry(self, stream: trio.abc.Stream) -> None:
        self.connections += 1
        data = b""
        async with stream:
            while True:
                try:
                    more = await stream.receive_some(65_536)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
                if not more:
                    return
                data += more
                while b"\r\n\r\n" in data:
                    head, _, data = data.partition(b"\r\n\r\n")
                    self.heads.append(head.decode())
                    body = self.answer(self.numbers[-1])
                    if body is None:
                        await trio.sleep_forever()
                    told = str(body).encode()
                    await stream.send_all(
                        b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (self.status, len(told), told)
                    )
                    if self.closes:
                        return


@asynccontextmanager
async def asking(
    directory: Path, more: str = "", head: str = HLR, routes: str = ROUTES
) -> AsyncIterator[tuple[Running, Service]]:
    world, service = MemoryWorld(), Service()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.serve, await world.listen("127.0.0.1", 9900))
        async with running(directory, head + more + routes, world) as house:
            yield house, service
        nursery.cancel_scope.cancel()


async def routed(house: Running, to: str) -> str:
    id = await house.submit(to)
    found = house.gateway.store.find_any(int(id))
    assert found is not None
    return found[0].route


def lookup_of(house: Running) -> Lookup:
    assert house.gateway.lookup is not None
    return house.gateway.lookup


@trio_test(mock_clock=True)
async def test_a_message_goes_by_what_the_service_says_and_its_answer_is_remembered(tmp_path: Path) -> None:
    async with asking(tmp_path, "concurrency = 1\n") as (house, service):
        assert [await routed(house, to) for to in (EE, O2, EE, O2)] == ["ee", "default", "ee", "default"]
        assert service.numbers == ["447400123456", "447400123457"]
        assert service.connections == 1
        head = service.heads[0]
        assert head.startswith("GET /v1/447400123456?x=1 HTTP/1.1\r\nHost: 127.0.0.1:9900\r\n")
        assert "X-Key: s3cret" in head.split("\r\n")
        await trio.sleep(3_601)
        assert await routed(house, O2) == "default"
        assert await routed(house, EE) == "ee"
        assert service.numbers[2:] == ["447400123457"]
        assert lookup_of(house).counts == {"answered": 1, "unknown": 2, "failed": 0, "late": 0}


@trio_test(mock_clock=True)
async def test_a_connection_that_the_service_closed_meanwhile_is_no_failure(tmp_path: Path) -> None:
    async with asking(tmp_path, "concurrency = 1\n") as (house, service):
        service.closes = True
        assert [await routed(house, to) for to in (O2, EE)] == ["default", "ee"]
        assert service.connections == 2
        assert lookup_of(house).counts["failed"] == 0


@trio_test(mock_clock=True)
async def test_a_batch_waits_once_and_asks_for_each_number_once(tmp_path: Path) -> None:
    async with asking(tmp_path) as (house, service):
        messages = [{"to": to, "from": "12345", "text": "Hello"} for to in (EE, O2, EE)]
        status, answer = await house.http("POST", "/v1/messages/batch", {"messages": messages})
        assert status in (200, 202, 207), answer
        assert sorted(service.numbers) == ["447400123456", "447400123457"]


@trio_test(mock_clock=True)
async def test_a_service_that_does_not_answer_holds_a_message_up_to_the_deadline(tmp_path: Path) -> None:
    async with asking(tmp_path) as (house, service):
        service.answer = lambda number: None
        begun = trio.current_time()
        assert await routed(house, EE) == "default"
        assert 1.0 <= trio.current_time() - begun < 1.1
        assert lookup_of(house).counts["late"] == 1


@trio_test(mock_clock=True)
async def test_after_failures_in_a_row_nothing_waits_until_a_probe_is_answered(tmp_path: Path) -> None:
    async with asking(tmp_path, "breaker_failures = 2\n") as (house, service):
        service.status = 500
        for number in range(5):
            assert await routed(house, f"+44740000001{number}") == "default"
        assert len(service.heads) == 2
        assert lookup_of(house).open
        await trio.sleep(5.1)
        assert await routed(house, EE) == "default"
        assert await routed(house, EE) == "default"
        assert len(service.heads) == 3
        service.status = 200
        await trio.sleep(5.1)
        assert await routed(house, EE) == "default"  # twice as long after a probe that failed
        await trio.sleep(5.1)
        assert await routed(house, EE) == "ee"
        assert not lookup_of(house).open


@trio_test(mock_clock=True)
async def test_a_probe_that_came_too_late_is_followed_by_another(tmp_path: Path) -> None:
    async with asking(tmp_path, "breaker_failures = 1\n") as (house, service):
        service.status = 500
        assert await routed(house, EE) == "default"
        service.status = 200
        await trio.sleep(5.1)
        lookup = lookup_of(house)
        answered = trio.Event()
        lookup.ask(["447400123456"], answered.set)
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        clock.jump(3)  # as where the process was stopped for a while
        await answered.wait()
        assert await routed(house, EE) == "ee"
        assert not lookup.open


@pytest.mark.parametrize("body", ["", "no JSON", '{"mccmnc": "x"}', '{"mccmnc": "99999"}', "[" * 100_000])
@trio_test(mock_clock=True)
async def test_answers_that_cannot_be_read_are_failures(tmp_path: Path, body: str) -> None:
    async with asking(tmp_path) as (house, service):
        service.answer = lambda number: body
        assert await routed(house, EE) == "default"
        assert lookup_of(house).counts["failed"] == 1


@pytest.mark.parametrize(
    ("pointer", "body"),
    [
        ('["/data/0/plmn"]', '{"data": [{"plmn": 23430}]}'),
        ('["/mcc", "/mnc"]', '{"mcc": "234", "mnc": "30"}'),
        ('["/a~1b/c~0d"]', '{"a/b": {"c~d": "23430"}}'),
    ],
)
@trio_test(mock_clock=True)
async def test_the_network_is_found_where_the_pointer_says(tmp_path: Path, pointer: str, body: str) -> None:
    async with asking(tmp_path, f"pointer = {pointer}\n") as (house, service):
        service.answer = lambda number: body
        assert await routed(house, EE) == "ee"


@trio_test(mock_clock=True)
async def test_only_messages_whose_routes_need_it_are_asked_for(tmp_path: Path) -> None:
    async with asking(tmp_path, routes=carrier("sim", 2799) + route("sim")) as (house, service):
        await house.submit(EE)
        assert service.heads == []
    routes = ROUTES.replace('mcc_mnc = ["23430"]', 'prefix = ["44"], mcc_mnc = ["23430"]')
    async with asking(tmp_path, routes=routes) as (house, service):
        assert await routed(house, "+33612345676") == "default"
        assert await routed(house, EE) == "ee"
        assert service.numbers == ["447400123456"]


@trio_test(mock_clock=True)
async def test_memory_and_waiting_are_bounded(tmp_path: Path) -> None:
    async with asking(tmp_path, "max_cached = 2\nmax_waiting = 1\nconcurrency = 1\n") as (house, service):
        for to in (EE, O2, "+447400123458", EE):
            await routed(house, to)
        assert len(service.heads) == 4
        service.answer = lambda number: None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(routed, house, "+447400999990")
            await trio.sleep(0.1)
            begun = trio.current_time()
            assert await routed(house, "+447400999991") == "default"
            assert trio.current_time() - begun < 0.5


@trio_test(mock_clock=True)
async def test_who_waits_when_the_gateway_stops_is_refused_at_once(tmp_path: Path) -> None:
    told: list[Any] = []
    async with asking(tmp_path, "deadline_s = 10\n") as (house, service):
        service.answer = lambda number: None

        async def submit() -> None:
            told.append(
                await house.http("POST", "/v1/messages", {"to": EE, "from": "12345", "text": "Hello"})
            )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(submit)
            await house.until(lambda: service.heads)
            begun = trio.current_time()
            house.gateway.stop()
            await house.until(lambda: told)
        assert told[0][0] == 503
        assert trio.current_time() - begun < 5


@trio_test(mock_clock=True)
async def test_an_account_that_may_not_submit_asks_nothing(tmp_path: Path) -> None:
    async with asking(tmp_path) as (house, service):
        gateway = house.gateway
        results: list[Any] = []
        request = Submission(EE, "12345", "Hello")
        for settings in ({"suspended": True}, {"suspended": False, "max_queued": 0}):
            account = await gateway.accounts.update("acme", **settings)
            gateway.door.submit(account, [request], results.extend)
        gateway.door.close()
        account = await gateway.accounts.update("acme", max_queued=100)
        gateway.door.submit(account, [request], results.extend)
        assert [one.code for one in results] == ["account-suspended", "queue-full", "shutting-down"]
        assert service.heads == []
        assert lookup_of(house).counts["late"] == 0


@trio_test(mock_clock=True)
async def test_an_account_suspended_while_its_message_waits_is_refused(tmp_path: Path) -> None:
    async with asking(tmp_path, "deadline_s = 10\n") as (house, service):
        service.answer = lambda number: None
        results: list[Any] = []
        accounts = house.gateway.accounts
        house.gateway.door.submit(
            accounts.by_name["acme"], [Submission(EE, "12345", "Hello")], results.extend
        )
        await house.until(lambda: service.heads)
        await accounts.update("acme", suspended=True)
        await house.until(lambda: results)
        assert [one.code for one in results] == ["account-suspended"]


@trio_test(mock_clock=True)
async def test_private_addresses_need_a_word_and_our_own_listeners_are_never_asked(tmp_path: Path) -> None:
    for head in (
        LOOKUP.replace("allow_private = true", "allow_private = false"),
        LOOKUP.replace("9900", "8080"),
    ):
        async with asking(tmp_path, head=head) as (house, service):
            assert await routed(house, EE) == "default"
            assert service.heads == []
            assert lookup_of(house).counts["failed"] == 1


@trio_test(mock_clock=True)
async def test_a_gateway_without_it_has_the_plain_door(tmp_path: Path) -> None:
    async with asking(tmp_path, head="") as (house, _):
        assert type(house.gateway.door) is Door
        assert house.gateway.lookup is None
    async with asking(tmp_path) as (house, _):
        assert type(house.gateway.door) is AskingDoor
        status, text = await house.http("GET", "/metrics")
        assert status == 200
        assert 'signalbox_number_lookups_total{outcome="answered"} 0' in text


@pytest.mark.parametrize(
    "url", ["ftp://x/{number}", "http://x/", "http://{number}.example/", "https:///{number}", "{number}"]
)
@trio_test
async def test_a_url_that_cannot_be_asked_is_refused_by_check(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigErrors, match="lookup"):
        async with running(tmp_path, f'[numbers.lookup]\nurl = "{url}"\n' + ROUTES):
            pass
