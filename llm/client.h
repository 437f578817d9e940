/* client.h - what a client holds (private to llm/). */
#ifndef BELAY_LLM_CLIENT_H
#define BELAY_LLM_CLIENT_H

#include <belay/sync.h>
#include <belay/timeout.h>

#include "llm/access.h"
#include "llm/http/client.h"
#include "llm/model.h"
#include "llm/provider/provider.h"
#include "llm/retry.h"
#include "runtime/life.h"

#include <belay/llm_stream.h>

/* A call that waits for what is not the client's: room in its budget or with
 * its recorder; in its frame.
 */
struct belay__llm_waiter {
    struct belay__llm_waiter *next;
    /* To be cancelled when the client is left, one of: */
    belay_cancel_scope *scope;
    struct belay__record_ticket *ticket;
};

struct belay_llm_client {
    struct belay__memory *memory;
    struct belay__life life; /* until it was left and no call runs */
    belay_runtime *runtime;
    struct belay__http *http;
    struct belay__llm_access *accesses; /* the first is that of the newest key;
                                           there always is one */
    belay_llm_key_fn *key_source;       /* NULL: it has one key, or none */
    void *key_arg;
    char *user_agent;             /* or NULL: ours */
    enum belay_llm_format format; /* of calls that do not say */
    char *idempotency_header;     /* or NULL */
    struct belay__llm_policy policy;
    struct belay__llm_allowance allowance;
    uint64_t random;
    bool spare_server; /* the allowance counts (L35) */
    int32_t max_retries;
    belay_duration connect_timeout;
    belay_duration first_byte_timeout;
    belay_duration idle_timeout;
    size_t max_reply_bytes;
    belay_prices *prices; /* a reference, or NULL */
    char *price_provider; /* or NULL */
    int64_t output_cap;
    belay_budget *budget;     /* a reference; NULL: the ambient one */
    belay_recorder *recorder; /* likewise */
    struct belay__llm_models models;
    bool expect_input;
    bool rated;     /* limits were given */
    bool unlimited; /* nobody waits for rates */
    struct belay__llm_waiter *waiters;
    size_t calls; /* that still run */
    belay_llm_stream *streams;
    uint32_t drains; /* streams that read on unseen */
    uint32_t max_drains;
    bool uncounted; /* room for attempts is its owner's, in the task's budget */
    bool closing;
    struct belay_event closed; /* set with closing: ends waits for a retry */
};

/* The server's address for messages, without anything secret. */
const char *belay__llm_client_label(const belay_llm_client *client);

#endif
