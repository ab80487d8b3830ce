"""The pump against memory networks on a mock clock: what is delivered, retried, paused and given up."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from gateway.callbacks.choice import kannel
from gateway.callbacks.endpoint import Health
from gateway.callbacks.pump import CallbackPump
from gateway.callbacks.settings import RETRY_S, CallbackSettings
from gateway.callbacks.signature import BadSignature, verify
from gateway.ids import uuid_of
from router.nouns import Account
from tests.gateway.callbacks.outside import EPOCH_MS, OK, Request, Sink, event, running, status
from tests.trio_case import trio_test

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "QUFB" * 10
EXACT = CallbackSettings(jitter=0.0)


def account(id: int = 1, **more: Any) -> Account:
    fields: dict[str, Any] = {"callback_url": f"http://sink{id}.example/hook?a=1"}
    return Account(id=id, name=f"acme{id}", **(fields | more))


def always(code: int, *headers: str) -> Sink:
    async def answer(sink: Sink, request: Request) -> bytes:
        return status(code, *headers)

    return Sink(answer)


@trio_test(mock_clock=True)
async def test_a_receipt_reaches_the_accounts_url_signed_and_is_then_done() -> None:
    async with running(account(callback_secrets=(SECRET,))) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, Sink())
        here = outbox.endpoint(1, "http://sink1.example:80")
        await nursery.start(CallbackPump(outbox, world, EXACT).run)
        outbox.put(here, event(77, error="000", client_ref="order 5", tags=("a",)))
        await trio.sleep(1)
        [request] = sink.requests
        assert request.path == "/hook?a=1"
        assert request.headers["host"] == "sink1.example"
        assert request.headers["content-type"] == "application/json"
        verify(
            [SECRET],
            request.headers["webhook-id"],
            request.headers["webhook-timestamp"],
            request.body,
            request.headers["webhook-signature"],
            EPOCH_MS / 1000,
        )
        assert request.json["type"] == "message.receipt"
        assert request.json["id"] == request.headers["webhook-id"]
        assert request.json["data"]["message_id"] == "77"
        assert request.json["data"]["state"] == "DELIVERED"
        assert world.dialled == [("93.184.216.34", 80)]
        assert outbox.left(here) == 0
        assert len(outbox.done) == 1


@trio_test(mock_clock=True)
async def test_while_secrets_rotate_both_sign() -> None:
    async with running(account(callback_secrets=(OTHER, SECRET))) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, Sink())
        here = outbox.endpoint(1, "http://sink1.example:80")
        await nursery.start(CallbackPump(outbox, world, EXACT).run)
        outbox.put(here, event(1))
        await trio.sleep(1)
        [request] = sink.requests
        for secret in (SECRET, OTHER):
            headers = request.headers
            verify(
                [secret],
                headers["webhook-id"],
                headers["webhook-timestamp"],
                request.body,
                headers["webhook-signature"],
                None,
            )
        with pytest.raises(BadSignature):
            verify([SECRET], "x", "1", request.body, request.headers["webhook-signature"], None)


@trio_test(mock_clock=True)
async def test_every_event_is_delivered_once_and_starts_in_commit_order() -> None:
    async with running(account()) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, Sink())
        here = outbox.endpoint(1, "http://sink1.example:80")
        await nursery.start(CallbackPump(outbox, world, CallbackSettings(page=7)).run)
        for start in range(0, 1000, 50):
            outbox.put(here, *(event(n) for n in range(start, start + 50)))
            await trio.sleep(0.0013)
        await trio.sleep(5)
        assert sorted(map(int, sink.ids)) == list(range(1000))
        assert all(abs(int(one) - at) < 8 for at, one in enumerate(sink.ids))
        assert outbox.left(here) == 0
        assert 1 < sink.most_open <= 8


@trio_test(mock_clock=True)
async def test_a_batching_account_gets_up_to_its_number_in_one_post() -> None:
    async with running(account(callback_batch=100)) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, Sink())
        here = outbox.endpoint(1, "http://sink1.example:80")
        await nursery.start(CallbackPump(outbox, world, EXACT).run)
        outbox.put(here, *(event(n) for n in range(1050)))
        await trio.sleep(5)
        sizes = [len(request.json["events"]) for request in sink.requests]
        assert max(sizes) == 100
        assert sum(sizes) == 1050
        assert len(sizes) <= 12
        assert len(set(sink.ids)) == 1050
        assert outbox.left(here) == 0


@trio_test(mock_clock=True)
async def test_events_of_different_urls_do_not_share_a_batch() -> None:
    async with running(account(callback_batch=100)) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, Sink())
        here = outbox.endpoint(1, "http://sink1.example:80")
        await nursery.start(CallbackPump(outbox, world, EXACT).run)
        other = "http://sink1.example/other"
        outbox.put(here, event(1), event(2), event(3, url=other), event(4, url=other), event(5))
        await trio.sleep(5)
        assert sorted((r.path, len(r.json["events"])) for r in sink.requests) == [
            ("/hook?a=1", 1),
            ("/hook?a=1", 2),
            ("/other", 2),
        ]


@trio_test(mock_clock=True)
async def test_failures_follow_the_schedule_and_then_the_row_is_given_up_and_kept() -> None:
    async with running(account()) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, always(500))
        here = outbox.endpoint(1, "http://sink1.example:80")
        pump = CallbackPump(outbox, world, CallbackSettings(jitter=0.0, breaker_failures=100))
        await nursery.start(pump.run)
        outbox.put(here, event(1))
        await trio.sleep(sum(RETRY_S) + 100)
        delays = [b.at - a.at for a, b in zip(sink.requests, sink.requests[1:], strict=False)]
        assert [round(delay, 1) for delay in delays] == pytest.approx(RETRY_S, abs=0.2)
        assert len({request.headers["webhook-id"] for request in sink.requests}) == 1
        ((_, row),) = outbox.given_up
        assert len(outbox.retries) == 10
        assert (row.event.attempts, row.event.last_error) == (11, "HTTP 500")
        assert pump.events_given_up == 1
        assert pump.attempts["failed"] == 11


@trio_test(mock_clock=True)
async def test_jitter_spreads_the_retries() -> None:
    async with running(account()) as (outbox, world, nursery):
        world.add("sink1.example", "93.184.216.34", 80, always(500))
        here = outbox.endpoint(1, "http://sink1.example:80")
        await nursery.start(CallbackPump(outbox, world, CallbackSettings(breaker_failures=100)).run)
        outbox.put(here, *(event(n) for n in range(50)))
        await trio.sleep(3)
        delays = {round((due - EPOCH_MS) / 1000, 2) for due, _ in outbox.retries}
        assert len(outbox.retries) == 50
        assert len(delays) > 20
        assert min(delays) > 4.4
        assert max(delays) < 5.7


@trio_test(mock_clock=True)
async def test_retry_after_is_honoured_and_pauses_the_endpoint() -> None:
    async with running(account()) as (outbox, world, nursery):
        times = iter(["Retry-After: 600"])

        async def answer(sink: Sink, request: Request) -> bytes:
            header = next(times, None)
            return status(429, header) if header else OK

        sink = world.add("sink1.example", "93.184.216.34", 80, Sink(answer))
        here = outbox.endpoint(1, "http://sink1.example:80")
        pump = CallbackPump(outbox, world, EXACT)
        await nursery.start(pump.run)
        outbox.put(here, event(1), event(2), event(3))
        await trio.sleep(590)
        assert len(sink.requests) == 1
        assert pump.endpoints()[0].health is Health.PAUSED
        await trio.sleep(60)
        assert sorted(sink.ids) == ["1", "1", "2", "3"]
        assert min(request.at for request in sink.requests[1:]) >= 600
        assert pump.endpoints()[0].health is Health.GOOD


@trio_test(mock_clock=True)
async def test_retry_after_is_capped() -> None:
    async with running(account()) as (outbox, world, nursery):
        world.add("sink1.example", "93.184.216.34", 80, always(503, "Retry-After: 99999999"))
        here = outbox.endpoint(1, "http://sink1.example:80")
        await nursery.start(CallbackPump(outbox, world, EXACT).run)
        outbox.put(here, event(1))
        await trio.sleep(5)
        assert outbox.retries[0][0] <= EPOCH_MS + 86_401_000


@trio_test(mock_clock=True)
async def test_a_410_disables_the_endpoint_and_keeps_its_rows() -> None:
    async with running(account()) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, always(410))
        here = outbox.endpoint(1, "http://sink1.example:80")
        pump = CallbackPump(outbox, world, EXACT)
        await nursery.start(pump.run)
        outbox.put(here, *(event(n) for n in range(20)))
        await trio.sleep(3600)
        assert len(sink.requests) == 1
        assert outbox.left(here) == 19
        assert outbox.retries[0][1].event.last_error == "HTTP 410: endpoint disabled"
        assert pump.health()["disabled"] == 1
        sink.answer = None
        assert pump.enable(here)
        await trio.sleep(1)
        assert outbox.left(here) == 0
        assert pump.health()["good"] == 1


@trio_test(mock_clock=True)
async def test_a_run_of_failures_leaves_one_probe_at_a_time_with_growing_pauses() -> None:
    async with running(account()) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, always(500))
        here = outbox.endpoint(1, "http://sink1.example:80")
        pump = CallbackPump(outbox, world, EXACT)
        await nursery.start(pump.run)
        outbox.put(here, *(event(n) for n in range(10_000)))
        await trio.sleep(3600)
        assert len(sink.requests) < 5 + 9 + 3600 / 225 + 10
        assert sink.most_open == 1
        assert pump.endpoints()[0].health is Health.OPEN
        sink.answer = None
        await trio.sleep(400)
        assert outbox.left(here) == 0
        assert pump.endpoints()[0].health is Health.GOOD


@trio_test(mock_clock=True)
async def test_fm26_a_dead_endpoint_delays_nobody_else() -> None:
    async def silence(sink: Sink, request: Request) -> None:
        await trio.sleep_forever()

    dead = [account(n, callback_url=f"http://dead{n}.example/") for n in range(2, 60)]
    async with running(account(), *dead) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, Sink())
        here = outbox.endpoint(1, "http://sink1.example:80")
        pump = CallbackPump(outbox, world, CallbackSettings(connections=24))
        await nursery.start(pump.run)
        outbox.put(here, event(0))  # known to answer: half of the connections are kept for such endpoints
        await trio.sleep(0.5)
        for one in dead:
            world.add(f"dead{one.id}.example", f"93.184.0.{one.id}", 80, Sink(silence))
            outbox.put(outbox.endpoint(one.id, f"http://dead{one.id}.example:80"), *map(event, range(500)))
        await trio.sleep(0.5)
        for n in range(1, 200):
            before = trio.current_time()
            outbox.put(here, event(n))
            await trio.sleep(0.2)
            assert before <= sink.requests[-1].at < before + 0.1
            assert pump.connections <= 24
        assert len(sink.requests) == 200


@trio_test(mock_clock=True)
async def test_fm26_a_newcomer_is_served_among_more_dead_endpoints_than_connections() -> None:
    async def silence(sink: Sink, request: Request) -> None:
        await trio.sleep_forever()

    dead = [account(n, callback_url=f"http://dead{n}.example/") for n in range(2, 60)]
    async with running(account(), *dead) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, Sink())
        for one in dead:
            world.add(f"dead{one.id}.example", f"93.184.0.{one.id}", 80, Sink(silence))
            outbox.put(outbox.endpoint(one.id, f"http://dead{one.id}.example:80"), *map(event, range(500)))
        await nursery.start(CallbackPump(outbox, world, CallbackSettings(connections=24)).run)
        await trio.sleep(200)
        before = trio.current_time()
        outbox.put(outbox.endpoint(1, "http://sink1.example:80"), event(1))
        await trio.sleep(30)
        assert sink.requests[0].at - before < 16  # one time-out, not one for each dead endpoint


@trio_test(mock_clock=True)
async def test_a_busy_endpoint_makes_room_for_others_when_connections_are_short() -> None:
    async def slow(sink: Sink, request: Request) -> bytes:
        await trio.sleep(0.05)
        return OK

    async with running(account(1), account(2), account(3)) as (outbox, world, nursery):
        sinks, ends = [], []
        for n in (1, 2, 3):
            sinks.append(world.add(f"sink{n}.example", f"93.184.216.{n}", 80, Sink(slow)))
            ends.append(outbox.endpoint(n, f"http://sink{n}.example:80"))
        pump = CallbackPump(outbox, world, CallbackSettings(connections=4))
        await nursery.start(pump.run)
        outbox.put(ends[0], *map(event, range(2000)))
        await trio.sleep(3)
        outbox.put(ends[1], *map(event, range(20)))
        outbox.put(ends[2], *map(event, range(20)))
        await trio.sleep(5)
        assert pump.connections <= 4
        assert len(sinks[1].requests) == 20
        assert len(sinks[2].requests) == 20


@trio_test(mock_clock=True)
async def test_a_slow_endpoint_gets_no_more_than_its_concurrency() -> None:
    async def slow(sink: Sink, request: Request) -> bytes:
        await trio.sleep(2)
        return OK

    async with running(account()) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, Sink(slow))
        here = outbox.endpoint(1, "http://sink1.example:80")
        await nursery.start(CallbackPump(outbox, world, EXACT).run)
        outbox.put(here, *(event(n) for n in range(100)))
        await trio.sleep(60)
        assert sink.most_open == 8
        assert sorted(map(int, sink.ids)) == list(range(100))


@trio_test(mock_clock=True)
async def test_no_answer_in_time_is_a_failure_and_is_retried() -> None:
    calls = 0

    async def once_silent(sink: Sink, request: Request) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 1:
            await trio.sleep(100)
        return OK

    async with running(account()) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, Sink(once_silent))
        here = outbox.endpoint(1, "http://sink1.example:80")
        pump = CallbackPump(outbox, world, EXACT)
        await nursery.start(pump.run)
        outbox.put(here, event(1))
        await trio.sleep(25)
        assert [round(request.at) for request in sink.requests] == [0, 20]
        assert outbox.retries[0][1].event.last_error == "no answer within 15 s"
        assert pump.attempts == {"timeout": 1, "delivered": 1}


@trio_test(mock_clock=True)
async def test_a_private_address_is_refused_unless_the_account_may() -> None:
    async with running(account(1), account(2, private_callbacks=True)) as (outbox, world, nursery):
        sinks = [world.add(f"sink{n}.example", f"10.0.0.{n}", 80, Sink()) for n in (1, 2)]
        pump = CallbackPump(outbox, world, EXACT)
        await nursery.start(pump.run)
        for n in (1, 2):
            outbox.put(outbox.endpoint(n, f"http://sink{n}.example:80"), event(n))
        await trio.sleep(1)
        assert [len(sink.requests) for sink in sinks] == [0, 1]
        assert "private" in outbox.retries[0][1].event.last_error
        assert pump.attempts["refused"] == 1
        assert world.dialled == [("10.0.0.2", 80)]


@trio_test(mock_clock=True)
async def test_a_redirect_is_not_followed() -> None:
    async with running(account()) as (outbox, world, nursery):
        sink = world.add(
            "sink1.example", "93.184.216.34", 80, always(302, "Location: http://127.0.0.1/admin")
        )
        here = outbox.endpoint(1, "http://sink1.example:80")
        await nursery.start(CallbackPump(outbox, world, EXACT).run)
        outbox.put(here, event(1))
        await trio.sleep(2)
        assert len(sink.requests) == 1
        assert len(world.dialled) == 1
        assert outbox.retries[0][1].event.last_error == "HTTP 302"


@trio_test(mock_clock=True)
async def test_a_connection_closed_while_idle_costs_no_attempt() -> None:
    async def one_each(sink: Sink, request: Request) -> bytes | None:
        return None if request.headers.get("x") else OK

    async with running(account()) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, Sink())
        sink.serve = _closing(sink)
        here = outbox.endpoint(1, "http://sink1.example:80")
        pump = CallbackPump(outbox, world, CallbackSettings(concurrency_per_endpoint=1))
        await nursery.start(pump.run)
        for n in range(3):
            outbox.put(here, event(n))
            await trio.sleep(0.5)
        assert sink.ids == ["0", "1", "2"]
        assert outbox.retries == []
        assert pump.attempts == {"delivered": 3}


def _closing(sink: Sink) -> Any:
    """A server that promises keep-alive and hangs up after each answer."""

    async def serve(stream: trio.abc.Stream) -> None:
        one = Sink()

        async def answer(_: Sink, request: Request) -> bytes | None:
            sink.requests.append(request)
            await stream.send_all(OK)
            return None

        one.answer = answer
        await one.serve(stream)

    return serve


@trio_test(mock_clock=True)
async def test_an_account_without_a_url_keeps_its_rows_until_it_has_one() -> None:
    async with running(account(callback_url="")) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, Sink())
        here = outbox.endpoint(1, "")
        await nursery.start(CallbackPump(outbox, world, EXACT).run)
        outbox.put(here, event(1))
        await trio.sleep(10)
        assert outbox.left(here) == 1
        assert outbox.retries == []
        outbox.set_account(account())
        await trio.sleep(1)
        assert sink.ids == ["1"]


@trio_test(mock_clock=True)
async def test_one_bad_event_of_a_batch_is_found_by_sending_its_batch_one_by_one() -> None:
    async def picky(sink: Sink, request: Request) -> bytes:
        bad = any(one["data"]["message_id"] == "13" for one in request.json["events"])
        return status(400) if bad else OK

    async with running(account(callback_batch=50)) as (outbox, world, nursery):
        world.add("sink1.example", "93.184.216.34", 80, Sink(picky))
        here = outbox.endpoint(1, "http://sink1.example:80")
        await nursery.start(CallbackPump(outbox, world, EXACT).run)
        outbox.put(here, *(event(n) for n in range(30)))
        await trio.sleep(20)
        assert sorted(row.event.message_id for row in outbox.done) == [n for n in range(30) if n != 13]


@trio_test(mock_clock=True)
async def test_stop_lets_posts_under_way_end_and_then_cuts() -> None:
    pace = 3.0

    async def slow(sink: Sink, request: Request) -> bytes:
        await trio.sleep(pace)
        return OK

    async with running(account()) as (outbox, world, nursery):
        world.add("sink1.example", "93.184.216.34", 80, Sink(slow))
        here = outbox.endpoint(1, "http://sink1.example:80")
        pump = CallbackPump(outbox, world, EXACT)
        await nursery.start(pump.run)
        outbox.put(here, *(event(n) for n in range(5)))
        await trio.sleep(1)
        await pump.stop(10)
        assert trio.current_time() == pytest.approx(3, abs=0.2)
        await trio.sleep(1)
        assert outbox.left(here) == 4
        assert outbox.retries == []
        assert pump.connections == 0

        pace = 100.0
        again = CallbackPump(outbox, world, EXACT)
        await nursery.start(again.run)
        await trio.sleep(1)
        before = trio.current_time()
        await again.stop(2)
        assert trio.current_time() - before == pytest.approx(2, abs=0.1)
        assert outbox.left(here) == 4
        assert outbox.on_commit == []


@trio_test(mock_clock=True)
async def test_idle_workers_leave_and_memory_of_finished_rows_goes() -> None:
    async with running(account()) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, Sink())
        here = outbox.endpoint(1, "http://sink1.example:80")
        pump = CallbackPump(outbox, world, EXACT)
        await nursery.start(pump.run)
        outbox.put(here, *(event(n) for n in range(300)))
        await trio.sleep(60)
        outbox.put(here, event(300))
        await trio.sleep(0.1)
        outbox.put(here, event(301))
        await trio.sleep(60)
        assert pump.connections == 0
        assert sink.open == 0
        assert len(pump.endpoints()[0].taken) <= 1
        assert len(sink.requests) == 302


# formats


def answering(*bodies: bytes) -> Sink:
    """200 with each of these bodies in turn, then with the last one."""
    left = list(bodies)

    async def answer(sink: Sink, request: Request) -> bytes:
        body = left.pop(0) if len(left) > 1 else left[0]
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    return Sink(answer)


@trio_test(mock_clock=True)
async def test_an_account_hears_in_its_format_and_a_message_in_its_own() -> None:
    with_format = account(callback_format="vonage", callback_method="post", callback_batch=50)
    async with running(with_format) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, Sink())
        here = outbox.endpoint(1, "http://sink1.example:80")
        await nursery.start(CallbackPump(outbox, world, EXACT).run)
        chosen = kannel("http://sink1.example/dlr?id=%I&s=%d", 3)
        outbox.put(here, event(1), event(2, url=chosen.url, callback=chosen.choice))
        await trio.sleep(1)
        first, second = sorted(sink.requests, key=lambda request: request.path)
        assert first.path == f"/dlr?id={uuid_of(2)}&s=1"
        assert (first.method, first.body, first.headers.get("content-length")) == ("GET", b"", None)
        assert (second.method, second.path) == ("POST", "/hook?a=1")
        assert second.body.startswith(b"msisdn=447700900123&")
        assert outbox.left(here) == 0


@trio_test(mock_clock=True)
async def test_what_a_format_does_not_tell_is_done_without_a_request() -> None:
    async with running(account()) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, Sink())
        here = outbox.endpoint(1, "http://sink1.example:80")
        pump = CallbackPump(outbox, world, EXACT)
        await nursery.start(pump.run)
        chosen = kannel("http://sink1.example/dlr?s=%d", 2)
        outbox.put(here, event(1, url=chosen.url, callback=chosen.choice))
        await trio.sleep(1)
        assert (sink.requests, outbox.left(here), len(outbox.done)) == ([], 0, 1)
        assert pump.attempts.total() == 0


@trio_test(mock_clock=True)
async def test_jasmins_receiver_must_say_so_or_is_asked_again_every_30_s_three_times() -> None:
    async with running(account(callback_format="jasmin")) as (outbox, world, nursery):
        sink = world.add(
            "sink1.example", "93.184.216.34", 80, answering(b"OK", b"", b"no", b"no", b"ACK/Jasmin")
        )
        here = outbox.endpoint(1, "http://sink1.example:80")
        pump = CallbackPump(outbox, world, EXACT)
        await nursery.start(pump.run)
        outbox.put(here, event(1))
        await trio.sleep(2000)
        delays = [b.at - a.at for a, b in zip(sink.requests, sink.requests[1:], strict=False)]
        assert [round(delay) for delay in delays] == [30, 30, 30, 1800]
        assert {row.event.last_error for _, row in outbox.retries} == {
            "HTTP 200, not what the format asks for"
        }
        assert outbox.left(here) == 0
        assert (pump.attempts["failed"], pump.attempts["delivered"]) == (4, 1)


@trio_test(mock_clock=True)
async def test_inbound_messages_may_have_a_url_of_their_own() -> None:
    async with running(account(mo_url="http://sink1.example/mo", callback_batch=10)) as (
        outbox,
        world,
        nursery,
    ):
        sink = world.add("sink1.example", "93.184.216.34", 80, Sink())
        here = outbox.endpoint(1, "http://sink1.example:80")
        await nursery.start(CallbackPump(outbox, world, EXACT).run)
        outbox.put(here, event(1), event(2, kind=1, text="Yes"), event(3))
        await trio.sleep(1)
        told = sorted(
            (one.path, [int(e["data"]["message_id"]) for e in one.json["events"]]) for one in sink.requests
        )
        assert told == [("/hook?a=1", [1]), ("/hook?a=1", [3]), ("/mo", [2])]


@trio_test(mock_clock=True)
async def test_the_older_secret_signs_until_its_time_ends() -> None:
    until_ms = EPOCH_MS + 100_000
    rotating = account(callback_secrets=(OTHER, SECRET), callback_secrets_until_ms=until_ms)
    async with running(rotating) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, Sink())
        here = outbox.endpoint(1, "http://sink1.example:80")
        await nursery.start(CallbackPump(outbox, world, EXACT).run)
        outbox.put(here, event(1))
        await trio.sleep(100)
        outbox.put(here, event(2))
        await trio.sleep(1)
        before, after = (request.headers["webhook-signature"].split() for request in sink.requests)
        assert (len(before), len(after)) == (2, 1)


@trio_test(mock_clock=True)
async def test_a_text_that_makes_a_long_url_is_still_sent() -> None:
    template = "http://sink1.example/mo?text=%b"
    async with running(account(callback_format="kannel", mo_url=template)) as (outbox, world, nursery):
        sink = world.add("sink1.example", "93.184.216.34", 80, Sink())
        here = outbox.endpoint(1, "http://sink1.example:80")
        await nursery.start(CallbackPump(outbox, world, EXACT).run)
        outbox.put(here, event(1, kind=1, text="✓" * 1000, encoding=2))
        await trio.sleep(1)
        [request] = sink.requests
        assert request.path == "/mo?text=" + "%27%13" * 1000


@trio_test(mock_clock=True)
async def test_a_filled_url_is_guarded_as_any_other() -> None:
    chosen = kannel("http://inside.example/dlr?s=%d", 3)
    async with running(account()) as (outbox, world, nursery):
        inside = world.add("inside.example", "10.0.0.1", 80, Sink())
        here = outbox.endpoint(1, "http://inside.example:80")
        pump = CallbackPump(outbox, world, EXACT)
        await nursery.start(pump.run)
        outbox.put(here, event(1, url=chosen.url, callback=chosen.choice))
        await trio.sleep(1)
        assert (inside.requests, world.dialled, pump.attempts["refused"]) == ([], [], 1)


@trio_test(mock_clock=True)
async def test_an_answer_is_read_no_further_than_its_limit() -> None:
    async def endless(sink: Sink, request: Request) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 200_000

    async with running(account(callback_format="jasmin")) as (outbox, world, nursery):
        world.add("sink1.example", "93.184.216.34", 80, Sink(endless))
        here = outbox.endpoint(1, "http://sink1.example:80")
        pump = CallbackPump(outbox, world, EXACT)
        await nursery.start(pump.run)
        outbox.put(here, event(1))
        await trio.sleep(1)
        assert pump.attempts["failed"] == 1
        assert outbox.retries[0][1].event.last_error == "HTTP 200, not what the format asks for"
