/* See httpframe.h. */
#include "httpframe.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct head {
    long content_length; /* -1: not given */
    bool chunked, closes;
};

static bool begins(const char *line, const char *end, const char *with) {
    size_t length = strlen(with);
    return (size_t)(end - line) >= length && !strncasecmp(line, with, length);
}

static struct head read_head(const char *line, const char *end) {
    struct head head = {.content_length = -1};
    for (; line < end; line = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1) {
        if (begins(line, end, "content-length:"))
            head.content_length = strtol(line + 15, NULL, 10);
        else if (begins(line, end, "transfer-encoding: chunked"))
            head.chunked = true;
        else if (begins(line, end, "connection: close"))
            head.closes = true;
    }
    return head;
}

/* Octets up to the end of the last chunk; 0: not all there. Trailers are not expected. */
static size_t chunked_length(const char *body, const char *end) {
    const char *at = body;
    for (;;) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (!line_end)
            return 0;
        unsigned long size = strtoul(at, NULL, 16);
        if ((size_t)(end - line_end) < size + 3)
            return 0;
        at = line_end + 1 + size + 2;
        if (size == 0)
            return (size_t)(at - body);
    }
}

bool http_next(const struct buffer *in, bool response, bool ended, struct http_frame *frame) {
    const char *start = (const char *)in->data + in->start;
    size_t held = buffer_length(in);
    const char *blank = in->data ? memmem(start, held, "\r\n\r\n", 4) : NULL;
    if (!blank)
        return false;
    const char *body = blank + 4, *end = start + held;
    const char *line_end = memchr(start, '\r', held);
    struct head head = read_head(line_end + 2 < body ? line_end + 2 : body, body);
    size_t body_length = 0;
    if (head.chunked) {
        body_length = chunked_length(body, end);
        if (!body_length)
            return false;
    } else if (head.content_length >= 0) {
        body_length = (size_t)head.content_length;
    } else if (response && strncmp(start + 9, "204", 3) != 0) {
        if (!ended) /* the body lasts as long as the connection */
            return false;
        body_length = (size_t)(end - body);
    }
    *frame = (struct http_frame){
        .first_line = start,
        .first_line_length = (size_t)(line_end - start),
        .body = (const uint8_t *)body,
        .body_length = body_length,
        .length = (size_t)(body - start) + body_length,
        .closes = head.closes,
    };
    return frame->length <= held;
}
