/* See options.h. */
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_help(const char *command, const struct option *options) {
    printf("usage: load %s [options]\n\n", command);
    for (const struct option *option = options; option->name; option++) {
        printf("  --%-16s %s", option->name, option->help);
        switch (option->kind) {
        case TEXT:
            printf(" [%s]\n", *(const char **)option->value);
            break;
        case WHOLE:
            printf(" [%ld]\n", *(long *)option->value);
            break;
        case DECIMAL:
            printf(" [%g]\n", *(double *)option->value);
            break;
        default:
            putchar('\n');
        }
    }
}

static _Noreturn void refuse(const char *command, const char *problem, const char *subject) {
    fprintf(stderr, "load %s: %s %s; see load %s --help\n", command, problem, subject, command);
    exit(2);
}

static void take_value(const char *command, const struct option *option, const char *given) {
    char *end = NULL;
    errno = 0;
    switch (option->kind) {
    case TEXT:
        *(const char **)option->value = given;
        return;
    case LIST: {
        struct list *list = option->value;
        if (list->count == LIST_MOST)
            refuse(command, "too many of", option->name);
        list->items[list->count++] = given;
        return;
    }
    case WHOLE:
        *(long *)option->value = strtol(given, &end, 0);
        break;
    case DECIMAL:
        *(double *)option->value = strtod(given, &end);
        break;
    case SWITCH:
        return;
    }
    if (errno || end == given || *end)
        refuse(command, "not a number:", given);
}

static const struct option *find(const struct option *options, const char *argument) {
    if (strncmp(argument, "--", 2) != 0)
        return NULL;
    for (; options->name; options++)
        if (!strcmp(options->name, argument + 2))
            return options;
    return NULL;
}

void read_options(const char *command, const struct option *options, int count, char **arguments) {
    for (int i = 0; i < count; i++) {
        if (!strcmp(arguments[i], "--help")) {
            print_help(command, options);
            exit(0);
        }
        const struct option *option = find(options, arguments[i]);
        if (!option)
            refuse(command, "no such option:", arguments[i]);
        if (option->kind == SWITCH)
            *(bool *)option->value = true;
        else if (i + 1 == count)
            refuse(command, "a value is missing after", arguments[i]);
        else
            take_value(command, option, arguments[++i]);
    }
}
