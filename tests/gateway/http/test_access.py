"""The guard before every endpoint: nothing undeclared is served, and nobody passes without the scope."""

from __future__ import annotations

import msgspec
import pytest
import trio

from gateway.http.access import Access
from gateway.http.auth import Keys
from gateway.http.endpoint import Answer, Endpoint
from gateway.http.request import Request
from gateway.http.routes import Respond, Routes
from gateway.http.table import messages
from router.roles import PUBLIC
from tests.gateway.http.wire import guard


def endpoint(access: str) -> Endpoint:
    return Endpoint(
        method="GET",
        path="/v1/things",
        id="listThings",
        tag="Things",
        summary="List things",
        access=access,
        answers={200: Answer(None, "All")},
    )


def answer(request: Request, respond: Respond) -> None:
    respond(200, (), b"")


def test_an_endpoint_must_say_what_it_needs() -> None:
    with pytest.raises(TypeError, match="access"):
        Endpoint(method="GET", path="/", id="x", tag="x", summary="x", answers={})  # type: ignore[call-arg]


@pytest.mark.parametrize("access", ["", "everybody", "things.read"])
def test_what_needs_something_that_nobody_knows_cannot_be_served(access: str) -> None:
    routes = Routes(guard(Keys([], trio.current_time)))
    with pytest.raises(ValueError, match="no scope"):
        routes.serve(endpoint(access), answer)
    assert (routes.served, routes.find("GET", "/v1/things").endpoint) == ([], "unknown")


def test_without_a_guard_nothing_is_served_that_needs_a_key() -> None:
    routes = Routes()
    routes.serve(endpoint(PUBLIC), answer)
    with pytest.raises(ValueError, match="nobody asks"):
        routes.serve(messages.SHOW, answer)


def test_what_everybody_may_costs_nothing_more() -> None:
    routes = Routes(guard(Keys([], trio.current_time)))
    routes.serve(endpoint(PUBLIC), answer)
    assert routes.find("GET", "/v1/things").handler is answer


def test_a_declaration_cannot_be_changed_afterwards() -> None:
    with pytest.raises(AttributeError):
        endpoint("messages.read").access = PUBLIC  # type: ignore[misc]
    assert msgspec.structs.asdict(messages.SHOW)["access"] == "messages.read"


def test_what_shows_texts_is_not_served_where_nobody_can_tell_of_it() -> None:
    routes = Routes(Access(Keys([], trio.current_time)).guard)
    with pytest.raises(ValueError, match="nobody can tell"):
        routes.serve(messages.SHOW, answer)
