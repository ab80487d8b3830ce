/* One HTTP/1.1 message in a buffer: where it ends, and what its first line and head say.
 *
 * Deliberately not here: the content of chunked bodies (only their end), headers other than those that frame.
 */
#ifndef LOAD_HTTPFRAME_H
#define LOAD_HTTPFRAME_H

#include "net.h"

struct http_frame {
    const char *first_line; /* without its CR LF */
    size_t first_line_length;
    const uint8_t *body;
    size_t body_length; /* chunked: with the chunks' own lines */
    size_t length;      /* of the whole message */
    bool closes;        /* Connection: close */
};

/* True when a whole message stands at the buffer's start; `ended`: no more octets will come. */
bool http_next(const struct buffer *in, bool response, bool ended, struct http_frame *frame);

#endif
