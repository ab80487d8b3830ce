/* Texts made for each message: `cust%02d` patterns and templates with {n}, {to} and {text}. */
#ifndef LOAD_TEXT_H
#define LOAD_TEXT_H

#include "net.h"

#include <stdint.h>

enum { NUMBER_MOST = 20, BODY_MOST = 160 };

struct values {
    uint64_t n;
    char to[NUMBER_MOST + 1];
    char text[BODY_MOST + 1];
};

/* `pattern` with its %d or %0Nd replaced by the number; without one, itself. `size` includes the NUL. */
void number_into(char *out, size_t size, const char *pattern, long number);

/* Appends the template, tokens replaced. Anything else in braces stays, so that JSON can be a template. */
void template_append(struct buffer *out, const char *template, const struct values *values);

#endif
