/* An ESME's side of one bind, without the traffic: connect, bind_transceiver, enquire_link, unbind. */
#ifndef LOAD_SESSION_H
#define LOAD_SESSION_H

#include "smpp.h"

struct session {
    struct connection link; /* first: an event's pointer is the session's */
    char system_id[SYSTEM_ID_MOST + 1];
    char password[PASSWORD_MOST + 1];
    bool bound;
    uint32_t refused; /* command_status of a refused bind */
    uint32_t last_sequence;
};

/* Names the session by its patterns (text.h). */
void session_name(struct session *session, const char *system_id, const char *password, long number);

/* Connects and sends the bind. */
void session_open(struct session *session, const struct dialling *to);

/* True when the PDU was a bind's answer, an enquire_link or an unbind, and has been dealt with. */
bool session_took(struct session *session, const struct pdu *pdu);

#endif
