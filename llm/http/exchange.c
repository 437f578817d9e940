/* exchange.c - one exchange as an operation, and one that is read as it comes.
 *
 * The struct lives in a frame that remains until the exchange has ended or
 * was stopped. A task waits for its end, or for what the sink has to say; if
 * it is cancelled while it waits, the exchange is over with it (L42).
 */
#include "llm/http/exchange.h"

#include "llm/http/transfer.h"

/* The error is made here: when a task asks for it, the endpoint may be gone,
 * closed by a task that came before it. One that is being closed is not asked.
 */
static void
finish(struct belay__http_exchange *exchange,
    const struct belay__http_outcome *outcome)
{
    const char *task_name = belay_op_pending(&exchange->op)
                                ? belay_task_name(exchange->op.task)
                                : NULL;

    if (outcome->code < 0 && exchange->reply->failure != BELAY__HTTP_CLOSED) {
        exchange->error = belay__http_error(exchange->endpoint->http->memory,
            task_name, outcome, exchange->endpoint, &exchange->request,
            exchange->reply);
    }
    exchange->code = outcome->code;
    exchange->ended = true;
    if (belay_op_pending(&exchange->op)) {
        belay_op_done(&exchange->op, outcome->code, exchange->reply);
    }
}

static void
on_done(void *arg, const struct belay__http_outcome *outcome)
{
    struct belay__http_exchange *exchange = arg;

    exchange->transfer = NULL;
    finish(exchange, outcome);
}

void
belay__http_exchange_note(struct belay__http_exchange *exchange)
{
    if (exchange->transfer != NULL) {
        belay__http_transfer_note(exchange->transfer);
    }
}

void
belay__http_exchange_stop(struct belay__http_exchange *exchange)
{
    if (exchange->transfer != NULL) {
        belay__http_transfer_abort(exchange->transfer, BELAY__HTTP_CANCELLED);
        exchange->transfer = NULL;
        exchange->code = BELAY_ECANCELED;
        exchange->ended = true;
    }
    belay_error_unref(exchange->error);
    exchange->error = NULL;
}

static void
cut_short(struct belay__http_exchange *exchange)
{
    if (!exchange->survives) {
        belay__http_exchange_stop(exchange);
    }
}

static enum belay_abort
on_abort(struct belay_op *op)
{
    cut_short(BELAY__CONTAINER(op, struct belay__http_exchange, op));
    return BELAY_ABORT_DONE;
}

static int
begin_wait(belay_task *task, struct belay__http_exchange *exchange)
{
    int code = belay_op_begin(task, &exchange->op, on_abort);

    if (code == 0) {
        exchange->op.name = "http exchange";
    }
    return code;
}

/* Nothing was tried; it is over as soon as it has begun. */
static void
note_unsent(struct belay__http_reply *reply, enum belay__http_failure failure)
{
    reply->failure = failure;
    reply->ended = reply->started;
}

belay_next
belay__http_exchange_start(
    belay_task *task, struct belay__http_exchange *exchange)
{
    struct belay__http_outcome outcome = {.curl_code = CURLE_OK};

    exchange->code = 0;
    exchange->ended = false;
    exchange->woken = false;
    belay__http_reply_begin(
        exchange->reply, belay_task_runtime(task), &exchange->request);
    if (begin_wait(task, exchange) < 0) {
        note_unsent(exchange->reply, BELAY__HTTP_CANCELLED);
        exchange->code = BELAY_ECANCELED;
        exchange->ended = true;
        return belay_op_wait(&exchange->op);
    }
    if (exchange->endpoint == NULL) {
        note_unsent(exchange->reply, BELAY__HTTP_CLOSED);
        outcome.code = BELAY_ECLOSED;
    } else {
        outcome.code =
            belay__http_transfer_start(exchange->endpoint, &exchange->request,
                exchange->reply, on_done, exchange, &exchange->transfer);
    }
    if (outcome.code < 0) {
        finish(exchange, &outcome);
    }
    return belay_op_wait(&exchange->op);
}

belay_next
belay__http_exchange_wait(
    belay_task *task, struct belay__http_exchange *exchange)
{
    if (begin_wait(task, exchange) < 0) {
        cut_short(exchange);
        return belay_op_wait(&exchange->op);
    }
    if (exchange->ended) {
        belay_op_done(&exchange->op, exchange->code, exchange->reply);
    } else if (exchange->woken) {
        exchange->woken = false;
        belay_op_done(&exchange->op, 0, exchange->reply);
    }
    return belay_op_wait(&exchange->op);
}

void
belay__http_exchange_wake(struct belay__http_exchange *exchange)
{
    if (belay_op_pending(&exchange->op)) {
        belay_op_done(&exchange->op, 0, exchange->reply);
    } else {
        exchange->woken = true;
    }
}

void
belay__http_exchange_resume(struct belay__http_exchange *exchange)
{
    if (exchange->transfer != NULL) {
        belay__http_transfer_resume(exchange->transfer);
    }
}

/* ---- its end ---- */

belay_error *
belay__http_exchange_take_error(struct belay__http_exchange *exchange)
{
    belay_error *error = exchange->error;

    exchange->error = NULL;
    return error;
}

belay_next
belay__http_exchange_failed(
    belay_task *task, struct belay__http_exchange *exchange)
{
    const struct belay_result *result = belay_result(task);
    belay_error *error = belay__http_exchange_take_error(exchange);

    if (error != NULL) {
        return belay_fail_with(task, error);
    }
    if (result->code < 0 && !result->cancelled
        && exchange->reply->failure == BELAY__HTTP_CLOSED) {
        return belay_fail(task, BELAY_ECLOSED,
            "request ended because its HTTP client was closed");
    }
    return belay_pass(task);
}

struct perform {
    struct belay__http_exchange exchange;
    struct belay__http_endpoint *const *endpoint;
};

static belay_next
perform_end(belay_task *task, void *self)
{
    struct perform *perform = self;

    return belay__http_exchange_failed(task, &perform->exchange);
}

/* Not a step sooner: other tasks may run in front of this one. */
static belay_next
perform_start(belay_task *task, void *self)
{
    struct perform *perform = self;

    perform->exchange.endpoint = *perform->endpoint;
    return belay_then(task, perform_end,
        belay__http_exchange_start(task, &perform->exchange));
}

belay_next
belay__http_perform(belay_task *task,
    struct belay__http_endpoint *const *endpoint,
    const struct belay__http_request *request, struct belay__http_reply *ret)
{
    static const belay_function function = {
        "http exchange", __FILE__, sizeof(struct perform), perform_start, 0};
    const struct perform perform = {
        .exchange = {.request = *request, .reply = ret},
        .endpoint = endpoint,
    };

    ret->failure = BELAY__HTTP_NO_MEMORY; /* until the frame is there */
    return belay_call(task, &function, &perform);
}
