/* Command line options as a table: each command declares its own, --help prints them with their defaults.
 *
 * Every option is `--name value`, except switches. An unknown one ends the program with status 2.
 */
#ifndef LOAD_OPTIONS_H
#define LOAD_OPTIONS_H

#include <stdbool.h>

enum { LIST_MOST = 16 };

struct list {
    const char *items[LIST_MOST];
    int count;
};

struct option {
    const char *name;
    enum { TEXT, WHOLE, DECIMAL, SWITCH, LIST } kind;
    void *value; /* const char **, long *, double *, bool * or struct list *; it holds the default */
    const char *help;
};

/* `options` ends with a NULL name; `arguments` are those after the command's own name. */
void read_options(const char *command, const struct option *options, int count, char **arguments);

#endif
