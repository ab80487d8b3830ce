"""The APIs of other gateways that a listener and an account may be given, by name (docs/apps.md).

Apart from the model, so that commands which only name them load nothing else.
"""

from __future__ import annotations

APIS = ("kannel", "jasmin", "twilio", "vonage", "listmonk", "alertmanager")
