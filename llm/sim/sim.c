/* sim.c - the simulator's scope, and all its pages but one.
 *
 * The struct belay__sim is the frame of an outer manager, so it outlives the
 * server and with it every handler.
 */
#include "llm/sim/sim.h"

#include "llm/sim/internal.h"

#include "llm/json/write.h"
#include "runtime/buffer.h"

#include <belay/async.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAX_CONNECTIONS 16384
#define TOKENS 16

/* ---- what the pages share ---- */

void
belay__sim_count_status(struct belay__sim *sim, int status)
{
    for (size_t i = 0; i < BELAY__SIM_STATUSES; i++) {
        if (sim->statuses[i].status == 0) {
            sim->statuses[i].status = status;
        }
        if (sim->statuses[i].status == status) {
            sim->statuses[i].count++;
            return;
        }
    }
}

/* Takes as long for a wrong key as for a right one of the same length. */
static bool
same_text(const char *a, const char *b)
{
    const size_t len = strlen(a);
    unsigned int different = 0;

    if (strlen(b) != len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        different |= (unsigned int)(a[i] ^ b[i]);
    }
    return different == 0;
}

bool
belay__sim_may(
    const struct belay__sim *sim, const struct belay__request *request)
{
    const char *given;

    if (sim->opts.api_key == NULL) {
        return true;
    }
    given = belay__request_header(request, "authorization");
    return given != NULL && strncmp(given, "Bearer ", 7) == 0
           && same_text(given + 7, sim->opts.api_key);
}

struct kind {
    int status;
    const char *type;
    const char *code; /* or NULL */
};

static const struct kind *
kind_of(int status)
{
    static const struct kind kinds[] = {
        {400, "invalid_request_error", NULL},
        {401, "invalid_request_error", "invalid_api_key"},
        {404, "invalid_request_error", "unknown_url"},
        {405, "invalid_request_error", "method_not_supported"},
        {429, "requests", "rate_limit_exceeded"},
        {529, "overloaded_error", NULL},
        {0, "server_error", NULL},
    };
    const struct kind *kind = kinds;

    while (kind->status != 0 && kind->status != status) {
        kind++;
    }
    return kind;
}

static int
write_error(struct belay__buffer *buffer, int status, const char *message)
{
    const struct kind *kind = kind_of(status);
    struct belay__json_writer json;

    belay__json_begin(&json, buffer);
    belay__json_open_object(&json);
    belay__json_key(&json, "error");
    belay__json_open_object(&json);
    belay__json_key(&json, "message");
    belay__json_text(&json, message);
    belay__json_key(&json, "type");
    belay__json_text(&json, kind->type);
    belay__json_key(&json, "param");
    belay__json_null(&json);
    belay__json_key(&json, "code");
    if (kind->code != NULL) {
        belay__json_text(&json, kind->code);
    } else {
        belay__json_null(&json);
    }
    belay__json_close_object(&json);
    belay__json_close_object(&json);
    return belay__json_end(&json);
}

static belay_next
send_json(belay_task *task, struct belay__sim *sim,
    const struct belay__call *call, int status)
{
    int code =
        belay__reply_header(call->reply, "Content-Type", "application/json");

    if (code < 0) {
        return belay_fail(task, code, NULL);
    }
    belay__sim_count_status(sim, status);
    return belay__reply_send(task, call->reply, status,
        belay__buffer_slice(belay__reply_scratch(call->reply)));
}

belay_next
belay__sim_refuse(belay_task *task, struct belay__sim *sim,
    const struct belay__call *call, int status, const char *message)
{
    int code;

    if (status == 502) {
        /* From a gateway in between, which knows nothing of JSON. */
        belay__sim_count_status(sim, status);
        return belay__reply_refuse(task, call->reply, status);
    }
    code = write_error(belay__reply_scratch(call->reply), status, message);
    if (code < 0) {
        return belay_fail(task, code, NULL);
    }
    return send_json(task, sim, call, status);
}

/* ---- GET /v1/models ---- */

static belay_next
models(belay_task *task, struct belay__sim *sim, const struct belay__call *call)
{
    static const char *const names[] = {"sim-small", "sim-large"};
    struct belay__json_writer json;
    int code;

    if (!belay__sim_may(sim, call->request)) {
        return belay__sim_refuse(
            task, sim, call, 401, "Incorrect API key provided");
    }
    belay__json_begin(&json, belay__reply_scratch(call->reply));
    belay__json_open_object(&json);
    belay__json_key(&json, "object");
    belay__json_text(&json, "list");
    belay__json_key(&json, "data");
    belay__json_open_array(&json);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        belay__json_open_object(&json);
        belay__json_key(&json, "id");
        belay__json_text(&json, names[i]);
        belay__json_key(&json, "object");
        belay__json_text(&json, "model");
        belay__json_key(&json, "created");
        belay__json_int(&json, 1700000000);
        belay__json_key(&json, "owned_by");
        belay__json_text(&json, "belay");
        belay__json_close_object(&json);
    }
    belay__json_close_array(&json);
    belay__json_close_object(&json);
    code = belay__json_end(&json);
    return code < 0 ? belay_fail(task, code, NULL)
                    : send_json(task, sim, call, 200);
}

/* ---- GET /__sim/stats ---- */

static void
put_count(struct belay__json_writer *json, const char *key, uint64_t count)
{
    belay__json_key(json, key);
    belay__json_int(json, count < INT64_MAX ? (int64_t)count : INT64_MAX);
}

static void
put_statuses(struct belay__json_writer *json, const struct belay__sim *sim)
{
    char status[16];

    belay__json_key(json, "status");
    belay__json_open_object(json);
    for (size_t i = 0; i < BELAY__SIM_STATUSES && sim->statuses[i].status != 0;
         i++) {
        (void)snprintf(status, sizeof(status), "%d", sim->statuses[i].status);
        put_count(json, status, sim->statuses[i].count);
    }
    belay__json_close_object(json);
}

static belay_next
stats(belay_task *task, struct belay__sim *sim, const struct belay__call *call)
{
    static const char *const ends[] = {
        "refused", "answered", "cut", "stalled", "left"};
    struct belay__sim_stats now;
    struct belay__json_writer json;
    char sum[24];
    int code;

    belay__sim_get_stats(sim, &now);
    belay__json_begin(&json, belay__reply_scratch(call->reply));
    belay__json_open_object(&json);
    put_count(&json, "hits", now.hits);
    put_count(&json, "distinct_bodies", now.distinct_bodies);
    (void)snprintf(sum, sizeof(sum), "%016" PRIx64, now.body_hash_sum);
    belay__json_key(&json, "body_fnv1a64_sum");
    belay__json_text(&json, sum);
    put_count(&json, "in_flight", now.in_flight);
    put_count(&json, "in_flight_max", now.in_flight_max);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        put_count(&json, ends[i], now.ends[i]);
    }
    put_count(&json, "prompt_tokens", now.prompt_tokens);
    put_count(&json, "completion_tokens", now.completion_tokens);
    put_count(&json, "connections", belay__server_connections(sim->server));
    put_statuses(&json, sim);
    belay__json_close_object(&json);
    code = belay__json_end(&json);
    return code < 0 ? belay_fail(task, code, NULL)
                    : send_json(task, sim, call, 200);
}

/* ---- routing ---- */

struct page {
    const char *path;
    const char *method;
    belay_next (*run)(belay_task *task, struct belay__sim *sim,
        const struct belay__call *call);
};

static const struct page pages[] = {
    {"/v1/chat/completions", "POST", belay__sim_chat},
    {"/v1/models", "GET", models},
    {"/__sim/stats", "GET", stats},
};

static belay_next
route(belay_task *task, const struct belay__call *call)
{
    struct belay__sim *sim = call->arg;

    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        if (strcmp(call->request->path, pages[i].path) != 0) {
            continue;
        }
        if (strcmp(call->request->method, pages[i].method) != 0) {
            return belay__sim_refuse(
                task, sim, call, 405, "Not allowed with this method");
        }
        return pages[i].run(task, sim, call);
    }
    return belay__sim_refuse(task, sim, call, 404, "Unknown request URL");
}

struct site {
    struct belay__call call;
};

BELAY_ASYNC(site)
{
    BELAY_BEGIN;
    BELAY_AWAIT(route(task, &self->call));
    BELAY_END;
}

/* ---- the scope ---- */

static belay_next
state_enter(belay_task *task, void *self)
{
    struct belay__sim *sim = self;
    struct belay__sim_opts *opts = &sim->opts;

    sim->seen.memory = belay_task_runtime(task)->memory;
    if (opts->tokens_min == 0) {
        opts->tokens_min = TOKENS;
    }
    if (opts->tokens_max < opts->tokens_min) {
        opts->tokens_max = opts->tokens_min;
    }
    return belay_return(task, sim);
}

static belay_next
state_exit(belay_task *task, void *self)
{
    belay__sim_seen_fini(&((struct belay__sim *)self)->seen);
    return belay_return(task, NULL);
}

static const belay_manager state = {
    {"simulator", __FILE__, sizeof(struct belay__sim), state_enter, 0},
    state_exit};

struct open_sim {
    struct belay__sim_opts opts;
    struct belay__sim **ret;
    struct belay__sim *sim;
};

static belay_next
open_server(belay_task *task, struct belay__sim *sim)
{
    const struct belay__server_opts opts = {
        .host = sim->opts.host,
        .port = sim->opts.port,
        .handler = &site,
        .arg = sim,
        .max_connections = MAX_CONNECTIONS,
    };

    return belay__server_open(task, &opts, &sim->server);
}

static void
write_url(struct belay__sim *sim)
{
    const char *host = sim->opts.host != NULL ? sim->opts.host : "127.0.0.1";
    const bool v6 = strchr(host, ':') != NULL;

    (void)snprintf(sim->url, sizeof(sim->url), "http://%s%s%s:%d/v1",
        v6 ? "[" : "", host, v6 ? "]" : "", belay__server_port(sim->server));
}

BELAY_MANAGER(open_sim)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_enter(
        task, &state, &(const struct belay__sim){.opts = self->opts})) {
        self->sim = belay_result(task)->value;
        BELAY_WITH (open_server(task, self->sim)) {
            write_url(self->sim);
            *self->ret = self->sim;
            BELAY_TRY_YIELD(self->sim);
        }
    }
    BELAY_END;
}

belay_next
belay__sim_open(belay_task *task, const struct belay__sim_opts *opts,
    struct belay__sim **ret)
{
    static const struct belay__sim_opts defaults = {.seed = 0};

    return BELAY_ENTER(
        open_sim, .opts = opts != NULL ? *opts : defaults, .ret = ret);
}

const char *
belay__sim_url(const struct belay__sim *sim)
{
    return sim->url;
}

void
belay__sim_get_stats(const struct belay__sim *sim, struct belay__sim_stats *ret)
{
    *ret = sim->stats;
    ret->distinct_bodies = sim->seen.count;
}

belay_next
belay__sim_wait(belay_task *task, struct belay__sim *sim)
{
    return belay_event_wait(task, &sim->finished);
}
