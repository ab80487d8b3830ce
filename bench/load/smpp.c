/* See smpp.h. */
#include "smpp.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

enum { HEADER_OCTETS = 16, PDU_OCTETS_MOST = 1 << 17 };

/* --- reading ---------------------------------------------------------------------------------------- */

static uint32_t read_u32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return be32toh(value);
}

enum framing next_pdu(struct buffer *in, struct pdu *pdu) {
    const uint8_t *at = in->data + in->start;
    size_t held = buffer_length(in);
    if (held < HEADER_OCTETS)
        return PDU_PARTIAL;
    uint32_t length = read_u32(at);
    if (length < HEADER_OCTETS || length > PDU_OCTETS_MOST)
        return PDU_BROKEN;
    if (held < length)
        return PDU_PARTIAL;
    *pdu = (struct pdu){
        .command = read_u32(at + 4),
        .status = read_u32(at + 8),
        .sequence = read_u32(at + 12),
        .body = at + HEADER_OCTETS,
        .end = at + length,
    };
    buffer_consume(in, length);
    return PDU_READY;
}

const char *take_text(const uint8_t **at, const uint8_t *end, size_t most) {
    const uint8_t *text = *at;
    size_t left = (size_t)(end - text);
    const uint8_t *nul = memchr(text, 0, left < most + 1 ? left : most + 1);
    if (!nul)
        return NULL;
    *at = nul + 1;
    return (const char *)text;
}

static bool take_address(const uint8_t **at, const uint8_t *end, struct address *address) {
    if (end - *at < 3)
        return false;
    address->ton = *(*at)++;
    address->npi = *(*at)++;
    const char *digits = take_text(at, end, ADDRESS_MOST);
    if (digits)
        strcpy(address->digits, digits);
    return digits != NULL;
}

/* The value as a C-octet string, with or without its NUL; NULL when it is neither. */
static const char *tlv_text(const uint8_t *value, size_t length, const uint8_t *end) {
    if (length && !value[length - 1])
        return (const char *)value;
    return value + length < end && !value[length] ? (const char *)value : NULL;
}

static bool read_tlvs(const uint8_t *at, const uint8_t *end, struct message *message) {
    while (end - at >= 4) {
        unsigned tag = (unsigned)at[0] << 8 | at[1];
        size_t length = (size_t)at[2] << 8 | at[3];
        const uint8_t *value = at + 4;
        if ((size_t)(end - value) < length)
            return false;
        if (tag == TLV_RECEIPTED_MESSAGE_ID)
            message->receipted_id = tlv_text(value, length, end);
        else if (tag == TLV_MESSAGE_STATE && length == 1)
            message->state = value[0];
        else if (tag == TLV_MESSAGE_PAYLOAD && !message->text_length) {
            message->text = value;
            message->text_length = length;
        }
        at = value + length;
    }
    return at == end;
}

bool read_message(const struct pdu *pdu, struct message *message) {
    const uint8_t *at = pdu->body, *end = pdu->end;
    message->receipted_id = NULL;
    message->state = 0;
    if (!take_text(&at, end, 5)) /* service_type */
        return false;
    if (!take_address(&at, end, &message->source) || !take_address(&at, end, &message->destination))
        return false;
    if (end - at < 3)
        return false;
    message->esm_class = at[0];
    at += 3; /* protocol_id, priority_flag */
    if (!take_text(&at, end, 16) || !take_text(&at, end, 16) || end - at < 5)
        return false;
    message->registered_delivery = at[0];
    message->text_length = at[4];
    message->text = at + 5;
    at += 5;
    if ((size_t)(end - at) < message->text_length)
        return false;
    return read_tlvs(at + message->text_length, end, message);
}

/* --- receipts --------------------------------------------------------------------------------------- */

bool is_receipt(const struct message *message) {
    unsigned type = message->esm_class & ESM_TYPE;
    return type == ESM_RECEIPT || type == ESM_INTERMEDIATE;
}

/* The word behind `key` in a receipt's text (SMPP 3.4 Appendix B), cut at `size - 1`; empty: none. */
static void word_after(const struct message *message, const char *key, char *word, size_t size) {
    const uint8_t *found = memmem(message->text, message->text_length, key, strlen(key));
    const uint8_t *end = message->text + message->text_length;
    size_t length = 0;
    if (found)
        for (found += strlen(key); found + length < end && found[length] > ' ' && length < size - 1; length++)
            word[length] = (char)found[length];
    word[length] = 0;
}

bool read_receipt(const struct message *message, struct receipt *receipt) {
    char stat[16];
    word_after(message, "id:", receipt->id, sizeof receipt->id);
    word_after(message, " stat:", stat, sizeof stat);
    receipt->ids_differ = false;
    if (message->receipted_id) {
        receipt->ids_differ = receipt->id[0] && strcmp(receipt->id, message->receipted_id) != 0;
        snprintf(receipt->id, sizeof receipt->id, "%s", message->receipted_id);
    }
    bool enroute = message->state ? message->state == STATE_ENROUTE : !strcmp(stat, "ENROUTE");
    receipt->final = !enroute && !(message->esm_class & ESM_INTERMEDIATE);
    receipt->delivered = message->state ? message->state == STATE_DELIVERED : !strcmp(stat, "DELIVRD");
    return receipt->id[0] != 0;
}

/* --- writing ---------------------------------------------------------------------------------------- */

static void put_u32(uint8_t *at, uint32_t value) {
    value = htobe32(value);
    memcpy(at, &value, sizeof value);
}

void write_header(struct writer *writer, uint32_t command, uint32_t status, uint32_t sequence) {
    put_u32(writer->octets + 4, command);
    put_u32(writer->octets + 8, status);
    put_u32(writer->octets + 12, sequence);
    writer->length = HEADER_OCTETS;
}

void write_octet(struct writer *writer, uint8_t octet) {
    writer->octets[writer->length++] = octet;
}

void write_octets(struct writer *writer, const void *octets, size_t length) {
    memcpy(writer->octets + writer->length, octets, length);
    writer->length += length;
}

void write_text(struct writer *writer, const char *text) {
    write_octets(writer, text, strlen(text) + 1);
}

void write_tlv(struct writer *writer, uint16_t tag, const void *octets, size_t length) {
    const uint8_t head[4] = {(uint8_t)(tag >> 8), (uint8_t)tag, (uint8_t)(length >> 8), (uint8_t)length};
    write_octets(writer, head, sizeof head);
    write_octets(writer, octets, length);
}

static void write_address(struct writer *writer, const struct address *address) {
    write_octet(writer, address->ton);
    write_octet(writer, address->npi);
    write_text(writer, address->digits);
}

void write_message(struct writer *writer, const struct message *message) {
    write_text(writer, ""); /* service_type */
    write_address(writer, &message->source);
    write_address(writer, &message->destination);
    write_octet(writer, message->esm_class);
    write_octets(writer, "\0\0", 2); /* protocol_id, priority_flag */
    write_octets(writer, "\0\0", 2); /* schedule_delivery_time, validity_period */
    write_octet(writer, message->registered_delivery);
    write_octets(writer, "\0\0\0", 3); /* replace_if_present_flag, data_coding, sm_default_msg_id */
    write_octet(writer, (uint8_t)message->text_length);
    write_octets(writer, message->text, message->text_length);
}

void write_end(struct writer *writer, struct buffer *out) {
    put_u32(writer->octets, (uint32_t)writer->length);
    buffer_append(out, writer->octets, writer->length);
}

void write_simple(struct buffer *out, uint32_t command, uint32_t status, uint32_t sequence,
                  const char *text) {
    struct writer writer;
    write_header(&writer, command, status, sequence);
    if (text)
        write_text(&writer, text);
    write_end(&writer, out);
}
