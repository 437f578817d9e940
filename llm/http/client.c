/* client.c - the scope around all HTTP.
 *
 * The client lives in its frame, which remains until the exit has run, and
 * the exit runs until libuv has let go of the last socket: nothing of libuv
 * ever points into memory that is gone (S128).
 */
#include "llm/http/client.h"

#include "llm/http/transfer.h"

#include <pthread.h>

#define SHARD_SIZE 96

static CURLcode global_code = CURLE_FAILED_INIT;

static void
global_init(void)
{
    /* Never undone: other users of libcurl may be in the process, and its
     * own clean-up is not safe beside them. */
    global_code = curl_global_init(CURL_GLOBAL_DEFAULT);
}

int
belay__http_global_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, global_init);
    return global_code == CURLE_OK ? 0 : BELAY_ENOMEM;
}

/* ---- the scope ---- */

static belay_next
http_enter(belay_task *task, void *self)
{
    struct belay__http *http = self;

    if (belay__http_global_init() < 0) {
        return belay_fail(task, BELAY_ENOMEM, "libcurl could not be set up");
    }
    http->runtime = belay_task_runtime(task);
    http->memory = http->runtime->memory;
    *http->ret = http;
    return belay_return(task, http);
}

/* libuv runs close callbacks at the end of the loop's iteration, so it is a
 * matter of a turn or two. Turns, not an operation: an operation can be cut
 * by the grace, and the memory has to stay until libuv has let go.
 */
static belay_next
http_exit_wait(belay_task *task, void *self)
{
    struct belay__http *http = self;

    if (http->handles > 0) {
        return belay_then(task, http_exit_wait, belay__next(BELAY__HOW_TURN));
    }
    belay__free(http->memory, (void *)http->watches,
        http->watch_room * sizeof(struct belay__http_watch *));
    return belay_return(task, NULL);
}

static belay_next
http_exit(belay_task *task, void *self)
{
    struct belay__http *http = self;

    http->closing = true;
    while (http->endpoints != NULL) {
        belay__http_endpoint_close(http->endpoints);
    }
    return http_exit_wait(task, self);
}

static const belay_manager http_manager = {
    {"http client", __FILE__, sizeof(struct belay__http), http_enter, 0},
    http_exit,
};

belay_next
belay__http_open(belay_task *task, const struct belay__http_opts *opts,
    struct belay__http **ret)
{
    struct belay__http http = {.ret = ret, .shard_size = SHARD_SIZE};

    if (opts != NULL && opts->shard_size > 0) {
        http.shard_size = opts->shard_size;
    }
    return belay_enter(task, &http_manager, &http);
}
