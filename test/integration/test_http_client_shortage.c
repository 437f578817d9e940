/* test_http_client_shortage.c - the HTTP client out of this and that. */
#include "test/support/http_plan.h"

#include <belay/belay.h>

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

TestSuite(http_client_shortage, .init = http_warm_up, .fini = check_clean,
    .timeout = 60);

Test(http_client_shortage, s136_every_allocation_may_fail)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_TEXT(OK_HI))};
    static const struct belay__http_header headers[] = {
        {"Authorization", {"Bearer k", 8}}};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    const size_t fds = count_fds();
    size_t failed = 0;

    for (size_t k = 0; k < 10000; k++) {
        struct step steps[] = {{.request = {.path = "/a?b=c",
                                    .body = {"abc", 3},
                                    .headers = headers,
                                    .header_count = 1}},
            {.request = {.path = "/b"}}, {.request = {.path = "/b"}}};
        const struct plan arguments = {.url = fault_server_url(server),
            .opts = {{.headers = headers,
                         .header_count = 1,
                         .ca_file = "/nowhere",
                         .no_proxy = "*",
                         .proxy = "http://127.0.0.1:1",
                         .allow_plain = true},
                {.url = "https://127.0.0.1:1"}},
            .steps = steps,
            .count = COUNT(steps)};
        int code;

        test_alloc_fail_at(k);
        code = try_plan(&arguments);
        cr_expect(code == 0 || code == BELAY_ENOMEM, "%zu: %d", k, code);
        for (size_t i = 0; i < COUNT(steps); i++) {
            code = steps[i].result.code;
            cr_expect(code == 0 || code == BELAY_ENOMEM, "%zu: %s", k,
                steps[i].message);
            if (code == BELAY_ENOMEM) {
                cr_expect(eq(
                    int, (int)steps[i].reply.failure, BELAY__HTTP_NO_MEMORY));
            }
        }
        free_steps(steps, COUNT(steps));
        cr_assert(eq(sz, test_alloc_live_blocks(), 0), "%zu", k);
        if (test_alloc_failures() == 0) {
            break;
        }
        failed++;
    }
    cr_expect(gt(sz, failed, 20));
    test_alloc_never_fail();
    for (int i = 0; fault_server_open(server) > 0 && i < WAIT_ROUNDS; i++) {
        (void)usleep(100);
    }
    cr_expect(eq(sz, count_fds(), fds));
    fault_server_stop(server);
}

/* libcurl's own memory, all of it through here. */
static size_t curl_calls;
static size_t curl_fail_at = SIZE_MAX;

static bool
curl_call_fails(void)
{
    return curl_calls++ == curl_fail_at;
}

static void *
curl_malloc(size_t size)
{
    return curl_call_fails() ? NULL : malloc(size);
}

static void *
curl_realloc(void *ptr, size_t size)
{
    return curl_call_fails() ? NULL : realloc(ptr, size);
}

static char *
curl_strdup(const char *text)
{
    return curl_call_fails() ? NULL : strdup(text);
}

static void *
curl_calloc(size_t count, size_t size)
{
    return curl_call_fails() ? NULL : calloc(count, size);
}

/* Up to where libcurl runs the transfer. From there on it tells of its own
 * shortage in other words, and 7.88 divides by zero after one of them.
 */
Test(http_client_shortage, every_allocation_of_libcurl_until_it_runs_may_fail)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_TEXT(OK_HI))};
    static const struct belay__http_header headers[] = {
        {"Authorization", {"Bearer k", 8}}};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    bool running = false;
    size_t k;

    /* The first caller in a process decides where libcurl's memory is from. */
    cr_assert(eq(int,
        (int)curl_global_init_mem(CURL_GLOBAL_DEFAULT, curl_malloc, free,
            curl_realloc, curl_strdup, curl_calloc),
        0));
    for (k = 0; k < 1000 && !running; k++) {
        struct step steps[] = {{.request = {.path = "/a?b=c",
                                    .body = {"abc", 3},
                                    .method = "PUT",
                                    .headers = headers,
                                    .header_count = 1}}};
        const struct plan arguments = {.url = fault_server_url(server),
            .opts = {{.gzip = true,
                         .proxy = "http://127.0.0.1:1",
                         .no_proxy = "*",
                         .allow_plain = true},
                {.url = "https://127.0.0.1:1"}},
            .steps = steps,
            .count = COUNT(steps)};
        int code;

        curl_calls = 0;
        curl_fail_at = k;
        code = try_plan(&arguments);
        if (code == 0) {
            code = steps[0].result.code;
            running = code != BELAY_ENOMEM;
        }
        cr_expect(running || code == BELAY_ENOMEM, "%zu: %d", k, code);
        cr_expect(lt(int, code, 0));
        free_steps(steps, COUNT(steps));
    }
    cr_expect(running);
    cr_expect(gt(sz, k, 30));
    fault_server_stop(server);
}

Test(http_client_shortage, shortage_of_descriptors_is_a_local_failure)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_TEXT(OK_HI))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct step step = {.request = {.path = "/x"}};
    struct rlimit limit;
    const size_t fds = count_fds();

    /* Room for a loop and a multi handle, not for a connection. */
    cr_assert(zero(getrlimit(RLIMIT_NOFILE, &limit)));
    for (rlim_t room = fds + 3; room < fds + 20; room++) {
        struct plan arguments = {
            .url = fault_server_url(server), .steps = &step, .count = 1};
        int code;

        limit.rlim_cur = room;
        step = (struct step){.request = {.path = "/x"}};
        cr_assert(zero(setrlimit(RLIMIT_NOFILE, &limit)));
        code = try_plan(&arguments);
        limit.rlim_cur = limit.rlim_max;
        cr_assert(zero(setrlimit(RLIMIT_NOFILE, &limit)));
        if (code == 0 && step.result.code == -EMFILE) {
            break;
        }
        free_steps(&step, 1);
    }
    expect_failure(&step, -EMFILE, BELAY__HTTP_LOCAL);
    end_steps(server, &step, 1);
}
