/* shard.c - one multi handle of libcurl, its time, and what ends in it.
 *
 * libcurl's timer is a uv timer, not one of the runtime's: it is set against
 * libcurl's clock, which a virtual clock does not move.
 */
#include "llm/http/transfer.h"

#include <assert.h>

#define ROUNDS_MAX 16 /* of libcurl asking to be called again at once */

static void
collect(struct belay__http_shard *shard)
{
    struct belay__http_transfer *transfer;
    struct belay__http_transfer *next;
    CURLMsg *message;
    CURLcode code;
    int left;

    while ((message = curl_multi_info_read(shard->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE) {
            continue;
        }
        code = message->data.result; /* the message goes with its handle */
        transfer = NULL;
        (void)curl_easy_getinfo(
            message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
        belay__http_transfer_finish(transfer, code);
    }
    if (!shard->failing) {
        return;
    }
    shard->failing = false;
    for (transfer = shard->running; transfer != NULL; transfer = next) {
        next = transfer->next;
        if (transfer->refused < 0) {
            belay__http_transfer_finish(transfer, CURLE_OK);
        }
    }
}

static void
on_timer(uv_timer_t *timer)
{
    struct belay__http_shard *shard = timer->data;

    shard->due = true;
    belay__http_shard_run(shard);
}

void
belay__http_shard_settle(struct belay__http_shard *shard)
{
    if (shard->due) {
        (void)uv_timer_start(&shard->timer, on_timer, 0, 0);
    }
}

/* An error here means that libcurl has lost its hold on some transfer, out of
 * memory, and does not say on which. None may wait for ever.
 */
static void
act(struct belay__http_shard *shard, curl_socket_t fd, int flags)
{
    struct belay__http_transfer *transfer;
    int running;

    if (curl_multi_socket_action(shard->multi, fd, flags, &running)
        != CURLM_OK) {
        for (transfer = shard->running; transfer != NULL;
             transfer = transfer->next) {
            belay__http_transfer_refuse(
                transfer, BELAY__HTTP_NO_MEMORY, BELAY_ENOMEM);
        }
        shard->failing = true;
    }
    collect(shard);
}

void
belay__http_shard_run(struct belay__http_shard *shard)
{
    for (int i = 0; shard->due && i < ROUNDS_MAX; i++) {
        shard->due = false;
        act(shard, CURL_SOCKET_TIMEOUT, 0);
    }
    belay__http_shard_settle(shard);
}

void
belay__http_shard_event(
    struct belay__http_shard *shard, curl_socket_t fd, int flags)
{
    act(shard, fd, flags);
    belay__http_shard_run(shard);
}

/* "At once" is only noted: whoever has called libcurl will call it again. */
static int
on_curl_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct belay__http_shard *shard = arg;

    (void)multi;
    shard->due = timeout_ms == 0;
    if (timeout_ms < 0) {
        (void)uv_timer_stop(&shard->timer);
    } else if (timeout_ms > 0) {
        (void)uv_timer_start(&shard->timer, on_timer, (uint64_t)timeout_ms, 0);
    }
    return 0;
}

/* ---- shards ---- */

static int
multi_new(struct belay__http_shard *shard, CURLM **ret)
{
    const long room = (long)shard->http->shard_size;
    CURLM *multi = curl_multi_init();
    CURLMcode code;

    if (multi == NULL) {
        return BELAY_ENOMEM;
    }
    code = curl_multi_setopt(
        multi, CURLMOPT_SOCKETFUNCTION, belay__http_watch_update);
    if (code == CURLM_OK) {
        code = curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, shard);
    }
    if (code == CURLM_OK) {
        code = curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    }
    if (code == CURLM_OK) {
        code = curl_multi_setopt(multi, CURLMOPT_TIMERDATA, shard);
    }
    /* Left alone, libcurl keeps four connections per running transfer that
     * it sees at the moment, and closes the others after every burst. */
    if (code == CURLM_OK) {
        code = curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, room);
    }
    if (code == CURLM_OK) {
        code = curl_multi_setopt(multi, CURLMOPT_MAX_CONCURRENT_STREAMS, room);
    }
    if (code != CURLM_OK) {
        (void)curl_multi_cleanup(multi);
        return code == CURLM_OUT_OF_MEMORY ? BELAY_ENOMEM : BELAY_ENOSYS;
    }
    *ret = multi;
    return 0;
}

static int
shard_new(struct belay__http_endpoint *endpoint, struct belay__http_shard **ret)
{
    struct belay__http *http = endpoint->http;
    struct belay__http_shard *shard;
    int code;

    shard = belay__alloc_zero(http->memory, sizeof(*shard));
    if (shard == NULL) {
        return BELAY_ENOMEM;
    }
    shard->http = http;
    shard->endpoint = endpoint;
    code = multi_new(shard, &shard->multi);
    if (code < 0) {
        belay__free(http->memory, shard, sizeof(*shard));
        return code;
    }
    (void)uv_timer_init(http->runtime->loop, &shard->timer);
    shard->timer.data = shard;
    http->handles++;
    *ret = shard;
    return 0;
}

int
belay__http_shard_get(
    struct belay__http_endpoint *endpoint, struct belay__http_shard **ret)
{
    struct belay__http_shard **at = &endpoint->shards;
    int code;

    /* First fit: the later ones run empty and their connections age. */
    while (*at != NULL && (*at)->in_flight >= endpoint->http->shard_size) {
        at = &(*at)->next;
    }
    if (*at == NULL) {
        code = shard_new(endpoint, at);
        if (code < 0) {
            return code;
        }
    }
    *ret = *at;
    return 0;
}

static void
on_timer_closed(uv_handle_t *handle)
{
    struct belay__http_shard *shard = handle->data;
    struct belay__http *http = shard->http;

    http->handles--;
    belay__free(http->memory, shard, sizeof(*shard));
}

void
belay__http_shard_close(struct belay__http_shard *shard)
{
    struct belay__http_transfer *transfer;

    while (shard->running != NULL) {
        belay__http_transfer_refuse(
            shard->running, BELAY__HTTP_CLOSED, BELAY_ECLOSED);
        belay__http_transfer_finish(shard->running, CURLE_OK);
    }
    while ((transfer = shard->idle) != NULL) {
        shard->idle = transfer->next;
        belay__http_transfer_free(transfer);
    }
    (void)curl_multi_cleanup(shard->multi);
    belay__http_watch_sweep(shard);
    uv_close((uv_handle_t *)&shard->timer, on_timer_closed);
}

void
belay__http_shard_retire(struct belay__http_shard *shard)
{
    struct belay__http_shard **at = &shard->endpoint->shards;

    assert(shard->in_flight == 0);
    while (*at != shard) {
        at = &(*at)->next;
    }
    *at = shard->next;
    belay__http_shard_close(shard);
}
