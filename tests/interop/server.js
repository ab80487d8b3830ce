// A small SMSC on npm's smpp package: what a peer that nobody here wrote does with our binds.
// node server.js PORT: prints one line for each thing that happens; reads commands on stdin:
//   mo SOURCE DESTINATION TEXT | unbind | cut
'use strict';
const smpp = require('smpp');
const readline = require('readline');

const sessions = new Set();
let next = 1;
const say = (...words) => console.log(words.join(' '));

const server = smpp.createServer({ autoPrioritySessions: false }, (session) => {
  session.on('error', (error) => say('error', error.code || error.message));
  session.on('close', () => { sessions.delete(session); say('closed'); });
  session.on('bind_transceiver', (pdu) => {
    session.send(pdu.response({ system_id: 'node' }));
    sessions.add(session);
    say('bound', pdu.system_id);
  });
  session.on('enquire_link', (pdu) => { session.send(pdu.response()); say('enquire_link'); });
  session.on('unbind', (pdu) => { session.send(pdu.response()); say('unbind'); session.close(); });
  session.on('submit_sm', (pdu) => {
    const id = `node-${next++}`;
    session.send(pdu.response({ message_id: id }));
    say('submit', pdu.destination_addr, JSON.stringify(pdu.short_message.message));
    const back = {
      source_addr: pdu.destination_addr,
      destination_addr: pdu.source_addr,
      esm_class: 4,
    };
    if (id.endsWith('2')) {
      session.deliver_sm({ ...back, short_message: '', receipted_message_id: id, message_state: 2 }, () => say('acked'));
    } else {
      const text = `id:${id} sub:001 dlvrd:001 submit date:2611210000 done date:2611210001 stat:DELIVRD err:000 text:x`;
      session.deliver_sm({ ...back, short_message: text }, () => say('acked'));
    }
  });
});

server.listen(Number(process.argv[2]), '127.0.0.1', () => say('listening'));

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const [verb, source, destination, ...text] = line.split(' ');
  for (const session of sessions) {
    if (verb === 'mo') {
      session.deliver_sm({ source_addr: source, destination_addr: destination, short_message: text.join(' ') },
        (pdu) => say('mo', pdu.command_status));
    } else if (verb === 'unbind') {
      session.unbind(() => { say('unbound'); session.close(); });
    } else if (verb === 'cut') {
      session.socket.destroy();
    }
    break;
  }
});
