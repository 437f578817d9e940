/* test_http_client_pool.c - connections: kept, shared, poisoned, given back. */
#include "test/support/http_plan.h"

#include <belay/belay.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(
    http_client_pool, .init = http_warm_up, .fini = check_clean, .timeout = 60);

/* ---- connections that are kept ---- */

Test(http_client_pool, l37_kept_connection_that_died_is_replaced_silently)
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
    end_steps(server, steps, 2);
}

Test(http_client_pool, l37_nothing_is_sent_again_once_a_byte_of_a_reply_came)
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
    end_steps(server, steps, COUNT(steps));
}

Test(http_client_pool, l37_first_use_of_a_connection_is_never_repeated)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/x", FAULT_DO_CLOSE), FAULT_ON("/x", FAULT_TEXT(OK_HI))};
    struct step steps[1] = {{.request = {.path = "/x", .body = {"a", 1}}}};
    struct fault_server *server =
        serve_steps(routes, COUNT(routes), NO_OPTS, steps, 1);

    expect_failure(&steps[0], BELAY_ERESET, BELAY__HTTP_EMPTY);
    cr_expect(eq(sz, fault_server_requests(server, "/x"), 1));
    end_steps(server, steps, 1);
}

Test(http_client_pool, connection_close_is_obeyed)
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
    end_steps(server, steps, 2);
}

Test(http_client_pool, first_address_that_refuses_is_passed_over)
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
    end_steps(server, steps, 2);
    cr_expect(eq(sz, count_fds(), fds));
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
        BELAY_CHECK(endpoint_to(self->http, self->url, &self->endpoint));
        for (self->wave = 0; self->wave < 2; self->wave++) {
            BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
                for (size_t i = 0; i < MANY; i++) {
                    BELAY_CHECK(belay_spawn(self->group, exchange,
                        self->endpoint, &self->steps[self->wave * MANY + i]));
                }
            }
        }
    }
    BELAY_END;
}

Test(http_client_pool, second_wave_uses_the_connections_of_the_first)
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
            RUN_PLAIN(crowd, .url = fault_server_url(server), .steps = steps,
                .shard_size = sizes[n]),
            0));
        for (size_t i = 0; i < 2 * (size_t)MANY; i++) {
            cr_expect(eq(int, steps[i].result.code, 0), "%s", steps[i].message);
            cr_expect(body_is(&steps[i], "hi"));
            if (i >= MANY) {
                cr_expect(steps[i].reply.reused);
            }
        }
        cr_expect(le(sz, fault_server_accepted(server), MANY));
        end_steps(server, steps, 2 * (size_t)MANY);
    }
    free(steps);
    cr_expect(eq(sz, count_fds(), fds));
}

/* ---- poisoning, and the end of a client ---- */

/* An exchange is cut by a timeout or a limit; what comes next must not see
 * the remainder.
 */
Test(http_client_pool, cut_connection_is_never_used_again)
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
    end_steps(server, steps, 2);
}

Test(http_client_pool, s128_exit_ends_what_runs_and_waits_for_every_handle)
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
    end_steps(server, &step, 1);
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
        BELAY_CHECK(endpoint_to(self->http, self->url, &self->endpoint));
        BELAY_AWAIT(belay__http_perform(task, &self->endpoint,
            &(struct belay__http_request){0}, &self->reply));
        belay__http_reply_fini(&self->reply);
        BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
    }
    BELAY_END;
}

Test(http_client_pool, s132_kept_connection_does_not_keep_the_loop_alive)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_TEXT(OK_HI))};
    struct fault_server *server = fault_server_start(routes, COUNT(routes));
    const struct stuck arguments = {.url = fault_server_url(server)};

    program_may_stall = true; /* that is how the loop is seen to rest */
    cr_expect(
        eq(int, program_run_plain(&stuck, &arguments, NULL), BELAY_EDEADLK));
    fault_server_stop(server);
}

/* A connection that the server closes while nobody uses it. */
struct fading {
    struct fault_server *server;
    size_t fds;
    /* locals */
    struct belay__http *http;
    struct belay__http_endpoint *endpoint;
    struct belay__http_reply reply;
    size_t i;
    int round;
};

BELAY_ASYNC(fading)
{
    BELAY_BEGIN;
    BELAY_WITH (belay__http_open(task, NULL, &self->http)) {
        BELAY_CHECK(endpoint_to(
            self->http, fault_server_url(self->server), &self->endpoint));
        self->fds = count_fds();
        for (self->i = 0; self->i < 3; self->i++) {
            BELAY_AWAIT(belay__http_perform(task, &self->endpoint,
                &(struct belay__http_request){0}, &self->reply));
            cr_expect(not(self->reply.reused));
            AWAIT_UNTIL(fault_server_open(self->server) == 0);
            AWAIT_UNTIL(count_fds() == self->fds);
        }
        belay__http_reply_fini(&self->reply);
    }
    BELAY_END;
}

Test(http_client_pool, connections_that_died_idle_give_their_sockets_back)
{
    static const struct fault_route routes[] = {
        FAULT_ON(NULL, FAULT_TEXT(OK_HI), FAULT_DO_SLEEP(5), FAULT_DO_CLOSE)};
    const struct fading arguments = {
        .server = fault_server_start(routes, COUNT(routes))};

    cr_expect(eq(int, program_run_plain(&fading, &arguments, NULL), 0));
    fault_server_stop(arguments.server);
}

/* ---- answers that nobody has asked for ---- */

/* The server says more on a connection that nobody uses, alone in its shard or
 * beside another that is in use. The next exchange must not read that.
 */
struct unasked {
    struct fault_server *server;
    struct step *held; /* in use meanwhile; NULL: none */
    /* locals */
    struct belay__http *http;
    struct belay__http_endpoint *endpoint;
    struct belay__http_reply reply;
    belay_group *group;
    int round;
};

#define LATE "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate"
#define LATE_ROUNDS 1000 /* of 100 us, for it to be there */

BELAY_ASYNC(unasked)
{
    static const struct belay__http_request late = {.path = "/late"};
    static const struct belay__http_request next = {.path = "/next"};

    BELAY_BEGIN;
    BELAY_WITH (belay__http_open(task, NULL, &self->http)) {
        BELAY_CHECK(endpoint_to(
            self->http, fault_server_url(self->server), &self->endpoint));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            if (self->held != NULL) {
                BELAY_CHECK(belay_spawn(
                    self->group, exchange, self->endpoint, self->held));
                AWAIT_UNTIL(fault_server_requests(self->server, "/held") > 0);
            }
            BELAY_AWAIT(belay__http_perform(
                task, &self->endpoint, &late, &self->reply));
            fault_server_open_gate(self->server);
            for (self->round = 0; self->round < LATE_ROUNDS; self->round++) {
                (void)usleep(100);
                BELAY_AWAIT(belay_checkpoint(task));
            }
            BELAY_AWAIT(belay__http_perform(
                task, &self->endpoint, &next, &self->reply));
            cr_expect(eq(sz, self->reply.body.len, 2));
            cr_expect(not(self->reply.reused));
            fault_server_open_gate(self->server);
        }
        belay__http_reply_fini(&self->reply);
    }
    BELAY_END;
}

static void
run_unasked(struct step *held)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/held", FAULT_DO_GATE(2), FAULT_TEXT(OK_HI)),
        FAULT_ON(
            "/late", FAULT_TEXT(OK_HI), FAULT_DO_GATE(1), FAULT_TEXT(LATE)),
        FAULT_ON("/next", FAULT_TEXT(OK_HI))};
    const struct unasked arguments = {
        .server = fault_server_start(routes, COUNT(routes)), .held = held};

    cr_expect(eq(int, program_run_plain(&unasked, &arguments, NULL), 0));
    fault_server_stop(arguments.server);
}

Test(http_client_pool, an_answer_that_nobody_asked_for_is_nobodys)
{
    run_unasked(NULL);
}

Test(http_client_pool, nor_beside_a_connection_in_use)
{
    struct step held = {.request = {.path = "/held"}};

    run_unasked(&held);
    cr_expect(eq(int, held.result.code, 0));
    cr_expect(body_is(&held, "hi"));
    free_steps(&held, 1);
}

/* Two connections have served; the exchange that was the last on the one is
 * over, its handle runs the next exchange on the other, and there is paused.
 */
struct paused_aside {
    struct fault_server *server;
    struct step *steps; /* first, second, paused, next */
    /* locals */
    struct belay__http *http;
    struct belay__http_endpoint *endpoint;
    belay_group *group;
    int round;
};

#define SPAWN_STEP(index_)                    \
    belay_group_spawn(self->group, &exchange, \
        &(struct exchange){self->endpoint, &self->steps[(index_)]}, NULL)

BELAY_ASYNC(paused_aside)
{
    BELAY_BEGIN;
    BELAY_WITH (belay__http_open(task, NULL, &self->http)) {
        BELAY_CHECK(endpoint_to(
            self->http, fault_server_url(self->server), &self->endpoint));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(SPAWN_STEP(0));
            AWAIT_UNTIL(fault_server_requests(self->server, "/first") > 0);
            BELAY_CHECK(SPAWN_STEP(1));
            AWAIT_UNTIL(fault_server_requests(self->server, "/second") > 0);
            fault_server_open_gate(self->server);
            AWAIT_UNTIL(self->steps[0].reply.ended.ns != 0);
            fault_server_open_gate(self->server);
            AWAIT_UNTIL(self->steps[1].reply.ended.ns != 0);
            BELAY_CHECK(SPAWN_STEP(2));
            AWAIT_UNTIL(sink_calls > 0);
            fault_server_open_gate(self->server);
            AWAIT_UNTIL(fault_server_open(self->server) == 1);
            BELAY_CHECK(SPAWN_STEP(3));
            AWAIT_UNTIL(self->steps[3].reply.ended.ns != 0);
            belay_group_cancel(self->group, "test");
        }
    }
    BELAY_END;
}

Test(http_client_pool, s11_nor_while_its_last_user_is_paused_elsewhere)
{
    static const struct fault_route routes[] = {
        FAULT_ON("/first", FAULT_DO_GATE(1), FAULT_TEXT(OK_HI)),
        FAULT_ON("/second", FAULT_DO_GATE(2), FAULT_TEXT(OK_HI),
            FAULT_DO_GATE(3), FAULT_TEXT(LATE)),
        FAULT_ON("/paused", FAULT_TEXT(OK_HI)),
        FAULT_ON("/next", FAULT_TEXT(OK_HI))};
    int answer = BELAY__HTTP_PAUSE;
    struct step steps[] = {{.request = {.path = "/first"}},
        {.request = {.path = "/second"}},
        {.request = {.path = "/paused",
             .sink = counting_sink,
             .sink_arg = &answer}},
        {.request = {.path = "/next"}}};
    const struct paused_aside arguments = {
        .server = fault_server_start(routes, COUNT(routes)), .steps = steps};

    sink_calls = 0;
    cr_expect(eq(int, program_run_plain(&paused_aside, &arguments, NULL), 0));
    cr_expect(eq(sz, connection_of(arguments.server, 2), 1));
    expect_cancelled(&steps[2]);
    cr_expect(body_is(&steps[3], "hi"));
    cr_expect(not(steps[3].reply.reused));
    free_steps(steps, COUNT(steps));
    fault_server_stop(arguments.server);
}
