/* test_http_client_tls.c - the HTTP client over TLS, and HTTP/2, with nginx.
 *
 * A server that none of us wrote, with a certificate that nobody has signed.
 * Without nginx or openssl the tests are skipped and say so.
 */
#include "test/support/http_plan.h"

#include <belay/belay.h>

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

TestSuite(
    http_client_tls, .init = http_warm_up, .fini = check_clean, .timeout = 120);

struct tls_server {
    pid_t pid;
    uint16_t port;
    char folder[64];
    char ca_file[96];
    char url[64];
};

static uint16_t
free_port(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    struct sockaddr *any = (struct sockaddr *)&address;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert(zero(bind(fd, any, len)));
    cr_assert(zero(getsockname(fd, any, &len)));
    (void)close(fd);
    return ntohs(address.sin_port);
}

static bool
answers(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int code =
        connect(fd, (struct sockaddr *)&address, (socklen_t)sizeof(address));

    (void)close(fd);
    return code == 0;
}

static void
write_files(const struct tls_server *server)
{
    char command[512];
    char path[96];
    FILE *file;

    (void)snprintf(command, sizeof(command),
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        "-addext subjectAltName=IP:127.0.0.1 -keyout %s/key.pem -out %s "
        ">%s/openssl.log 2>&1",
        server->folder, server->ca_file, server->folder);
    cr_assert(zero(system(command))); /* NOLINT: every word of it is ours */
    (void)snprintf(path, sizeof(path), "%s/nginx.conf", server->folder);
    file = fopen(path, "we");
    cr_assert(ne(ptr, file, NULL));
    (void)fprintf(file,
        "daemon off; master_process off; pid %s/pid;\n"
        "error_log %s/error.log;\n"
        "events { worker_connections 512; }\n"
        "http {\n"
        "  access_log off; client_body_temp_path %s/a; proxy_temp_path %s/b;\n"
        "  fastcgi_temp_path %s/c; uwsgi_temp_path %s/d; scgi_temp_path %s/e;\n"
        "  http2_max_concurrent_streams 100;\n"
        "  server { listen 127.0.0.1:%u ssl http2;\n"
        "    ssl_certificate %s; ssl_certificate_key %s/key.pem;\n"
        "    location /slow { root %s; limit_rate 1k; }\n"
        "    location /large { alias %s/slow; }\n"
        "    location / { return 200 'over TLS'; } }\n"
        "}\n",
        server->folder, server->folder, server->folder, server->folder,
        server->folder, server->folder, server->folder,
        (unsigned int)server->port, server->ca_file, server->folder,
        server->folder, server->folder);
    cr_assert(zero(fclose(file)));
    (void)snprintf(path, sizeof(path), "%s/slow", server->folder);
    file = fopen(path, "we");
    cr_assert(ne(ptr, file, NULL));
    (void)fprintf(file, "%0100000d", 0); /* 100 s at 1 KiB/s */
    cr_assert(zero(fclose(file)));
}

static void
tls_server_start(struct tls_server *server)
{
    char conf[96];

    if (system("command -v nginx openssl >/dev/null") != 0) { /* NOLINT */
        cr_skip_test("nginx or openssl is not installed");
    }
    (void)snprintf(
        server->folder, sizeof(server->folder), "/tmp/belay-tls-XXXXXX");
    cr_assert(ne(ptr, mkdtemp(server->folder), NULL));
    (void)snprintf(server->ca_file, sizeof(server->ca_file), "%s/cert.pem",
        server->folder);
    server->port = free_port();
    (void)snprintf(server->url, sizeof(server->url), "https://127.0.0.1:%u",
        (unsigned int)server->port);
    write_files(server);
    (void)snprintf(conf, sizeof(conf), "%s/nginx.conf", server->folder);
    server->pid = fork();
    cr_assert(ge(int, server->pid, 0));
    if (server->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* if the test is cut short */
        (void)execlp(
            "nginx", "nginx", "-e", "stderr", "-c", conf, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 500 && !answers(server->port); i++) {
        (void)usleep(10000);
    }
    cr_assert(answers(server->port));
}

static void
tls_server_stop(const struct tls_server *server)
{
    char command[128];

    (void)kill(server->pid, SIGTERM);
    (void)waitpid(server->pid, NULL, 0);
    (void)snprintf(command, sizeof(command), "rm -r %s", server->folder);
    (void)system(command); /* NOLINT */
}

Test(http_client_tls, x3_certificate_that_nobody_has_signed_is_refused)
{
    struct tls_server server = {0};
    struct step steps[3] = {{.request = {.path = "/x", .body = {"abc", 3}}},
        {.request = {.path = "/x"}, .endpoint = 1}, {.request = {0}}};

    tls_server_start(&server);
    run_plan(&(struct plan){.url = server.url,
        .opts = {{0}, {.ca_file = server.ca_file}},
        .steps = steps,
        .count = 2});
    run_plan(&(struct plan){.url = server.url,
        .opts = {{.insecure = true}},
        .steps = &steps[2],
        .count = 1});
    expect_failure(&steps[0], BELAY_ETLS, BELAY__HTTP_CERTIFICATE);
    cr_expect(not(steps[0].reply.request_sent));
    cr_expect(eq(u64, steps[0].reply.sent_bytes, 0));
    cr_expect(eq(int, steps[1].result.code, 0), "%s", steps[1].message);
    cr_expect(body_is(&steps[1], "over TLS"));
    cr_expect(eq(int, steps[2].result.code, 0), "%s", steps[2].message);
    free_steps(steps, 3);
    tls_server_stop(&server);
}

Test(http_client_tls, x3_certificate_of_another_host_is_refused)
{
    struct tls_server server = {0};
    struct step steps[1] = {{.request = {.path = "/x"}}};
    char url[64];

    tls_server_start(&server);
    (void)snprintf(
        url, sizeof(url), "https://localhost:%u", (unsigned int)server.port);
    run_plan(&(struct plan){.url = url,
        .opts = {{.ca_file = server.ca_file}},
        .steps = steps,
        .count = 1});
    expect_failure(&steps[0], BELAY_ETLS, BELAY__HTTP_CERTIFICATE);
    free_steps(steps, 1);
    tls_server_stop(&server);
}

Test(http_client_tls, http2_where_it_is_offered)
{
    struct tls_server server = {0};
    struct step steps[4] = {{.request = {.path = "/x", .body = {"abc", 3}}},
        {.request = {.path = "/x"}}, {.endpoint = 1}, {.endpoint = 1}};

    tls_server_start(&server);
    run_plan(&(struct plan){.url = server.url,
        .opts = {{.ca_file = server.ca_file},
            {.ca_file = server.ca_file, .no_http2 = true}},
        .steps = steps,
        .count = COUNT(steps)});
    for (size_t i = 0; i < COUNT(steps); i++) {
        cr_expect(eq(int, steps[i].result.code, 0), "%s", steps[i].message);
        cr_expect(eq(int, steps[i].reply.status, 200));
        cr_expect(eq(int, steps[i].reply.version, i < 2 ? 20 : 11));
        cr_expect(eq(int, steps[i].reply.reused, i % 2 == 1));
        cr_expect(steps[i].reply.request_sent);
        cr_expect(header_is(&steps[i], "content-length", "8"));
    }
    free_steps(steps, COUNT(steps));
    tls_server_stop(&server);
}

/* Many at once, and some of them cancelled in the middle: the others, on the
 * same connection, must not notice.
 */
struct streams {
    const struct tls_server *server;
    struct step *steps;
    size_t count;
    /* locals */
    struct belay__http *http;
    struct belay__http_endpoint *endpoint;
    belay_group *group;
    belay_task *children[64];
    size_t i;
    int round;
};

BELAY_ASYNC(streams)
{
    BELAY_BEGIN;
    BELAY_WITH (belay__http_open(task, NULL, &self->http)) {
        BELAY_CHECK(belay__http_endpoint_open(self->http,
            &(struct belay__http_endpoint_opts){
                .url = self->server->url, .ca_file = self->server->ca_file},
            &self->endpoint, NULL));
        BELAY_AWAIT(belay_call(task, &exchange,
            &(struct exchange){self->endpoint, &self->steps[0]}));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (self->i = 1; self->i < self->count; self->i++) {
                BELAY_CHECK(belay_group_spawn(self->group, &exchange,
                    &(struct exchange){self->endpoint, &self->steps[self->i]},
                    BELAY_SPAWN_OPTS(.task = &self->children[self->i])));
            }
            AWAIT_UNTIL(self->steps[self->count - 3].reply.first_byte.ns != 0);
            for (self->i = 1; self->i < self->count; self->i++) {
                if (self->i % 3 == 0) {
                    (void)belay_task_cancel(self->children[self->i], "test");
                }
                belay_task_unref(self->children[self->i]);
            }
        }
    }
    BELAY_END;
}

Test(http_client_tls, l42_cancelled_streams_leave_their_neighbours_alone)
{
    struct tls_server server = {0};
    struct step steps[60] = {0};
    const struct streams arguments = {
        .server = &server, .steps = steps, .count = COUNT(steps)};

    for (size_t i = 3; i < COUNT(steps); i += 3) {
        steps[i].request.path = "/slow";
    }
    tls_server_start(&server);
    cr_expect(eq(int, program_run_plain(&streams, &arguments, NULL), 0));
    for (size_t i = 0; i < COUNT(steps); i++) {
        if (i > 0 && i % 3 == 0) {
            expect_cancelled(&steps[i]);
            continue;
        }
        cr_expect(eq(int, steps[i].result.code, 0), "%s", steps[i].message);
        cr_expect(body_is(&steps[i], "over TLS"));
        cr_expect(eq(int, steps[i].reply.version, 20));
        cr_expect(eq(int, steps[i].reply.reused, i > 0));
    }
    free_steps(steps, COUNT(steps));
    tls_server_stop(&server);
}

/* One stream is paused, as by a caller who does not ask for the next piece,
 * perhaps because he waits for another one on the same connection.
 */
struct paused_beside {
    const struct tls_server *server;
    struct step *steps;
    /* locals */
    struct belay__http *http;
    struct belay__http_endpoint *endpoint;
    belay_group *group;
    size_t i;
    int round;
};

BELAY_ASYNC(paused_beside)
{
    BELAY_BEGIN;
    BELAY_WITH (belay__http_open(task, NULL, &self->http)) {
        BELAY_CHECK(belay__http_endpoint_open(self->http,
            &(struct belay__http_endpoint_opts){
                .url = self->server->url, .ca_file = self->server->ca_file},
            &self->endpoint, NULL));
        BELAY_AWAIT(belay_call(task, &exchange,
            &(struct exchange){self->endpoint, &self->steps[0]}));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (self->i = 1; self->i < 4; self->i++) {
                BELAY_CHECK(belay_group_spawn(self->group, &exchange,
                    &(struct exchange){self->endpoint, &self->steps[self->i]},
                    NULL));
                AWAIT_UNTIL(sink_calls > 0);
            }
            AWAIT_UNTIL(self->steps[2].reply.ended.ns != 0
                        && self->steps[3].reply.ended.ns != 0);
            belay_group_cancel(self->group, "test");
        }
    }
    BELAY_END;
}

Test(http_client_tls, http2_a_paused_stream_does_not_hold_up_its_neighbours)
{
    int answer = BELAY__HTTP_PAUSE;
    struct tls_server server = {0};
    struct step steps[4] = {{.request = {.path = "/x"}},
        {.request = {.path = "/large",
             .sink = counting_sink,
             .sink_arg = &answer}},
        {.request = {.path = "/large"}}, {.request = {.path = "/y"}}};

    sink_calls = 0;
    tls_server_start(&server);
    cr_expect(eq(int,
        belay_run(&paused_beside,
            &(const struct paused_beside){.server = &server, .steps = steps},
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator), NULL),
        0));
    expect_cancelled(&steps[1]);
    cr_expect(eq(sz, steps[2].reply.body.len, 100000));
    cr_expect(body_is(&steps[3], "over TLS"));
    free_steps(steps, COUNT(steps));
    tls_server_stop(&server);
}
