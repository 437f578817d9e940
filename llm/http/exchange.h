/* exchange.h - an exchange that is read as it comes (private).
 *
 * It lies in the caller's memory, which remains until the exchange has ended
 * or was stopped. The sink, called from the loop, takes bytes and wakes the
 * task that waits; the task does the rest in its own steps.
 *
 *     return belay_then(task, went_on, belay__http_exchange_start(task, &x));
 *     ...
 *     if (x.ended) { ... x.code ... }
 *     return belay_then(task, went_on, belay__http_exchange_wait(task, &x));
 */
#ifndef BELAY_LLM_HTTP_EXCHANGE_H
#define BELAY_LLM_HTTP_EXCHANGE_H

#include <belay/uv.h>

#include "llm/http/client.h"

struct belay__http_transfer;

struct belay__http_exchange {
    /* Set by the caller. */
    struct belay__http_endpoint *endpoint; /* NULL: it was closed */
    struct belay__http_request request;
    struct belay__http_reply *reply;
    bool survives; /* a cancel ends the wait, not the exchange */
    /* To be read: */
    bool ended;
    int code; /* once ended: as of belay__http_perform() */
    /* The rest is its own. */
    struct belay__http_transfer *transfer; /* while it runs */
    struct belay_op op;
    belay_error *error; /* once ended, until somebody takes it */
    bool woken;
};

/* An operation: sends the request and waits as belay__http_exchange_wait().
 * A task that is cancelled already sends nothing.
 */
belay_next belay__http_exchange_start(
    belay_task *task, struct belay__http_exchange *exchange);

/* An operation: waits until the sink has called for the task since it waited
 * last (0), or the exchange has ended (its code). A cancel ends the exchange
 * too, in the same turn, unless it survives. The result of the code's error is
 * for belay__http_exchange_failed().
 */
belay_next belay__http_exchange_wait(
    belay_task *task, struct belay__http_exchange *exchange);

/* For the sink: the task that waits, or that waits next, goes on. */
void belay__http_exchange_wake(struct belay__http_exchange *exchange);

/* After a sink has answered BELAY__HTTP_PAUSE: the bytes come again. The sink
 * may be called from in here.
 */
void belay__http_exchange_resume(struct belay__http_exchange *exchange);

/* The reply is as if it ended now: what was sent so far, and the time. Not in a
 * sink. Any state is fine, zeroed too.
 */
void belay__http_exchange_note(struct belay__http_exchange *exchange);

/* Ends it, if it has not ended: closes the connection. The sink is not called
 * any more. Not in a sink. Any state is fine, zeroed too.
 */
void belay__http_exchange_stop(struct belay__http_exchange *exchange);

/* In the step behind one of the operations: ends the frame with what it
 * delivered, a failure with its error.
 */
belay_next belay__http_exchange_failed(
    belay_task *task, struct belay__http_exchange *exchange);

/* Takes the error of an exchange that has failed; NULL: there is none. */
belay_error *belay__http_exchange_take_error(
    struct belay__http_exchange *exchange);

#endif
