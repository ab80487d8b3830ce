"""The session's states as a table: who may send which request in which state, and where it leads.

SMPP 3.4 section 2.3 (table 2-1) with the additions of 5.0 section 2.4. `python -m smpp.states` prints it.

Invariants: a request that the table does not name is refused with ESME_RINVBNDSTS (a second bind with
ESME_RALYBND) and has no effect (failure mode 39). A bind's and an unbind's next state begins with the
accepting response; every other entry leads back to its own state.

Deliberately not here: responses (they follow their request, in any state), timers, the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from smpp.constants import CommandId


class Role(Enum):
    ESME = "esme"
    SMSC = "smsc"

    @property
    def peer(self) -> Role:
        return Role.SMSC if self is Role.ESME else Role.ESME


class SessionState(Enum):
    OPEN = "open"  # connected, not bound; also while a bind waits for its answer
    OUTBOUND = "outbound"  # outbind sent or received, not bound yet
    BOUND_TX = "bound_tx"  # the ESME transmits
    BOUND_RX = "bound_rx"
    BOUND_TRX = "bound_trx"
    UNBOUND = "unbound"  # the peer has unbound; the connection is about to end
    CLOSED = "closed"


class WrongState(Exception):
    """The owner wants what the table does not allow in this state."""


BOUND = frozenset({SessionState.BOUND_TX, SessionState.BOUND_RX, SessionState.BOUND_TRX})
BINDS: Mapping[int, SessionState] = {
    CommandId.BIND_TRANSMITTER: SessionState.BOUND_TX,
    CommandId.BIND_RECEIVER: SessionState.BOUND_RX,
    CommandId.BIND_TRANSCEIVER: SessionState.BOUND_TRX,
}
WITHOUT_RESPONSE = frozenset({CommandId.OUTBIND, CommandId.ALERT_NOTIFICATION})

_TRANSMITTED = (
    CommandId.SUBMIT_SM,
    CommandId.SUBMIT_MULTI,
    CommandId.DATA_SM,
    CommandId.QUERY_SM,
    CommandId.CANCEL_SM,
    CommandId.REPLACE_SM,
    CommandId.BROADCAST_SM,
    CommandId.QUERY_BROADCAST_SM,
    CommandId.CANCEL_BROADCAST_SM,
)
_DELIVERED = (CommandId.DELIVER_SM, CommandId.DATA_SM, CommandId.ALERT_NOTIFICATION)
_CARRIED: Mapping[tuple[Role, SessionState], tuple[CommandId, ...]] = {
    (Role.ESME, SessionState.BOUND_TX): _TRANSMITTED,
    (Role.ESME, SessionState.BOUND_RX): (),
    (Role.ESME, SessionState.BOUND_TRX): _TRANSMITTED,
    (Role.SMSC, SessionState.BOUND_TX): (),
    (Role.SMSC, SessionState.BOUND_RX): _DELIVERED,
    (Role.SMSC, SessionState.BOUND_TRX): _DELIVERED,
}

Table = Mapping[tuple[Role, SessionState, CommandId], SessionState]


def _table() -> Table:
    table = {
        (Role.ESME, SessionState.OPEN, CommandId.BIND_TRANSMITTER): SessionState.BOUND_TX,
        (Role.ESME, SessionState.OPEN, CommandId.BIND_RECEIVER): SessionState.BOUND_RX,
        (Role.ESME, SessionState.OPEN, CommandId.BIND_TRANSCEIVER): SessionState.BOUND_TRX,
        (Role.ESME, SessionState.OUTBOUND, CommandId.BIND_RECEIVER): SessionState.BOUND_RX,
        (Role.ESME, SessionState.OUTBOUND, CommandId.BIND_TRANSCEIVER): SessionState.BOUND_TRX,
        (Role.SMSC, SessionState.OPEN, CommandId.OUTBIND): SessionState.OUTBOUND,
    }
    for (role, state), commands in _CARRIED.items():
        table[role, state, CommandId.UNBIND] = SessionState.UNBOUND
        for command in commands:
            table[role, state, command] = state
    for role in Role:
        for state in SessionState:
            if state is not SessionState.CLOSED:
                table[role, state, CommandId.ENQUIRE_LINK] = state
    return table


TABLE: Table = _table()  # (who sends, state, request) -> next state


_NONE: frozenset[int] = frozenset()
_CARRIED_SETS = {where: frozenset(map(int, commands)) for where, commands in _CARRIED.items()}


def carried(sender: Role, state: SessionState) -> frozenset[int]:
    """Requests with messages in them that `sender` may send in `state`: those an owner sends and answers."""
    return _CARRIED_SETS.get((sender, state), _NONE)


def allowed(sender: Role, state: SessionState, command_id: int) -> bool:
    """May `sender` send this request in `state`?"""
    return (sender, state, command_id) in TABLE


def as_markdown() -> str:
    """One table for each sender: a row per request, a column per state, the next state in the cell."""
    states = [state for state in SessionState if state is not SessionState.CLOSED]
    lines: list[str] = []
    for role in Role:
        lines += [f"### Requests that the {role.name} may send", ""]
        lines.append("| request | " + " | ".join(state.name for state in states) + " |")
        lines.append("| --- |" + " --- |" * len(states))
        for command in CommandId:
            cells = [TABLE.get((role, state, command)) for state in states]
            if any(cells):
                names = [cell.name if cell else "" for cell in cells]
                lines.append(f"| {command.name.lower()} | " + " | ".join(names) + " |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(as_markdown())
