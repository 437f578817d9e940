/* test_http_client_time.c - timeouts and cancels of the HTTP client.
 *
 * Time is a virtual clock's. What happens on the other side is waited for, so
 * that each cancel hits the stage that its test is about.
 */
#include "test/support/http_plan.h"

#include <belay/belay.h>

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

TestSuite(
    http_client_time, .init = http_warm_up, .fini = check_clean, .timeout = 60);

#define BIG (UINT64_C(1) << 30)

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

Test(http_client_time, l38_connect_times_out_after_5_s)
{
    run_connect_timing(BELAY_DURATION_NS(0), "http", 4999);
    run_connect_timing(BELAY_DURATION_NS(0), "https", 4999);
    run_connect_timing(belay_milliseconds(300), "http", 299);
}

Test(http_client_time, l38_connect_with_tls_times_out_after_10_s)
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

Test(http_client_time, l39_first_byte_times_out_after_600_s)
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

Test(http_client_time, l41_idle_times_out_after_120_s)
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

Test(http_client_time, l41_what_the_sink_calls_silence_is_no_activity)
{
    /* The head in one piece: the bytes of one would be activity. */
    static const struct fault_route routes[] = {
        FAULT_ON("/x", FAULT_TEXT("HTTP/1.1 200 OK\r\n\r\n"),
            FAULT_PIECES("data: one endless event", 1, 1), FAULT_DO_HANG)};
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

Test(http_client_time, l42_cancel_while_connecting)
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

Test(http_client_time, l42_cancel_in_the_tls_handshake)
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
    end_steps(server, &step, 1);
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

Test(http_client_time, l42_cancel_when_sent)
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

Test(http_client_time, l42_cancel_in_the_middle_of_the_head)
{
    static const struct fault_route route =
        FAULT_ON("/x", FAULT_TEXT("HTTP/1.1 200 OK\r\nX-A:"), FAULT_DO_HANG);
    struct step step;

    run_cancel(&route, (struct belay__http_request){0}, true, &step);
    cr_expect(eq(int, step.reply.status, 200));
    free_steps(&step, 1);
}

Test(http_client_time, l42_cancel_in_the_middle_of_the_body)
{
    static const struct fault_route route =
        FAULT_ON("/x", FAULT_TEXT(HEAD_9 "half"), FAULT_DO_HANG);
    struct step step;

    run_cancel(&route, (struct belay__http_request){0}, true, &step);
    cr_expect(eq(int, step.reply.status, 200));
    free_steps(&step, 1);
}

Test(http_client_time, l42_cancel_in_the_middle_of_a_stream)
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

Test(http_client_time, l42_cancelled_before_it_starts_nothing_is_sent)
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
    cr_expect(gt(i64, step.reply.started.ns, 0));
    cr_expect(eq(i64, step.reply.ended.ns, step.reply.started.ns));
    end_steps(server, &step, 1);
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

Test(http_client_time, l30_host_without_an_address)
{
    struct step steps[1] = {{.request = {.path = "/x"}}};

    run_plan(
        &(struct plan){.url = "https://gone.test", .steps = steps, .count = 1});
    expect_failure(&steps[0], BELAY_ECONNECT, BELAY__HTTP_RESOLVE);
    cr_expect(not(steps[0].reply.request_sent));
    free_steps(steps, 1);
}

Test(http_client_time, l42_cancel_does_not_wait_for_the_resolver)
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

Test(http_client_time, l38_resolving_counts_as_connecting)
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
