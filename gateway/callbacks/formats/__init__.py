"""The formats in which callbacks leave: one file each, pure functions from events to requests."""

from __future__ import annotations

from gateway.callbacks.formats import cloudevents, jasmin, kannel, standard, twilio, vonage
from gateway.callbacks.formats.outgoing import Answer, Format, Outgoing, Terms
from router.nouns import CallbackFormat

FORMATS: dict[int, Format] = {
    CallbackFormat.STANDARD: standard.FORMAT,
    CallbackFormat.CLOUDEVENTS: cloudevents.FORMAT,
    CallbackFormat.KANNEL: kannel.FORMAT,
    CallbackFormat.JASMIN: jasmin.FORMAT,
    CallbackFormat.TWILIO: twilio.FORMAT,
    CallbackFormat.VONAGE: vonage.FORMAT,
}
BY_NAME: dict[str, Format] = {name.name.lower(): FORMATS[name] for name in CallbackFormat}

__all__ = ["BY_NAME", "FORMATS", "Answer", "Format", "Outgoing", "Terms"]
