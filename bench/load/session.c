/* See session.h. */
#include "session.h"

#include "text.h"

void session_name(struct session *session, const char *system_id, const char *password, long number) {
    number_into(session->system_id, sizeof session->system_id, system_id, number);
    number_into(session->password, sizeof session->password, password, number);
}

void session_open(struct session *session, const struct dialling *to) {
    struct writer writer;
    dial(&session->link, to);
    session->bound = false;
    session->last_sequence = 1;
    write_header(&writer, BIND_TRANSCEIVER, 0, 1);
    write_text(&writer, session->system_id);
    write_text(&writer, session->password);
    write_text(&writer, "");             /* system_type */
    write_octets(&writer, "\x34\0\0", 3); /* interface_version, addr_ton, addr_npi */
    write_text(&writer, "");             /* address_range */
    write_end(&writer, &session->link.out);
    flush(&session->link);
}

bool session_took(struct session *session, const struct pdu *pdu) {
    switch (pdu->command) {
    case BIND_TRANSCEIVER | RESPONSE:
        session->bound = pdu->status == ESME_ROK;
        session->refused = pdu->status;
        return true;
    case ENQUIRE_LINK:
    case UNBIND:
        write_simple(&session->link.out, pdu->command | RESPONSE, 0, pdu->sequence, NULL);
        return true;
    case ENQUIRE_LINK | RESPONSE:
    case UNBIND | RESPONSE:
        return true;
    default:
        return false;
    }
}
