/* As much of SMPP 3.4 as a load tool needs: framing, submit_sm and deliver_sm, receipts.
 *
 * What is read stays in the connection's buffer: a pdu's body and texts are pointers into it, valid until
 * more is received. Reading checks every bound; writing trusts its caller.
 */
#ifndef LOAD_SMPP_H
#define LOAD_SMPP_H

#include "net.h"

enum {
    BIND_RECEIVER = 0x01,
    BIND_TRANSMITTER = 0x02,
    SUBMIT_SM = 0x04,
    DELIVER_SM = 0x05,
    UNBIND = 0x06,
    BIND_TRANSCEIVER = 0x09,
    ENQUIRE_LINK = 0x15,
};
#define RESPONSE 0x80000000u
#define GENERIC_NACK 0x80000000u

enum { ESME_ROK = 0x00, ESME_RINVCMDLEN = 0x02, ESME_RINVCMDID = 0x03, ESME_RTHROTTLED = 0x58 };
enum { ADDRESS_MOST = 20, SYSTEM_ID_MOST = 15, PASSWORD_MOST = 8, MESSAGE_ID_MOST = 64, TEXT_MOST = 254 };
enum { ESM_RECEIPT = 0x04, ESM_INTERMEDIATE = 0x20, ESM_TYPE = 0x3c };
enum { STATE_ENROUTE = 1, STATE_DELIVERED = 2 };

struct pdu {
    uint32_t command, status, sequence;
    const uint8_t *body, *end;
};

/* The next PDU, taken off the buffer. PDU_BROKEN: the length cannot be one. */
enum framing { PDU_READY, PDU_PARTIAL, PDU_BROKEN };
enum framing next_pdu(struct buffer *in, struct pdu *pdu);

/* The C-octet string at *at, which moves behind it; NULL where it has no end or more than `most` octets. */
const char *take_text(const uint8_t **at, const uint8_t *end, size_t most);

struct address {
    uint8_t ton, npi;
    char digits[ADDRESS_MOST + 1];
};

/* The body of a submit_sm or deliver_sm, as far as anybody here looks. */
struct message {
    struct address source, destination;
    uint8_t esm_class, registered_delivery;
    const uint8_t *text; /* short_message, or message_payload */
    size_t text_length;
    const char *receipted_id; /* its TLV; NULL: none */
    int state;                /* message_state's TLV; 0: none */
};

bool read_message(const struct pdu *pdu, struct message *message);

/* A receipt's id and state, from its TLVs where it has them, else from its text. */
struct receipt {
    char id[MESSAGE_ID_MOST + 1];
    bool final, delivered;
    bool ids_differ; /* text and TLV name different ids */
};

bool is_receipt(const struct message *message);
bool read_receipt(const struct message *message, struct receipt *receipt);

/* One PDU under construction; 1024 octets hold anything written here. */
struct writer {
    size_t length;
    uint8_t octets[1024];
};

void write_header(struct writer *writer, uint32_t command, uint32_t status, uint32_t sequence);
void write_octet(struct writer *writer, uint8_t octet);
void write_octets(struct writer *writer, const void *octets, size_t length);
void write_text(struct writer *writer, const char *text); /* with its NUL */
void write_tlv(struct writer *writer, uint16_t tag, const void *octets, size_t length);
void write_message(struct writer *writer, const struct message *message);
void write_end(struct writer *writer, struct buffer *out);

/* A PDU whose whole body is one C-octet string (or nothing, with NULL). */
void write_simple(struct buffer *out, uint32_t command, uint32_t status, uint32_t sequence,
                  const char *text);

enum { TLV_RECEIPTED_MESSAGE_ID = 0x001e, TLV_MESSAGE_PAYLOAD = 0x0424, TLV_MESSAGE_STATE = 0x0427 };

#endif
