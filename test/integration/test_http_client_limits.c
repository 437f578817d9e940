/* test_http_client_limits.c - what the HTTP client does not let happen.
 *
 * The rules of security, S1 to S11 of the LLM contract; here x1 to x11, since
 * the runtime's rules have an s.
 */
#include "test/support/http_plan.h"

#include <belay/belay.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(http_client_limits, .init = http_warm_up, .fini = check_clean,
    .timeout = 60);

Test(http_client_limits, x2_no_secret_is_in_the_text_of_an_error)
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
    end_steps(server, steps, COUNT(steps));
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

    cr_expect(eq(int, program_run_plain(&opening, &arguments, NULL), 0));
}

Test(http_client_limits, x3_plain_http_is_for_this_machine_only)
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

Test(http_client_limits, x4_only_http_and_https)
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

Test(http_client_limits, x5_redirects_are_not_followed)
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
    end_steps(server, steps, 1);
}

Test(http_client_limits, x6_proxy_gets_a_tunnel_and_no_key)
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

    run_plan(&(struct plan){.opts = {{.url = "http://127.0.0.1:1",
                                         .proxy = fault_server_url(server),
                                         .headers = headers,
                                         .header_count = 1,
                                         .allow_plain = true},
                                {.url = "http://127.0.0.1:2",
                                    .proxy = fault_server_url(server),
                                    .allow_plain = true}},
        .steps = steps,
        .count = 2});
    cr_expect(eq(int, steps[0].result.code, 0), "%s", steps[0].message);
    cr_expect(body_is(&steps[0], "hi"));
    cr_expect(eq(int, steps[0].reply.status, 200));
    request = request_text(server, 0, NULL);
    cr_expect(zero(strncmp(request, "CONNECT 127.0.0.1:1 ", 20)));
    cr_expect(eq(ptr, strstr(request, "canary"), NULL));
    free(request);
    request = request_text(server, 1, NULL);
    cr_expect(zero(strncmp(request, "GET /x ", 7)));
    cr_expect(ne(ptr, strstr(request, "canary"), NULL));
    free(request);
    expect_failure(&steps[1], BELAY_ECONNECT, BELAY__HTTP_PROXY);
    cr_expect(not(steps[1].reply.request_sent));
    end_steps(server, steps, 2);
}

/* It sees what goes through it, and its loopback may be another's. */
Test(http_client_limits, x3_x6_plain_http_through_a_proxy_has_to_be_allowed)
{
    static const char *const urls[] = {
        "http://127.0.0.1:1/", "http://localhost/v1", "http://[::1]/"};
    static const char *const proxies[] = {
        "http://proxy.example.com:3128", "http://127.0.0.1:1", "socks5h://a"};

    for (size_t i = 0; i < COUNT(urls); i++) {
        struct belay__http_endpoint_opts opts = {
            .url = urls[i], .proxy = proxies[i]};

        open_endpoint(
            opts, BELAY_EINVAL, "plain http through a proxy is not allowed");
        opts.no_proxy = "127.0.0.10, host,*,[::1]";
        open_endpoint(
            opts, BELAY_EINVAL, "plain http through a proxy is not allowed");
        opts.no_proxy = "host, 127.0.0.1,LOCALHOST,::1";
        open_endpoint(opts, 0, NULL);
        opts.no_proxy = "*";
        open_endpoint(opts, 0, NULL);
        opts.no_proxy = NULL;
        opts.allow_plain = true;
        open_endpoint(opts, 0, NULL);
    }
    open_endpoint(
        (struct belay__http_endpoint_opts){.url = urls[0], .proxy = ""}, 0,
        NULL);
    open_endpoint((struct belay__http_endpoint_opts){.url = "https://127.0.0.1",
                      .proxy = proxies[0]},
        0, NULL);
}

/* 0.0.0.0 leads to this machine too, but does not say so. */
Test(http_client_limits, x6_environment_counts_only_when_asked)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/x", FAULT_TEXT(OK_HI))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct step steps[3] = {{.request = {.path = "/x"}},
        {.request = {.path = "/x"}, .endpoint = 1},
        {.request = {.path = "/x"}}};
    char url[64];
    char proxy[64];

    (void)snprintf(
        url, sizeof(url), "http://0.0.0.0:%d", fault_server_port(server));
    /* A proxy on a port where nobody listens. */
    (void)snprintf(proxy, sizeof(proxy), "http://127.0.0.1:1");
    (void)setenv("http_proxy", proxy, 1);
    (void)setenv("all_proxy", proxy, 1);
    (void)unsetenv("no_proxy");
    (void)unsetenv("NO_PROXY");
    run_plan(&(struct plan){.url = url,
        .opts = {{.allow_plain = true},
            {.allow_plain = true, .proxy_from_env = true}},
        .steps = steps,
        .count = 2});
    cr_expect(eq(int, steps[0].result.code, 0), "%s", steps[0].message);
    expect_failure(&steps[1], BELAY_ECONNECT, BELAY__HTTP_CONNECT);
    (void)setenv("no_proxy", "0.0.0.0", 1);
    run_plan(&(struct plan){.url = url,
        .opts = {{.allow_plain = true, .proxy_from_env = true},
            {.allow_plain = true}},
        .steps = &steps[2],
        .count = 1});
    cr_expect(eq(int, steps[2].result.code, 0), "%s", steps[2].message);
    end_steps(server, steps, 3);
}

/* Plain http is let through to loopback because it does not leave. */
Test(http_client_limits, x6_environment_does_not_count_for_this_machine)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/x", FAULT_TEXT(OK_HI))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    struct step step = {.request = {.path = "/x"}};

    (void)setenv("http_proxy", "http://127.0.0.1:1", 1);
    (void)setenv("all_proxy", "http://127.0.0.1:1", 1);
    run_plan(&(struct plan){.url = fault_server_url(server),
        .opts = {{.proxy_from_env = true}},
        .steps = &step,
        .count = 1});
    cr_expect(eq(int, step.result.code, 0), "%s", step.message);
    end_steps(server, &step, 1);
}

#define BIG (UINT64_C(1) << 30)

Test(http_client_limits, x7_bodies_end_at_the_limit)
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
    end_steps(server, steps, COUNT(steps));
}

Test(http_client_limits, x7_default_limit_is_64_mib)
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
    end_steps(server, steps, 1);
}

Test(http_client_limits, x7_what_counts_is_the_size_after_decompression)
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
    request = request_text(server, 0, NULL);
    cr_expect(ne(ptr, strstr(request, "Accept-Encoding: gzip\r\n"), NULL));
    free(request);
    expect_failure(&steps[1], BELAY_ETOOLARGE, BELAY__HTTP_BODY_TOO_LARGE);
    expect_failure(&steps[2], BELAY_EREPLY, BELAY__HTTP_MALFORMED);
    cr_expect(eq(int, steps[3].result.code, 0), "%s", steps[3].message);
    cr_expect(lt(u64, steps[3].reply.body_bytes, 500)); /* as it came */
    request = request_text(server, 3, NULL);
    cr_expect(eq(ptr, strstr(request, "Accept-Encoding"), NULL));
    free(request);
    end_steps(server, steps, COUNT(steps));
}

Test(http_client_limits, x7_heads_end_at_the_limit)
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
    end_steps(server, steps, COUNT(steps));
}

Test(http_client_limits, x8_headers_that_would_split_a_request_are_refused)
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
    end_steps(server, steps, n);
}

Test(http_client_limits, x11_endpoints_never_share_a_connection)
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
        char *request = request_text(server, i, &connection);

        cr_expect(eq(int, steps[i].result.code, 0), "%s", steps[i].message);
        cr_expect(eq(int, steps[i].reply.reused, i >= 2));
        cr_expect(eq(sz, connection, i % 2 + 1));
        cr_expect(ne(ptr,
            strstr(request, i % 2 == 0 ? "Bearer one\r\n" : "Bearer two\r\n"),
            NULL));
        free(request);
    }
    end_steps(server, steps, 4);
}
