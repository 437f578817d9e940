/* http_plan.c - exchanges of the HTTP client to be planned and looked at. */
#include "test/support/http_plan.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

void
http_warm_up(void)
{
    uv_loop_t loop;

    cr_assert(zero(uv_loop_init(&loop)));
    cr_assert(zero(uv_loop_close(&loop)));
}

/* ---- plans ---- */

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
                &self->endpoints[self->steps[self->i].endpoint],
                &self->steps[self->i].request, &self->steps[self->i].reply));
            note(&self->steps[self->i], belay_result(task));
        }
    }
    BELAY_END;
}

int
try_plan(const struct plan *arguments)
{
    return program_run_plain(&plan, arguments, NULL);
}

void
run_plan(const struct plan *arguments)
{
    cr_assert(eq(int, try_plan(arguments), 0));
}

int
endpoint_to(struct belay__http *http, const char *url,
    struct belay__http_endpoint **ret)
{
    return belay__http_endpoint_open(
        http, &(struct belay__http_endpoint_opts){.url = url}, ret, NULL);
}

void
free_steps(struct step *steps, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(steps[i].reply.head.data);
        free(steps[i].reply.body.data);
        belay_error_unref(steps[i].result.error);
    }
}

void
end_steps(struct fault_server *server, struct step *steps, size_t count)
{
    free_steps(steps, count);
    fault_server_stop(server);
}

struct fault_server *
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

void
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

void
expect_cancelled(const struct step *step)
{
    cr_expect(eq(int, step->result.code, BELAY_ECANCELED));
    cr_expect(step->result.cancelled);
    cr_expect(eq(int, (int)step->reply.failure, BELAY__HTTP_CANCELLED));
}

bool
body_is(const struct step *step, const char *text)
{
    return step->reply.body.len == strlen(text)
           && memcmp(step->reply.body.data, text, strlen(text)) == 0;
}

bool
header_is(const struct step *step, const char *name, const char *value)
{
    const struct belay_slice found =
        belay__http_reply_header(&step->reply, name);

    return found.len == strlen(value)
           && (found.len == 0 || memcmp(found.data, value, found.len) == 0);
}

char *
request_text(struct fault_server *server, size_t index, size_t *ret_connection)
{
    struct fault_request request;

    cr_assert(fault_server_request(server, index, &request));
    if (ret_connection != NULL) {
        *ret_connection = request.connection;
    }
    return request.bytes;
}

size_t
connection_of(struct fault_server *server, size_t index)
{
    size_t connection = 0;

    free(request_text(server, index, &connection));
    return connection;
}
/* ---- one exchange, and an interference ---- */

static belay_next
exchange_end(belay_task *task, void *arg)
{
    struct exchange *self = arg;

    note(self->step, belay_result(task));
    return belay_pass(task);
}

static belay_next
exchange_begin(belay_task *task, void *arg)
{
    struct exchange *self = arg;

    return belay_then(task, exchange_end,
        belay__http_perform(
            task, &self->endpoint, &self->step->request, &self->step->reply));
}

const belay_function exchange = {
    "exchange", __FILE__, sizeof(struct exchange), exchange_begin, 0};

size_t sink_calls;

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
            BELAY_CHECK(endpoint_to(self->http, self->url, &self->endpoint));
            BELAY_CHECK(belay_group_spawn(self->group, &exchange,
                &(struct exchange){self->endpoint, self->step},
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

void
interfere(const struct interference *arguments)
{
    cr_expect(eq(int,
        belay_run(&interference, arguments,
            BELAY_RUNTIME_OPTS(.allocator = &test_allocator,
                .clock = arguments->clock),
            NULL),
        0));
}

int
counting_sink(
    const struct belay__http_reply *reply, struct belay_slice bytes, void *arg)
{
    (void)bytes;
    cr_expect(eq(int, reply->status, 200));
    sink_calls++;
    return arg != NULL ? *(const int *)arg : 1;
}
