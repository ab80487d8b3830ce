/* See text.h. */
#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void number_into(char *out, size_t size, const char *pattern, long number) {
    const char *mark = strchr(pattern, '%');
    char *end = NULL;
    long width = mark ? strtol(mark + 1, &end, 10) : 0;
    int made;
    if (!mark)
        made = snprintf(out, size, "%s", pattern);
    else if (*end != 'd' || width > 9 || strchr(end, '%'))
        fail("%s: a pattern may hold one %%d or %%0Nd", pattern);
    else
        made = snprintf(out, size, "%.*s%0*ld%s", (int)(mark - pattern), pattern, (int)width, number,
                        end + 1);
    if (made < 0 || (size_t)made >= size)
        fail("%s: with its number it is longer than %zu characters", pattern, size - 1);
}

static size_t append_token(struct buffer *out, const char *at, const struct values *values) {
    if (!strncmp(at, "{to}", 4)) {
        buffer_append(out, values->to, strlen(values->to));
        return 4;
    }
    if (!strncmp(at, "{text}", 6)) {
        buffer_append(out, values->text, strlen(values->text));
        return 6;
    }
    if (!strncmp(at, "{n}", 3)) {
        char digits[24];
        int length = snprintf(digits, sizeof digits, "%" PRIu64, values->n);
        buffer_append(out, digits, (size_t)length);
        return 3;
    }
    buffer_append(out, at, 1);
    return 1;
}

void template_append(struct buffer *out, const char *template, const struct values *values) {
    for (;;) {
        size_t plain = strcspn(template, "{");
        buffer_append(out, template, plain);
        template += plain;
        if (!*template)
            return;
        template += append_token(out, template, values);
    }
}
