#!/bin/sh
# Send one message and look at it. Needs curl. SIGNALBOX_URL and SIGNALBOX_KEY come from the environment.
set -eu
answer=$(curl -sS --fail-with-body --retry 5 --retry-connrefused \
  -H "Authorization: Bearer $SIGNALBOX_KEY" \
  -H "Content-Type: application/json" \
  -H "Idempotency-Key: order-4711-shipped" \
  -d '{"to": "+447700900123", "from": "ACME", "text": "Your order 4711 is on its way"}' \
  "$SIGNALBOX_URL/v1/messages")
echo "$answer"

id=$(printf '%s' "$answer" | sed 's/.*"id":"\([0-9]*\)".*/\1/')
curl -sS --fail-with-body -H "Authorization: Bearer $SIGNALBOX_KEY" "$SIGNALBOX_URL/v1/messages/$id"
