/* client.c - the scope around all HTTP, and one exchange as an operation.
 *
 * The client lives in its frame, which remains until the exit has run, and
 * the exit runs until libuv has let go of the last socket: nothing of libuv
 * ever points into memory that is gone (S128).
 */
#include "llm/http/client.h"

#include "llm/http/transfer.h"

#include <pthread.h>

#define SHARD_SIZE 96

static CURLcode global_code = CURLE_FAILED_INIT;

static void
global_init(void)
{
    /* Never undone: other users of libcurl may be in the process, and its
     * own clean-up is not safe beside them. */
    global_code = curl_global_init(CURL_GLOBAL_DEFAULT);
}

int
belay__http_global_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, global_init);
    return global_code == CURLE_OK ? 0 : BELAY_ENOMEM;
}

/* ---- the scope ---- */

static belay_next
http_enter(belay_task *task, void *self)
{
    struct belay__http *http = self;

    if (belay__http_global_init() < 0) {
        return belay_fail(task, BELAY_ENOMEM, "libcurl could not be set up");
    }
    http->runtime = belay_task_runtime(task);
    http->memory = http->runtime->memory;
    *http->ret = http;
    return belay_return(task, http);
}

/* libuv runs close callbacks at the end of the loop's iteration, so it is a
 * matter of a turn or two. Turns, not an operation: an operation can be cut
 * by the grace, and the memory has to stay until libuv has let go.
 */
static belay_next
http_exit_wait(belay_task *task, void *self)
{
    struct belay__http *http = self;

    if (http->handles > 0) {
        return belay_then(task, http_exit_wait, belay__next(BELAY__HOW_TURN));
    }
    belay__free(http->memory, (void *)http->watches,
        http->watch_room * sizeof(struct belay__http_watch *));
    return belay_return(task, NULL);
}

static belay_next
http_exit(belay_task *task, void *self)
{
    struct belay__http *http = self;

    http->closing = true;
    while (http->endpoints != NULL) {
        belay__http_endpoint_close(http->endpoints);
    }
    return http_exit_wait(task, self);
}

static const belay_manager http_manager = {
    {"http client", __FILE__, sizeof(struct belay__http), http_enter, 0},
    http_exit,
};

belay_next
belay__http_open(belay_task *task, const struct belay__http_opts *opts,
    struct belay__http **ret)
{
    struct belay__http http = {.ret = ret, .shard_size = SHARD_SIZE};

    if (opts != NULL && opts->shard_size > 0) {
        http.shard_size = opts->shard_size;
    }
    return belay_enter(task, &http_manager, &http);
}

/* ---- one exchange ---- */

struct perform {
    struct belay__http_endpoint *endpoint;
    struct belay__http_request request;
    struct belay__http_reply *reply;
    struct belay__http_transfer *transfer; /* while it runs */
    struct belay_op op;
    belay_error *error;
};

/* The error is made here: when the task goes on, the endpoint may be gone,
 * closed by a task that came before it. One that is being closed is not asked.
 */
static void
finish(struct perform *self, const struct belay__http_outcome *outcome)
{
    if (outcome->code < 0 && self->reply->failure != BELAY__HTTP_CLOSED) {
        self->error = belay__http_error(self->op.task, outcome, self->endpoint,
            &self->request, self->reply);
    }
    belay_op_done(&self->op, outcome->code, self->reply);
}

static void
on_done(void *arg, const struct belay__http_outcome *outcome)
{
    struct perform *self = arg;

    self->transfer = NULL;
    finish(self, outcome);
}

static enum belay_abort
on_abort(struct belay_op *op)
{
    struct perform *self = BELAY__CONTAINER(op, struct perform, op);

    belay__http_transfer_abort(self->transfer, BELAY__HTTP_CANCELLED);
    self->transfer = NULL;
    return BELAY_ABORT_DONE;
}

static belay_next
perform_end(belay_task *task, void *arg)
{
    struct perform *self = arg;
    const struct belay_result *result = belay_result(task);

    if (self->error != NULL) {
        return belay_fail_with(task, self->error);
    }
    if (result->code < 0 && !result->cancelled
        && self->reply->failure == BELAY__HTTP_CLOSED) {
        return belay_fail(task, BELAY_ECLOSED,
            "request ended because its HTTP client was closed");
    }
    return belay_pass(task);
}

static belay_next
perform_start(belay_task *task, void *arg)
{
    struct perform *self = arg;
    struct belay__http_outcome outcome = {.curl_code = CURLE_OK};

    belay__http_reply_begin(self->reply, self->endpoint->http, &self->request);
    if (belay_op_begin(task, &self->op, on_abort) < 0) {
        self->reply->failure = BELAY__HTTP_CANCELLED;
        return belay_pass(task);
    }
    self->op.name = "http exchange";
    outcome.code = belay__http_transfer_start(self->endpoint, &self->request,
        self->reply, on_done, self, &self->transfer);
    if (outcome.code < 0) {
        finish(self, &outcome);
    }
    return belay_then(task, perform_end, belay_op_wait(&self->op));
}

belay_next
belay__http_perform(belay_task *task, struct belay__http_endpoint *endpoint,
    const struct belay__http_request *request, struct belay__http_reply *ret)
{
    static const belay_function perform = {
        "http exchange", __FILE__, sizeof(struct perform), perform_start, 0};
    const struct perform self = {
        .endpoint = endpoint, .request = *request, .reply = ret};

    ret->failure = BELAY__HTTP_NO_MEMORY; /* until the frame is there */
    return belay_call(task, &perform, &self);
}
