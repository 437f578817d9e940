/* test_llm_idempotency.c - one key for the attempts of a call: L36, X8. */
#include "test/support/account_scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(llm_idempotency, .fini = check_clean, .timeout = 120);

/* The value of a header of a request that the server has seen; "": none. */
static char *
sent_header(size_t request_index, const char *name)
{
    static char value[128];
    struct fault_request request;
    const char *at;

    value[0] = '\0';
    cr_assert(fault_server_request(account_server, request_index, &request));
    request.bytes[request.head_len] = '\0';
    at = strstr(request.bytes, name);
    if (at != NULL) {
        (void)snprintf(value, sizeof(value), "%.*s",
            (int)strcspn(at + strlen(name), "\r"), at + strlen(name));
    }
    free(request.bytes);
    return value;
}

static void
expect_keys(enum ask ask, const char *body)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, BUSY)};
    char keys[4][64];

    PLAY(routes, .ask = ask, .body = body, .in_turn = true, .count = 2,
        .no_budget = true, .max_retries = 1,
        .opts.idempotency_header = "Idempotency-Key");
    cr_assert(eq(sz, fault_server_requests(account_server, NULL), 4));
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "%s",
            sent_header(i, "Idempotency-Key: "));
        cr_expect(eq(sz, strlen(keys[i]), 32));
    }
    cr_expect(eq(str, keys[0], keys[1]), "attempts of one call");
    cr_expect(eq(str, keys[2], keys[3]));
    cr_expect(ne(str, keys[0], keys[2]), "another call");
    finish();
}

Test(llm_idempotency, l36_attempts_of_a_call_share_a_key_if_one_is_wanted)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, BUSY)};

    expect_keys(ASK_COMPLETE, BODY);
    expect_keys(ASK_STREAM, STREAM_BODY);
    expect_keys(ASK_SEND, BODY);
    PLAY(routes, .no_budget = true, .max_retries = 1);
    cr_expect(eq(str, sent_header(0, "dempotency"), (char *)""));
    finish();
}

Test(llm_idempotency, l36_x8_a_header_that_cannot_be_one_is_refused)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, OK)};

    cr_expect(eq(int,
        run_play(routes, 1,
            (struct play){
                .no_budget = true, .opts.idempotency_header = "A: b\r\nC"}),
        BELAY_EINVAL));
    finish();
}
