/* call_scene.h - one call to a server that misbehaves, and all that can be said
 * about it.
 *
 * Time is a virtual clock's, and an exchange takes none of it: what a call
 * took is exactly what it has waited between its attempts.
 */
#ifndef BELAY_TEST_SUPPORT_CALL_SCENE_H
#define BELAY_TEST_SUPPORT_CALL_SCENE_H

#include <belay/llm.h>

#include "test/support/fault_server.h"
#include "test/support/program.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define S INT64_C(1000000000)
#define KEY "canary-7f3a91c2-key"
#define SEED 4711

/* ---- routes ---- */

#define HEAD(status_, extra_) "HTTP/1.1 " status_ "\r\n" extra_
#define CLOSED(status_, extra_, body_)                                   \
    FAULT_TEXT(HEAD(status_, extra_ "Connection: close\r\n\r\n" body_)), \
        FAULT_DO_CLOSE
#define ANSWER(body_) CLOSED("200 OK", "X-Request-Id: req-1\r\n", body_)
#define HI_BODY                                                               \
    "{\"id\":\"c1\",\"choices\":[{\"index\":0,\"message\":{\"role\":"         \
    "\"assistant\",\"content\":\"hi \\u00e9\"},\"finish_reason\":\"stop\"}]," \
    "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,"                 \
    "\"total_tokens\":11,\"prompt_tokens_details\":{\"cached_tokens\":4},"    \
    "\"completion_tokens_details\":null}}"
#define BUSY CLOSED("503 Busy", "", "{\"error\":{\"message\":\"busy\"}}")
#define PATH "/v1/chat/completions"

/* ---- calls ---- */

struct spec {
    struct belay_llm_client_opts opts; /* base_url "" means the server's /v1 */
    bool complete;
    const char *body; /* of a raw call */
    const char *extra;
    int32_t max_retries;
    belay_duration timeout; /* of the scope around the call; 0: none */
    size_t calls;           /* of them, one after the other; 0: one */
};

struct outcome {
    int code;
    char message[2048];
    const char *domain;
    int foreign;
    int status;
    char body[2048];
    char text[256];
    size_t text_len;
    enum belay_llm_end end;
    char request_id[32];
    struct belay_llm_usage usage;
    struct belay_llm_attempt attempts[16];
    size_t attempt_count;
    int64_t took_ns;
};

struct ask {
    const struct spec *spec;
    const char *base_url;
    struct outcome *outcome;
    /* locals */
    struct belay_llm_client_opts opts;
    belay_llm_client *client;
    belay_llm_reply *reply;
    belay_time started;
    size_t i;
};
extern const belay_function asking;

struct outcome call_at(const char *base_url, const struct spec *spec);
/* The same with a server of its own. */
struct outcome call_routes(
    const struct fault_route *routes, size_t count, const struct spec *spec);
#define CALL(routes, ...) \
    call_routes((routes), COUNT(routes), &(const struct spec){__VA_ARGS__})

/* Both write into an outcome; the first one is a belay_llm_attempt_fn. */
void call_note_attempt(const struct belay_llm_attempt *attempt, void *arg);
void call_note_result(
    struct outcome *outcome, const struct belay_result *result);

/* What three attempts wait with the seed that all calls here have. */
int64_t retry_delay(uint32_t n);

#endif
