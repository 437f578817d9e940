/* pages.c - the pages that are no model's: lists of models, counts, errors. */
#include "llm/sim/internal.h"

#include <belay/async.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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

/* Its clients say so on every page. */
static bool
is_anthropic(const struct belay__request *request)
{
    return belay__request_header(request, "anthropic-version") != NULL;
}

bool
belay__sim_may(
    const struct belay__sim *sim, const struct belay__request *request)
{
    const char *given;

    if (sim->opts.api_key == NULL) {
        return true;
    }
    if (is_anthropic(request)) {
        given = belay__request_header(request, "x-api-key");
        if (given != NULL) {
            return same_text(given, sim->opts.api_key);
        }
        /* Their newer clients send it as all others do. */
    }
    given = belay__request_header(request, "authorization");
    return given != NULL && strncmp(given, "Bearer ", 7) == 0
           && same_text(given + 7, sim->opts.api_key);
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
    const struct belay__sim_error error = {
        .status = status, .message = message};
    const struct belay__sim_format *format = is_anthropic(call->request)
                                                 ? &belay__sim_messages_format
                                                 : &belay__sim_chat_format;
    struct belay__json_writer json;
    int code;

    belay__json_begin(&json, belay__reply_scratch(call->reply));
    format->error_fn(&json, &error);
    code = belay__json_end(&json);
    if (code < 0) {
        return belay_fail(task, code, NULL);
    }
    return send_json(task, sim, call, status);
}

static belay_next
finish(belay_task *task, struct belay__sim *sim, const struct belay__call *call,
    struct belay__json_writer *json)
{
    const int code = belay__json_end(json);

    return code < 0 ? belay_fail(task, code, NULL)
                    : send_json(task, sim, call, 200);
}

/* ---- GET /v1/models ---- */

static const char *const models[] = {"sim-small", "sim-large"};

#define MODELS (sizeof(models) / sizeof(models[0]))

static void
put_model(struct belay__json_writer *json, const char *name, bool anthropic)
{
    belay__json_open_object(json);
    if (anthropic) {
        belay__sim_put_string(json, "type", "model");
        belay__sim_put_string(json, "id", name);
        belay__sim_put_string(json, "display_name", name);
        belay__sim_put_string(json, "created_at", "2023-11-14T22:13:20Z");
    } else {
        belay__sim_put_string(json, "id", name);
        belay__sim_put_string(json, "object", "model");
        belay__sim_put_int(json, "created", BELAY__SIM_CREATED);
        belay__sim_put_string(json, "owned_by", "belay");
    }
    belay__json_close_object(json);
}

belay_next
belay__sim_models(
    belay_task *task, struct belay__sim *sim, const struct belay__call *call)
{
    const bool anthropic = is_anthropic(call->request);
    struct belay__json_writer json;

    if (!belay__sim_may(sim, call->request)) {
        return belay__sim_refuse(
            task, sim, call, 401, "Incorrect API key provided");
    }
    belay__json_begin(&json, belay__reply_scratch(call->reply));
    belay__json_open_object(&json);
    if (!anthropic) {
        belay__sim_put_string(&json, "object", "list");
    }
    belay__json_key(&json, "data");
    belay__json_open_array(&json);
    for (size_t i = 0; i < MODELS; i++) {
        put_model(&json, models[i], anthropic);
    }
    belay__json_close_array(&json);
    if (anthropic) {
        belay__json_key(&json, "has_more");
        belay__json_bool(&json, false);
        belay__sim_put_string(&json, "first_id", models[0]);
        belay__sim_put_string(&json, "last_id", models[MODELS - 1]);
    }
    belay__json_close_object(&json);
    return finish(task, sim, call, &json);
}

belay_next
belay__sim_model(
    belay_task *task, struct belay__sim *sim, const struct belay__call *call)
{
    const char *name = strrchr(call->request->path, '/') + 1;
    struct belay__json_writer json;

    if (!belay__sim_may(sim, call->request)) {
        return belay__sim_refuse(
            task, sim, call, 401, "Incorrect API key provided");
    }
    for (size_t i = 0; i < MODELS; i++) {
        if (strcmp(models[i], name) == 0) {
            belay__json_begin(&json, belay__reply_scratch(call->reply));
            put_model(&json, models[i], is_anthropic(call->request));
            return finish(task, sim, call, &json);
        }
    }
    return belay__sim_refuse(task, sim, call, 404, "No such model");
}

/* ---- POST /v1/messages/count_tokens ---- */

belay_next
belay__sim_count_tokens(
    belay_task *task, struct belay__sim *sim, const struct belay__call *call)
{
    struct belay__sim_format format = belay__sim_messages_format;
    struct belay__sim_request request;
    struct belay__json_writer json;
    const char *why;

    if (!belay__sim_may(sim, call->request)) {
        return belay__sim_refuse(
            task, sim, call, 401, "Incorrect API key provided");
    }
    format.missing_fn = belay__sim_chat_format.missing_fn; /* no limit here */
    why = belay__sim_read(&format, call->request->body, &request);
    if (why != NULL) {
        return belay__sim_refuse(task, sim, call, 400, why);
    }
    belay__json_begin(&json, belay__reply_scratch(call->reply));
    belay__json_open_object(&json);
    belay__sim_put_int(&json, "input_tokens", request.prompt_tokens);
    belay__json_close_object(&json);
    return finish(task, sim, call, &json);
}

/* ---- where redirects lead ---- */

belay_next
belay__sim_redirected(
    belay_task *task, struct belay__sim *sim, const struct belay__call *call)
{
    struct belay__json_writer json;

    sim->stats.redirected++;
    belay__json_begin(&json, belay__reply_scratch(call->reply));
    belay__json_open_object(&json);
    belay__json_key(&json, "redirected");
    belay__json_bool(&json, true);
    belay__json_close_object(&json);
    return finish(task, sim, call, &json);
}

/* ---- GET /__sim/stats ---- */

static void
put_count(struct belay__json_writer *json, const char *key, uint64_t count)
{
    belay__json_key(json, key);
    belay__json_int(json, count < INT64_MAX ? (int64_t)count : INT64_MAX);
}

static void
put_formats(struct belay__json_writer *json, const struct belay__sim_stats *now)
{
    static const char *const names[BELAY__SIM_FORMATS] = {
        "chat", "responses", "messages", "embeddings"};

    belay__json_key(json, "formats");
    belay__json_open_object(json);
    for (size_t i = 0; i < BELAY__SIM_FORMATS; i++) {
        put_count(json, names[i], now->formats[i]);
    }
    belay__json_close_object(json);
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

belay_next
belay__sim_stats_page(
    belay_task *task, struct belay__sim *sim, const struct belay__call *call)
{
    static const char *const ends[] = {
        "refused", "answered", "cut", "stalled", "left"};
    struct belay__sim_stats now;
    struct belay__json_writer json;
    char sum[24];

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
    put_count(&json, "redirected", now.redirected);
    put_count(&json, "connections", belay__server_connections(sim->server));
    put_formats(&json, &now);
    put_statuses(&json, sim);
    belay__json_close_object(&json);
    return finish(task, sim, call, &json);
}
