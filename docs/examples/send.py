"""Send one message and look at it, with the client that comes with Signalbox."""

import os

from gateway.client import Signalbox

with Signalbox(os.environ["SIGNALBOX_URL"], os.environ["SIGNALBOX_KEY"]) as signalbox:
    sent = signalbox.send("+447700900123", "ACME", "Your order 4711 is on its way")
    print(sent.id)
    message = signalbox.message(sent.id)
    print(message.state, *(step.step for step in message.timeline))
