/* attempt.c - what plain and streamed calls have in common: that they try
 * again.
 *
 * Between two attempts a call holds no connection and nothing of anybody else's
 * (L34). What has come of an answer is dropped by then, but for a stream's: its
 * user may look at it.
 */
#include "llm/attempt.h"

#include "llm/provider/error.h"
#include "runtime/internal.h"

#include <belay/timeout.h>

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

const char *
belay__llm_tries_check(const struct belay__llm_tries *tries)
{
    return tries->max_retries < BELAY_LLM_NO_RETRIES ? "max_retries is negative"
                                                     : NULL;
}

int
belay__llm_tries_begin(const belay_task *task, struct belay__llm_tries *tries)
{
    belay_llm_client *client = tries->client;

    if (client->closing) {
        return BELAY_ECLOSED;
    }
    tries->reply = belay__llm_reply_new(client->memory);
    if (tries->reply == NULL) {
        return BELAY_ENOMEM;
    }
    belay__llm_account_begin(task, client, &tries->account);
    belay__llm_allowance_call(&client->allowance, belay_now(task).ns);
    if (tries->max_retries == 0) {
        tries->max_retries = client->max_retries;
    }
    return 0;
}

void
belay__llm_tries_end(struct belay__llm_tries *tries)
{
    belay__llm_access_give(tries->client, &tries->account.access);
    belay__llm_account_end(&tries->account);
    belay_llm_reply_free(tries->reply);
    tries->reply = NULL;
}

/* The same for all attempts, so that a gateway can tell that they are one
 * call (L36).
 */
static void
make_key(struct belay__llm_tries *tries)
{
    const uint64_t high = belay__llm_random_bits(&tries->client->random);
    const uint64_t low = belay__llm_random_bits(&tries->client->random);

    (void)snprintf(
        tries->key, sizeof(tries->key), "%016" PRIx64 "%016" PRIx64, high, low);
}

/* The server has begun to answer well: others need not wait for its end. */
static void
on_head(void *arg)
{
    struct belay__llm_account *account = arg;

    if (account->use.probe) {
        belay__rate_passed(&account->use);
    }
}

struct belay__http_request
belay__llm_http_request(struct belay__llm_tries *tries)
{
    const belay_llm_client *client = tries->client;
    struct belay__http_request request = {
        .connect_timeout = client->connect_timeout,
        .tls_timeout = client->connect_timeout,
        .first_byte_timeout = client->first_byte_timeout,
        .idle_timeout = client->idle_timeout,
        .max_body_bytes = client->max_reply_bytes,
        .on_head = on_head,
        .head_arg = &tries->account,
    };

    if (client->idempotency_header == NULL) {
        return request;
    }
    if (tries->key[0] == '\0') {
        make_key(tries);
    }
    tries->header = (struct belay__http_header){
        client->idempotency_header, {tries->key, sizeof(tries->key) - 1}};
    request.headers = &tries->header;
    request.header_count = 1;
    return request;
}

/* ---- records ---- */

/* Does the error in the body say that the account has run out (L31)? */
static bool
tells_quota(const belay_llm_reply *reply)
{
    struct belay__provider_error error;

    if (reply->http.status < 400 || reply->http.status > 499) {
        return false;
    }
    belay__provider_error_parse(belay_llm_reply_body(reply), &error);
    return belay__provider_error_is_quota(&error);
}

void
belay__llm_record(struct belay__llm_tries *tries, int code)
{
    const struct belay__http_reply *http = &tries->reply->http;
    const int status = code == 0 ? http->status : 0;

    tries->attempts += !tries->recorded;
    tries->recorded = true;
    tries->reply->attempt = (struct belay_llm_attempt){
        .number = tries->attempts,
        .status = status,
        .code = code,
        .started = http->started,
        .first_byte = http->first_byte,
        .ended = http->ended,
        .sent_bytes = http->sent_bytes,
        .billed = belay__llm_billed(status, http->request_sent),
        .quota = code == 0 && tells_quota(tries->reply),
    };
}

void
belay__llm_record_error(struct belay__llm_tries *tries)
{
    const struct belay__answer *answer = &tries->reply->answer;
    struct belay_llm_attempt *attempt = &tries->reply->attempt;

    attempt->status = answer->error_status;
    attempt->code = 0;
    attempt->billed = BELAY_LLM_BILLED_UNKNOWN;
    attempt->quota = answer->error_is_quota;
}

/* ---- judging ---- */

/* Sockets, or the kernel's memory for them, that others will give back: no
 * connection was made (L30).
 */
static bool
is_shortage(int code)
{
    return code == -EMFILE || code == -ENFILE || code == -ENOBUFS;
}

static struct belay_slice
get_header(const void *arg, const char *name)
{
    return belay__http_reply_header(arg, name);
}

/* A key that was refused may have been replaced in the meantime, or its source
 * can have it replaced; once in a call (L30).
 */
static bool
has_other_key(struct belay__llm_tries *tries)
{
    if (tries->renewed || tries->reply->attempt.status != 401) {
        return false;
    }
    tries->renewed =
        belay__llm_access_renew(tries->client, tries->account.access);
    return tries->renewed;
}

enum belay__llm_verdict
belay__llm_judge(struct belay__llm_tries *tries, int code)
{
    const struct belay_llm_attempt *attempt = &tries->reply->attempt;
    const struct belay__llm_headers headers = {get_header, &tries->reply->http};
    enum belay__llm_verdict verdict;

    if (is_shortage(code)) {
        return BELAY__LLM_RETRY;
    }
    if (code < 0) {
        return belay__llm_judge_failure(tries->reply->http.failure);
    }
    verdict =
        belay__llm_judge_status(attempt->status, attempt->quota, &headers);
    return verdict == BELAY__LLM_REFUSED && !has_other_key(tries)
               ? BELAY__LLM_NEVER
               : verdict;
}

/* May a wait of this length begin? */
static bool
may_wait(const belay_task *task, const struct belay__llm_tries *tries,
    int64_t delay_ns)
{
    const belay_llm_client *client = tries->client;
    const belay_time now = belay_now(task);
    int64_t due_ns;

    return tries->retries < tries->max_retries && !client->closing
           && !__builtin_add_overflow(now.ns, delay_ns, &due_ns)
           && due_ns < belay_effective_deadline(task).ns;
}

/* It takes a retry of the client's allowance. */
static bool
may_retry(
    const belay_task *task, struct belay__llm_tries *tries, int64_t delay_ns)
{
    belay_llm_client *client = tries->client;

    return may_wait(task, tries, delay_ns)
           && (!client->spare_server
               || belay__llm_allowance_take(
                   &client->allowance, belay_now(task).ns));
}

/* Gives for how long nobody should ask this server, because it said so itself
 * (L64): one that just fails now and then would be left alone too often. A
 * person does not wait for as long as a batch.
 */
static int64_t
pause_of(const struct belay__llm_tries *tries, bool too_long, int64_t ns)
{
    const int status = tries->reply->attempt.status;
    const bool busy = status == 429 || status == 503 || status == 529;

    return busy && !(too_long && tries->client->spare_server) ? ns : 0;
}

static int64_t
plan_retry(const belay_task *task, struct belay__llm_tries *tries)
{
    const struct belay__llm_headers headers = {get_header, &tries->reply->http};
    struct belay_llm_attempt *attempt = &tries->reply->attempt;
    belay_llm_client *client = tries->client;
    bool too_long = false;
    int64_t pause_ns = 0;
    int64_t ns;

    if (belay__llm_asked_delay(
            tries->reply->attempt.status, &headers, (int64_t)time(NULL), &ns)) {
        too_long = ns > client->policy.after_cap_ns;
        ns = too_long ? ns : belay__llm_scatter(ns, &client->random);
        pause_ns = pause_of(tries, too_long, ns);
    } else {
        /* The retry with another key was no sign of trouble. */
        ns = belay__llm_backoff(&client->policy,
            (uint32_t)(tries->retries - tries->renewed), &client->random);
    }
    attempt->retryable = true;
    attempt->delay = belay_nanoseconds(ns);
    attempt->will_retry = !too_long && may_retry(task, tries, ns);
    return pause_ns;
}

/* With another key, at once. The server is not in trouble, and a hundred calls
 * may find out together that a key is over: the allowance does not count them.
 */
static void
plan_other_key(const belay_task *task, struct belay__llm_tries *tries)
{
    struct belay_llm_attempt *attempt = &tries->reply->attempt;

    attempt->retryable = true;
    attempt->will_retry = may_wait(task, tries, 0);
}

void
belay__llm_conclude(struct belay__llm_tries *tries, int64_t pause_ns)
{
    belay__llm_settle(tries->client, &tries->account, tries->reply, pause_ns);
    tries->account.code = 0;
    tries->recorded = false;
    if (tries->on_attempt != NULL) {
        tries->on_attempt(&tries->reply->attempt, tries->arg);
    }
}

int64_t
belay__llm_decide(const belay_task *task, struct belay__llm_tries *tries,
    enum belay__llm_verdict verdict)
{
    int64_t pause_ns = 0;

    if (verdict == BELAY__LLM_REFUSED) {
        plan_other_key(task, tries);
    }
    if (verdict == BELAY__LLM_RETRY
        || (verdict == BELAY__LLM_ONCE && !tries->doubted)) {
        pause_ns = plan_retry(task, tries);
    }
    tries->doubted |= verdict == BELAY__LLM_ONCE;
    return pause_ns;
}

bool
belay__llm_plan(const belay_task *task, struct belay__llm_tries *tries,
    enum belay__llm_verdict verdict)
{
    belay__llm_conclude(tries, belay__llm_decide(task, tries, verdict));
    return tries->reply->attempt.will_retry;
}

/* ---- waiting ---- */

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

belay_next
belay__llm_wait(belay_task *task, struct belay__llm_tries *tries)
{
    static const belay_function function = {"wait for a retry", __FILE__,
        sizeof(struct retry_wait), retry_begin, 0};
    const struct retry_wait arguments = {
        tries->client, tries->reply->attempt.delay};

    tries->retries++;
    return belay_call(task, &function, &arguments);
}
