/* trial_server.h - sweeps of programs that ask a fault server.
 *
 * Such a server counts requests, and its routes go by what it has counted; so
 * in a sweep each trial has one of its own, in its process, with the routes of
 * that which the test has started. That one is never asked.
 */
#ifndef BELAY_TEST_SUPPORT_TRIAL_SERVER_H
#define BELAY_TEST_SUPPORT_TRIAL_SERVER_H

#include "test/support/fault_server.h"
#include "test/support/program.h"

/* What BELAY_SWEEP asks for. `url`, of `size` bytes, is what the program has
 * from its arguments; in a trial it is that of the trial's own server, if there
 * is a server, and *server becomes that one. Both may be NULL.
 */
void sweep_with_server(const struct program *program, char *url, size_t size,
    struct fault_server **server);

#endif
