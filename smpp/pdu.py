"""Every PDU of SMPP 3.4 and 5.0, declared field by field: this is the wire format, there is no other copy.

A class's annotated fields are its mandatory parameters in wire order, in the words of smpp.fields; at class
creation smpp.compiler makes `from_wire` and `to_wire` of them. A PDU takes its fields by position, its header
and tlvs by keyword. Length fields (sm_length, number_of_dests, no_unsuccess) are derived and never stored.

Invariants: C-octet strings are bytes without their NUL; integers are int; `tlvs` are (tag, value) in wire
order, unknown ones and repeats included, and survive decode and encode untouched. Optional bodies (3.4:
responses) read as the defaults. PDUs are plain records: equal when everything in them is equal, not hashable.
They are msgspec structs, which cost the least to make, and no part of cyclic garbage collection.

Deliberately not here: meaning. Statuses, alphabets, receipts and times are other modules' business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol, cast, dataclass_transform, get_type_hints

import msgspec

from smpp.compiler import compile_pdu
from smpp.constants import RESPONSE_BIT, CommandId
from smpp.fields import (
    Address,
    AddressRange,
    Destinations,
    Field,
    LongAddress,
    MessageId,
    Octet,
    Password,
    Refused,
    ServiceType,
    SystemId,
    SystemType,
    Text,
    Time,
)

_HEADER_FIELDS = {"sequence_number": 0, "command_status": 0, "tlvs": ()}  # the defaults
_SECRET = "password"


def _header(*, default: Any, kw_only: bool) -> Any:
    """Marks a field of the header for type checkers; the metaclass gives it to every concrete PDU, as the
    last fields, which only `from_wire` fills by position."""
    return default


@dataclass_transform(field_specifiers=(_header,), eq_default=True)
class PduType(msgspec.StructMeta):
    """Metaclass: annotated fields become FIELDS; a class with a command_id is compiled."""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], body: dict[str, Any], command_id: CommandId | None = None
    ) -> PduType:
        annotations = body.setdefault("__annotations__", {})
        if not bases:
            bases = (msgspec.Struct,)  # a type checker sees a record as declared here, not as msgspec does
            for key in _HEADER_FIELDS:
                del annotations[key], body[key]
        own = {key: body[key] for key, hint in annotations.items() if not hint.startswith("ClassVar")}
        if command_id is not None:
            annotations |= dict.fromkeys(_HEADER_FIELDS, "Any")
            body |= _HEADER_FIELDS
        cls = super().__new__(mcs, name, bases, body, gc=False)
        hints = get_type_hints(cls, include_extras=True) if own else {}
        fields = [Field(key, hints[key].__metadata__[0], default) for key, default in own.items()]
        cls.FIELDS = (*cls.FIELDS, *fields)  # type: ignore[attr-defined]
        if command_id is not None:
            _complete(cast("type[Pdu]", cls), command_id)
        return cls

    def __init__(
        cls, name: str, bases: tuple[type, ...], body: dict[str, Any], command_id: CommandId | None = None
    ) -> None:
        super().__init__(name, bases, body)


def _complete(cls: type[Pdu], command_id: CommandId) -> None:
    cls.command_id = int(command_id)
    cls.command = command_id.name.lower()
    cls.is_response = command_id >= RESPONSE_BIT
    functions = compile_pdu(cls)
    cls.to_wire = functions["to_wire"]  # type: ignore[method-assign]
    for name in ("from_wire", "body"):
        setattr(cls, name, staticmethod(functions[name]))
    PDUS[cls.command_id] = cls


PDUS: dict[int, type[Pdu]] = {}  # by command_id


class Pdu(metaclass=PduType):
    """What all PDUs share. Header fields and tlvs are keyword arguments of every PDU."""

    command_id: ClassVar[int]
    command: ClassVar[str]  # "submit_sm"
    is_response: ClassVar[bool]
    FIELDS: ClassVar[tuple[Field, ...]] = ()
    from_wire: ClassVar[Callable[[bytes, int, int], Pdu]]  # whole PDU, command_status, sequence_number
    body: ClassVar[Callable[..., bytes]]  # fields positionally, then tlvs: the octets after the header

    sequence_number: int = _header(default=0, kw_only=True)
    command_status: int = _header(default=0, kw_only=True)
    tlvs: Sequence[tuple[int, bytes]] = _header(default=(), kw_only=True)

    def to_wire(self, with_tlvs: bool = True) -> bytes:
        raise NotImplementedError  # compiled for every concrete PDU

    def tlv(self, tag: int) -> bytes | None:
        """Value of the first TLV with this tag."""
        for its_tag, value in self.tlvs:
            if its_tag == tag:
                return value
        return None

    def as_dict(self) -> dict[str, Any]:
        """Mandatory fields in wire order, then sequence_number, command_status and tlvs."""
        return {
            name: getattr(self, name) for name in (*(field.name for field in self.FIELDS), *_HEADER_FIELDS)
        }

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, theirs = self.as_dict(), other.as_dict()
        return all(_comparable(mine[name]) == _comparable(theirs[name]) for name in mine)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """What differs from the defaults; never a password."""
        defaults = {field.name: field.default for field in self.FIELDS}
        said = [
            f"{name}={'***' if name == _SECRET else repr(value)}"
            for name, value in self.as_dict().items()
            if value and value != defaults.get(name)
        ]
        return f"{type(self).__name__}({', '.join(said)})"


def _comparable(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


# --- session: 3.4 sections 4.1-4.3, 4.11


class _Bind(Pdu):
    system_id: SystemId = b""
    password: Password = b""
    system_type: SystemType = b""
    interface_version: Octet = 0x34
    addr_ton: Octet = 0
    addr_npi: Octet = 0
    address_range: AddressRange = b""


class _BindResp(Pdu):
    system_id: SystemId = b""


class BindReceiver(_Bind, command_id=CommandId.BIND_RECEIVER): ...


class BindReceiverResp(_BindResp, command_id=CommandId.BIND_RECEIVER_RESP): ...


class BindTransmitter(_Bind, command_id=CommandId.BIND_TRANSMITTER): ...


class BindTransmitterResp(_BindResp, command_id=CommandId.BIND_TRANSMITTER_RESP): ...


class BindTransceiver(_Bind, command_id=CommandId.BIND_TRANSCEIVER): ...


class BindTransceiverResp(_BindResp, command_id=CommandId.BIND_TRANSCEIVER_RESP): ...


class Outbind(Pdu, command_id=CommandId.OUTBIND):
    """Has no response: the ESME answers with a bind_receiver."""

    system_id: SystemId = b""
    password: Password = b""


class Unbind(Pdu, command_id=CommandId.UNBIND): ...


class UnbindResp(Pdu, command_id=CommandId.UNBIND_RESP): ...


class EnquireLink(Pdu, command_id=CommandId.ENQUIRE_LINK): ...


class EnquireLinkResp(Pdu, command_id=CommandId.ENQUIRE_LINK_RESP): ...


class GenericNack(Pdu, command_id=CommandId.GENERIC_NACK): ...


# --- messages: 3.4 sections 4.4-4.7


class _ShortMessage(Pdu):
    service_type: ServiceType = b""
    source_addr_ton: Octet = 0
    source_addr_npi: Octet = 0
    source_addr: Address = b""
    dest_addr_ton: Octet = 0
    dest_addr_npi: Octet = 0
    destination_addr: Address = b""
    esm_class: Octet = 0
    protocol_id: Octet = 0
    priority_flag: Octet = 0
    schedule_delivery_time: Time = b""
    validity_period: Time = b""
    registered_delivery: Octet = 0
    replace_if_present_flag: Octet = 0
    data_coding: Octet = 0
    sm_default_msg_id: Octet = 0
    short_message: Text = b""


class _MessageIdResp(Pdu):
    message_id: MessageId = b""


class SubmitSm(_ShortMessage, command_id=CommandId.SUBMIT_SM): ...


class SubmitSmResp(_MessageIdResp, command_id=CommandId.SUBMIT_SM_RESP): ...


class DeliverSm(_ShortMessage, command_id=CommandId.DELIVER_SM): ...


class DeliverSmResp(_MessageIdResp, command_id=CommandId.DELIVER_SM_RESP):
    """message_id is unused and empty by the specification; peers send one all the same."""


class SubmitMulti(Pdu, command_id=CommandId.SUBMIT_MULTI):
    service_type: ServiceType = b""
    source_addr_ton: Octet = 0
    source_addr_npi: Octet = 0
    source_addr: Address = b""
    dest_address: Destinations = ()
    esm_class: Octet = 0
    protocol_id: Octet = 0
    priority_flag: Octet = 0
    schedule_delivery_time: Time = b""
    validity_period: Time = b""
    registered_delivery: Octet = 0
    replace_if_present_flag: Octet = 0
    data_coding: Octet = 0
    sm_default_msg_id: Octet = 0
    short_message: Text = b""


class SubmitMultiResp(Pdu, command_id=CommandId.SUBMIT_MULTI_RESP):
    message_id: MessageId = b""
    unsuccess_sme: Refused = ()


class DataSm(Pdu, command_id=CommandId.DATA_SM):
    service_type: ServiceType = b""
    source_addr_ton: Octet = 0
    source_addr_npi: Octet = 0
    source_addr: LongAddress = b""
    dest_addr_ton: Octet = 0
    dest_addr_npi: Octet = 0
    destination_addr: LongAddress = b""
    esm_class: Octet = 0
    registered_delivery: Octet = 0
    data_coding: Octet = 0


class DataSmResp(_MessageIdResp, command_id=CommandId.DATA_SM_RESP): ...


# --- a message's fate: 3.4 sections 4.8-4.10, 4.12


class QuerySm(Pdu, command_id=CommandId.QUERY_SM):
    message_id: MessageId = b""
    source_addr_ton: Octet = 0
    source_addr_npi: Octet = 0
    source_addr: Address = b""


class QuerySmResp(Pdu, command_id=CommandId.QUERY_SM_RESP):
    message_id: MessageId = b""
    final_date: Time = b""
    message_state: Octet = 0
    error_code: Octet = 0


class CancelSm(Pdu, command_id=CommandId.CANCEL_SM):
    service_type: ServiceType = b""
    message_id: MessageId = b""
    source_addr_ton: Octet = 0
    source_addr_npi: Octet = 0
    source_addr: Address = b""
    dest_addr_ton: Octet = 0
    dest_addr_npi: Octet = 0
    destination_addr: Address = b""


class CancelSmResp(Pdu, command_id=CommandId.CANCEL_SM_RESP): ...


class ReplaceSm(Pdu, command_id=CommandId.REPLACE_SM):
    message_id: MessageId = b""
    source_addr_ton: Octet = 0
    source_addr_npi: Octet = 0
    source_addr: Address = b""
    schedule_delivery_time: Time = b""
    validity_period: Time = b""
    registered_delivery: Octet = 0
    sm_default_msg_id: Octet = 0
    short_message: Text = b""


class ReplaceSmResp(Pdu, command_id=CommandId.REPLACE_SM_RESP): ...


class AlertNotification(Pdu, command_id=CommandId.ALERT_NOTIFICATION):
    """Has no response."""

    source_addr_ton: Octet = 0
    source_addr_npi: Octet = 0
    source_addr: LongAddress = b""
    esme_addr_ton: Octet = 0
    esme_addr_npi: Octet = 0
    esme_addr: LongAddress = b""


# --- cell broadcast: 5.0 section 4.4. Area, content type and repetition are mandatory TLVs


class BroadcastSm(Pdu, command_id=CommandId.BROADCAST_SM):
    service_type: ServiceType = b""
    source_addr_ton: Octet = 0
    source_addr_npi: Octet = 0
    source_addr: Address = b""
    message_id: MessageId = b""
    priority_flag: Octet = 0
    schedule_delivery_time: Time = b""
    validity_period: Time = b""
    replace_if_present_flag: Octet = 0
    data_coding: Octet = 0
    sm_default_msg_id: Octet = 0


class BroadcastSmResp(_MessageIdResp, command_id=CommandId.BROADCAST_SM_RESP): ...


class QueryBroadcastSm(Pdu, command_id=CommandId.QUERY_BROADCAST_SM):
    message_id: MessageId = b""
    source_addr_ton: Octet = 0
    source_addr_npi: Octet = 0
    source_addr: Address = b""


class QueryBroadcastSmResp(_MessageIdResp, command_id=CommandId.QUERY_BROADCAST_SM_RESP): ...


class CancelBroadcastSm(Pdu, command_id=CommandId.CANCEL_BROADCAST_SM):
    service_type: ServiceType = b""
    message_id: MessageId = b""
    source_addr_ton: Octet = 0
    source_addr_npi: Octet = 0
    source_addr: Address = b""


class CancelBroadcastSmResp(Pdu, command_id=CommandId.CANCEL_BROADCAST_SM_RESP): ...


class SubmitSmBody(Protocol):
    """The order of SubmitSm's fields as a type checker can see it (a test compares the two)."""

    def __call__(
        self,
        service_type: bytes = b"",
        source_addr_ton: int = 0,
        source_addr_npi: int = 0,
        source_addr: bytes = b"",
        dest_addr_ton: int = 0,
        dest_addr_npi: int = 0,
        destination_addr: bytes = b"",
        esm_class: int = 0,
        protocol_id: int = 0,
        priority_flag: int = 0,
        schedule_delivery_time: bytes = b"",
        validity_period: bytes = b"",
        registered_delivery: int = 0,
        replace_if_present_flag: int = 0,
        data_coding: int = 0,
        sm_default_msg_id: int = 0,
        short_message: bytes = b"",
        tlvs: Sequence[tuple[int, bytes]] = (),
    ) -> bytes: ...


# The hot path: a submit_sm (or deliver_sm) body without a Pdu object. Raises EncodeError.
submit_sm_body: SubmitSmBody = SubmitSm.body
deliver_sm_body: SubmitSmBody = DeliverSm.body
