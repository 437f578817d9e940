/* server_site.h - a server whose handler does all that a handler may do, and
 * clients that speak to it over raw sockets.
 *
 * The handler, `site`, has a page for each thing. A client is a script in a
 * thread; a director is an async function that runs in the server's block and
 * by its end says how long that is open. One scene at a time.
 */
#ifndef BELAY_TEST_SUPPORT_SERVER_SITE_H
#define BELAY_TEST_SUPPORT_SERVER_SITE_H

#include "llm/http/connection.h"
#include "llm/http/server.h"
#include "test/support/alloc.h"
#include "test/support/raw_client.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdatomic.h>

struct scene {
    uint16_t port;
    struct belay__server *server;
    struct belay_event running; /* a page is busy */
    struct belay_event gone;    /* and was cancelled, or could not write */
    atomic_bool client_done;
    size_t written;       /* by the page "flood" */
    size_t ahead;         /* the most bytes kept while a page ran */
    uint32_t connections; /* as the page "hello" has seen */
    int failed;           /* the code of the last failure that was reported */
    int failures;
};
extern struct scene scene;

/* What the page "flood" writes 4096 times. */
extern char flood_bytes[64 * 1024];

struct site {
    struct belay__call call;
};
extern const belay_function site;

/* ---- the scene ---- */

/* Directors: the client has ended; the same, while the server's time flies. */
struct direct {
    belay_clock *clock;
};
extern const belay_function direct;
struct direct_fast {
    belay_clock *clock;
};
extern const belay_function direct_fast;

struct play {
    struct belay__server_opts opts;
    void (*client)(void *arg);
    const belay_function *director; /* default: direct */
    belay_clock *clock;
    belay_group *group;
    struct belay__server *server;
};
extern const belay_function site_play;

/* Gives the code; no descriptor may have stayed. */
int run_site(const struct play *given, const struct belay_runtime_opts *opts);

#define TESTED BELAY_RUNTIME_OPTS(.allocator = &test_allocator)

/* Runs a client against a server with these options. */
#define PLAY(client_fn, ...)                                 \
    cr_assert(eq(int,                                        \
        run_site(&(const struct play){.client = (client_fn), \
                     .opts = {__VA_ARGS__}},                 \
            TESTED),                                         \
        0))

/* ---- for clients ---- */

void get(int fd, const char *path);
/* Reads a reply and wants exactly this; body NULL: any. */
void want(int fd, int status, const char *body);

#endif
