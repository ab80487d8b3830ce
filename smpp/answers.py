"""How a request is answered: role × version × state × command → served, or refused with which status.

Who may send what when is smpp.states'. Of that the broadcasts (5.0 section 4.4) are done by nobody here: they
get their own response with ESME_RINVCMDID, or generic_nack from who speaks a version that does not know them.
What a state does not allow gets its own response with ESME_RINVBNDSTS, a second bind ESME_RALYBND; what has
no response is ignored then (3.4 sections 2.3 and 5.1.3). A command_id that no version knows gets generic_nack
with ESME_RINVCMDID in every state (3.4 section 4.3.1). `python -m smpp.answers` prints both roles' tables.

Invariant: the session asks this table and nothing else, so an owner is told only of what is served.

Deliberately not here: a PDU that is broken (smpp.errors), what a served request leads to, a bind while
another one waits for its answer (smpp.session: as in a bound state).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from smpp.constants import RESPONSE_BIT, VERSION_3_3, VERSION_3_4, VERSION_5_0, CommandId
from smpp.states import BINDS, BOUND, WITHOUT_RESPONSE, Role, SessionState, allowed, carried
from smpp.status import Status


class How(Enum):
    SERVED = "served"  # what it asks decides
    REFUSED = "refused"  # by its own response
    NACKED = "nacked"  # by a generic_nack
    IGNORED = "ignored"


class Answer(NamedTuple):
    how: How
    status: int = 0

    def __str__(self) -> str:
        name = Status.name_of(self.status)
        return {How.REFUSED: name, How.NACKED: f"generic_nack {name}"}.get(self.how, self.how.value)


VERSIONS = (VERSION_3_3, VERSION_3_4, VERSION_5_0)
REQUESTS = tuple(sorted(command for command in CommandId if not command & RESPONSE_BIT))
UNKNOWN = Answer(How.NACKED, int(Status.ESME_RINVCMDID))
BOUND_ALREADY = Answer(How.REFUSED, int(Status.ESME_RALYBND))

_SERVED, _IGNORED = Answer(How.SERVED), Answer(How.IGNORED)
_WRONG_STATE = Answer(How.REFUSED, int(Status.ESME_RINVBNDSTS))
_NOT_DONE = Answer(How.REFUSED, int(Status.ESME_RINVCMDID))
_BROADCASTS = frozenset({CommandId.BROADCAST_SM, CommandId.QUERY_BROADCAST_SM, CommandId.CANCEL_BROADCAST_SM})


def _answer(sender: Role, version: int, state: SessionState, command: CommandId) -> Answer:
    if state is SessionState.CLOSED:
        return _IGNORED
    if allowed(sender, state, command):
        if command in _BROADCASTS:
            return _NOT_DONE if version >= VERSION_5_0 else UNKNOWN
        return _SERVED
    if command in WITHOUT_RESPONSE:
        return _IGNORED
    return BOUND_ALREADY if command in BINDS and state in BOUND else _WRONG_STATE


TABLE: Mapping[tuple[Role, int, SessionState, int], Answer] = {
    (sender, version, state, command): _answer(sender, version, state, command)
    for sender in Role
    for version in VERSIONS
    for state in SessionState
    for command in REQUESTS
}


def answer(sender: Role, version: int, state: SessionState, command_id: int) -> Answer:
    """To a request of `sender`, who speaks `version` (in between: the older known one)."""
    known = VERSION_5_0 if version >= VERSION_5_0 else VERSION_3_4 if version >= VERSION_3_4 else VERSION_3_3
    found = TABLE.get((sender, known, state, command_id))
    if found is None:
        return _IGNORED if state is SessionState.CLOSED else UNKNOWN
    return found


TURNED_AWAY: Mapping[int, Answer] = {
    command: Answer(How.REFUSED, int(status))
    for command, status in (
        (CommandId.SUBMIT_SM, Status.ESME_RSUBMITFAIL),
        (CommandId.SUBMIT_MULTI, Status.ESME_RSUBMITFAIL),
        (CommandId.DATA_SM, Status.ESME_RSUBMITFAIL),
        (CommandId.QUERY_SM, Status.ESME_RQUERYFAIL),
        (CommandId.CANCEL_SM, Status.ESME_RCANCELFAIL),
        (CommandId.REPLACE_SM, Status.ESME_RREPLACEFAIL),
    )
}  # to who is bound and has to leave, instead of what is served: as to a suspended account's submits


def served(sender: Role, state: SessionState) -> frozenset[int]:
    """Requests with messages in them that the owner of a session is told of."""
    return carried(sender, state) - _BROADCASTS


def as_markdown(sender: Role) -> str:
    """A row per request, a column per state; where versions differ, the oldest that is answered so."""
    states = [state for state in SessionState if state is not SessionState.CLOSED]
    lines = [
        "| request | " + " | ".join(state.name for state in states) + " |",
        "| --- |" + " --- |" * len(states),
    ]
    for command in REQUESTS:
        cells = [_cell(sender, state, command) for state in states]
        lines.append(f"| {command.name.lower()} | " + " | ".join(cells) + " |")
    lines.append("| any other command_id |" + f" {UNKNOWN} |" * len(states))
    return "\n".join(lines)


def _cell(sender: Role, state: SessionState, command: CommandId) -> str:
    old, *newer = (str(answer(sender, version, state, command)) for version in VERSIONS)
    said = [old]
    for version, new in zip(VERSIONS[1:], newer, strict=True):
        if new != old:
            said.append(f"from {version >> 4}.{version & 15}: {new}")
            old = new
    return "; ".join(said)


if __name__ == "__main__":
    for role in Role:
        print(f"### Requests that the {role.name} sends\n\n{as_markdown(role)}\n")
