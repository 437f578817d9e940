/* server_site.c - a server whose handler does all that a handler may do, and
 * clients that speak to it over raw sockets.
 */
#include "test/support/server_site.h"

#include <belay/group.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

struct scene scene;

static struct belay_slice
text(const char *string)
{
    return (struct belay_slice){string, strlen(string)};
}

/* ---- the pages ---- */

#define PAGE(name)               \
    struct name {                \
        struct belay__call call; \
        size_t i;                \
    };                           \
    BELAY_ASYNC(name)

PAGE(hello)
{
    BELAY_BEGIN;
    scene.connections = belay__server_connections(scene.server);
    BELAY_CHECK(
        belay__reply_header(self->call.reply, "Content-Type", "text/plain"));
    BELAY_AWAIT(
        belay__reply_send(task, self->call.reply, 200, text("hello\n")));
    BELAY_END;
}

PAGE(echo)
{
    const struct belay__request *request = self->call.request;
    const char *tag = belay__request_header(request, "X-Tag");

    BELAY_BEGIN;
    if (tag != NULL) {
        BELAY_CHECK(belay__reply_header(self->call.reply, "X-Tag", tag));
    }
    BELAY_CHECK(
        belay__reply_header(self->call.reply, "X-Query", request->query));
    BELAY_AWAIT(belay__reply_send(task, self->call.reply, 200, request->body));
    BELAY_END;
}

PAGE(stream)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay__reply_begin(self->call.reply, 200, BELAY__CHUNKED));
    for (self->i = 0; self->i < 3; self->i++) {
        BELAY_AWAIT(belay__reply_write(task, self->call.reply, text("part,")));
        BELAY_AWAIT(belay_checkpoint(task));
    }
    BELAY_AWAIT(belay__reply_end(task, self->call.reply, text("end")));
    BELAY_END;
}

PAGE(sized)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay__reply_begin(self->call.reply, 200, 6));
    BELAY_AWAIT(belay__reply_write(task, self->call.reply, text("")));
    BELAY_AWAIT(belay__reply_write(task, self->call.reply, text("abc")));
    BELAY_TRY(belay__reply_write(task, self->call.reply, text("more")));
    cr_assert(eq(int, belay_result(task)->code, BELAY_EINVAL));
    BELAY_TRY(belay__reply_end(task, self->call.reply, text("de")));
    cr_assert(eq(int, belay_result(task)->code, BELAY_EINVAL));
    BELAY_AWAIT(belay__reply_end(task, self->call.reply, text("def")));
    BELAY_TRY(belay__reply_write(task, self->call.reply, text("late")));
    cr_assert(eq(int, belay_result(task)->code, BELAY_ESTATE));
    BELAY_END;
}

PAGE(nothing)
{
    BELAY_BEGIN;
    (void)belay__reply_header(self->call.reply, "X-Lost", "1");
    BELAY_END;
}

PAGE(fail)
{
    BELAY_BEGIN;
    BELAY_FAIL(BELAY_EJSON, "no sense in it");
    BELAY_END;
}

PAGE(fail_late)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay__reply_begin(self->call.reply, 200, BELAY__CHUNKED));
    BELAY_AWAIT(belay__reply_write(task, self->call.reply, text("some")));
    BELAY_FAIL(BELAY_EJSON, "no more sense in it");
    BELAY_END;
}

PAGE(cut)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay__reply_begin(self->call.reply, 200, 100));
    BELAY_AWAIT(belay__reply_write(task, self->call.reply, text("0123456789")));
    BELAY_END;
}

PAGE(reset)
{
    BELAY_BEGIN;
    BELAY_CHECK(belay__reply_begin(self->call.reply, 200, 100));
    BELAY_AWAIT(belay__reply_write(task, self->call.reply, text("0123456789")));
    belay__reply_reset(self->call.reply);
    BELAY_TRY(belay__reply_write(task, self->call.reply, text("0123")));
    cr_assert(eq(int, belay_result(task)->code, BELAY_ERESET));
    BELAY_END;
}

PAGE(raw)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay__reply_raw(task, self->call.reply,
        text("HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok")));
    BELAY_END;
}

/* Exits with the frame, however it ends. */
struct noticed {
    int dummy;
};

static belay_next
notice_enter(belay_task *task, void *self)
{
    (void)self;
    belay_event_set(&scene.running);
    return belay_return(task, NULL);
}

static belay_next
notice_exit(belay_task *task, void *self)
{
    (void)self;
    if (belay_outcome(task)->cancelled
        || belay_outcome(task)->code == BELAY_ERESET) {
        belay_event_set(&scene.gone);
    }
    return belay_return(task, NULL);
}

static const belay_manager noticed = {
    {"noticed", __FILE__, sizeof(struct noticed), notice_enter, 0},
    notice_exit};

PAGE(wait)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(noticed, .dummy = 0)) {
        BELAY_AWAIT(belay_sleep(task, BELAY_FOREVER));
    }
    BELAY_END;
}

char flood_bytes[64 * 1024];

PAGE(flood)
{
    const struct belay_slice bytes = {flood_bytes, sizeof(flood_bytes)};

    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(noticed, .dummy = 0)) {
        BELAY_CHECK(belay__reply_begin(self->call.reply, 200, BELAY__CHUNKED));
        for (self->i = 0; self->i < 4096; self->i++) {
            BELAY_AWAIT(belay__reply_write(task, self->call.reply, bytes));
            scene.written += bytes.len;
        }
        BELAY_AWAIT(belay__reply_end(task, self->call.reply, text("")));
    }
    BELAY_END;
}

/* Gives the client time to send what it likes. */
PAGE(paused)
{
    const struct belay__connection *connection = self->call.reply->connection;

    BELAY_BEGIN;
    for (self->i = 0; self->i < 50; self->i++) {
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1)));
        if (connection->ahead.len > scene.ahead) {
            scene.ahead = connection->ahead.len;
        }
    }
    BELAY_AWAIT(belay__reply_send(task, self->call.reply, 200, text("ok")));
    BELAY_END;
}

static const struct {
    const char *path;
    const belay_function *page;
} pages[] = {
    {"/hello", &hello},
    {"/echo", &echo},
    {"/stream", &stream},
    {"/sized", &sized},
    {"/nothing", &nothing},
    {"/fail", &fail},
    {"/fail-late", &fail_late},
    {"/cut", &cut},
    {"/reset", &reset},
    {"/raw", &raw},
    {"/wait", &wait},
    {"/flood", &flood},
    {"/pause", &paused},
};

/* Every page has the same arguments; its own locals start as zero. */
static belay_next
call_page(belay_task *task, const struct belay__call *call)
{
    const struct hello arguments = {.call = *call};

    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        if (strcmp(pages[i].path, call->request->path) == 0) {
            return belay_call(task, pages[i].page, &arguments);
        }
    }
    return belay__reply_refuse(task, call->reply, 404);
}

BELAY__STEP(site)
const belay_function site = {
    "site", __FILE__, sizeof(struct site), site__step, 0};
BELAY__BODY(site)
{
    BELAY_BEGIN;
    BELAY_AWAIT(call_page(task, &self->call));
    BELAY_END;
}

/* ---- the scene ---- */

static void
note_failure(const struct belay_result *result, void *arg)
{
    (void)arg;
    scene.failed = result->code;
    scene.failures++;
}

struct client {
    void (*fn)(void *arg);
};

BELAY_ASYNC(client)
{
    BELAY_BEGIN;
    BELAY_TRY(raw_client_run(task, self->fn, NULL));
    atomic_store(&scene.client_done, true);
    return belay_pass(task);
    BELAY_END;
}

BELAY__STEP(direct)
const belay_function direct = {
    "direct", __FILE__, sizeof(struct direct), direct__step, 0};
BELAY__BODY(direct)
{
    BELAY_BEGIN;
    while (!atomic_load(&scene.client_done)) {
        BELAY_AWAIT(belay_sleep(task, belay_milliseconds(1)));
    }
    BELAY_END;
}

BELAY__STEP(direct_fast)
const belay_function direct_fast = {
    "direct_fast", __FILE__, sizeof(struct direct_fast), direct_fast__step, 0};
BELAY__BODY(direct_fast)
{
    BELAY_BEGIN;
    while (!atomic_load(&scene.client_done)) {
        BELAY_AWAIT(belay_checkpoint(task));
        belay_clock_advance(self->clock, belay_milliseconds(1));
    }
    BELAY_END;
}

BELAY__STEP(play)
const belay_function site_play = {
    "play", __FILE__, sizeof(struct play), play__step, 0};
BELAY__BODY(play)
{
    const struct direct arguments = {self->clock};

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay__server_open(task, &self->opts, &self->server)) {
            scene.server = self->server;
            scene.port = belay__server_port(self->server);
            BELAY_CHECK(belay_spawn(self->group, client, .fn = self->client));
            BELAY_AWAIT(belay_call(task, self->director, &arguments));
        }
    }
    BELAY_END;
}

int
run_site(const struct play *given, const struct belay_runtime_opts *opts)
{
    struct play arguments = *given;
    size_t fds = raw_count_fds();
    int code;

    memset(&scene, 0, sizeof(scene));
    if (arguments.opts.handler == NULL) {
        arguments.opts.handler = &site;
    }
    if (arguments.director == NULL) {
        arguments.director = &direct;
    }
    arguments.opts.failed_fn = note_failure;
    (void)signal(SIGPIPE, SIG_IGN);
    code = belay_run(&site_play, &arguments, opts, NULL);
    cr_assert(eq(sz, raw_count_fds(), fds));
    return code;
}

void
get(int fd, const char *path)
{
    char request[256];

    (void)snprintf(
        request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    RAW_CHECK(raw_send_text(fd, request));
}

void
want(int fd, int status, const char *body)
{
    struct raw_reply reply;

    raw_read_reply(fd, &reply);
    RAW_CHECK(reply.end == RAW_WHOLE);
    RAW_CHECK(reply.status == status);
    RAW_CHECK(body == NULL || strcmp(reply.body, body) == 0);
    raw_reply_fini(&reply);
}
