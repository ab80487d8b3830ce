// A customer on npm's smpp package. node client.js PORT KIND SYSTEM_ID PASSWORD [CA_FILE, for TLS]
// Line by line in JSON: commands on stdin, what happens on stdout. See test_clients.py for both.
'use strict';
const fs = require('fs');
const smpp = require('smpp');
const readline = require('readline');

const [port, kind, systemId, password, caFile] = process.argv.slice(2);
const say = (saw, more) => console.log(JSON.stringify({ saw, ...more }));
const unanswered = [];
let holding = false;
let parts = 0;

const secured = caFile ? { tls: true, ca: fs.readFileSync(caFile) } : {};
const session = smpp.connect({ host: '127.0.0.1', port: Number(port), ...secured });
session.on(caFile ? 'secureConnect' : 'connect', () => session[`bind_${kind}`]({ system_id: systemId, password, interface_version: 0x34 },
  (pdu) => say('bound', { status: pdu.command_status, system_id: pdu.system_id })));
session.on('error', (error) => say('error', { what: error.message }));
session.on('close', () => { say('closed'); process.exit(0); });
session.on('enquire_link', (pdu) => { session.send(pdu.response()); say('enquire'); });
session.on('unbind', (pdu) => { session.send(pdu.response(), () => session.close()); say('unbind'); });
session.on('deliver_sm', (pdu) => {
  const content = pdu.message_payload || pdu.short_message;
  say('deliver', {
    from: pdu.source_addr, to: pdu.destination_addr, esm: pdu.esm_class, coding: pdu.data_coding,
    to_type: [pdu.dest_addr_ton, pdu.dest_addr_npi],
    text: content.message, udh: content.udh ? Buffer.concat(content.udh).toString('hex') : '',
    id: pdu.receipted_message_id, state: pdu.message_state,
  });
  const answer = () => session.send(pdu.response());
  if (holding) unanswered.push(answer); else answer();
});

const codings = { gsm7: 0, ucs2: 8 };
function submit(wish) {
  const message = {
    source_addr: wish.from, source_addr_ton: 5, destination_addr: wish.to, dest_addr_ton: 1, dest_addr_npi: 1,
    registered_delivery: 1,
  };
  if (wish.as in codings) message.data_coding = codings[wish.as]; // else the package chooses
  const pieces = [];
  const each = wish.as === 'ucs2' ? 66 : 150;
  for (let at = 0; at < wish.text.length; at += each) pieces.push(wish.text.slice(at, at + each));
  if (wish.how === 'payload') {
    send(wish, { ...message, short_message: '', message_payload: wish.text });
  } else if (wish.how === 'udh') {
    parts += 1;
    pieces.forEach((piece, index) => {
      const udh = Buffer.from([5, 0, 3, parts & 255, pieces.length, index + 1]);
      send(wish, { ...message, short_message: { udh, message: piece } });
    });
  } else if (wish.how === 'sar') {
    parts += 1;
    pieces.forEach((piece, index) => send(wish, {
      ...message, short_message: piece,
      sar_msg_ref_num: parts, sar_total_segments: pieces.length, sar_segment_seqnum: index + 1,
    }));
  } else {
    send(wish, { ...message, short_message: wish.text });
  }
}
const send = (wish, message) => session.submit_sm(message,
  (pdu) => say('answer', { n: wish.n, status: pdu.command_status, id: pdu.message_id }));

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const wish = JSON.parse(line);
  if (wish.do === 'submit') submit(wish);
  if (wish.do === 'query') {
    session.query_sm({ message_id: wish.id, source_addr: wish.from, source_addr_ton: 5 },
      (pdu) => say('state', { status: pdu.command_status, state: pdu.message_state }));
  }
  if (wish.do === 'cancel') {
    session.cancel_sm({ message_id: wish.id, source_addr: wish.from, source_addr_ton: 5 },
      (pdu) => say('cancelled', { status: pdu.command_status }));
  }
  if (wish.do === 'enquire') session.enquire_link((pdu) => say('alive', { status: pdu.command_status }));
  if (wish.do === 'unbind') session.unbind((pdu) => { say('unbound', { status: pdu.command_status }); session.close(); });
  if (wish.do === 'hold') { holding = true; say('holding'); }
  if (wish.do === 'go') { holding = false; unanswered.splice(0).forEach((answer) => answer()); }
});
