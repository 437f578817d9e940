/* sim.c - the simulator's scope, and which page a request is for.
 *
 * The struct belay__sim is the frame of an outer manager, so it outlives the
 * server and with it every handler.
 */
#include "llm/sim/sim.h"

#include "llm/sim/internal.h"

#include <belay/async.h>

#include <stdio.h>
#include <string.h>

#define MAX_CONNECTIONS 16384
#define TOKENS 16

/* ---- routing ---- */

struct page {
    const char *path;
    const char *method;
    belay_next (*run)(belay_task *task, struct belay__sim *sim,
        const struct belay__call *call);
};

static const struct page pages[] = {
    {"/v1/models", "GET", belay__sim_models},
    {"/v1/messages/count_tokens", "POST", belay__sim_count_tokens},
    {"/__sim/stats", "GET", belay__sim_stats_page},
};

static const struct belay__sim_format *const formats[BELAY__SIM_FORMATS] = {
    &belay__sim_chat_format,
    &belay__sim_responses_format,
    &belay__sim_messages_format,
    &belay__sim_embeddings_format,
};

static belay_next
wrong_method(
    belay_task *task, struct belay__sim *sim, const struct belay__call *call)
{
    return belay__sim_refuse(
        task, sim, call, 405, "Not allowed with this method");
}

static belay_next
route(belay_task *task, const struct belay__call *call)
{
    const struct belay__request *request = call->request;
    struct belay__sim *sim = call->arg;

    for (size_t i = 0; i < BELAY__SIM_FORMATS; i++) {
        if (strcmp(request->path, formats[i]->path) == 0) {
            return strcmp(request->method, "POST") == 0
                       ? belay__sim_exchange(task, sim, formats[i], call)
                       : wrong_method(task, sim, call);
        }
    }
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        if (strcmp(request->path, pages[i].path) == 0) {
            return strcmp(request->method, pages[i].method) == 0
                       ? pages[i].run(task, sim, call)
                       : wrong_method(task, sim, call);
        }
    }
    if (strncmp(request->path, "/v1/models/", 11) == 0
        && strcmp(request->method, "GET") == 0) {
        return belay__sim_model(task, sim, call);
    }
    if (strcmp(request->path, "/__sim/redirected") == 0) {
        return belay__sim_redirected(task, sim, call);
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
    for (size_t i = 0; i < BELAY__SIM_FAULTS; i++) {
        sim->faulty = sim->faulty || opts->faults[i] > 0;
    }
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
