/* See json.h. */
#include "json.h"

#include <inttypes.h>
#include <stdbool.h>

static FILE *stream;
static int depth;
static bool first;

static void name_it(const char *name) {
    fprintf(stream, first ? "\"%s\":" : ",\"%s\":", name);
    first = false;
}

static void open_object(void) {
    fputc('{', stream);
    depth++;
    first = true;
}

void json_begin(FILE *out) {
    stream = out;
    depth = 0;
    open_object();
}

void json_open(const char *name) {
    name_it(name);
    open_object();
}

void json_count(const char *name, uint64_t value) {
    name_it(name);
    fprintf(stream, "%" PRIu64, value);
}

void json_number(const char *name, double value) {
    name_it(name);
    fprintf(stream, "%.3f", value);
}

void json_text(const char *name, const char *value) {
    name_it(name);
    fputc('"', stream);
    for (; *value; value++)
        fputc(*value < ' ' || *value == '"' || *value == '\\' || *value == 127 ? ' ' : *value, stream);
    fputc('"', stream);
}

void json_close(void) {
    fputc('}', stream);
    depth--;
    first = false;
    if (depth == 0) {
        fputc('\n', stream);
        fflush(stream);
    }
}
