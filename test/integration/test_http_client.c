/* test_http_client.c - the HTTP client against a server that misbehaves.
 *
 * Most tests are a plan: an endpoint, the requests to make one after the
 * other, and what each must end with. Waiting for what happens in the
 * server's thread is a bounded loop; time is a virtual clock's.
 */
#include "llm/http/client.h"
#include "test/support/alloc.h"
#include "test/support/fault_server.h"

#include <belay/group.h>
#include <belay/runtime.h>
#include <belay/uv.h>

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <curl/curl.h>
#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define WAIT_ROUNDS 200000 /* of 100 us: a bound, never reached */

static void warm_up(void);

TestSuite(http_client, .init = warm_up, .fini = check_clean, .timeout = 60);

#define NO_OPTS ((struct belay__http_endpoint_opts){0})
#define SLICE(text) ((struct belay_slice){(text), strlen(text)})
#define OK_HI "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

/* What libuv and libcurl open once per process is not a leak. */
static void
warm_up(void)
{
    uv_loop_t loop;

    cr_assert(zero(uv_loop_init(&loop)));
    cr_assert(zero(uv_loop_close(&loop)));
}

static size_t
count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;

    while (readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count;
}

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

/* One exchange: what to ask, and what came of it. */
struct step {
    struct belay__http_request request;
    size_t endpoint; /* index of the options to use */
    /* Filled in. */
    struct belay__http_reply reply;
    struct belay_result result; /* error: a reference of ours */
    char message[512];
};

/* ---- plans: one exchange after the other ---- */

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

/* The reply's bytes are the runtime's; what we keep is a copy. */
static void
keep(struct belay__buffer *buffer)
{
    char *copy = malloc(buffer->len + 1);

    cr_assert(ne(ptr, copy, NULL));
    if (buffer->len > 0) {
        memcpy(copy, buffer->data, buffer->len);
    }
    copy[buffer->len] = '\0';
    *buffer = (struct belay__buffer){.data = copy, .len = buffer->len};
}

static void
note(struct step *step, const struct belay_result *result)
{
    struct belay__http_reply reply = step->reply;

    keep(&step->reply.head);
    keep(&step->reply.body);
    belay__http_reply_fini(&reply);
    step->result = *result;
    step->result.error = belay_error_ref(result->error);
    (void)belay_result_format(result, step->message, sizeof(step->message));
}

BELAY_ASYNC(plan)
{
    BELAY_BEGIN;
    BELAY_WITH (belay__http_open(task, &self->http_opts, &self->http)) {
        for (self->i = 0; self->i < COUNT(self->opts); self->i++) {
            if (self->opts[self->i].url == NULL) {
                self->opts[self->i].url = self->url;
            }
            BELAY_CHECK(belay__http_endpoint_open(self->http,
                &self->opts[self->i], &self->endpoints[self->i], NULL));
        }
        for (self->i = 0; self->i < self->count; self->i++) {
            BELAY_TRY(belay__http_perform(task,
                self->endpoints[self->steps[self->i].endpoint],
                &self->steps[self->i].request, &self->steps[self->i].reply));
            note(&self->steps[self->i], belay_result(task));
        }
    }
    BELAY_END;
}

static void
run_plan(struct plan *arguments)
{
    int code = belay_run(&plan, arguments,
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator), NULL);

    cr_assert(eq(int, code, 0));
}

static void
free_steps(struct step *steps, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(steps[i].reply.head.data);
        free(steps[i].reply.body.data);
        belay_error_unref(steps[i].result.error);
    }
}

/* Runs the steps against the routes; everything must be gone afterwards. */
static struct fault_server *
serve_steps(const struct fault_route *routes, size_t route_count,
    struct belay__http_endpoint_opts opts, struct step *steps, size_t count)
{
    struct fault_server *server = fault_server_start(routes, route_count);

    run_plan(&(struct plan){.url = fault_server_url(server),
        .opts = {opts, {0}},
        .steps = steps,
        .count = count});
    return server;
}

static void
expect_failure(
    const struct step *step, int code, enum belay__http_failure failure)
{
    int foreign = 0;

    cr_expect(eq(int, step->result.code, code), "%s", step->message);
    cr_expect(
        eq(int, (int)step->reply.failure, (int)failure), "%s", step->message);
    cr_expect(not(step->result.cancelled));
    cr_assert(ne(ptr, step->result.error, NULL));
    cr_expect(eq(int, belay_error_code(step->result.error), code));
    if (belay_error_foreign(step->result.error, &foreign) != NULL) {
        cr_expect(gt(int, foreign, 0));
    }
}

static bool
body_is(const struct step *step, const char *text)
{
    return step->reply.body.len == strlen(text)
           && memcmp(step->reply.body.data, text, strlen(text)) == 0;
}

static bool
header_is(const struct step *step, const char *name, const char *value)
{
    const struct belay_slice found =
        belay__http_reply_header(&step->reply, name);

    return found.len == strlen(value)
           && (found.len == 0 || memcmp(found.data, value, found.len) == 0);
}

/* The index-th request as text, to be freed. */
static char *
sent(struct fault_server *server, size_t index, size_t *ret_connection)
{
    struct fault_request request;

    cr_assert(fault_server_request(server, index, &request));
    if (ret_connection != NULL) {
        *ret_connection = request.connection;
    }
    return request.bytes;
}

static size_t
connection_of(struct fault_server *server, size_t index)
{
    size_t connection = 0;

    free(sent(server, index, &connection));
    return connection;
}

/* ---- what a good exchange is ---- */

Test(http_client, post_sends_headers_and_body_and_reads_the_reply)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/v1/chat",
            FAULT_TEXT("HTTP/1.1 201 Created\r\nX-Request-Id:  r1 \r\n"
                       "Content-Length: 5\r\n\r\nhello")),
    };
    static const struct belay__http_header headers[] = {
        {"Authorization", {"Bearer k", 8}}};
    static const struct belay__http_header extra[] = {
        {"X-Extra", {"1", 1}}, {"X-Empty", {NULL, 0}}};
    struct step steps[1] = {{.request = {.path = "/chat",
                                 .body = {"{\"a\":1}", 7},
                                 .headers = extra,
                                 .header_count = 2}}};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    char url[128];
    char want[512];
    char *request;

    (void)snprintf(url, sizeof(url), "%s/v1/", fault_server_url(server));
    run_plan(&(struct plan){.url = url,
        .opts = {{.headers = headers, .header_count = 1}},
        .steps = steps,
        .count = 1});
    cr_expect(eq(int, steps[0].result.code, 0), "%s", steps[0].message);
    cr_expect(eq(ptr, steps[0].result.value, &steps[0].reply));
    cr_expect(eq(int, steps[0].reply.status, 201));
    cr_expect(eq(int, steps[0].reply.version, 11));
    cr_expect(eq(int, (int)steps[0].reply.failure, BELAY__HTTP_OK));
    cr_expect(body_is(&steps[0], "hello"));
    cr_expect(header_is(&steps[0], "x-request-id", "r1"));
    cr_expect(eq(sz, belay__http_reply_header(&steps[0].reply, "X-No").len, 0));
    cr_expect(steps[0].reply.request_sent);
    cr_expect(not(steps[0].reply.reused));
    cr_expect(eq(u64, steps[0].reply.sent_bytes, 7));
    cr_expect(eq(u64, steps[0].reply.body_bytes, 5));
    cr_expect(le(i64, steps[0].reply.started.ns, steps[0].reply.first_byte.ns));
    cr_expect(le(i64, steps[0].reply.first_byte.ns, steps[0].reply.ended.ns));

    request = sent(server, 0, NULL);
    (void)snprintf(want, sizeof(want),
        "POST /v1/chat HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nAccept: */*\r\n"
        "X-Extra: 1\r\nX-Empty:\r\nContent-Type: application/json\r\n"
        "Authorization: Bearer k\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
        (unsigned int)fault_server_port(server));
    cr_expect(eq(str, request, want));
    free(request);
    free_steps(steps, 1);
    fault_server_stop(server);
}

Test(http_client, methods_follow_each_other_on_one_handle)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_TEXT(OK_HI)),
        FAULT_ON(
            NULL, FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")),
        FAULT_ON(NULL, FAULT_TEXT(OK_HI))};
    static const char *const lines[] = {"GET /a ", "HEAD /b ", "POST /c ",
        "DELETE /d ", "PUT /e ", "POST /f ", "GET /g "};
    struct step steps[] = {
        {.request = {.path = "/a"}},
        {.request = {.path = "/b", .method = "HEAD"}},
        {.request = {.path = "/c", .method = "POST"}},
        {.request = {.path = "/d", .method = "DELETE"}},
        {.request = {.path = "/e", .method = "PUT", .body = {"xy", 2}}},
        {.request = {.path = "/f", .body = {"z", 1}}},
        {.request = {.path = "/g", .method = "GET"}},
    };
    struct fault_server *server =
        serve_steps(routes, COUNT(routes), NO_OPTS, steps, 7);

    for (size_t i = 0; i < COUNT(steps); i++) {
        char *request = sent(server, i, NULL);

        cr_expect(eq(int, steps[i].result.code, 0), "%s", steps[i].message);
        cr_expect(
            zero(strncmp(request, lines[i], strlen(lines[i]))), "%s", request);
        cr_expect(eq(sz, connection_of(server, i), 1));
        cr_expect(eq(int, steps[i].reply.reused, i > 0));
        cr_expect(eq(ptr, strstr(request, "urlencoded"), NULL), "%s", request);
        free(request);
    }
    free_steps(steps, COUNT(steps));
    fault_server_stop(server);
}

Test(http_client, l8_base_url_keeps_path_and_query)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_TEXT(OK_HI))};
    static const struct {
        const char *base;
        const char *path;
        const char *line;
    } cases[] = {
        {"", NULL, "GET / HTTP/1.1\r\n"},
        {"/mcp", NULL, "GET /mcp HTTP/1.1\r\n"},
        {"/v1", "/chat", "GET /v1/chat HTTP/1.1\r\n"},
        {"/v1/", "/chat", "GET /v1/chat HTTP/1.1\r\n"},
        {"/v1//", "chat", "GET /v1/chat HTTP/1.1\r\n"},
        {"", "//chat", "GET /chat HTTP/1.1\r\n"},
        {"/v1", "/v1/messages", "GET /v1/messages HTTP/1.1\r\n"},
        {"/a/v1/", "/v1/messages", "GET /a/v1/messages HTTP/1.1\r\n"},
        {"/v1", "/v12/x", "GET /v1/v12/x HTTP/1.1\r\n"},
        {"/gw?api-version=3", "/chat",
            "GET /gw/chat?api-version=3 HTTP/1.1\r\n"},
        {"/gw?a=1", "/c?b=2&c=%20", "GET /gw/c?a=1&b=2&c=%20 HTTP/1.1\r\n"},
        {"/gw", "/c?b=2", "GET /gw/c?b=2 HTTP/1.1\r\n"},
        {"/gw?a=1", NULL, "GET /gw?a=1 HTTP/1.1\r\n"},
        {"/gw#part", "/c", "GET /gw/c HTTP/1.1\r\n"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct step steps[1] = {{.request = {.path = cases[i].path}}};
        struct fault_server *server = fault_server_start(routes, COUNT(routes));
        char url[128];
        char *request;

        (void)snprintf(
            url, sizeof(url), "%s%s", fault_server_url(server), cases[i].base);
        run_plan(&(struct plan){.url = url, .steps = steps, .count = 1});
        cr_expect(eq(int, steps[0].result.code, 0), "%s", steps[0].message);
        request = sent(server, 0, NULL);
        cr_expect(zero(strncmp(request, cases[i].line, strlen(cases[i].line))),
            "%s + %s: %s", cases[i].base, cases[i].path, request);
        free(request);
        free_steps(steps, 1);
        fault_server_stop(server);
    }
}

Test(http_client, every_split_of_the_bytes_gives_the_same_reply)
{
    static const char chunked[] =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-A: 1\r\n"
        "Transfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n6\r\npedia!\r\n0\r\n"
        "X-Trailer: t\r\n\r\n";
    static const struct fault_route routes[] = {
        FAULT_ON("/whole", FAULT_TEXT(chunked)),
        FAULT_ON("/bytes", FAULT_PIECES(chunked, 1, 0)),
        FAULT_ON("/slow", FAULT_PIECES(chunked, 40, 1)),
    };
    struct step steps[] = {{.request = {.path = "/whole"}},
        {.request = {.path = "/bytes"}}, {.request = {.path = "/slow"}}};
    struct fault_server *server =
        serve_steps(routes, COUNT(routes), NO_OPTS, steps, 3);

    for (size_t i = 0; i < COUNT(steps); i++) {
        cr_expect(eq(int, steps[i].result.code, 0), "%s", steps[i].message);
        cr_expect(eq(int, steps[i].reply.status, 200));
        cr_expect(body_is(&steps[i], "wikipedia!"));
        cr_expect(header_is(&steps[i], "X-A", "1"));
        cr_expect(header_is(&steps[i], "X-Trailer", ""));
    }
    cr_expect(eq(sz, fault_server_accepted(server), 1));
    free_steps(steps, COUNT(steps));
    fault_server_stop(server);
}

Test(http_client, error_statuses_are_replies)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/a", FAULT_TEXT("HTTP/1.1 429 Slow\r\nRetry-After: 7\r\n"
                                  "Content-Length: 4\r\n\r\nwait")),
        FAULT_ON("/b", FAULT_TEXT(FAULT_EMPTY_500)),
        FAULT_ON(
            "/c", FAULT_TEXT("HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\n"
                             "Content-Length: 0\r\n\r\n")),
    };
    struct step steps[] = {{.request = {.path = "/a"}},
        {.request = {.path = "/b"}}, {.request = {.path = "/c"}}};
    struct fault_server *server =
        serve_steps(routes, COUNT(routes), NO_OPTS, steps, 3);

    cr_expect(eq(int, steps[0].result.code, 0));
    cr_expect(eq(int, steps[0].reply.status, 429));
    cr_expect(header_is(&steps[0], "retry-after", "7"));
    cr_expect(body_is(&steps[0], "wait"));
    cr_expect(eq(int, steps[1].reply.status, 500));
    cr_expect(eq(int, steps[2].result.code, 0));
    cr_expect(eq(int, steps[2].reply.status, 401));
    cr_expect(eq(sz, fault_server_accepted(server), 1));
    free_steps(steps, COUNT(steps));
    fault_server_stop(server);
}

/* ---- failures, told apart ---- */

Test(http_client, l30_failures_are_told_apart)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/empty", FAULT_DO_CLOSE),
        FAULT_ON("/reset", FAULT_DO_RESET),
        FAULT_ON("/short",
            FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
            FAULT_DO_CLOSE),
        FAULT_ON("/chunk",
            FAULT_TEXT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"
                       "\r\n\r\n9\r\nhalf"),
            FAULT_DO_CLOSE),
        FAULT_ON("/midreset",
            FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
            FAULT_DO_SLEEP(20), FAULT_DO_RESET),
        FAULT_ON("/junk", FAULT_TEXT("hello, this is not HTTP at all\r\n\r\n"),
            FAULT_DO_CLOSE),
        FAULT_ON("/badchunk",
            FAULT_TEXT("HTTP/1.1 200 OK\r\nTransfer-Encoding: "
                       "chunked\r\n\r\nzz\r\n\r\n"),
            FAULT_DO_CLOSE),
        FAULT_ON("/head", FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Le"),
            FAULT_DO_CLOSE),
        FAULT_ON("/line", FAULT_TEXT("HTTP/1.1 20"), FAULT_DO_CLOSE),
        FAULT_ON("/interim", FAULT_TEXT("HTTP/1.1 100 Continue\r\n\r\n"),
            FAULT_DO_CLOSE),
        FAULT_ON("/ok", FAULT_TEXT(OK_HI)),
    };
    static const struct {
        const char *path;
        int code;
        enum belay__http_failure failure;
        const char *body;
    } cases[] = {
        {"/empty", BELAY_ERESET, BELAY__HTTP_EMPTY, ""},
        {"/reset", BELAY_ERESET, BELAY__HTTP_RESET, ""},
        {"/short", BELAY_ETRUNCATED, BELAY__HTTP_SHORT_BODY, "half"},
        {"/chunk", BELAY_ETRUNCATED, BELAY__HTTP_SHORT_BODY, "half"},
        {"/midreset", BELAY_ERESET, BELAY__HTTP_RESET, "half"},
        {"/junk", BELAY_EREPLY, BELAY__HTTP_MALFORMED, ""},
        {"/badchunk", BELAY_EREPLY, BELAY__HTTP_MALFORMED, ""},
        {"/head", BELAY_ETRUNCATED, BELAY__HTTP_SHORT_BODY, ""},
        {"/line", BELAY_ERESET, BELAY__HTTP_EMPTY, ""},
        {"/interim", BELAY_ERESET, BELAY__HTTP_EMPTY, ""},
    };
    struct fault_server *server = fault_server_start(routes, COUNT(routes));

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct step steps[2] = {
            {.request = {.path = cases[i].path, .body = {"abc", 3}}},
            {.request = {.path = "/ok"}}};

        run_plan(&(struct plan){
            .url = fault_server_url(server), .steps = steps, .count = 2});
        expect_failure(&steps[0], cases[i].code, cases[i].failure);
        cr_expect(body_is(&steps[0], cases[i].body), "%s", cases[i].path);
        cr_expect(steps[0].reply.request_sent, "%s", cases[i].path);
        cr_expect(eq(u64, steps[0].reply.sent_bytes, 3));
        cr_expect(eq(int, steps[1].result.code, 0));
        cr_expect(not(steps[1].reply.reused));
        free_steps(steps, 2);
    }
    fault_server_stop(server);
}

Test(http_client, l30_nobody_listens)
{
    struct fault_server *server = fault_server_start(NULL, 0);
    struct step steps[1] = {{.request = {.path = "/x", .body = {"abc", 3}}}};
    char url[64];

    (void)snprintf(url, sizeof(url), "%s/v1", fault_server_url(server));
    fault_server_stop(server); /* a port on which nobody listens now */
    run_plan(&(struct plan){.url = url, .steps = steps, .count = 1});
    expect_failure(&steps[0], BELAY_ECONNECT, BELAY__HTTP_CONNECT);
    cr_expect(not(steps[0].reply.request_sent));
    cr_expect(eq(u64, steps[0].reply.sent_bytes, 0));
    cr_expect(eq(int, steps[0].reply.status, 0));
    cr_expect(ne(ptr, strstr(steps[0].message, "Connection refused"), NULL),
        "%s", steps[0].message);
    free_steps(steps, 1);
}

Test(http_client, l30_tls_handshake_that_breaks)
{
    static const struct fault_route routes[] = {
        FAULT_ON_ACCEPT(FAULT_TEXT("not TLS at all\r\n"), FAULT_DO_CLOSE),
        FAULT_ON_ACCEPT(FAULT_DO_SLEEP(5), FAULT_DO_RESET)};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct step steps[2] = {
        {.request = {.path = "/x"}}, {.request = {.path = "/x"}}};
    char url[64];

    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%u",
        (unsigned int)fault_server_port(server));
    run_plan(&(struct plan){.url = url, .steps = steps, .count = 2});
    expect_failure(&steps[0], BELAY_ETLS, BELAY__HTTP_TLS);
    expect_failure(&steps[1], BELAY_ETLS, BELAY__HTTP_TLS);
    cr_expect(not(steps[0].reply.request_sent));
    cr_expect(not(steps[1].reply.request_sent));
    free_steps(steps, 2);
    fault_server_stop(server);
}

Test(http_client, l30_request_that_was_not_sent_whole)
{
    static const struct fault_route routes[] = {
        FAULT_ON_ACCEPT(FAULT_DO_SLEEP(50), FAULT_DO_RESET)};
    const size_t len = (size_t)32 * 1024 * 1024;
    char *body = calloc(1, len);
    struct step steps[1] = {{.request = {.body = {body, len}}}};
    struct fault_server *server =
        serve_steps(routes, COUNT(routes), NO_OPTS, steps, 1);

    cr_expect(
        eq(int, steps[0].result.code, BELAY_ERESET), "%s", steps[0].message);
    cr_expect(not(steps[0].reply.request_sent));
    cr_expect(lt(u64, steps[0].reply.sent_bytes, len));
    free_steps(steps, 1);
    fault_server_stop(server);
    free(body);
}

Test(http_client, large_body_is_sent_without_asking_first)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_TEXT(OK_HI))};
    const size_t len = (size_t)3 * 1024 * 1024;
    char *body = malloc(len);
    struct step steps[1] = {{.request = {.body = {body, len}}}};
    struct fault_request request;
    struct fault_server *server;

    for (size_t i = 0; i < len; i++) {
        body[i] = (char)(i * 31 >> 3);
    }
    server = serve_steps(routes, COUNT(routes), NO_OPTS, steps, 1);
    cr_expect(eq(int, steps[0].result.code, 0), "%s", steps[0].message);
    cr_expect(eq(u64, steps[0].reply.sent_bytes, len));
    cr_assert(fault_server_request(server, 0, &request));
    cr_expect(eq(sz, request.len - request.head_len, len));
    cr_expect(zero(memcmp(request.bytes + request.head_len, body, len)));
    request.bytes[request.head_len] = '\0';
    cr_expect(eq(ptr, strstr(request.bytes, "Expect"), NULL));
    free(request.bytes);
    free_steps(steps, 1);
    fault_server_stop(server);
    free(body);
}

/* ---- connections that are kept ---- */

Test(http_client, l37_kept_connection_that_died_is_replaced_silently)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/x", FAULT_TEXT(OK_HI)), FAULT_ON("/x", FAULT_DO_CLOSE),
        FAULT_ON("/x", FAULT_TEXT(OK_HI))};
    struct step steps[2] = {{.request = {.path = "/x", .body = {"a", 1}}},
        {.request = {.path = "/x", .body = {"b", 1}}}};
    struct fault_server *server =
        serve_steps(routes, COUNT(routes), NO_OPTS, steps, 2);

    cr_expect(eq(int, steps[1].result.code, 0), "%s", steps[1].message);
    cr_expect(not(steps[1].reply.reused));
    cr_expect(eq(sz, fault_server_requests(server, "/x"), 3));
    cr_expect(eq(sz, fault_server_accepted(server), 2));
    free_steps(steps, 2);
    fault_server_stop(server);
}

Test(http_client, l37_nothing_is_sent_again_once_a_byte_of_a_reply_came)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/x", FAULT_TEXT(OK_HI)),
        FAULT_ON("/x", FAULT_TEXT("HTTP/1.1 200 OK\r\nX-"), FAULT_DO_SLEEP(20),
            FAULT_DO_CLOSE),
        FAULT_ON("/x", FAULT_TEXT(OK_HI)),
        FAULT_ON("/x", FAULT_TEXT("HTTP/1.1 200 OK\r\nX-"), FAULT_DO_SLEEP(20),
            FAULT_DO_RESET),
        FAULT_ON("/x", FAULT_TEXT(OK_HI))};
    struct step steps[4] = {{.request = {.path = "/x", .body = {"a", 1}}},
        {.request = {.path = "/x", .body = {"b", 1}}},
        {.request = {.path = "/x", .body = {"c", 1}}},
        {.request = {.path = "/x", .body = {"d", 1}}}};
    struct fault_server *server =
        serve_steps(routes, COUNT(routes), NO_OPTS, steps, COUNT(steps));

    for (size_t i = 0; i < COUNT(steps); i++) {
        cr_expect(eq(int, steps[i].result.code < 0, i % 2 == 1), "%zu: %s", i,
            steps[i].message);
        cr_expect(steps[i].reply.request_sent);
    }
    cr_expect(eq(sz, fault_server_requests(server, "/x"), COUNT(steps)));
    free_steps(steps, COUNT(steps));
    fault_server_stop(server);
}

Test(http_client, l37_first_use_of_a_connection_is_never_repeated)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/x", FAULT_DO_CLOSE), FAULT_ON("/x", FAULT_TEXT(OK_HI))};
    struct step steps[1] = {{.request = {.path = "/x", .body = {"a", 1}}}};
    struct fault_server *server =
        serve_steps(routes, COUNT(routes), NO_OPTS, steps, 1);

    expect_failure(&steps[0], BELAY_ERESET, BELAY__HTTP_EMPTY);
    cr_expect(eq(sz, fault_server_requests(server, "/x"), 1));
    free_steps(steps, 1);
    fault_server_stop(server);
}

Test(http_client, connection_close_is_obeyed)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL,
        FAULT_TEXT("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
                   "until the end"),
        FAULT_DO_CLOSE)};
    struct step steps[2] = {
        {.request = {.path = "/x"}}, {.request = {.path = "/x"}}};
    struct fault_server *server =
        serve_steps(routes, COUNT(routes), NO_OPTS, steps, 2);

    for (size_t i = 0; i < 2; i++) {
        cr_expect(eq(int, steps[i].result.code, 0), "%s", steps[i].message);
        cr_expect(body_is(&steps[i], "until the end"));
        cr_expect(not(steps[i].reply.reused));
    }
    cr_expect(eq(sz, fault_server_accepted(server), 2));
    free_steps(steps, 2);
    fault_server_stop(server);
}

/* ---- section 4: security (S1-S11, here x1-x11) ---- */

Test(http_client, x2_no_secret_is_in_the_text_of_an_error)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL,
        FAULT_TEXT("HTTP/1.1 200 canary-line\r\nX-Echo: canary\r\n"
                   "Content-Length: 9\r\n\r\ncanary"),
        FAULT_DO_CLOSE)};
    static const struct belay__http_header headers[] = {
        {"Authorization", {"Bearer canary", 13}}};
    static const struct belay__http_header extra[] = {
        {"X-Api-Key", {"canary", 6}}};
    static const struct belay__http_header bad[] = {
        {"X-Api-Key", {"canary\r\n", 8}}};
    struct step steps[3] = {{.request = {.path = "/visible?key=canary",
                                 .body = {"canary", 6},
                                 .headers = extra,
                                 .header_count = 1}},
        {.request = {.headers = bad, .header_count = 1}},
        {.request = {.path = "/canary\r\nX: y"}}};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    char url[128];

    (void)snprintf(url, sizeof(url),
        "http://canary:canary@127.0.0.1:%u/v1?k=canary",
        (unsigned int)fault_server_port(server));
    run_plan(&(struct plan){.url = url,
        .opts = {{.headers = headers, .header_count = 1}},
        .steps = steps,
        .count = COUNT(steps)});
    expect_failure(&steps[0], BELAY_ETRUNCATED, BELAY__HTTP_SHORT_BODY);
    expect_failure(&steps[1], BELAY_EINVAL, BELAY__HTTP_BAD_REQUEST);
    expect_failure(&steps[2], BELAY_EINVAL, BELAY__HTTP_BAD_REQUEST);
    cr_expect(ne(ptr, strstr(steps[0].message, "/visible"), NULL));
    for (size_t i = 0; i < COUNT(steps); i++) {
        cr_expect(eq(ptr, strstr(steps[i].message, "canary"), NULL), "%s",
            steps[i].message);
    }
    cr_expect(eq(sz, fault_server_requests(server, NULL), 1));
    free_steps(steps, COUNT(steps));
    fault_server_stop(server);
}

/* Opens endpoints that must be refused, or not. */
struct opening {
    struct belay__http_endpoint_opts opts;
    int code;
    const char *why;
    struct belay__http *http;
    struct belay__http_endpoint *endpoint;
};

BELAY_ASYNC(opening)
{
    BELAY_BEGIN;
    BELAY_WITH (belay__http_open(task, NULL, &self->http)) {
        const char *why = NULL;
        const int code = belay__http_endpoint_open(
            self->http, &self->opts, &self->endpoint, &why);

        cr_expect(eq(int, code, self->code), "%s: %s", self->opts.url, why);
        if (self->why != NULL) {
            cr_expect(
                eq(str, (char *)(uintptr_t)why, (char *)(uintptr_t)self->why));
        }
        cr_expect(eq(int, self->endpoint == NULL, code < 0));
    }
    BELAY_END;
}

static void
open_endpoint(struct belay__http_endpoint_opts opts, int code, const char *why)
{
    const struct opening arguments = {.opts = opts, .code = code, .why = why};

    cr_expect(eq(int,
        belay_run(&opening, &arguments,
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator), NULL),
        0));
}

Test(http_client, x3_plain_http_is_for_this_machine_only)
{
    static const char *const refused[] = {"http://example.com/",
        "http://10.0.0.1:80/", "http://127.example.com/",
        "http://127.0.0.1.example.com/", "http://localhost.example.com/",
        "http://[::2]/", "http://127.0.0.1@example.com/", "http://[fe80::1]/"};
    static const char *const taken[] = {"http://localhost/",
        "http://LOCALHOST:8080/v1", "http://127.0.0.1/", "http://127.1.2.3/",
        "http://[::1]:99/", "https://example.com/"};

    for (size_t i = 0; i < COUNT(refused); i++) {
        open_endpoint((struct belay__http_endpoint_opts){.url = refused[i]},
            BELAY_EINVAL, "plain http to another machine is not allowed");
        open_endpoint((struct belay__http_endpoint_opts){.url = refused[i],
                          .allow_plain = true},
            0, NULL);
    }
    for (size_t i = 0; i < COUNT(taken); i++) {
        open_endpoint(
            (struct belay__http_endpoint_opts){.url = taken[i]}, 0, NULL);
    }
}

Test(http_client, x4_only_http_and_https)
{
    static const char *const bad[] = {"ftp://127.0.0.1/", "file:///etc/passwd",
        "gopher://127.0.0.1/", "scp://127.0.0.1/x", "127.0.0.1:80", "",
        "http://", "http:///x", "http://127.0.0.1:99999/", "http://a b/",
        "http://a\nb/", "nothing://127.0.0.1/"};

    for (size_t i = 0; i < COUNT(bad); i++) {
        open_endpoint((struct belay__http_endpoint_opts){.url = bad[i]},
            BELAY_EINVAL, NULL);
    }
    open_endpoint(
        (struct belay__http_endpoint_opts){0}, BELAY_EINVAL, "no URL is given");
    open_endpoint((struct belay__http_endpoint_opts){.url = "ftp://127.0.0.1/"},
        BELAY_EINVAL, "the URL is neither http nor https");
}

Test(http_client, x5_redirects_are_not_followed)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/from", FAULT_TEXT("HTTP/1.1 307 Temporary Redirect\r\n"
                                     "Location: /to\r\n"
                                     "Content-Length: 0\r\n\r\n")),
        FAULT_ON("/to", FAULT_TEXT(OK_HI))};
    struct step steps[1] = {{.request = {.path = "/from", .body = {"a", 1}}}};
    struct fault_server *server =
        serve_steps(routes, COUNT(routes), NO_OPTS, steps, 1);

    cr_expect(eq(int, steps[0].result.code, 0));
    cr_expect(eq(int, steps[0].reply.status, 307));
    cr_expect(header_is(&steps[0], "location", "/to"));
    cr_expect(eq(sz, fault_server_requests(server, "/to"), 0));
    free_steps(steps, 1);
    fault_server_stop(server);
}

Test(http_client, x6_proxy_gets_a_tunnel_and_no_key)
{
    static const struct fault_route routes[] = {
        FAULT_ON("127.0.0.1:1", FAULT_TEXT("HTTP/1.1 200 Go\r\n\r\n")),
        FAULT_ON("127.0.0.1:2",
            FAULT_TEXT("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
            FAULT_DO_CLOSE),
        FAULT_ON("/x", FAULT_TEXT(OK_HI))};
    static const struct belay__http_header headers[] = {
        {"Authorization", {"Bearer canary", 13}}};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct step steps[2] = {{.request = {.path = "/x"}},
        {.request = {.path = "/x"}, .endpoint = 1}};
    char *request;

    run_plan(&(struct plan){
        .opts = {{.url = "http://127.0.0.1:1",
                     .proxy = fault_server_url(server),
                     .headers = headers,
                     .header_count = 1},
            {.url = "http://127.0.0.1:2", .proxy = fault_server_url(server)}},
        .steps = steps,
        .count = 2});
    cr_expect(eq(int, steps[0].result.code, 0), "%s", steps[0].message);
    cr_expect(body_is(&steps[0], "hi"));
    cr_expect(eq(int, steps[0].reply.status, 200));
    request = sent(server, 0, NULL);
    cr_expect(zero(strncmp(request, "CONNECT 127.0.0.1:1 ", 20)));
    cr_expect(eq(ptr, strstr(request, "canary"), NULL));
    free(request);
    request = sent(server, 1, NULL);
    cr_expect(zero(strncmp(request, "GET /x ", 7)));
    cr_expect(ne(ptr, strstr(request, "canary"), NULL));
    free(request);
    expect_failure(&steps[1], BELAY_ECONNECT, BELAY__HTTP_PROXY);
    cr_expect(not(steps[1].reply.request_sent));
    free_steps(steps, 2);
    fault_server_stop(server);
}

Test(http_client, x6_environment_counts_only_when_asked)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/x", FAULT_TEXT(OK_HI))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct step steps[3] = {{.request = {.path = "/x"}},
        {.request = {.path = "/x"}, .endpoint = 1},
        {.request = {.path = "/x"}}};
    char proxy[64];

    /* A proxy on a port where nobody listens. */
    (void)snprintf(proxy, sizeof(proxy), "http://127.0.0.1:1");
    (void)setenv("http_proxy", proxy, 1);
    (void)setenv("all_proxy", proxy, 1);
    (void)unsetenv("no_proxy");
    (void)unsetenv("NO_PROXY");
    run_plan(&(struct plan){.url = fault_server_url(server),
        .opts = {{0}, {.proxy_from_env = true}},
        .steps = steps,
        .count = 2});
    cr_expect(eq(int, steps[0].result.code, 0), "%s", steps[0].message);
    expect_failure(&steps[1], BELAY_ECONNECT, BELAY__HTTP_CONNECT);
    (void)setenv("no_proxy", "127.0.0.1", 1);
    run_plan(&(struct plan){.url = fault_server_url(server),
        .opts = {{.proxy_from_env = true}},
        .steps = &steps[2],
        .count = 1});
    cr_expect(eq(int, steps[2].result.code, 0), "%s", steps[2].message);
    free_steps(steps, 3);
    fault_server_stop(server);
}

#define BIG (UINT64_C(1) << 30)

Test(http_client, x7_bodies_end_at_the_limit)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/told",
            FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n"),
            FAULT_DO_FILL(BIG)),
        FAULT_ON("/untold",
            FAULT_TEXT("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
            FAULT_DO_FILL(BIG), FAULT_DO_CLOSE),
        FAULT_ON("/exact",
            FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
            FAULT_DO_FILL(100000)),
        FAULT_ON("/one_more",
            FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n"),
            FAULT_DO_FILL(100001)),
        FAULT_ON("/error",
            FAULT_TEXT("HTTP/1.1 500 No\r\nContent-Length: 1073741824\r\n\r\n"),
            FAULT_DO_FILL(BIG))};
    struct step steps[] = {
        {.request = {.path = "/told", .max_body_bytes = 100000}},
        {.request = {.path = "/untold", .max_body_bytes = 100000}},
        {.request = {.path = "/exact", .max_body_bytes = 100000}},
        {.request = {.path = "/one_more", .max_body_bytes = 100000}},
        {.request = {.path = "/error", .max_body_bytes = 100000}}};
    struct fault_server *server =
        serve_steps(routes, COUNT(routes), NO_OPTS, steps, COUNT(steps));

    for (size_t i = 0; i < COUNT(steps); i++) {
        if (i == 2) {
            cr_expect(eq(int, steps[i].result.code, 0));
            cr_expect(eq(sz, steps[i].reply.body.len, 100000));
        } else {
            expect_failure(
                &steps[i], BELAY_ETOOLARGE, BELAY__HTTP_BODY_TOO_LARGE);
        }
        cr_expect(le(sz, steps[i].reply.body.len, 100000));
    }
    cr_expect(eq(sz, fault_server_accepted(server), 4)); /* 3 and 4 share */
    free_steps(steps, COUNT(steps));
    fault_server_stop(server);
}

Test(http_client, x7_default_limit_is_64_mib)
{
    static const struct fault_route routes[] = {FAULT_ON("/over",
        FAULT_TEXT("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n"),
        FAULT_DO_FILL(BIG))};
    struct step steps[1] = {{.request = {.path = "/over"}}};
    struct fault_server *server =
        serve_steps(routes, COUNT(routes), NO_OPTS, steps, 1);

    expect_failure(&steps[0], BELAY_ETOOLARGE, BELAY__HTTP_BODY_TOO_LARGE);
    cr_expect(le(sz, steps[0].reply.body.len, (size_t)64 << 20));
    cr_expect(ge(sz, steps[0].reply.body.len, (size_t)63 << 20));
    free_steps(steps, 1);
    fault_server_stop(server);
}

Test(http_client, x7_what_counts_is_the_size_after_decompression)
{
#define GZIP_HEAD \
    "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n"
    static const struct fault_route routes[] = {
        FAULT_ON("/small", FAULT_TEXT(GZIP_HEAD), FAULT_DO_GZIP(5000),
            FAULT_DO_CLOSE),
        FAULT_ON("/bomb", FAULT_TEXT(GZIP_HEAD), FAULT_DO_GZIP(1 << 28),
            FAULT_DO_CLOSE),
        FAULT_ON("/broken", FAULT_TEXT(GZIP_HEAD "this is not gzip"),
            FAULT_DO_CLOSE)};
    struct step steps[] = {{.request = {.path = "/small"}},
        {.request = {.path = "/bomb"}}, {.request = {.path = "/broken"}},
        {.request = {.path = "/small"}, .endpoint = 1}};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    char *request;

    run_plan(&(struct plan){.url = fault_server_url(server),
        .opts = {{.gzip = true}, {0}},
        .steps = steps,
        .count = COUNT(steps)});
    cr_expect(eq(int, steps[0].result.code, 0), "%s", steps[0].message);
    cr_expect(eq(u64, steps[0].reply.body_bytes, 5000));
    request = sent(server, 0, NULL);
    cr_expect(ne(ptr, strstr(request, "Accept-Encoding: gzip\r\n"), NULL));
    free(request);
    expect_failure(&steps[1], BELAY_ETOOLARGE, BELAY__HTTP_BODY_TOO_LARGE);
    expect_failure(&steps[2], BELAY_EREPLY, BELAY__HTTP_MALFORMED);
    cr_expect(eq(int, steps[3].result.code, 0), "%s", steps[3].message);
    cr_expect(lt(u64, steps[3].reply.body_bytes, 500)); /* as it came */
    request = sent(server, 3, NULL);
    cr_expect(eq(ptr, strstr(request, "Accept-Encoding"), NULL));
    free(request);
    free_steps(steps, COUNT(steps));
    fault_server_stop(server);
}

Test(http_client, x7_heads_end_at_the_limit)
{
    static char many[80 * 1024];
    static char interim[80 * 1024];
    static char fits[60 * 1024];
    static const char line[] = "X-Line: 0123456789012345678901234567890123\r\n";
    static const char hundred[] = "HTTP/1.1 103 Early\r\nX-A: b\r\n\r\n";
    const struct fault_route routes[] = {
        FAULT_ON("/many", FAULT_TEXT("HTTP/1.1 200 OK\r\n"), FAULT_TEXT(many),
            FAULT_DO_HANG),
        FAULT_ON("/long", FAULT_TEXT("HTTP/1.1 200 OK\r\nX-Long: "),
            FAULT_DO_FILL(BIG), FAULT_DO_HANG),
        FAULT_ON("/middle", FAULT_TEXT("HTTP/1.1 200 OK\r\nX-Long: "),
            FAULT_DO_FILL(70000), FAULT_TEXT("\r\n"), FAULT_DO_HANG),
        FAULT_ON("/interim", FAULT_TEXT(interim), FAULT_DO_HANG),
        FAULT_ON("/trailer",
            FAULT_TEXT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                       "2\r\nhi\r\n0\r\n"),
            FAULT_TEXT(many), FAULT_DO_HANG),
        FAULT_ON("/fits", FAULT_TEXT("HTTP/1.1 200 OK\r\n"), FAULT_TEXT(fits),
            FAULT_TEXT("Content-Length: 2\r\n\r\nhi"))};
    struct step steps[] = {{.request = {.path = "/many"}},
        {.request = {.path = "/long"}}, {.request = {.path = "/middle"}},
        {.request = {.path = "/interim"}}, {.request = {.path = "/trailer"}},
        {.request = {.path = "/fits"}}};
    struct fault_server *server;

    for (size_t i = 0; i + sizeof(line) < sizeof(many); i += sizeof(line) - 1) {
        memcpy(many + i, line, sizeof(line));
    }
    for (size_t i = 0; i + sizeof(line) < sizeof(fits); i += sizeof(line) - 1) {
        memcpy(fits + i, line, sizeof(line));
    }
    for (size_t i = 0; i + sizeof(hundred) < sizeof(interim);
         i += sizeof(hundred) - 1) {
        memcpy(interim + i, hundred, sizeof(hundred));
    }
    server = serve_steps(routes, COUNT(routes), NO_OPTS, steps, COUNT(steps));
    for (size_t i = 0; i < COUNT(steps) - 1; i++) {
        expect_failure(&steps[i], BELAY_ETOOLARGE, BELAY__HTTP_HEAD_TOO_LARGE);
        cr_expect(le(sz, steps[i].reply.head.len, (size_t)64 << 10));
    }
    cr_expect(eq(int, steps[COUNT(steps) - 1].result.code, 0), "%s",
        steps[COUNT(steps) - 1].message);
    free_steps(steps, COUNT(steps));
    fault_server_stop(server);
}

Test(http_client, x8_headers_that_would_split_a_request_are_refused)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_TEXT(OK_HI))};
    static const struct belay__http_header bad[] = {{"X-A", {"a\r\nX-B: c", 9}},
        {"X-A", {"a\n", 2}}, {"X-A", {"a\r", 2}}, {"X-A", {"a\0b", 3}},
        {"X A", {"a", 1}}, {"X-A:", {"a", 1}}, {"", {"a", 1}}, {NULL, {"a", 1}},
        {"X\r\nY", {"a", 1}}, {"Content-Length", {"0", 1}},
        {"transfer-encoding", {"chunked", 7}}, {"Host", {"example.com", 11}}};
    static const char *const methods[] = {"", "GE T", "GET /x HTTP/1.1\r\n"};
    static const char *const paths[] = {
        "/a b", "/a\r\nX: y", "/a\tb", "/a#b", "/\x7f"};
    struct step steps[COUNT(bad) + COUNT(methods) + COUNT(paths)] = {0};
    struct fault_server *server;
    size_t n = 0;

    for (size_t i = 0; i < COUNT(bad); i++) {
        steps[n].request.headers = &bad[i];
        steps[n++].request.header_count = 1;
        open_endpoint(
            (struct belay__http_endpoint_opts){.url = "http://127.0.0.1/",
                .headers = &bad[i],
                .header_count = 1},
            BELAY_EINVAL, NULL);
    }
    for (size_t i = 0; i < COUNT(methods); i++) {
        steps[n++].request.method = methods[i];
    }
    for (size_t i = 0; i < COUNT(paths); i++) {
        steps[n++].request.path = paths[i];
    }
    server = serve_steps(routes, COUNT(routes), NO_OPTS, steps, n);
    for (size_t i = 0; i < n; i++) {
        expect_failure(&steps[i], BELAY_EINVAL, BELAY__HTTP_BAD_REQUEST);
        cr_expect(not(steps[i].reply.request_sent));
    }
    cr_expect(eq(sz, fault_server_accepted(server), 0));
    free_steps(steps, n);
    fault_server_stop(server);
}

Test(http_client, x11_endpoints_never_share_a_connection)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_TEXT(OK_HI))};
    static const struct belay__http_header keys[] = {
        {"Authorization", {"Bearer one", 10}},
        {"Authorization", {"Bearer two", 10}}};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct step steps[4] = {
        {.endpoint = 0}, {.endpoint = 1}, {.endpoint = 0}, {.endpoint = 1}};

    run_plan(&(struct plan){.url = fault_server_url(server),
        .opts = {{.headers = &keys[0], .header_count = 1},
            {.headers = &keys[1], .header_count = 1}},
        .steps = steps,
        .count = 4});
    for (size_t i = 0; i < 4; i++) {
        size_t connection;
        char *request = sent(server, i, &connection);

        cr_expect(eq(int, steps[i].result.code, 0), "%s", steps[i].message);
        cr_expect(eq(int, steps[i].reply.reused, i >= 2));
        cr_expect(eq(sz, connection, i % 2 + 1));
        cr_expect(ne(ptr,
            strstr(request, i % 2 == 0 ? "Bearer one\r\n" : "Bearer two\r\n"),
            NULL));
        free(request);
    }
    free_steps(steps, 4);
    fault_server_stop(server);
}

/* ---- an exchange in a task of its own, with which another interferes ---- */

struct one {
    struct belay__http_endpoint *endpoint;
    struct step *step;
};

BELAY_ASYNC(one)
{
    BELAY_BEGIN;
    BELAY_TRY(belay__http_perform(
        task, self->endpoint, &self->step->request, &self->step->reply));
    note(self->step, belay_result(task));
    return belay_pass(task);
    BELAY_END;
}

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

static size_t sink_calls;

static bool
has_ended(const belay_task *child)
{
    return belay_task_result(child) != NULL;
}

static bool
has_come_to_it(struct interference *self)
{
    struct fault_server *server = self->server;

    return (server == NULL || fault_server_accepted(server) >= self->accepted)
           && (self->path == NULL
               || fault_server_requests(server, self->path) > 0)
           && (self->until == NULL || self->until())
           && (!self->first_byte || self->step->reply.first_byte.ns != 0);
}

BELAY_ASYNC(interference)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(
        task, BELAY_GROUP_OPTS(.policy = BELAY_SUPERVISE), &self->group)) {
        BELAY_WITH (belay__http_open(task, NULL, &self->http)) {
            BELAY_CHECK(belay__http_endpoint_open(self->http,
                &(struct belay__http_endpoint_opts){.url = self->url},
                &self->endpoint, NULL));
            BELAY_CHECK(belay_group_spawn(self->group, &one,
                &(struct one){self->endpoint, self->step},
                BELAY_SPAWN_OPTS(.task = &self->child)));
            AWAIT_UNTIL(has_come_to_it(self));
            AWAIT_TURNS(self->at_once ? 0 : 500);
            if (self->clock != NULL) {
                belay_clock_advance(self->clock, self->most);
                AWAIT_TURNS(500);
                cr_expect(not(has_ended(self->child)), "too early");
                belay_clock_advance(self->clock, self->rest);
            }
            if (self->cancel) {
                (void)belay_task_cancel(self->child, "test");
            }
            if (!self->leave) {
                AWAIT_UNTIL(has_ended(self->child));
                /* With the client open: it is not the exit that closes. */
                self->calls = sink_calls;
                AWAIT_UNTIL(self->server == NULL
                            || fault_server_open(self->server) == 0);
                cr_expect(eq(sz, sink_calls, self->calls));
            }
        }
        AWAIT_UNTIL(has_ended(self->child));
        belay_task_unref(self->child);
    }
    BELAY_END;
}

static void
interfere(const struct interference *arguments)
{
    cr_expect(eq(int,
        belay_run(&interference, arguments,
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator,
                .clock = arguments->clock),
            NULL),
        0));
}

static int
counting_sink(
    const struct belay__http_reply *reply, struct belay_slice bytes, void *arg)
{
    (void)bytes;
    cr_expect(eq(int, reply->status, 200));
    sink_calls++;
    return arg != NULL ? *(const int *)arg : 1;
}

#define HEAD_9 "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"

/* A port that takes no connections: one waits in its queue, the next SYN is
 * dropped.
 */
struct full_port {
    int listener;
    int fillers[8];
    char url[64];
};

static void
full_port_open(struct full_port *port, const char *scheme)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    struct sockaddr *any = (struct sockaddr *)&address;

    port->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(zero(bind(port->listener, any, len)));
    cr_assert(zero(listen(port->listener, 0)));
    cr_assert(zero(getsockname(port->listener, any, &len)));
    for (size_t i = 0; i < COUNT(port->fillers); i++) {
        port->fillers[i] =
            socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(port->fillers[i], any, len);
    }
    (void)snprintf(port->url, sizeof(port->url), "%s://127.0.0.1:%u", scheme,
        (unsigned int)ntohs(address.sin_port));
}

static void
full_port_close(const struct full_port *port)
{
    for (size_t i = 0; i < COUNT(port->fillers); i++) {
        (void)close(port->fillers[i]);
    }
    (void)close(port->listener);
}

/* ---- time ---- */

struct timing {
    const struct fault_route *routes;
    size_t route_count;
    struct belay__http_request request;
    size_t accepted;
    bool first_byte;
    bool tls;
    int64_t most_ms;
    enum belay__http_failure failure;
};

static void
run_timing(const struct timing *timing)
{
    const size_t fds = count_fds();
    struct fault_server *server =
        fault_server_start(timing->routes, timing->route_count);
    struct step step = {.request = timing->request};
    belay_clock *clock = belay_clock_new(false);
    char url[64];

    (void)snprintf(url, sizeof(url), "%s://127.0.0.1:%u",
        timing->tls ? "https" : "http",
        (unsigned int)fault_server_port(server));
    interfere(&(struct interference){.url = url,
        .server = server,
        .step = &step,
        .accepted = timing->accepted,
        .path = timing->request.path,
        .first_byte = timing->first_byte,
        .clock = clock,
        .most = belay_milliseconds(timing->most_ms),
        .rest = belay_milliseconds(2)});
    expect_failure(&step, BELAY_ETIMEDOUT, timing->failure);
    free_steps(&step, 1);
    belay_clock_free(clock);
    fault_server_stop(server);
    cr_expect(eq(sz, count_fds(), fds));
}

static void
run_connect_timing(belay_duration given, const char *scheme, int64_t most_ms)
{
    const size_t fds = count_fds();
    struct full_port port;
    struct step step = {.request = {.connect_timeout = given}};
    belay_clock *clock = belay_clock_new(false);

    full_port_open(&port, scheme);
    interfere(&(struct interference){.url = port.url,
        .step = &step,
        .clock = clock,
        .most = belay_milliseconds(most_ms),
        .rest = belay_milliseconds(2)});
    expect_failure(&step, BELAY_ETIMEDOUT, BELAY__HTTP_TIMEOUT_CONNECT);
    cr_expect(not(step.reply.request_sent));
    free_steps(&step, 1);
    full_port_close(&port);
    belay_clock_free(clock);
    cr_expect(eq(sz, count_fds(), fds));
}

Test(http_client, l38_connect_times_out_after_5_s)
{
    run_connect_timing(BELAY_DURATION_NS(0), "http", 4999);
    run_connect_timing(BELAY_DURATION_NS(0), "https", 4999);
    run_connect_timing(belay_milliseconds(300), "http", 299);
}

Test(http_client, l38_connect_with_tls_times_out_after_10_s)
{
    static const struct fault_route routes[] = {
        FAULT_ON_ACCEPT(FAULT_DO_SLEEP(1), FAULT_DO_HANG)};

    run_timing(&(struct timing){.routes = routes,
        .route_count = 1,
        .accepted = 1,
        .tls = true,
        .most_ms = 9999,
        .failure = BELAY__HTTP_TIMEOUT_CONNECT});
}

Test(http_client, l39_first_byte_times_out_after_600_s)
{
    static const struct fault_route routes[] = {FAULT_ON("/x", FAULT_DO_HANG)};

    run_timing(&(struct timing){.routes = routes,
        .route_count = 1,
        .request = {.path = "/x"},
        .most_ms = 599999,
        .failure = BELAY__HTTP_TIMEOUT_FIRST_BYTE});
    run_timing(&(struct timing){.routes = routes,
        .route_count = 1,
        .request = {.path = "/x", .first_byte_timeout = belay_seconds(1)},
        .most_ms = 999,
        .failure = BELAY__HTTP_TIMEOUT_FIRST_BYTE});
}

Test(http_client, l41_idle_times_out_after_120_s)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/x", FAULT_TEXT(HEAD_9 "half"), FAULT_DO_HANG)};

    run_timing(&(struct timing){.routes = routes,
        .route_count = 1,
        .request = {.path = "/x"},
        .first_byte = true,
        .most_ms = 119999,
        .failure = BELAY__HTTP_TIMEOUT_IDLE});
    run_timing(&(struct timing){.routes = routes,
        .route_count = 1,
        .request = {.path = "/x", .idle_timeout = belay_milliseconds(50)},
        .first_byte = true,
        .most_ms = 49,
        .failure = BELAY__HTTP_TIMEOUT_IDLE});
}

Test(http_client, l41_what_the_sink_calls_silence_is_no_activity)
{
    static const struct fault_route routes[] = {FAULT_ON("/x",
        FAULT_PIECES("HTTP/1.1 200 OK\r\n\r\ndata: one endless event", 1, 1),
        FAULT_DO_HANG)};
    static const int silence = 0;

    sink_calls = 0;
    run_timing(&(struct timing){.routes = routes,
        .route_count = 1,
        .request = {.path = "/x",
            .sink = counting_sink,
            .sink_arg = (void *)(uintptr_t)&silence},
        .first_byte = true,
        .most_ms = 119999,
        .failure = BELAY__HTTP_TIMEOUT_IDLE});
}

/* ---- cancel at every stage ---- */

static void
expect_cancelled(const struct step *step)
{
    cr_expect(eq(int, step->result.code, BELAY_ECANCELED));
    cr_expect(step->result.cancelled);
    cr_expect(eq(int, (int)step->reply.failure, BELAY__HTTP_CANCELLED));
}

Test(http_client, l42_cancel_while_connecting)
{
    const size_t fds = count_fds();
    struct full_port port;
    struct step step = {.request = {.path = "/x", .body = {"abc", 3}}};

    full_port_open(&port, "http");
    interfere(
        &(struct interference){.url = port.url, .step = &step, .cancel = true});
    expect_cancelled(&step);
    cr_expect(not(step.reply.request_sent));
    free_steps(&step, 1);
    full_port_close(&port);
    cr_expect(eq(sz, count_fds(), fds));
}

Test(http_client, l42_cancel_in_the_tls_handshake)
{
    static const struct fault_route routes[] = {
        FAULT_ON_ACCEPT(FAULT_DO_SLEEP(1), FAULT_DO_SLEEP(1), FAULT_DO_HANG)};
    const size_t fds = count_fds();
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct step step = {.request = {.path = "/x"}};
    char url[64];

    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%u",
        (unsigned int)fault_server_port(server));
    interfere(&(struct interference){
        .url = url, .step = &step, .server = NULL, .cancel = true});
    expect_cancelled(&step);
    cr_expect(not(step.reply.request_sent));
    free_steps(&step, 1);
    fault_server_stop(server);
    cr_expect(eq(sz, count_fds(), fds));
}

/* Cancels once the request has been read, or something of a reply has come. */
static void
run_cancel(const struct fault_route *route, struct belay__http_request request,
    bool first_byte, struct step *step)
{
    const size_t fds = count_fds();
    struct fault_server *server = fault_server_start(route, 1);

    *step = (struct step){.request = request};
    step->request.path = route->path;
    interfere(&(struct interference){.url = fault_server_url(server),
        .server = server,
        .step = step,
        .path = route->path,
        .first_byte = first_byte,
        .cancel = true});
    expect_cancelled(step);
    fault_server_stop(server);
    cr_expect(eq(sz, count_fds(), fds));
}

Test(http_client, l42_cancel_when_sent)
{
    static const struct fault_route route = FAULT_ON("/x", FAULT_DO_HANG);
    struct step step;

    run_cancel(
        &route, (struct belay__http_request){.body = {"abc", 3}}, false, &step);
    cr_expect(step.reply.request_sent);
    cr_expect(eq(u64, step.reply.sent_bytes, 3));
    cr_expect(eq(int, step.reply.status, 0));
    free_steps(&step, 1);
}

Test(http_client, l42_cancel_in_the_middle_of_the_head)
{
    static const struct fault_route route =
        FAULT_ON("/x", FAULT_TEXT("HTTP/1.1 200 OK\r\nX-A:"), FAULT_DO_HANG);
    struct step step;

    run_cancel(&route, (struct belay__http_request){0}, true, &step);
    cr_expect(eq(int, step.reply.status, 200));
    free_steps(&step, 1);
}

Test(http_client, l42_cancel_in_the_middle_of_the_body)
{
    static const struct fault_route route =
        FAULT_ON("/x", FAULT_TEXT(HEAD_9 "half"), FAULT_DO_HANG);
    struct step step;

    run_cancel(&route, (struct belay__http_request){0}, true, &step);
    cr_expect(eq(int, step.reply.status, 200));
    free_steps(&step, 1);
}

Test(http_client, l42_cancel_in_the_middle_of_a_stream)
{
    static const struct fault_route route =
        FAULT_ON("/x", FAULT_TEXT("HTTP/1.1 200 OK\r\n\r\n"),
            FAULT_DO_FILL(BIG), FAULT_DO_HANG);
    struct step step;

    sink_calls = 0;
    run_cancel(&route,
        (struct belay__http_request){
            .sink = counting_sink, .max_body_bytes = SIZE_MAX},
        true, &step);
    cr_expect(eq(sz, step.reply.body.len, 0));
    free_steps(&step, 1);
}

Test(http_client, l42_cancelled_before_it_starts_nothing_is_sent)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_TEXT(OK_HI))};
    struct fault_server *server = fault_server_start(routes, 1);
    struct step step = {.request = {.path = "/x"}};

    interfere(&(struct interference){.url = fault_server_url(server),
        .step = &step,
        .at_once = true,
        .cancel = true});
    expect_cancelled(&step);
    cr_expect(eq(sz, fault_server_accepted(server), 0));
    free_steps(&step, 1);
    fault_server_stop(server);
}

Test(http_client, first_address_that_refuses_is_passed_over)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_TEXT(OK_HI))};
    const size_t fds = count_fds();
    struct fault_server *server = fault_server_start(routes, 1);
    struct step steps[2] = {
        {.request = {.path = "/x"}}, {.request = {.path = "/x"}}};
    char url[64];

    /* libcurl takes localhost for ::1, where nobody listens, and 127.0.0.1. */
    (void)snprintf(url, sizeof(url), "http://localhost:%u",
        (unsigned int)fault_server_port(server));
    run_plan(&(struct plan){.url = url, .steps = steps, .count = 2});
    for (size_t i = 0; i < 2; i++) {
        cr_expect(eq(int, steps[i].result.code, 0), "%s", steps[i].message);
        cr_expect(eq(int, steps[i].reply.reused, i == 1));
    }
    free_steps(steps, 2);
    fault_server_stop(server);
    cr_expect(eq(sz, count_fds(), fds));
}

/* ---- names: libcurl's resolver meets this one ---- */

static pthread_mutex_t resolver_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t resolver_wake = PTHREAD_COND_INITIALIZER;
static bool resolver_hangs;
static int resolvers_inside;

/* In place of the C library's: no name has an address, and finding that out
 * can be made to take as long as a test wants.
 */
int
getaddrinfo(const char *restrict node, const char *restrict service,
    const struct addrinfo *restrict hints, struct addrinfo **restrict ret)
{
    (void)node;
    (void)service;
    (void)hints;
    (void)ret;
    (void)pthread_mutex_lock(&resolver_mutex);
    resolvers_inside++;
    while (resolver_hangs) {
        (void)pthread_cond_wait(&resolver_wake, &resolver_mutex);
    }
    resolvers_inside--;
    (void)pthread_mutex_unlock(&resolver_mutex);
    return EAI_NONAME;
}

static void
resolver_hang(bool hang)
{
    (void)pthread_mutex_lock(&resolver_mutex);
    resolver_hangs = hang;
    (void)pthread_cond_broadcast(&resolver_wake);
    (void)pthread_mutex_unlock(&resolver_mutex);
}

static bool
resolver_is_inside(void)
{
    bool inside;

    (void)pthread_mutex_lock(&resolver_mutex);
    inside = resolvers_inside > 0;
    (void)pthread_mutex_unlock(&resolver_mutex);
    return inside;
}

Test(http_client, l30_host_without_an_address)
{
    struct step steps[1] = {{.request = {.path = "/x"}}};

    run_plan(
        &(struct plan){.url = "https://gone.test", .steps = steps, .count = 1});
    expect_failure(&steps[0], BELAY_ECONNECT, BELAY__HTTP_RESOLVE);
    cr_expect(not(steps[0].reply.request_sent));
    free_steps(steps, 1);
}

Test(http_client, l42_cancel_does_not_wait_for_the_resolver)
{
    struct step step = {.request = {.path = "/x"}};

    resolver_hang(true);
    interfere(&(struct interference){.url = "https://slow.test",
        .step = &step,
        .until = resolver_is_inside,
        .cancel = true});
    expect_cancelled(&step);
    cr_expect(resolver_is_inside()); /* and we are here already */
    resolver_hang(false);
    for (int i = 0; resolver_is_inside() && i < WAIT_ROUNDS; i++) {
        (void)usleep(100);
    }
    free_steps(&step, 1);
}

Test(http_client, l38_resolving_counts_as_connecting)
{
    struct step step = {.request = {.path = "/x"}};
    belay_clock *clock = belay_clock_new(false);

    resolver_hang(true);
    interfere(&(struct interference){.url = "https://slow.test",
        .step = &step,
        .until = resolver_is_inside,
        .clock = clock,
        .most = belay_milliseconds(9999),
        .rest = belay_milliseconds(2)});
    expect_failure(&step, BELAY_ETIMEDOUT, BELAY__HTTP_TIMEOUT_CONNECT);
    resolver_hang(false);
    for (int i = 0; resolver_is_inside() && i < WAIT_ROUNDS; i++) {
        (void)usleep(100);
    }
    free_steps(&step, 1);
    belay_clock_free(clock);
}

/* ---- sinks ---- */

struct collected {
    char text[256];
    size_t len;
    int answer;
};

static int
collecting_sink(
    const struct belay__http_reply *reply, struct belay_slice bytes, void *arg)
{
    struct collected *collected = arg;

    cr_expect(eq(int, reply->status, 200));
    cr_expect(eq(sz, belay__http_reply_header(reply, "x-kind").len, 1));
    cr_assert(lt(sz, bytes.len, sizeof(collected->text) - collected->len));
    memcpy(collected->text + collected->len, bytes.data, bytes.len);
    collected->len += bytes.len;
    return collected->answer;
}

Test(http_client, sink_takes_the_body_of_a_success_only)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/ok", FAULT_PIECES("HTTP/1.1 200 OK\r\nX-Kind: s\r\n"
                                     "Content-Length: 10\r\n\r\n0123456789",
                            7, 1)),
        FAULT_ON("/no", FAULT_TEXT("HTTP/1.1 429 No\r\nContent-Length: 5"
                                   "\r\n\r\nwait!"))};
    struct collected collected = {.answer = 0};
    struct step steps[2] = {{.request = {.path = "/ok",
                                 .sink = collecting_sink,
                                 .sink_arg = &collected}},
        {.request = {
             .path = "/no", .sink = collecting_sink, .sink_arg = &collected}}};
    struct fault_server *server =
        serve_steps(routes, COUNT(routes), NO_OPTS, steps, 2);

    cr_expect(eq(int, steps[0].result.code, 0), "%s", steps[0].message);
    cr_expect(eq(str, collected.text, "0123456789"));
    cr_expect(eq(sz, steps[0].reply.body.len, 0));
    cr_expect(eq(u64, steps[0].reply.body_bytes, 10));
    cr_expect(eq(int, steps[1].result.code, 0));
    cr_expect(body_is(&steps[1], "wait!"));
    free_steps(steps, 2);
    fault_server_stop(server);
}

Test(http_client, sink_that_gives_up_ends_the_exchange_with_its_code)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/x",
            FAULT_TEXT("HTTP/1.1 200 OK\r\nX-Kind: s\r\n"
                       "Content-Length: 1000000\r\n\r\nabc"),
            FAULT_DO_HANG),
        FAULT_ON("/y", FAULT_TEXT(OK_HI))};
    struct collected collected = {.answer = BELAY_EJSON};
    struct step steps[2] = {{.request = {.path = "/x",
                                 .sink = collecting_sink,
                                 .sink_arg = &collected}},
        {.request = {.path = "/y"}}};
    struct fault_server *server =
        serve_steps(routes, COUNT(routes), NO_OPTS, steps, 2);

    expect_failure(&steps[0], BELAY_EJSON, BELAY__HTTP_SINK);
    cr_expect(eq(sz, collected.len, 3));
    cr_expect(eq(int, steps[1].result.code, 0));
    cr_expect(not(steps[1].reply.reused));
    free_steps(steps, 2);
    fault_server_stop(server);
}

/* ---- many at once ---- */

#define MANY 200

struct crowd {
    const char *url;
    struct step *steps;
    uint32_t shard_size;
    /* locals */
    struct belay__http *http;
    struct belay__http_endpoint *endpoint;
    belay_group *group;
    size_t wave;
};

BELAY_ASYNC(crowd)
{
    BELAY_BEGIN;
    BELAY_WITH (belay__http_open(task,
        &(struct belay__http_opts){.shard_size = self->shard_size},
        &self->http)) {
        BELAY_CHECK(belay__http_endpoint_open(self->http,
            &(struct belay__http_endpoint_opts){.url = self->url},
            &self->endpoint, NULL));
        for (self->wave = 0; self->wave < 2; self->wave++) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                for (size_t i = 0; i < MANY; i++) {
                    BELAY_CHECK(belay_spawn(self->group, one,
                        .endpoint = self->endpoint,
                        .step = &self->steps[self->wave * MANY + i]));
                }
            }
        }
    }
    BELAY_END;
}

Test(http_client, second_wave_uses_the_connections_of_the_first)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/1", FAULT_DO_GATE(1), FAULT_TEXT(OK_HI)),
        FAULT_ON("/2", FAULT_TEXT(OK_HI))};
    static const uint32_t sizes[] = {32, 0, 1000};
    struct step *steps = calloc(2 * (size_t)MANY, sizeof(*steps));
    const size_t fds = count_fds();

    for (size_t n = 0; n < COUNT(sizes); n++) {
        struct fault_server *server = fault_server_start(routes, COUNT(routes));

        for (size_t i = 0; i < 2 * (size_t)MANY; i++) {
            steps[i] = (struct step){
                .request = {.path = i < MANY ? "/1" : "/2", .body = {"x", 1}}};
        }
        fault_server_open_gate(server);
        cr_expect(eq(int,
            belay_run(&crowd,
                &(struct crowd){.url = fault_server_url(server),
                    .steps = steps,
                    .shard_size = sizes[n]},
                BELAY_RUNTIME_OPTS(.allocator = &test_allocator), NULL),
            0));
        for (size_t i = 0; i < 2 * (size_t)MANY; i++) {
            cr_expect(eq(int, steps[i].result.code, 0), "%s", steps[i].message);
            cr_expect(body_is(&steps[i], "hi"));
            if (i >= MANY) {
                cr_expect(steps[i].reply.reused);
            }
        }
        cr_expect(le(sz, fault_server_accepted(server), MANY));
        free_steps(steps, 2 * (size_t)MANY);
        fault_server_stop(server);
    }
    free(steps);
    cr_expect(eq(sz, count_fds(), fds));
}

/* ---- poisoning, and the end of a client ---- */

/* An exchange is cut by a timeout or a limit; what comes next must not see
 * the remainder.
 */
Test(http_client, cut_connection_is_never_used_again)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/cut", FAULT_TEXT(HEAD_9 "half"), FAULT_DO_SLEEP(30),
            FAULT_TEXT("rest!" OK_HI), FAULT_DO_HANG),
        FAULT_ON("/next", FAULT_TEXT(OK_HI))};
    struct step steps[2] = {
        {.request = {.path = "/cut", .idle_timeout = belay_milliseconds(5)}},
        {.request = {.path = "/next"}}};
    struct fault_server *server =
        serve_steps(routes, COUNT(routes), NO_OPTS, steps, 2);

    expect_failure(&steps[0], BELAY_ETIMEDOUT, BELAY__HTTP_TIMEOUT_IDLE);
    cr_expect(eq(int, steps[1].result.code, 0));
    cr_expect(body_is(&steps[1], "hi"));
    cr_expect(not(steps[1].reply.reused));
    cr_expect(eq(sz, connection_of(server, 1), 2));
    free_steps(steps, 2);
    fault_server_stop(server);
}

Test(http_client, s128_exit_ends_what_runs_and_waits_for_every_handle)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/x", FAULT_TEXT(HEAD_9 "half"), FAULT_DO_HANG)};
    const size_t fds = count_fds();
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct step step = {.request = {.path = "/x"}};

    interfere(&(struct interference){.url = fault_server_url(server),
        .server = server,
        .step = &step,
        .path = "/x",
        .first_byte = true,
        .leave = true});
    expect_failure(&step, BELAY_ECLOSED, BELAY__HTTP_CLOSED);
    cr_expect(eq(int, step.reply.status, 200));
    free_steps(&step, 1);
    fault_server_stop(server);
    cr_expect(eq(sz, count_fds(), fds));
}

/* A kept connection and nothing else: nothing can happen any more. */
struct stuck {
    const char *url;
    struct belay__http *http;
    struct belay__http_endpoint *endpoint;
    struct belay__http_reply reply;
};

BELAY_ASYNC(stuck)
{
    BELAY_BEGIN;
    BELAY_WITH (belay__http_open(task, NULL, &self->http)) {
        BELAY_CHECK(belay__http_endpoint_open(self->http,
            &(struct belay__http_endpoint_opts){.url = self->url},
            &self->endpoint, NULL));
        BELAY_AWAIT(belay__http_perform(task, self->endpoint,
            &(struct belay__http_request){0}, &self->reply));
        belay__http_reply_fini(&self->reply);
        BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
    }
    BELAY_END;
}

Test(http_client, s132_kept_connection_does_not_keep_the_loop_alive)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_TEXT(OK_HI))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    const struct stuck arguments = {.url = fault_server_url(server)};

    cr_expect(eq(int,
        belay_run(&stuck, &arguments,
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator), NULL),
        BELAY_EDEADLK));
    fault_server_stop(server);
}

/* ---- out of this and that ---- */

Test(http_client, s136_every_allocation_may_fail)
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
                         .proxy = "http://127.0.0.1:1"},
                {.url = "https://127.0.0.1:1"}},
            .steps = steps,
            .count = COUNT(steps)};
        int code;

        test_alloc_fail_at(k);
        code = belay_run(&plan, &arguments,
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator), NULL);
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
Test(http_client, every_allocation_of_libcurl_until_it_runs_may_fail)
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
                         .no_proxy = "*"},
                {.url = "https://127.0.0.1:1"}},
            .steps = steps,
            .count = COUNT(steps)};
        int code;

        curl_calls = 0;
        curl_fail_at = k;
        code = belay_run(&plan, &arguments,
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator), NULL);
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

Test(http_client, shortage_of_descriptors_is_a_local_failure)
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
        code = belay_run(&plan, &arguments,
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator), NULL);
        limit.rlim_cur = limit.rlim_max;
        cr_assert(zero(setrlimit(RLIMIT_NOFILE, &limit)));
        if (code == 0 && step.result.code == -EMFILE) {
            break;
        }
        free_steps(&step, 1);
    }
    expect_failure(&step, -EMFILE, BELAY__HTTP_LOCAL);
    free_steps(&step, 1);
    fault_server_stop(server);
}

/* ---- an endpoint that is gone when the failure arrives ---- */

struct late {
    const char *url;
    struct belay_result *result;
    struct belay__http *http;
    struct belay__http_endpoint *endpoint;
    struct belay__http_reply reply;
    belay_group *group;
    int round;
};

struct late_request {
    struct late *late;
    struct belay__http_request request;
};

BELAY_ASYNC(late_request)
{
    BELAY_BEGIN;
    BELAY_TRY(belay__http_perform(
        task, self->late->endpoint, &self->request, &self->late->reply));
    *self->late->result = *belay_result(task);
    (void)belay_error_ref(self->late->result->error);
    BELAY_END;
}

/* Looks before the other task does, which was queued behind this one. */
BELAY_ASYNC(late)
{
    const struct belay__http_endpoint_opts opts = {.url = self->url};

    BELAY_BEGIN;
    BELAY_WITH (belay__http_open(task, NULL, &self->http)) {
        BELAY_CHECK(belay__http_endpoint_open(
            self->http, &opts, &self->endpoint, NULL));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(belay_spawn(self->group, late_request, .late = self));
            AWAIT_UNTIL(self->reply.failure != BELAY__HTTP_OK);
            belay__http_endpoint_close(self->endpoint);
        }
        belay__http_reply_fini(&self->reply);
    }
    BELAY_END;
}

Test(http_client, failure_has_its_words_though_the_endpoint_is_gone)
{
    static const struct fault_route routes[] = {FAULT_ON(NULL, FAULT_DO_CLOSE)};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct belay_result result = {0};
    const struct late arguments = {
        .url = fault_server_url(server), .result = &result};

    cr_expect(
        zero(int, belay_run(&late, &arguments,
                      BELAY_RUNTIME_OPTS(.allocator = &test_allocator), NULL)));
    cr_expect(eq(int, result.code, BELAY_ERESET));
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect(ne(ptr,
        strstr(belay_error_message(result.error), "http://127.0.0.1"), NULL));
    belay_error_unref(result.error);
    fault_server_stop(server);
}
