/* test_llm_client_retries.c - how often a call tries, and what puts an end to
 * that: L29-L35, L39, L40.
 */
#include "test/support/alloc.h"
#include "test/support/call_scene.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

TestSuite(llm_client_retries, .fini = check_clean, .timeout = 60);

/* ---- retries ---- */

Test(llm_client_retries, l29_each_attempt_has_its_record)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, BUSY),
        FAULT_ON(PATH, FAULT_DO_CLOSE), FAULT_ON(PATH, ANSWER(HI_BODY))};
    struct outcome outcome = CALL(routes, .complete = true);
    const struct belay_llm_attempt *attempts = outcome.attempts;

    cr_assert(zero(int, outcome.code), "%s", outcome.message);
    cr_assert(eq(sz, outcome.attempt_count, 3));
    cr_expect(eq(int, attempts[0].status, 503));
    cr_expect(eq(int, (int)attempts[0].billed, BELAY_LLM_BILLED_NO));
    cr_expect(attempts[0].retryable && attempts[0].will_retry);
    cr_expect(eq(i64, attempts[0].delay.ns, retry_delay(0)));
    cr_expect(eq(int, attempts[1].status, 0));
    cr_expect(eq(int, attempts[1].code, BELAY_ERESET));
    cr_expect(eq(int, (int)attempts[1].billed, BELAY_LLM_BILLED_UNKNOWN));
    cr_expect(
        eq(i64, attempts[1].started.ns - attempts[0].ended.ns, retry_delay(0)));
    cr_expect(eq(u32, attempts[2].number, 3));
    cr_expect(eq(int, attempts[2].code, 0));
    cr_expect(eq(int, (int)attempts[2].billed, BELAY_LLM_BILLED_YES));
    cr_expect(not(attempts[2].retryable));
}

Test(llm_client_retries, l32_the_delays_are_exact)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, BUSY)};
    struct outcome outcome = CALL(routes, .max_retries = 4);

    cr_expect(eq(int, outcome.status, 503));
    cr_expect(eq(sz, outcome.attempt_count, 5));
    cr_expect(eq(i64, outcome.took_ns,
        retry_delay(0) + retry_delay(1) + retry_delay(2) + retry_delay(3)));
}

Test(llm_client_retries, l29_two_retries_unless_told_otherwise)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, BUSY)};
    struct outcome outcome = CALL(routes, .body = "{}");

    cr_expect(eq(sz, outcome.attempt_count, 3));
    outcome = CALL(routes, .max_retries = BELAY_LLM_NO_RETRIES);
    cr_expect(eq(sz, outcome.attempt_count, 1));
    cr_expect(outcome.attempts[0].retryable);
    cr_expect(not(outcome.attempts[0].will_retry));
    cr_expect(eq(i64, outcome.attempts[0].delay.ns, retry_delay(0)));
    outcome = CALL(routes, .opts.max_retries = 1);
    cr_expect(eq(sz, outcome.attempt_count, 2));
}

Test(llm_client_retries, l31_an_empty_account_is_not_asked_twice)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH,
        CLOSED("429 Too Many", "x-should-retry: true\r\nRetry-After: 1\r\n",
            "{\"error\":{\"message\":\"pay\",\"type\":\"x\",\"code\":"
            "\"insufficient_quota\"}}"))};
    struct outcome outcome = CALL(routes, .complete = true);

    cr_expect(eq(int, outcome.code, BELAY_EQUOTA));
    cr_expect(eq(sz, outcome.attempt_count, 1));
    cr_expect(outcome.attempts[0].quota);
    cr_expect(eq(int, outcome.foreign, 429));
    outcome = CALL(routes, .body = "{}");
    cr_expect(eq(int, outcome.status, 429));
    cr_expect(eq(sz, outcome.attempt_count, 1));
}

Test(llm_client_retries, l33_waits_as_long_as_the_server_asks)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, CLOSED("429 Slow", "retry-after: 20\r\n", "")),
        FAULT_ON(PATH, ANSWER(HI_BODY))};
    struct outcome outcome = CALL(routes, .complete = true);

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    cr_expect(ge(i64, outcome.took_ns, 20 * S));
    cr_expect(le(i64, outcome.took_ns, 22 * S));
}

Test(llm_client_retries, l33_does_not_wait_for_ever)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, CLOSED("429 Slow", "retry-after: 3600\r\n",
                           "{\"error\":{\"message\":\"later\"}}"))};
    struct outcome outcome = CALL(routes, .complete = true);

    cr_expect(eq(int, outcome.code, BELAY_EHTTP));
    cr_expect(zero(i64, outcome.took_ns));
    cr_expect(eq(sz, outcome.attempt_count, 1));
    cr_expect(eq(i64, outcome.attempts[0].delay.ns, 3600 * S));
    cr_expect(
        ne(ptr, strstr(outcome.message, "429: later; it asks to wait 3600 s"),
            NULL),
        "%s", outcome.message);
}

Test(llm_client_retries, l33_a_batch_waits_longer)
{
    static const struct fault_route routes[] = {
        FAULT_ON(PATH, CLOSED("503 Slow", "retry-after: 500\r\n", "")),
        FAULT_ON(PATH, ANSWER(HI_BODY))};
    const struct outcome outcome =
        CALL(routes, .complete = true, .opts.profile = BELAY_LLM_BATCH);

    cr_expect(zero(int, outcome.code), "%s", outcome.message);
    cr_expect(ge(i64, outcome.took_ns, 500 * S));
}

Test(llm_client_retries, l34_no_wait_outlives_the_deadline)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, BUSY)};
    struct outcome outcome =
        CALL(routes, .complete = true, .timeout = belay_milliseconds(700));

    cr_expect(eq(int, outcome.code, BELAY_EHTTP), "%s", outcome.message);
    cr_expect(eq(sz, outcome.attempt_count, 2));
    cr_expect(eq(i64, outcome.took_ns, retry_delay(0)));
    cr_expect(outcome.attempts[1].retryable);
    cr_expect(not(outcome.attempts[1].will_retry));
    outcome = CALL(routes, .timeout = belay_milliseconds(100));
    cr_expect(zero(int, outcome.code), "a raw call has its answer");
    cr_expect(eq(int, outcome.status, 503));
}

Test(llm_client_retries, l35_a_server_in_trouble_is_spared)
{
    static const struct fault_route routes[] = {FAULT_ON(PATH, BUSY)};
    struct outcome outcome =
        CALL(routes, .max_retries = 15, .opts.retry_base = belay_seconds(8));

    cr_expect(eq(sz, outcome.attempt_count, 16), "ten a minute are fine");
    outcome = CALL(
        routes, .max_retries = 15, .opts.retry_cap = belay_milliseconds(10));
    cr_expect(eq(sz, outcome.attempt_count, 11));
    outcome = CALL(routes, .max_retries = 15,
        .opts.retry_cap = belay_milliseconds(10),
        .opts.profile = BELAY_LLM_BATCH);
    cr_expect(eq(sz, outcome.attempt_count, 16), "not in a batch");
}

/* ---- a shortage on this side ---- */

struct shortage {
    const char *base_url;
    struct outcome *outcome;
    struct rlimit limit; /* what it was */
    belay_llm_client *client;
    belay_llm_reply *reply;
};

static void
on_short_attempt(const struct belay_llm_attempt *attempt, void *arg)
{
    struct shortage *shortage = arg;

    cr_assert(zero(setrlimit(RLIMIT_NOFILE, &shortage->limit)));
    call_note_attempt(attempt, shortage->outcome);
}

static void
allow_no_more_fds(const struct rlimit *limit)
{
    struct rlimit none = *limit;

    none.rlim_cur = 0;
    cr_assert(zero(setrlimit(RLIMIT_NOFILE, &none)));
}

/* The first call makes what libcurl needs besides a connection. */
BELAY_ASYNC(shortage)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_client_open(task,
        BELAY_LLM_CLIENT_OPTS(.base_url = self->base_url, .seed = SEED),
        &self->client)) {
        BELAY_AWAIT(belay_llm_send(task, self->client,
            BELAY_LLM_REQUEST(.body = {"{}", 2}), &self->reply));
        belay_llm_reply_free(self->reply);
        cr_assert(zero(getrlimit(RLIMIT_NOFILE, &self->limit)));
        allow_no_more_fds(&self->limit);
        BELAY_TRY(belay_llm_send(task, self->client,
            BELAY_LLM_REQUEST(.body = {"{}", 2}, .on_attempt = on_short_attempt,
                .arg = self),
            &self->reply));
        call_note_result(self->outcome, belay_result(task));
        belay_llm_reply_free(self->reply);
    }
    BELAY_END;
}

Test(llm_client_retries, l30_a_shortage_of_descriptors_passes)
{
    static const struct fault_route routes[] = {FAULT_ON("/chat/completions",
        FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
                   "Connection: close\r\n\r\n{}"),
        FAULT_DO_CLOSE)};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    belay_clock *clock = belay_clock_new(true);
    struct outcome outcome = {0};
    const struct shortage arguments = {
        .base_url = fault_server_url(server), .outcome = &outcome};

    cr_expect(zero(int,
        belay_run(&shortage, &arguments,
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .clock = clock),
            NULL)));
    belay_clock_free(clock);
    cr_expect(eq(int, outcome.code, 0), "%s", outcome.message);
    cr_assert(eq(sz, outcome.attempt_count, 2));
    cr_expect(eq(int, outcome.attempts[0].code, -EMFILE));
    cr_expect(
        eq(int, (int)outcome.attempts[0].billed, (int)BELAY_LLM_BILLED_NO));
    cr_expect(outcome.attempts[0].will_retry);
    cr_expect(eq(int, outcome.attempts[1].status, 200));
    fault_server_stop(server);
}

/* ---- cancelling and leaving ---- */

struct leave {
    const char *base_url;
    struct outcome *outcome;
    belay_group *group;
    belay_llm_client *client;
    bool started;
};

struct caller {
    struct leave *leave;
    belay_llm_reply *reply;
};

BELAY_ASYNC(caller)
{
    BELAY_BEGIN;
    self->leave->started = true;
    BELAY_TRY(belay_llm_send(task, self->leave->client,
        BELAY_LLM_REQUEST(.body = {"{}", 2}, .on_attempt = call_note_attempt,
            .arg = self->leave->outcome),
        &self->reply));
    call_note_result(self->leave->outcome, belay_result(task));
    BELAY_END;
}

/* The call's task lives in an outer block: it ends before the client does. */
BELAY_ASYNC(leave)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_llm_client_open(task,
            BELAY_LLM_CLIENT_OPTS(.base_url = self->base_url, .seed = SEED),
            &self->client)) {
            BELAY_CHECK(belay_spawn(self->group, caller, .leave = self));
            while (!self->started) {
                BELAY_AWAIT(belay_checkpoint(task));
            }
            BELAY_AWAIT(belay_sleep(task, belay_milliseconds(100)));
        }
    }
    BELAY_END;
}

static struct outcome
run_leave(const struct fault_route *routes, bool autojump)
{
    struct fault_server *server = fault_server_start(routes, 1);
    belay_clock *clock = autojump ? belay_clock_new(true) : NULL;
    struct outcome outcome = {0};
    const struct leave arguments = {
        .base_url = fault_server_url(server), .outcome = &outcome};

    cr_expect(zero(int,
        belay_run(&leave, &arguments,
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .clock = clock),
            NULL)));
    belay_clock_free(clock);
    fault_server_stop(server);
    return outcome;
}

Test(llm_client_retries, leaving_ends_a_call_in_its_exchange)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, FAULT_DO_HANG)};
    const struct outcome outcome = run_leave(routes, false);

    cr_expect(eq(int, outcome.code, BELAY_ECLOSED), "%s", outcome.message);
    cr_expect(eq(sz, outcome.attempt_count, 1));
    cr_expect(not(outcome.attempts[0].retryable));
}

Test(llm_client_retries, leaving_ends_a_call_in_its_wait_for_a_retry)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, BUSY)};
    const struct outcome outcome = run_leave(routes, true);

    cr_expect(eq(int, outcome.code, BELAY_ECLOSED), "%s", outcome.message);
    cr_expect(eq(sz, outcome.attempt_count, 1));
}

Test(llm_client_retries, l40_a_deadline_covers_the_exchange)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, FAULT_DO_HANG)};
    struct fault_server *server = fault_server_start(routes, 1);
    struct outcome outcome = {0};
    const struct spec spec = {.timeout = belay_milliseconds(50)};
    const struct ask arguments = {.spec = &spec,
        .base_url = fault_server_url(server),
        .outcome = &outcome};
    int code = program_run_plain(&asking, &arguments, NULL);

    cr_expect(eq(int, code, BELAY_ETIMEDOUT));
    cr_expect(eq(int, outcome.code, BELAY_ECANCELED));
    cr_expect(eq(sz, outcome.attempt_count, 1));
    cr_expect(
        eq(int, (int)outcome.attempts[0].billed, BELAY_LLM_BILLED_UNKNOWN));
    fault_server_stop(server);
}

Test(llm_client_retries, l39_a_silent_server_times_out)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, FAULT_DO_HANG)};
    struct fault_server *server = fault_server_start(routes, 1);
    struct outcome outcome = {0};
    const struct spec spec = {.max_retries = BELAY_LLM_NO_RETRIES,
        .opts.first_byte_timeout = belay_milliseconds(30)};
    const struct ask arguments = {.spec = &spec,
        .base_url = fault_server_url(server),
        .outcome = &outcome};
    int code = program_run_plain(&asking, &arguments, NULL);

    cr_expect(eq(int, code, BELAY_ETIMEDOUT));
    cr_expect(outcome.attempts[0].retryable);
    fault_server_stop(server);
}
