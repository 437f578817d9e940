/* call.c - one call: attempts, the waits between them, its end.
 *
 *   start -> attempt -> judge -> end
 *               ^         |
 *               +-- wait -+
 *
 * A call counts in client->calls from its start to its last step, so that the
 * client outlives it. Between two attempts it holds nothing of the answer, no
 * connection, and nothing of anybody else's (L34).
 */
#include "llm/client.h"
#include "llm/error.h"
#include "llm/json/text.h"
#include "llm/reply.h"
#include "runtime/internal.h"

#include <belay/timeout.h>

#include <time.h>

#define REQUEST_MAX ((size_t)64 * 1024 * 1024)
#define CHAT_PATH "/chat/completions"

struct call {
    belay_llm_client *client;
    belay_llm_reply **ret;
    const char *path;
    struct belay_slice body;
    belay_llm_attempt_fn *on_attempt;
    void *arg;
    int32_t max_retries;
    bool completion;            /* the answer has to be one */
    bool doubted;               /* one has made no sense already (L9) */
    struct belay_llm_chat chat; /* of a completion */
    struct belay__buffer built; /* … and its body */
    belay_llm_reply *reply;
    int32_t retries;
};

static belay_next call_attempt(belay_task *task, struct call *call);

/* ---- ending ---- */

static void
release(struct call *call)
{
    belay__buffer_fini(&call->built);
    belay_llm_reply_free(call->reply);
    call->client->calls--;
}

static belay_next
end_well(belay_task *task, struct call *call)
{
    belay_llm_reply *reply = call->reply;

    call->reply = NULL;
    *call->ret = reply;
    release(call);
    return belay_return(task, reply);
}

/* `error` NULL: there is no memory for more than the code. */
static belay_next
end_badly(belay_task *task, struct call *call, int code, belay_error *error)
{
    release(call);
    return error != NULL ? belay_fail_with(task, error)
                         : belay_fail(task, code, NULL);
}

static belay_next
end_cancelled(belay_task *task, struct call *call)
{
    release(call);
    return belay_pass(task);
}

/* `code`: 0, or why there is no answer or none that is of use. */
static belay_next
call_end(belay_task *task, struct call *call, int code)
{
    const struct belay_llm_attempt *attempt = &call->reply->attempt;
    belay_error *error = NULL;

    if (attempt->code < 0) {
        error = belay__llm_error_silent(
            task, call->client, call->reply, code, belay_result(task)->error);
        return end_badly(task, call, code, error);
    }
    if (call->completion && (attempt->status < 200 || attempt->status > 299)) {
        code = belay__llm_status_code(attempt);
        error = belay__llm_error_status(task, call->client, call->reply);
        return end_badly(task, call, code, error);
    }
    if (code == BELAY_EREPLY) {
        error = belay__llm_error_shape(task, call->client, call->reply);
    }
    return code < 0 ? end_badly(task, call, code, error) : end_well(task, call);
}

/* ---- judging ---- */

static struct belay_slice
get_header(const void *arg, const char *name)
{
    return belay__http_reply_header(arg, name);
}

/* Does the error in the body say that the account has run out (L31)? */
static bool
tells_quota(const belay_llm_reply *reply)
{
    struct belay__chat_error error;

    if (reply->http.status < 400 || reply->http.status > 499) {
        return false;
    }
    belay__chat_parse_error(belay_llm_reply_body(reply), &error);
    return (error.code.type == BELAY__JSON_STRING
               && belay__llm_is_quota(belay__json_inside(error.code.raw)))
           || (error.type.type == BELAY__JSON_STRING
               && belay__llm_is_quota(belay__json_inside(error.type.raw)));
}

/* Fills in how the attempt went. `code` is that of the exchange. */
static void
record(struct call *call, int code)
{
    const struct belay__http_reply *http = &call->reply->http;
    const int status = code == 0 ? http->status : 0;

    call->reply->attempt = (struct belay_llm_attempt){
        .number = (uint32_t)call->retries + 1,
        .status = status,
        .code = code,
        .started = http->started,
        .first_byte = http->first_byte,
        .ended = http->ended,
        .sent_bytes = http->sent_bytes,
        .billed = belay__llm_billed(status, http->request_sent),
        .quota = code == 0 && tells_quota(call->reply),
    };
}

/* Sockets, or the kernel's memory for them, that others will give back: no
 * connection was made (L30).
 */
static bool
is_shortage(int code)
{
    return code == -EMFILE || code == -ENFILE || code == -ENOBUFS;
}

/* Whether to try again; *code becomes that of the answer if it is of no use. */
static enum belay__llm_verdict
judge(struct call *call, const struct belay__llm_headers *headers, int *code)
{
    const struct belay_llm_attempt *attempt = &call->reply->attempt;

    if (is_shortage(*code)) {
        return BELAY__LLM_RETRY;
    }
    if (*code < 0) {
        return belay__llm_judge_failure(call->reply->http.failure);
    }
    if (attempt->status < 200 || attempt->status > 299) {
        return belay__llm_judge_status(
            attempt->status, attempt->quota, headers);
    }
    if (call->completion) {
        *code = belay_llm_reply_parse(call->reply);
    }
    return *code == BELAY_EREPLY ? BELAY__LLM_ONCE : BELAY__LLM_NEVER;
}

/* May a wait of this length begin? Takes a retry of the client's allowance. */
static bool
may_retry(const belay_task *task, struct call *call, int64_t delay_ns)
{
    belay_llm_client *client = call->client;
    const belay_time now = belay_now(task);
    int64_t due_ns;

    if (call->retries >= call->max_retries || client->closing
        || __builtin_add_overflow(now.ns, delay_ns, &due_ns)
        || due_ns >= belay_effective_deadline(task).ns) {
        return false;
    }
    return !client->spare_server
           || belay__llm_allowance_take(&client->allowance, now.ns);
}

static void
plan_retry(const belay_task *task, struct call *call,
    const struct belay__llm_headers *headers)
{
    struct belay_llm_attempt *attempt = &call->reply->attempt;
    belay_llm_client *client = call->client;
    bool too_long = false;
    int64_t ns;

    if (belay__llm_asked_delay(
            call->reply->http.status, headers, (int64_t)time(NULL), &ns)) {
        too_long = ns > client->policy.after_cap_ns;
        ns = too_long ? ns : belay__llm_scatter(ns, &client->random);
    } else {
        ns = belay__llm_backoff(
            &client->policy, (uint32_t)call->retries, &client->random);
    }
    attempt->retryable = true;
    attempt->delay = belay_nanoseconds(ns);
    attempt->will_retry = !too_long && may_retry(task, call, ns);
}

/* The exchange is over: is there another attempt? *code as for judge(). */
static bool
wants_retry(const belay_task *task, struct call *call, int *code)
{
    const struct belay__llm_headers headers = {get_header, &call->reply->http};
    enum belay__llm_verdict verdict;

    record(call, *code);
    verdict = judge(call, &headers, code);
    if (verdict == BELAY__LLM_RETRY
        || (verdict == BELAY__LLM_ONCE && !call->doubted)) {
        plan_retry(task, call, &headers);
    }
    call->doubted |= verdict == BELAY__LLM_ONCE;
    if (call->on_attempt != NULL) {
        call->on_attempt(&call->reply->attempt, call->arg);
    }
    return call->reply->attempt.will_retry;
}

/* ---- the loop ---- */

/* Waits for the delay, or for the end of the client. */
struct retry_wait {
    belay_llm_client *client;
    belay_duration delay;
};

static belay_next
retry_left(belay_task *task, void *self)
{
    (void)self;
    if (belay_result(task)->code < 0) {
        return belay_pass(task); /* due, or cancelled from outside */
    }
    return belay_fail(
        task, BELAY_ECLOSED, "the client was left while a retry was due");
}

static belay_next
retry_idle(belay_task *task, void *self)
{
    struct retry_wait *wait = self;

    return belay_then(
        task, retry_left, belay_event_wait(task, &wait->client->closed));
}

static belay_next
retry_due(belay_task *task, void *self)
{
    (void)self;
    return belay_return(task, NULL);
}

static belay_next
retry_begin(belay_task *task, void *self)
{
    const struct retry_wait *wait = self;

    return belay_with(
        task, belay_move_on(task, wait->delay, NULL), retry_idle, retry_due);
}

static belay_next
retry_wait(belay_task *task, belay_llm_client *client, belay_duration delay)
{
    static const belay_function function = {"wait for a retry", __FILE__,
        sizeof(struct retry_wait), retry_begin, 0};
    const struct retry_wait arguments = {client, delay};

    return belay_call(task, &function, &arguments);
}

static belay_next
call_again(belay_task *task, void *self)
{
    struct call *call = self;
    const struct belay_result *result = belay_result(task);

    if (result->cancelled) {
        return end_cancelled(task, call);
    }
    if (result->code < 0) {
        return end_badly(
            task, call, result->code, belay_error_ref(result->error));
    }
    return call_attempt(task, call);
}

static belay_next
call_judge(belay_task *task, void *self)
{
    struct call *call = self;
    int code = belay_result(task)->code;
    const bool again = wants_retry(task, call, &code);
    const belay_duration delay = call->reply->attempt.delay;

    if (belay_result(task)->cancelled) {
        return end_cancelled(task, call);
    }
    if (!again) {
        return call_end(task, call, code);
    }
    call->retries++;
    belay__llm_reply_clear(call->reply);
    return belay_then(task, call_again, retry_wait(task, call->client, delay));
}

static belay_next
call_attempt(belay_task *task, struct call *call)
{
    const belay_llm_client *client = call->client;
    const struct belay__http_request request = {
        .path = call->path,
        .body = call->body,
        .connect_timeout = client->connect_timeout,
        .tls_timeout = client->connect_timeout,
        .first_byte_timeout = client->first_byte_timeout,
        .idle_timeout = client->idle_timeout,
        .max_body_bytes = client->max_reply_bytes,
    };

    return belay_then(task, call_judge,
        belay__http_perform(
            task, client->endpoint, &request, &call->reply->http));
}

/* ---- starting ---- */

/* Room for the whole request, so that it is written in one go. */
static size_t
size_guess(const struct belay_llm_chat *chat)
{
    size_t size = 256;

    for (size_t i = 0; i < chat->message_count; i++) {
        const size_t len = chat->messages[i].content.len;

        if (len > REQUEST_MAX - size) {
            return size;
        }
        size += len + len / 16 + 64;
        size = size < REQUEST_MAX ? size : REQUEST_MAX;
    }
    return size;
}

static int
build_body(struct call *call)
{
    int code;

    belay__buffer_init(&call->built, call->client->memory, REQUEST_MAX);
    code = belay__buffer_reserve(&call->built, size_guess(&call->chat));
    if (code == 0) {
        code = belay__chat_build(&call->chat, &call->built);
    }
    call->body = belay__buffer_slice(&call->built);
    return code;
}

static const char *
check_call(const struct call *call)
{
    if (call->max_retries < BELAY_LLM_NO_RETRIES) {
        return "max_retries is negative";
    }
    return call->completion ? belay__chat_check(&call->chat) : NULL;
}

static belay_next
call_start(belay_task *task, void *self)
{
    struct call *call = self;
    belay_llm_client *client = call->client;
    const char *why = check_call(call);
    int code = 0;

    if (why != NULL) {
        return belay_fail(
            task, BELAY_EINVAL, "request cannot be sent: %s", why);
    }
    if (client->closing) {
        return belay_fail(task, BELAY_ECLOSED, "the client is being left");
    }
    client->calls++;
    belay__llm_allowance_call(&client->allowance, belay_now(task).ns);
    if (call->max_retries == 0) {
        call->max_retries = client->max_retries;
    }
    call->reply = belay__llm_reply_new(client->memory);
    if (call->reply == NULL) {
        code = BELAY_ENOMEM;
    } else if (call->completion) {
        code = build_body(call);
    }
    return code < 0 ? end_badly(task, call, code, NULL)
                    : call_attempt(task, call);
}

static belay_next
call_begin(belay_task *task, const struct call *call)
{
    static const belay_function function = {
        "llm call", __FILE__, sizeof(struct call), call_start, 0};

    return belay_call(task, &function, call);
}

belay_next
belay_llm_send(belay_task *task, belay_llm_client *client,
    const struct belay_llm_request *request, belay_llm_reply **ret)
{
    if (request->size != sizeof(*request)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    return call_begin(
        task, &(const struct call){
                  .client = client,
                  .ret = ret,
                  .path = request->path != NULL ? request->path : CHAT_PATH,
                  .body = request->body,
                  .on_attempt = request->on_attempt,
                  .arg = request->arg,
                  .max_retries = request->max_retries,
              });
}

belay_next
belay_llm_complete(belay_task *task, belay_llm_client *client,
    const struct belay_llm_chat *chat, belay_llm_reply **ret)
{
    if (chat->size != sizeof(*chat)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    return call_begin(task, &(const struct call){
                                .client = client,
                                .ret = ret,
                                .path = CHAT_PATH,
                                .on_attempt = chat->on_attempt,
                                .arg = chat->arg,
                                .max_retries = chat->max_retries,
                                .completion = true,
                                .chat = *chat,
                            });
}
