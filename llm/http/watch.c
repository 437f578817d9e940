/* watch.c - the sockets of libcurl on the loop.
 *
 * A connection's socket is watched by one uv_poll_t from the moment it is
 * opened until just before it is closed; between two exchanges the poll stays
 * on, so that a keep-alive request changes nothing in the kernel's poll set,
 * but it does not keep the loop alive. Other sockets (the resolver's, and a
 * connection's before it has served) are watched for as long as libcurl asks:
 * libcurl 7.88 closes a socket that never became a connection without a word,
 * and only says afterwards that it need not be watched.
 */
#define _GNU_SOURCE /* POLLRDHUP */
#include "llm/http/transfer.h"

#include <assert.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM_STEP 64
#define SCRAPS_MAX 16 /* of what nobody has asked for */

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
    const size_t slot = sizeof(struct belay__http_watch *);
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
watch_new(struct belay__http_shard *shard, curl_socket_t fd,
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

/* Has the other side closed, whatever it may have said before? */
static bool
is_closed(curl_socket_t fd)
{
    struct pollfd one = {.fd = fd, .events = POLLRDHUP};

    return poll(&one, 1, 0) != 0;
}

/* A transfer whose sink has paused it wants nothing of its socket either. One
 * that was paused before it wanted anything may have any.
 */
static bool
is_paused(const struct belay__http_watch *watch)
{
    const struct belay__http_transfer *transfer = watch->shard->running;

    for (; transfer != NULL; transfer = transfer->next) {
        if (transfer->paused
            && (transfer->polled_fd == watch->fd
                || transfer->polled_fd == CURL_SOCKET_BAD)) {
            return true;
        }
    }
    return false;
}

/* Others run in the shard, so it stays; but libcurl takes a connection with
 * bytes to read for a good one, and them for the next answer. It looks only
 * whether the socket is shut, and with TLS whether there is a byte to peek at.
 */
static void
spoil(curl_socket_t fd)
{
    char scrap[4096];

    for (int i = 0; i < SCRAPS_MAX; i++) {
        if (recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT) <= 0) {
            break;
        }
    }
    (void)shutdown(fd, SHUT_RDWR);
}

/* Nobody uses the connection. If the server has closed it, libcurl would see
 * that when it wants to use it again, which may be never: after a burst that
 * would leave a crowd of dead sockets. With HTTP/2 it also speaks unasked, of
 * windows and settings; that waits for the next exchange. With HTTP/1 what
 * comes unasked would be taken for the next exchange's answer.
 */
static void
on_idle(struct belay__http_watch *watch)
{
    const bool over = !watch->framed || is_closed(watch->fd);

    if (watch->shard->in_flight == 0 && over) {
        belay__http_shard_retire(watch->shard);
        return;
    }
    if (watch->shard->in_flight == 0
        && uv_poll_start(&watch->poll, UV_DISCONNECT, on_poll) == 0) {
        watch->polled = UV_DISCONNECT;
        return;
    }
    (void)uv_poll_stop(&watch->poll);
    watch->polled = 0;
    if (!watch->framed && !is_paused(watch)) {
        spoil(watch->fd);
    }
}

static void
on_poll(uv_poll_t *poll, int status, int events)
{
    struct belay__http_watch *watch = poll->data;
    struct belay__http_shard *shard = watch->shard;
    const curl_socket_t fd = watch->fd;
    int flags = 0;

    if (watch->wanted == 0) {
        on_idle(watch);
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
    belay__http_shard_event(shard, fd, flags);
    watch = watch_of(shard->http, fd); /* it may be gone */
    if (status < 0 && watch != NULL && watch->wanted != 0) {
        (void)watch_poll(watch, watch->wanted);
    }
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

int
belay__http_watch_update(
    CURL *easy, curl_socket_t fd, int what, void *arg, void *sockp)
{
    struct belay__http_shard *shard = arg;
    struct belay__http_watch *watch = watch_of(shard->http, fd);
    struct belay__http_transfer *transfer = NULL;
    int wanted = 0;
    int code = 0;

    (void)sockp;
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
    (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&transfer);
    if (transfer != NULL) {
        transfer->polled_fd = fd;
    }
    if (watch == NULL) {
        code = watch_new(shard, fd, &watch);
    }
    if (code == 0) {
        code = watch_poll(watch, wanted);
    }
    if (code < 0) {
        /* -1 would be the end of every transfer of the multi handle. */
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
    struct belay__http_watch *stale;
    struct belay__http_watch *watch = NULL;
    int wanted = 0;
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
    stale = watch_of(transfer->shard->http, fd);
    if (stale != NULL) {
        /* Closed without a word, and here is its number again. libcurl takes
         * the new socket for the old one and will not ask anew. */
        wanted = stale->shard == transfer->shard ? stale->wanted : 0;
        watch_close(stale);
    }
    code = watch_new(transfer->shard, fd, &watch);
    if (code == 0) {
        code = watch_poll(watch, wanted);
    }
    if (code < 0) {
        refuse(transfer, code);
        if (watch != NULL) {
            watch_close(watch);
        }
        (void)close(fd);
        return CURL_SOCKET_BAD;
    }
    watch->dialler = transfer;
    transfer->dialled_fds[1] = transfer->dialled_fds[0];
    transfer->dialled_fds[0] = fd;
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

/* The index-th last socket that the transfer has opened, if it is open. */
static struct belay__http_watch *
dialled(const struct belay__http_transfer *transfer, size_t index)
{
    struct belay__http_watch *watch =
        watch_of(transfer->shard->http, transfer->dialled_fds[index]);

    return watch != NULL && watch->dialler == transfer ? watch : NULL;
}

void
belay__http_watch_keep(const struct belay__http_transfer *transfer)
{
    long version = CURL_HTTP_VERSION_NONE;

    (void)curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_VERSION, &version);
    for (size_t i = 0; i < BELAY__HTTP_DIALLED; i++) {
        struct belay__http_watch *watch = dialled(transfer, i);

        if (watch != NULL) {
            watch->kept = true;
            watch->framed = version == CURL_HTTP_VERSION_2_0;
        }
    }
}

bool
belay__http_watch_connected(const struct belay__http_transfer *transfer)
{
    for (size_t i = 0; i < BELAY__HTTP_DIALLED; i++) {
        const struct belay__http_watch *watch = dialled(transfer, i);
        struct sockaddr_storage peer;
        socklen_t len = sizeof(peer);

        if (watch != NULL
            && getpeername(watch->fd, (struct sockaddr *)&peer, &len) == 0) {
            return true;
        }
    }
    return false;
}

void
belay__http_watch_sweep(const struct belay__http_shard *shard)
{
    const struct belay__http *http = shard->http;

    for (size_t i = 0; i < http->watch_room; i++) {
        if (http->watches[i] != NULL && http->watches[i]->shard == shard) {
            watch_close(http->watches[i]);
        }
    }
}

CURLcode
belay__http_watch_apply(struct belay__http_transfer *transfer)
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
