/* The commands of the load tool: each reads its options, runs to its end or SIGTERM, prints a JSON line. */
#ifndef LOAD_COMMANDS_H
#define LOAD_COMMANDS_H

int run_smsc(int count, char **arguments);
int run_esme(int count, char **arguments);
int run_idle(int count, char **arguments);
int run_http(int count, char **arguments);
int run_sink(int count, char **arguments);

#endif
