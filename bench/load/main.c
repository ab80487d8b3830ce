/* The load tool of `signalbox bench`: carriers, customers and HTTP peers, cheaper than what they measure.
 *
 * One process, one thread, one core; libc and epoll only. bench/rig.py compiles and starts it.
 *
 * Deliberately not here: TLS, IPv6, names, retries, anything that would make its figures hard to explain.
 */
#include "commands.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int count, char **arguments);
    const char *help;
} commands[] = {
    {"smsc", run_smsc, "a carrier on a port: answers submits, sends receipts and MOs"},
    {"esme", run_esme, "customers: bind, submit, count receipts by message id"},
    {"idle", run_idle, "sessions that only answer enquire_link, and sockets that never bind"},
    {"http", run_http, "HTTP requests over keep-alive connections"},
    {"sink", run_sink, "an HTTP server that answers 200 and counts callbacks"},
};

int main(int count, char **arguments) {
    size_t known = sizeof commands / sizeof *commands;
    for (size_t i = 0; i < known; i++)
        if (count > 1 && !strcmp(arguments[1], commands[i].name))
            return commands[i].run(count - 2, arguments + 2);
    fputs("usage: load COMMAND [options]; load COMMAND --help lists them\n\n", stderr);
    for (size_t i = 0; i < known; i++)
        fprintf(stderr, "  %-6s %s\n", commands[i].name, commands[i].help);
    return 2;
}
