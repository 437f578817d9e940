/* shard.c - one multi handle of libcurl on the loop: its sockets and its time.
 *
 * A connection's socket is watched by one uv_poll_t from the moment it is
 * opened until just before it is closed; between two exchanges the poll stays
 * on, so that a keep-alive request changes nothing in the kernel's poll set,
 * but does not keep the loop alive. Sockets of libcurl's own making (its
 * resolver's) are watched for as long as libcurl asks.
 *
 * libcurl's timer is a uv timer, not one of the runtime's: it is set against
 * libcurl's clock, which a virtual clock does not move.
 */
#include "llm/http/transfer.h"

#include <assert.h>
#include <unistd.h>

#define ROUNDS_MAX 16 /* of libcurl asking to be called again at once */
#define ROOM_STEP 64

/* ---- watches ---- */

static struct belay__http_watch *
watch_of(const struct belay__http *http, curl_socket_t fd)
{
    return (size_t)fd < http->watch_room ? http->watches[fd] : NULL;
}

static void
on_watch_closed(uv_handle_t *handle)
{
    struct belay__http_watch *watch = handle->data;

    watch->http->handles--;
    belay__free(watch->http->memory, watch, sizeof(*watch));
}

static void
watch_close(struct belay__http_watch *watch)
{
    watch->http->watches[watch->fd] = NULL;
    uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
}

static int
reserve_slot(struct belay__http *http, curl_socket_t fd)
{
    const size_t slot = sizeof(*http->watches);
    const size_t room = (size_t)fd + (size_t)fd / 2 + ROOM_STEP;
    struct belay__http_watch **watches;

    if ((size_t)fd < http->watch_room) {
        return 0;
    }
    watches = belay__realloc(http->memory, (void *)http->watches,
        http->watch_room * slot, room * slot);
    if (watches == NULL) {
        return BELAY_ENOMEM;
    }
    for (size_t i = http->watch_room; i < room; i++) {
        watches[i] = NULL;
    }
    http->watches = watches;
    http->watch_room = room;
    return 0;
}

static int
watch_new(struct belay__http_shard *shard, curl_socket_t fd, bool kept,
    struct belay__http_watch **ret)
{
    struct belay__http *http = shard->http;
    struct belay__http_watch *watch;
    int code;

    code = reserve_slot(http, fd);
    if (code < 0) {
        return code;
    }
    assert(http->watches[fd] == NULL);
    watch = belay__alloc_zero(http->memory, sizeof(*watch));
    if (watch == NULL) {
        return BELAY_ENOMEM;
    }
    code = uv_poll_init_socket(http->runtime->loop, &watch->poll, fd);
    if (code < 0) {
        belay__free(http->memory, watch, sizeof(*watch));
        return code;
    }
    http->handles++;
    http->watches[fd] = watch;
    watch->poll.data = watch;
    watch->http = http;
    watch->shard = shard;
    watch->fd = fd;
    watch->kept = kept;
    *ret = watch;
    return 0;
}

static void on_poll(uv_poll_t *poll, int status, int events);

static int
watch_poll(struct belay__http_watch *watch, int wanted)
{
    int code;

    if (wanted != 0 && wanted != watch->polled) {
        code = uv_poll_start(&watch->poll, wanted, on_poll);
        if (code < 0) {
            return code;
        }
        watch->polled = wanted;
    }
    if (wanted == 0) {
        uv_unref((uv_handle_t *)&watch->poll);
    } else {
        uv_ref((uv_handle_t *)&watch->poll);
    }
    watch->wanted = wanted;
    return 0;
}

/* ---- what libcurl tells ---- */

/* A failure that libcurl does not know of; collect() ends the transfer. */
static void
refuse(struct belay__http_transfer *transfer, int code)
{
    belay__http_transfer_refuse(transfer,
        code == BELAY_ENOMEM ? BELAY__HTTP_NO_MEMORY : BELAY__HTTP_LOCAL, code);
    transfer->shard->failing = true;
}

static int
on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
    struct belay__http_shard *shard = arg;
    struct belay__http_watch *watch = watch_of(shard->http, fd);
    struct belay__http_transfer *transfer = NULL;
    int wanted = 0;
    int code = 0;

    (void)unused;
    if (what == CURL_POLL_REMOVE) {
        if (watch != NULL && watch->kept) {
            (void)watch_poll(watch, 0);
        } else if (watch != NULL) {
            watch_close(watch);
        }
        return 0;
    }
    wanted |= (what & CURL_POLL_IN) != 0 ? UV_READABLE : 0;
    wanted |= (what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0;
    if (watch == NULL) {
        code = watch_new(shard, fd, false, &watch);
    }
    if (code == 0) {
        code = watch_poll(watch, wanted);
    }
    if (code < 0) {
        /* -1 would be the end of every transfer of the multi handle. */
        (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&transfer);
        if (transfer != NULL) {
            refuse(transfer, code);
        }
    }
    return 0;
}

static bool
is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS
           || error == ENOMEM;
}

static curl_socket_t
on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct belay__http_transfer *transfer = arg;
    struct belay__http_watch *watch;
    int code;
    int fd;

    (void)purpose;
    transfer->dialled = true;
    fd = socket(
        address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd < 0) {
        /* Other errors mean that the next address may do. */
        if (is_shortage(errno)) {
            refuse(transfer, -errno);
        }
        return CURL_SOCKET_BAD;
    }
    watch = watch_of(transfer->shard->http, fd);
    if (watch != NULL) {
        watch_close(watch); /* its socket was closed behind our back */
    }
    code = watch_new(transfer->shard, fd, true, &watch);
    if (code < 0) {
        refuse(transfer, code);
        (void)close(fd);
        return CURL_SOCKET_BAD;
    }
    return fd;
}

static int
on_close_socket(void *arg, curl_socket_t fd)
{
    const struct belay__http *http = arg;
    struct belay__http_watch *watch = watch_of(http, fd);

    /* First: libuv must not poll a number that may soon be another's. */
    if (watch != NULL) {
        watch_close(watch);
    }
    return close(fd);
}

CURLcode
belay__http_shard_apply(struct belay__http_transfer *transfer)
{
    CURL *easy = transfer->easy;
    CURLcode code;

    code = curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(
            easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
    }
    /* The connection keeps this pointer, and may outlive the transfer. */
    if (code == CURLE_OK) {
        code = curl_easy_setopt(
            easy, CURLOPT_CLOSESOCKETDATA, transfer->shard->http);
    }
    return code;
}

/* ---- what we tell libcurl ---- */

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

void
belay__http_shard_run(struct belay__http_shard *shard)
{
    int running;

    for (int i = 0; shard->due && i < ROUNDS_MAX; i++) {
        shard->due = false;
        (void)curl_multi_socket_action(
            shard->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        collect(shard);
    }
    belay__http_shard_settle(shard);
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

static void
on_poll(uv_poll_t *poll, int status, int events)
{
    struct belay__http_watch *watch = poll->data;
    struct belay__http_shard *shard = watch->shard;
    const curl_socket_t fd = watch->fd;
    int flags = 0;
    int running;

    if (watch->wanted == 0) {
        /* Nobody uses the connection: the server has closed it or speaks
         * unasked. libcurl looks when it wants to use it again. */
        (void)uv_poll_stop(poll);
        watch->polled = 0;
        return;
    }
    flags |= (events & UV_READABLE) != 0 ? CURL_CSELECT_IN : 0;
    flags |= (events & UV_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0;
    if (status < 0) {
        /* libuv has stopped polling. Reading and writing tell why, which is
         * more than CURL_CSELECT_ERR would. */
        watch->polled = 0;
        flags = CURL_CSELECT_IN | CURL_CSELECT_OUT;
    }
    (void)curl_multi_socket_action(shard->multi, fd, flags, &running);
    collect(shard);
    belay__http_shard_run(shard);
    watch = watch_of(shard->http, fd);
    if (status < 0 && watch != NULL && watch->wanted != 0) {
        (void)watch_poll(watch, watch->wanted);
    }
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
    code = curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
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
    uv_close((uv_handle_t *)&shard->timer, on_timer_closed);
}
