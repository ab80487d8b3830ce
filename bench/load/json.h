/* One JSON object on one line, written as it is told. One at a time. */
#ifndef LOAD_JSON_H
#define LOAD_JSON_H

#include <stdint.h>
#include <stdio.h>

void json_begin(FILE *out);
void json_open(const char *name); /* an object inside */
void json_count(const char *name, uint64_t value);
void json_number(const char *name, double value);    /* three digits behind the point */
void json_text(const char *name, const char *value); /* what would need escapes becomes a space */
void json_close(void); /* the innermost object; with the outermost the line ends and is flushed */

#endif
