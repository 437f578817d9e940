/* stream_scene.h - one stream of a server that misbehaves, and all that can be
 * said about it.
 *
 * Time is a virtual clock's. Each stream is read by next and by run, which
 * must tell the same.
 */
#ifndef BELAY_TEST_SUPPORT_STREAM_SCENE_H
#define BELAY_TEST_SUPPORT_STREAM_SCENE_H

#include <belay/llm_stream.h>

#include "test/support/fault_server.h"
#include "test/support/program.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define KEY "canary-7f3a91c2-key"

/* ---- routes ---- */

#define CHAT_PATH "/v1/chat/completions"
#define SSE_HEAD          \
    "HTTP/1.1 200 OK\r\n" \
    "Content-Type: text/event-stream\r\nConnection: close\r\n\r\n"
#define STREAM(body_) FAULT_TEXT(SSE_HEAD body_), FAULT_DO_CLOSE
#define ANSWER(status_, body_)                                             \
    FAULT_TEXT("HTTP/1.1 " status_ "\r\nConnection: close\r\n\r\n" body_), \
        FAULT_DO_CLOSE
#define DELTA(text_)                                                   \
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text_ \
    "\"}}]}\n\n"
#define FINISH                                                         \
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":" \
    "\"stop\"}]}\n\n"
#define USAGE                                               \
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3," \
    "\"completion_tokens\":4}}\n\n"
#define DONE "data: [DONE]\n\n"
#define HI DELTA("h") DELTA("i") FINISH USAGE DONE
#define HI_EVENTS "T0 'h'\nT0 'i'\nE0 'stop'\nDONE0\n"
/* An event of the other formats. */
#define TYPED(type_, rest_) \
    "event: " type_ "\ndata: {\"type\":\"" type_ "\"" rest_ "}\n\n"
#define OVERLOADED                                                 \
    "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":" \
    "\"overloaded_error\",\"message\":\"busy " KEY "\"}}\n\n"

/* ---- streams ---- */

struct outcome {
    int code;
    char message[1024];
    int foreign;
    char *events;
    char text[256];
    struct belay_llm_usage usage;
    struct belay_llm_attempt attempts[8];
    size_t attempt_count;
    enum belay_llm_end end;
};

struct spec {
    enum belay_llm_format format;
    struct belay_llm_stream_opts opts;
    bool run;
    int stop_at;  /* the callback refuses this event, from 1 */
    int leave_at; /* the block is left behind this event, from 1 */
    const char *body;
};

struct reader {
    struct spec spec;
    char base_url[128];
    struct outcome *outcome; /* NULL: a sweep */
    /* locals */
    belay_llm_client *client;
    belay_llm_stream *stream;
    struct belay_llm_event event;
    belay_llm_reply *kept;
    int events;
};
extern const belay_function reading;

struct outcome stream_at(const char *base_url, const struct spec *spec);
/* By next and by run, against a fresh server each. */
struct outcome stream_both(
    const struct fault_route *routes, size_t count, struct spec spec);
#define READ(routes, ...) \
    stream_both((routes), COUNT(routes), (struct spec){__VA_ARGS__})

/* Frees the events. */
void expect_events(
    struct outcome *outcome, const char *events, const char *text);

#endif
