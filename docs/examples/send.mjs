// Send one message and look at it. Needs Node 18 or later, or a browser's fetch behind a server of yours.
const { SIGNALBOX_URL, SIGNALBOX_KEY } = process.env;

async function ask(method, path, body, headers = {}) {
  const answer = await fetch(SIGNALBOX_URL + path, {
    method,
    headers: { Authorization: `Bearer ${SIGNALBOX_KEY}`, "Content-Type": "application/json", ...headers },
    body: body && JSON.stringify(body),
  });
  const told = await answer.json();
  if (!answer.ok) throw new Error(`${answer.status} ${told.title}: ${told.detail}`);
  return told;
}

const sent = await ask(
  "POST",
  "/v1/messages",
  { to: "+447700900123", from: "ACME", text: "Your order 4711 is on its way", class: "transactional" },
  { "Idempotency-Key": crypto.randomUUID() }, // keep it, and send it again when no answer came
);
console.log(sent.id);

const message = await ask("GET", `/v1/messages/${sent.id}`);
console.log(message.state, message.timeline.map((step) => step.step).join(" "));
