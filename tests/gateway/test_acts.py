"""The table of acts: verb, endpoint, command and documentation of each belong together."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
import pytest

from gateway.acts import ACTS, Act
from gateway.cli.root import VERBS, signalbox
from gateway.http.table import ENDPOINTS
from router.roles import SCOPES
from tests.gateway.house import running
from tests.trio_case import trio_test

ROOT = Path(__file__).resolve().parents[2]

COMMANDS = {
    "carrier.suspend": "carrier suspend",
    "carrier.resume": "carrier resume",
    "carrier.drain": "carrier drain",
    "carrier.rebind": "carrier rebind",
    "carrier.rate": "carrier rate",
    "link.suspend": "carrier suspend",
    "link.resume": "carrier resume",
    "route.suspend": "route suspend",
    "route.resume": "route resume",
    "route.rate": "route rate",
    "route.weights": "route weights",
    "account.suspend": "account suspend",
    "account.resume": "account resume",
    "binds.drop": "binds drop",
    "binds.ban": "binds ban",
    "binds.unban": "binds unban",
    "locks.release": "unlock",
    "callbacks.replay": "callbacks replay",
    "deliveries.replay": "deliveries replay",
    "deliveries.move": "deliveries move",
    "held.release": "store release",
    "queue.move": "queue move",
    "queue.bounce": "queue bounce",
    "message.force": "message force",
    "message.reroute": "message reroute",
    "message.cancel": "message cancel",
    "config.reload": "reload",
    "config.rollback": "config rollback",
    "privacy.erase": "privacy erase",
}


def command_of(words: str) -> click.Command:
    """The command line's, by its words."""
    found: click.Command | None = signalbox
    for word in words.split():
        assert isinstance(found, click.Group), words
        found = found.get_command(click.Context(found), word)
    assert found is not None, words
    return found


@pytest.mark.parametrize("act", ACTS, ids=lambda one: one.verb)
def test_each_act_has_an_endpoint_a_command_and_a_line_in_the_documentation(act: Act) -> None:
    assert act.scope in SCOPES
    (endpoint,) = [one for one in ENDPOINTS if one.path == f"/v1/acts/{act.verb}"]
    assert (endpoint.method, endpoint.access, endpoint.idempotency) == ("POST", act.scope, "kept")
    assert act.verb in COMMANDS, "say its command here"
    assert COMMANDS[act.verb].split()[0] in VERBS
    assert command_of(COMMANDS[act.verb]).callback is not None
    assert f"| `{act.verb}` |" in (ROOT / "docs" / "acts.md").read_text()
    assert "preview" in act.arguments.__struct_fields__
    msgspec.convert(act.example, act.arguments)


def test_nothing_is_named_that_is_no_act() -> None:
    assert set(COMMANDS) == {one.verb for one in ACTS}
    assert len({one.verb for one in ACTS}) == len(ACTS)


@trio_test(mock_clock=True)
async def test_each_act_is_an_admin_verb_of_a_running_gateway(tmp_path: Path) -> None:
    async with running(tmp_path, "") as house:
        verbs = house.gateway.verbs.table()
        assert {one.verb for one in ACTS} <= set(verbs)
