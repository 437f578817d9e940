/* http_plan.h - exchanges of the HTTP client to be planned and looked at.
 *
 * A plan is an endpoint or two, the requests to make one after the other, and
 * what each has ended with; the replies' bytes are copies that outlive the
 * runtime. An interference is one exchange in a task of its own, with which
 * another task interferes when it has come to a certain point.
 */
#ifndef BELAY_TEST_SUPPORT_HTTP_PLAN_H
#define BELAY_TEST_SUPPORT_HTTP_PLAN_H

#include <unistd.h>

#include "llm/http/client.h"
#include "test/support/fault_server.h"
#include "test/support/program.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define WAIT_ROUNDS 200000 /* of 100 us: a bound, never reached */
#define NO_OPTS ((struct belay__http_endpoint_opts){0})
#define OK_HI "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define HEAD_9 "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"

/* Lets the loop turn until `condition`, which another thread makes true. */
#define AWAIT_UNTIL(condition)                                          \
    for (self->round = 0; !(condition); self->round++) {                \
        cr_assert(lt(int, self->round, WAIT_ROUNDS), "%s", #condition); \
        (void)usleep(100);                                              \
        BELAY_AWAIT(belay_checkpoint(task));                            \
    }

/* Enough for the loop to poll several times. */
#define AWAIT_TURNS(turns)                                        \
    for (self->round = 0; self->round < (turns); self->round++) { \
        BELAY_AWAIT(belay_checkpoint(task));                      \
    }

/* For .init of a suite: what libuv opens once per process is not a leak. */
void http_warm_up(void);

/* An endpoint of a client in an async function, with defaults. */
int endpoint_to(struct belay__http *http, const char *url,
    struct belay__http_endpoint **ret);

/* ---- plans ---- */

/* One exchange: what to ask, and what came of it. */
struct step {
    struct belay__http_request request;
    size_t endpoint; /* index of the options to use */
    /* Filled in. */
    struct belay__http_reply reply;
    struct belay_result result; /* error: a reference of ours */
    char message[512];
};

struct plan {
    const char *url;
    struct belay__http_endpoint_opts opts[2];
    struct step *steps;
    size_t count;
    struct belay__http_opts http_opts;
    /* locals */
    struct belay__http *http;
    struct belay__http_endpoint *endpoints[2];
    size_t i;
    int code;
};

/* Runs it, under test_allocator. With run_plan() that must succeed, whatever
 * came of the exchanges.
 */
int try_plan(const struct plan *arguments);
void run_plan(const struct plan *arguments);
void free_steps(struct step *steps, size_t count);
/* And stops the server, once nothing is asked of it any more. */
void end_steps(struct fault_server *server, struct step *steps, size_t count);
/* Starts a server and runs the steps against it; the server is to be stopped. */
struct fault_server *serve_steps(const struct fault_route *routes,
    size_t route_count, struct belay__http_endpoint_opts opts,
    struct step *steps, size_t count);

void expect_failure(
    const struct step *step, int code, enum belay__http_failure failure);
void expect_cancelled(const struct step *step);
bool body_is(const struct step *step, const char *text);
bool header_is(const struct step *step, const char *name, const char *value);

/* The index-th request that the server has read, to be freed. */
char *request_text(
    struct fault_server *server, size_t index, size_t *ret_connection);
size_t connection_of(struct fault_server *server, size_t index);

/* ---- one exchange, and an interference ---- */

/* An async function: performs a step and fails as it does. */
struct exchange {
    struct belay__http_endpoint *endpoint;
    struct step *step;
};
extern const belay_function exchange;

/* When to interfere, and how. */
struct interference {
    const char *url;
    struct fault_server *server; /* NULL: not to be asked */
    struct step *step;
    size_t accepted;     /* once so many connections were made, … */
    const char *path;    /* … a request of this path has been read, … */
    bool first_byte;     /* … something came, … */
    bool (*until)(void); /* … this holds, … */
    bool at_once;        /* (or not) … and the loop has turned a while: */
    belay_clock *clock;  /* move it … */
    belay_duration most; /* … by this, when nothing may happen yet, … */
    belay_duration rest; /* … and by this, when it must; */
    bool cancel;         /* cancel the task; */
    bool leave;          /* leave the client's block. */
    size_t calls;        /* of the sink, at the end of the exchange */
    /* locals */
    belay_group *group;
    struct belay__http *http;
    struct belay__http_endpoint *endpoint;
    belay_task *child;
    int round;
};

void interfere(const struct interference *arguments);

/* A sink that counts its calls; arg: NULL, or the int to answer. */
extern size_t sink_calls;
int counting_sink(
    const struct belay__http_reply *reply, struct belay_slice bytes, void *arg);

#endif
