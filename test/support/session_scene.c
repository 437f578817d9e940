/* session_scene.c - a session in front of a server that does as it is told. */
#include "test/support/session_scene.h"

#include "test/support/trial_server.h"

#include <stdio.h>
#include <stdlib.h>

void
expect_asked(struct fault_server *server, size_t n, const char *expected)
{
    struct fault_request request;
    const char *from;
    char *to;
    int depth = 0;

    cr_assert(fault_server_request(server, n, &request), "no request %zu", n);
    from = strstr(request.bytes + request.head_len, "\"messages\":");
    cr_assert(ne(ptr, TEXT(from), NULL));
    from += strlen("\"messages\":");
    for (to = TEXT(from); *to != '\0'; to++) {
        depth += *to == '[';
        depth -= *to == ']';
        if (depth == 0) {
            to[1] = '\0';
            break;
        }
    }
    cr_expect(eq(str, TEXT(from), TEXT(expected)), "request %zu", n);
    free(request.bytes);
}

/* ---- scenes ---- */

struct scene {
    const belay_function *play;
    struct belay_llm_session_opts opts;
    struct fault_server *server;
    const char *url; /* with its /v1 */
    belay_llm_client *client;
    belay_llm_session *session;
};

BELAY_ASYNC(scene)
{
    BELAY_BEGIN;
    self->opts.size = sizeof(self->opts);
    self->opts.model = "m";
    BELAY_WITH (open_client(task, self->url, &self->client)) {
        BELAY_WITH (belay_llm_session_open(
            task, self->client, &self->opts, &self->session)) {
            BELAY_AWAIT(belay_call(task, self->play,
                &(const struct play){.server = self->server,
                    .client = self->client,
                    .session = self->session}));
        }
    }
    BELAY_END;
}

void
run_scene(const struct fault_route *routes, size_t count,
    const belay_function *play, struct belay_llm_session_opts opts)
{
    struct fault_server *server = fault_server_start(routes, count);
    struct belay_result result;
    char text[1024];
    char url[128];
    struct scene arguments = {
        .play = play, .opts = opts, .server = server, .url = url};
    const struct program program = {
        .function = &scene, .arguments = &arguments};

    (void)snprintf(url, sizeof(url), "%s/v1", fault_server_url(server));
    sweep_with_server(&program, url, sizeof(url), &arguments.server);
    (void)program_run_once(&program, &result);
    (void)belay_result_format(&result, text, sizeof(text));
    cr_expect(zero(int, result.code), "%s", text);
    belay_error_unref(result.error);
    fault_server_stop(server);
}

int
add(belay_llm_turn *turn, struct belay_llm_message message)
{
    return belay_llm_turn_add(turn, &message);
}

void
drop_reply(struct play *self)
{
    belay_llm_reply_free(self->reply);
    self->reply = NULL;
}
