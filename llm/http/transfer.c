/* transfer.c - one easy handle, and the exchange that runs on it.
 *
 *   idle -> running -> idle
 *
 * A running transfer ends in one of three ways: libcurl says so, we refuse to
 * go on (noted in `refused`, since libcurl's callbacks may not end anything),
 * or it is aborted from outside. In each case the handle is removed from its
 * multi handle at once; when that happens before the end of an answer,
 * libcurl closes the connection, so that no remainder of it can reach the
 * next exchange.
 *
 * Handles keep their options; only what differs from the last exchange is set
 * again.
 */
#include "llm/http/transfer.h"

#include <string.h>

/* ---- making ---- */

static int
code_of_setopt(CURLcode code)
{
    return code == CURLE_OUT_OF_MEMORY ? BELAY_ENOMEM : BELAY_ENOSYS;
}

static int
transfer_new(struct belay__http_shard *shard, struct belay__http_transfer **ret)
{
    struct belay__http *http = shard->http;
    struct belay__http_transfer *transfer;
    CURLcode code;

    transfer = belay__alloc_zero(http->memory, sizeof(*transfer));
    if (transfer == NULL) {
        return BELAY_ENOMEM;
    }
    transfer->shard = shard;
    transfer->easy = curl_easy_init();
    if (transfer->easy == NULL
        || belay__timer_init(
               http->runtime, &transfer->timer, belay__http_transfer_timeout)
               < 0) {
        belay__http_transfer_free(transfer);
        return BELAY_ENOMEM;
    }
    code = belay__http_transfer_listen(transfer);
    if (code == CURLE_OK) {
        code = belay__http_watch_apply(transfer);
    }
    if (code == CURLE_OK) {
        code = belay__http_endpoint_apply(shard->endpoint, transfer->easy);
    }
    if (code != CURLE_OK) {
        belay__http_transfer_free(transfer);
        return code_of_setopt(code);
    }
    *ret = transfer;
    return 0;
}

static void
drop_extra(struct belay__http_transfer *transfer)
{
    struct belay__http *http = transfer->shard->http;

    if (transfer->extra == NULL) {
        return;
    }
    /* libcurl must not look at what is going away. */
    (void)curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, NULL);
    transfer->headers = NULL;
    belay__http_wipe(transfer->extra, transfer->extra_size);
    belay__free(http->memory, transfer->extra, transfer->extra_size);
    transfer->extra = NULL;
    transfer->extra_size = 0;
}

void
belay__http_transfer_free(struct belay__http_transfer *transfer)
{
    struct belay__http *http = transfer->shard->http;

    belay__timer_fini(http->runtime, &transfer->timer);
    curl_easy_cleanup(transfer->easy);
    belay__free(http->memory, transfer, sizeof(*transfer));
}

/* An idle transfer, or a new one; it is in no list. */
static int
take_idle(struct belay__http_shard *shard, struct belay__http_transfer **ret)
{
    if (shard->idle == NULL) {
        return transfer_new(shard, ret);
    }
    *ret = shard->idle;
    shard->idle = shard->idle->next;
    return 0;
}

/* Only a handle whose exchange went well is used again: libcurl keeps some of
 * the marks of a failure.
 */
static void
put_back(struct belay__http_transfer *transfer, bool again)
{
    struct belay__http_shard *shard = transfer->shard;

    drop_extra(transfer);
    belay__http_target_put(shard->endpoint, transfer->target);
    if (!again) {
        belay__http_transfer_free(transfer);
        return;
    }
    transfer->target = NULL;
    transfer->request = NULL;
    transfer->reply = NULL;
    transfer->next = shard->idle;
    shard->idle = transfer;
}

static void
link_running(struct belay__http_transfer *transfer)
{
    struct belay__http_shard *shard = transfer->shard;

    transfer->prev = NULL;
    transfer->next = shard->running;
    if (shard->running != NULL) {
        shard->running->prev = transfer;
    }
    shard->running = transfer;
    shard->in_flight++;
}

static void
unlink_running(struct belay__http_transfer *transfer)
{
    struct belay__http_shard *shard = transfer->shard;

    if (transfer->prev != NULL) {
        transfer->prev->next = transfer->next;
    } else {
        shard->running = transfer->next;
    }
    if (transfer->next != NULL) {
        transfer->next->prev = transfer->prev;
    }
    shard->in_flight--;
}

static int
prepare(struct belay__http_endpoint *endpoint,
    const struct belay__http_request *request, struct belay__http_reply *reply,
    struct belay__http_transfer **ret)
{
    struct belay__http_target *target;
    struct belay__http_shard *shard;
    struct belay__http_transfer *transfer;
    CURLcode code;
    int result;

    result = belay__http_target_get(endpoint, request->path, &target);
    if (result < 0) {
        return result;
    }
    result = belay__http_shard_get(endpoint, &shard);
    if (result == 0) {
        result = take_idle(shard, &transfer);
    }
    if (result != 0) {
        belay__http_target_put(endpoint, target);
        return result;
    }
    transfer->target = target;
    transfer->request = request;
    transfer->reply = reply;
    code = belay__http_transfer_apply(transfer);
    if (code != CURLE_OK) {
        put_back(transfer, false);
        return code_of_setopt(code);
    }
    *ret = transfer;
    return 0;
}

static int
start(struct belay__http_transfer *transfer, belay__http_done_fn *done,
    void *done_arg, struct belay__http_transfer **ret)
{
    struct belay__http_shard *shard = transfer->shard;
    CURLMcode code;

    transfer->done = done;
    transfer->done_arg = done_arg;
    transfer->head_bytes = 0;
    transfer->refused = 0;
    transfer->head_done = false;
    transfer->dialled = false;
    transfer->polled_fd = CURL_SOCKET_BAD;
    transfer->paused = false;
    code = curl_multi_add_handle(shard->multi, transfer->easy);
    if (code != CURLM_OK) {
        put_back(transfer, false);
        return code == CURLM_OUT_OF_MEMORY ? BELAY_ENOMEM : BELAY_EIO;
    }
    link_running(transfer);
    belay__http_transfer_arm(transfer);
    *ret = transfer; /* before it can end */
    belay__http_shard_run(shard);
    return 0;
}

static enum belay__http_failure
failure_of_start(int code)
{
    switch (code) {
    case BELAY_ENOMEM:
        return BELAY__HTTP_NO_MEMORY;
    case BELAY_EINVAL:
        return BELAY__HTTP_BAD_REQUEST;
    default:
        return BELAY__HTTP_LOCAL;
    }
}

int
belay__http_transfer_start(struct belay__http_endpoint *endpoint,
    const struct belay__http_request *request, struct belay__http_reply *reply,
    belay__http_done_fn *done, void *done_arg,
    struct belay__http_transfer **ret)
{
    struct belay__http_transfer *transfer;
    int code = BELAY_EINVAL;

    if (belay__http_request_check(request) == NULL) {
        code = prepare(endpoint, request, reply, &transfer);
    }
    if (code == 0) {
        code = start(transfer, done, done_arg, ret);
    }
    if (code != 0) {
        reply->failure = failure_of_start(code);
        reply->ended = reply->started;
    }
    return code;
}

/* ---- ending ---- */

void
belay__http_transfer_note(struct belay__http_transfer *transfer)
{
    struct belay__http_reply *reply = transfer->reply;
    curl_off_t sent = 0;

    (void)curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
    reply->sent_bytes = (uint64_t)sent;
    reply->request_sent = reply->sent_bytes >= transfer->request->body.len
                          && belay__http_transfer_sending(transfer);
    reply->reused = reply->request_sent && !transfer->dialled;
    reply->ended.ns = belay__clock_now(transfer->shard->http->runtime);
}

/* To be followed by put_back(). */
static void
stop(struct belay__http_transfer *transfer)
{
    struct belay__http_shard *shard = transfer->shard;

    belay__timer_stop(shard->http->runtime, &transfer->timer);
    (void)curl_multi_remove_handle(shard->multi, transfer->easy);
    unlink_running(transfer);
}

/* libcurl calls an answer good whose head was cut off after the first line. */
static bool
is_whole(const struct belay__http_transfer *transfer)
{
    return transfer->head_done && transfer->reply->status >= 200;
}

static struct belay__http_outcome
outcome_of(struct belay__http_transfer *transfer, CURLcode curl_code)
{
    struct belay__http_reply *reply = transfer->reply;
    struct belay__http_outcome outcome = {.curl_code = curl_code};
    long os_error = 0;

    if (transfer->refused < 0) {
        outcome.code = transfer->refused;
        outcome.curl_code = CURLE_OK;
        reply->failure = transfer->failure;
        return outcome;
    }
    if (curl_code == CURLE_OK && is_whole(transfer)) {
        return outcome;
    }
    reply->failure = curl_code == CURLE_OK
                         ? BELAY__HTTP_SHORT_BODY
                         : belay__http_failure_of(transfer, curl_code);
    outcome.code = belay__http_failure_code(reply->failure);
    if (reply->failure == BELAY__HTTP_CONNECT) {
        (void)curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &os_error);
        outcome.os_error = (int)os_error;
    }
    return outcome;
}

void
belay__http_transfer_finish(
    struct belay__http_transfer *transfer, CURLcode curl_code)
{
    belay__http_done_fn *done = transfer->done;
    void *done_arg = transfer->done_arg;
    struct belay__http_outcome outcome;

    belay__http_transfer_note(transfer);
    outcome = outcome_of(transfer, curl_code);
    stop(transfer);
    put_back(transfer, outcome.code == 0);
    done(done_arg, &outcome);
}

void
belay__http_transfer_abort(
    struct belay__http_transfer *transfer, enum belay__http_failure failure)
{
    struct belay__http_shard *shard = transfer->shard;

    belay__http_transfer_note(transfer);
    transfer->reply->failure = failure;
    stop(transfer);
    put_back(transfer, false);
    belay__http_shard_settle(shard);
}
