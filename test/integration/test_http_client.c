/* test_http_client.c - the HTTP client against a server that misbehaves. */
#include "test/support/http_plan.h"

#include <belay/belay.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(
    http_client, .init = http_warm_up, .fini = check_clean, .timeout = 60);

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

    request = request_text(server, 0, NULL);
    (void)snprintf(want, sizeof(want),
        "POST /v1/chat HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nAccept: */*\r\n"
        "X-Extra: 1\r\nX-Empty:\r\nContent-Type: application/json\r\n"
        "Authorization: Bearer k\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
        (unsigned int)fault_server_port(server));
    cr_expect(eq(str, request, want));
    free(request);
    end_steps(server, steps, 1);
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
        char *request = request_text(server, i, NULL);

        cr_expect(eq(int, steps[i].result.code, 0), "%s", steps[i].message);
        cr_expect(
            zero(strncmp(request, lines[i], strlen(lines[i]))), "%s", request);
        cr_expect(eq(sz, connection_of(server, i), 1));
        cr_expect(eq(int, steps[i].reply.reused, i > 0));
        cr_expect(eq(ptr, strstr(request, "urlencoded"), NULL), "%s", request);
        free(request);
    }
    end_steps(server, steps, COUNT(steps));
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
        request = request_text(server, 0, NULL);
        cr_expect(zero(strncmp(request, cases[i].line, strlen(cases[i].line))),
            "%s + %s: %s", cases[i].base, cases[i].path, request);
        free(request);
        end_steps(server, steps, 1);
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
    end_steps(server, steps, COUNT(steps));
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
    end_steps(server, steps, COUNT(steps));
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
    end_steps(server, steps, 2);
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
    end_steps(server, steps, 1);
    free(body);
}

Test(http_client, early_reply_ends_the_sending)
{
    static const struct fault_route routes[] = {FAULT_ON_HEAD("/early",
        FAULT_TEXT("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\n"
                   "no!"),
        FAULT_DO_GATE(1), FAULT_DO_CLOSE)};
    const size_t len = (size_t)64 * 1024 * 1024;
    char *body = calloc(1, len);
    struct step steps[1] = {
        {.request = {.path = "/early", .body = {body, len}}}};
    struct fault_server *server =
        serve_steps(routes, COUNT(routes), NO_OPTS, steps, 1);

    cr_expect(eq(int, steps[0].result.code, 0), "%s", steps[0].message);
    cr_expect(eq(int, steps[0].reply.status, 413));
    cr_expect(body_is(&steps[0], "no!"));
    cr_expect(not(steps[0].reply.request_sent));
    cr_expect(lt(u64, steps[0].reply.sent_bytes, len));
    end_steps(server, steps, 1);
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
    end_steps(server, steps, 1);
    free(body);
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
    end_steps(server, steps, 2);
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
    end_steps(server, steps, 2);
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
        task, &self->late->endpoint, &self->request, &self->late->reply));
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

    cr_expect(zero(int, program_run_plain(&late, &arguments, NULL)));
    cr_expect(eq(int, result.code, BELAY_ERESET));
    cr_assert(ne(ptr, result.error, NULL));
    cr_expect(ne(ptr,
        strstr(belay_error_message(result.error), "http://127.0.0.1"), NULL));
    belay_error_unref(result.error);
    fault_server_stop(server);
}
