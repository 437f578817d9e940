/* session_scene.h - a session in front of a server that does as it is told.
 *
 * A play is an async function; a scene runs it with a server of these routes,
 * a client without retries and a session of model "m". What the server was
 * asked is compared byte for byte: it shows what a session believes was said.
 */
#ifndef BELAY_TEST_SUPPORT_SESSION_SCENE_H
#define BELAY_TEST_SUPPORT_SESSION_SCENE_H

#include "test/support/fault_server.h"
#include "test/support/session_program.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TEXT(literal) ((char *)(uintptr_t)(literal))

/* ---- answers ---- */

#define PATH "/v1/chat/completions"
#define CLOSED(status_, type_, body_)                         \
    FAULT_TEXT("HTTP/1.1 " status_ "\r\nContent-Type: " type_ \
               "\r\nConnection: close\r\n\r\n" body_),        \
        FAULT_DO_CLOSE
#define MESSAGE(members_, end_)                                           \
    "{\"model\":\"m-1\",\"choices\":[{\"index\":0,\"message\":{" members_ \
    "},\"finish_reason\":\"" end_ "\"}],\"usage\":{\"prompt_tokens\":10," \
    "\"completion_tokens\":3,\"total_tokens\":13}}"
#define SAYS(text_)                      \
    CLOSED("200 OK", "application/json", \
        MESSAGE("\"role\":\"assistant\",\"content\":\"" text_ "\"", "stop"))
#define CALL_OF(id_)                                                    \
    "{\"id\":\"" id_ "\",\"type\":\"function\",\"function\":{\"name\":" \
    "\"look\",\"arguments\":\"{\\\"at\\\":1}\"}}"
#define ASKS_TOOLS(end_)                                                      \
    CLOSED("200 OK", "application/json",                                      \
        MESSAGE("\"content\":null,\"tool_calls\":[" CALL_OF("a") "," CALL_OF( \
                    "b") "]",                                                 \
            end_))
#define CHUNK(delta_)                                                       \
    "data: {\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{" delta_ \
    "}}]}\n\n"
#define SAID(text_) CHUNK("\"content\":\"" text_ "\"")
#define STOP                                                           \
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":" \
    "\"stop\"}]}\n\n"                                                  \
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,"           \
    "\"completion_tokens\":2,\"total_tokens\":12}}\n\ndata: [DONE]\n\n"
#define STREAM_HEAD                                          \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" \
    "Connection: close\r\n\r\n"
#define STREAMS(events_) FAULT_TEXT(STREAM_HEAD events_), FAULT_DO_CLOSE

#define U(text_) "{\"role\":\"user\",\"content\":\"" text_ "\"}"
#define A(text_) "{\"role\":\"assistant\",\"content\":\"" text_ "\"}"
#define TOOL_CALLS "\"tool_calls\":[" CALL_OF("a") "," CALL_OF("b") "]"

/* ---- scenes ---- */

/* What every play gets, and room for what it wants. */
struct play {
    struct fault_server *server;
    belay_llm_client *client;
    belay_llm_session *session;
    belay_llm_turn *turn;
    belay_llm_stream *stream;
    struct belay_llm_event event;
    belay_llm_reply *reply;
    belay_llm_reply *kept;
    belay_group *group;
    belay_cancel_scope *scope;
    belay_hold *hold;
    belay_context *context;
    belay_task *tasks[3];
    char before[1024];
    int i;
};

#define SCENE(routes_, play_, ...)                 \
    run_scene((routes_), COUNT(routes_), &(play_), \
        (struct belay_llm_session_opts){__VA_ARGS__})

/* A play is an async function whose frame is the struct above. */
#define PLAY(name)                                                      \
    static belay_next name##_body(belay_task *task, struct play *self); \
    static belay_next name##_step(belay_task *task, void *self)         \
    {                                                                   \
        return name##_body(task, self);                                 \
    }                                                                   \
    static const belay_function name = {                                \
        #name, __FILE__, sizeof(struct play), name##_step, 0};          \
    static belay_next name##_body(belay_task *task, struct play *self)

void run_scene(const struct fault_route *routes, size_t count,
    const belay_function *play, struct belay_llm_session_opts opts);

/* ---- for plays ---- */

/* What the n-th request, from 0, has said: its "messages". */
void expect_asked(struct fault_server *server, size_t n, const char *expected);
int add(belay_llm_turn *turn, struct belay_llm_message message);
void drop_reply(struct play *self);

#endif
