"""A customer on smpplib. python client.py PORT KIND SYSTEM_ID PASSWORD [CA_FILE, for TLS]

Line by line in JSON: commands on stdin, what happens on stdout. See test_clients.py for both.
"""

from __future__ import annotations

import json
import os
import select
import ssl
import sys
from typing import Any

import smpplib.client
import smpplib.consts
import smpplib.exceptions
import smpplib.gsm

_CODINGS = {
    "gsm7": smpplib.consts.SMPP_ENCODING_DEFAULT,
    "ucs2": smpplib.consts.SMPP_ENCODING_ISO10646,
}
_SILENT = {"enquire_link_resp": "alive", "unbind": "unbind", "unbind_resp": "unbound"}
_UDHI = smpplib.consts.SMPP_GSMFEAT_UDHI


def say(saw: str, **more: object) -> None:
    print(json.dumps({"saw": saw, **more}), flush=True)


class Client(smpplib.client.Client):  # type: ignore[misc]
    """Tells of what smpplib answers without a word."""

    def _enquire_link_received(self, pdu: Any) -> None:
        super()._enquire_link_received(pdu)
        say("enquire")

    def read_pdu(self) -> Any:
        pdu = super().read_pdu()
        if pdu.command in _SILENT:
            say(_SILENT[pdu.command], status=pdu.status)
        return pdu


class Customer:
    def __init__(self, port: str, ca_file: str = "") -> None:
        context = ssl.create_default_context(cafile=ca_file) if ca_file else None
        if context is not None:
            context.check_hostname = False  # smpplib gives no name to check
        self.client = Client(
            "127.0.0.1", int(port), timeout=30, ssl_context=context, allow_unknown_opt_params=True
        )
        self.client.set_message_received_handler(self.received)
        self.client.set_message_sent_handler(self.answered)
        self.client.set_query_resp_handler(
            lambda pdu, **_: say("state", status=pdu.status, state=pdu.message_state)
        )
        self.client.set_error_pdu_handler(self.refused)
        self.numbers: dict[int, int] = {}
        self.holding = False
        self.references = 0

    def bind(self, kind: str, system_id: str, password: str) -> bool:
        self.client.connect()
        bind = getattr(self.client, f"bind_{kind}")
        try:
            answer = bind(system_id=system_id, password=password)
        except smpplib.exceptions.PDUError as error:
            say("bound", status=error.args[1], system_id="")
            return False
        say("bound", status=answer.status, system_id=answer.system_id.decode())
        return True

    def run(self) -> None:
        rest = b""
        while True:
            listening = [] if self.holding else [self.client._socket]
            readable, _, _ = select.select([0, *listening], [], [])
            if 0 in readable:
                data = os.read(0, 65_536)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    wish = json.loads(line)
                    getattr(self, wish["do"])(wish)
            if self.client._socket in readable:
                self.client.read_once()

    # what happens

    def answered(self, pdu: Any, **_: object) -> None:
        if pdu.status:
            return  # smpplib calls this one after `refused`, too
        say("answer", n=self.numbers.pop(pdu.sequence, -1), status=0, id=pdu.message_id.decode())

    def refused(self, pdu: Any) -> None:
        if pdu.command == "query_sm_resp":
            say("state", status=pdu.status)
        else:
            say("answer", n=self.numbers.pop(pdu.sequence, -1), status=pdu.status)

    def received(self, pdu: Any, **_: object) -> int:
        octets = pdu.short_message or pdu.message_payload or b""
        udh = octets[: octets[0] + 1] if pdu.esm_class & _UDHI else b""
        shown = pdu.receipted_message_id
        say(
            "deliver",
            **{"from": pdu.source_addr.decode()},
            to=pdu.destination_addr.decode(),
            to_type=[pdu.dest_addr_ton, pdu.dest_addr_npi],
            esm=pdu.esm_class,
            coding=pdu.data_coding,
            text=read(octets[len(udh) :], pdu.data_coding),
            udh=udh.hex(),
            id=shown.decode() if shown else None,
            state=pdu.message_state,
        )
        return 0

    # commands

    def submit(self, wish: dict[str, Any]) -> None:
        how, chosen = wish["how"], _CODINGS[wish["as"]]
        parts, coding, esm_class = smpplib.gsm.make_parts(wish["text"], chosen, use_udhi=how != "sar")
        if how == "payload":
            encode = smpplib.gsm.ENCODINGS[chosen][0]
            self.send(wish, data_coding=chosen, message_payload=encode(wish["text"]))
            return
        self.references += 1
        for index, part in enumerate(parts, 1):
            sar: dict[str, int] = {}
            if how == "sar":
                sar = {
                    "sar_msg_ref_num": self.references,
                    "sar_total_segments": len(parts),
                    "sar_segment_seqnum": index,
                }
            self.send(wish, data_coding=coding, esm_class=esm_class, short_message=part, **sar)

    def send(self, wish: dict[str, Any], **fields: object) -> None:
        pdu = self.client.send_message(
            source_addr_ton=smpplib.consts.SMPP_TON_ALNUM,
            source_addr=wish["from"],
            dest_addr_ton=smpplib.consts.SMPP_TON_INTL,
            dest_addr_npi=smpplib.consts.SMPP_NPI_ISDN,
            destination_addr=wish["to"],
            registered_delivery=True,
            **fields,
        )
        self.numbers[pdu.sequence] = wish["n"]

    def query(self, wish: dict[str, Any]) -> None:
        self.client.query_message(message_id=wish["id"], source_addr_ton=5, source_addr=wish["from"])

    def enquire(self, _: dict[str, Any]) -> None:
        self.client.send_pdu(smpplib.smpp.make_pdu("enquire_link", client=self.client))

    def unbind(self, _: dict[str, Any]) -> None:
        self.client.unbind()
        self.client.disconnect()
        say("closed")
        sys.exit(0)

    def hold(self, _: dict[str, Any]) -> None:
        self.holding = True
        say("holding")

    def go(self, _: dict[str, Any]) -> None:
        self.holding = False


def read(octets: bytes, coding: int) -> str:
    """smpplib encodes texts, but does not decode them; its table says what it takes an octet for."""
    if coding == smpplib.consts.SMPP_ENCODING_ISO10646:
        return octets.decode("utf-16-be")
    text, table = "", smpplib.gsm.GSM_CHARACTER_TABLE
    for octet in octets:
        if text.endswith("\x1b"):
            text, octet = text[:-1], octet + 0x80
        text += table[octet]
    return text


def main() -> None:
    port, kind, system_id, password, *ca_file = sys.argv[1:]
    customer = Customer(port, *ca_file)
    try:
        if customer.bind(kind, system_id, password):
            customer.run()
    except smpplib.exceptions.ConnectionError:
        pass
    customer.client.disconnect()
    say("closed")


if __name__ == "__main__":
    main()
