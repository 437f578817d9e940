/* receive.c - what comes in for a running transfer, and what comes too late.
 *
 * libcurl's callbacks copy, count and note; none of them ends anything.
 */
#include "llm/http/transfer.h"

#include <string.h>

#define CONNECT_S 5
#define TLS_S 10
#define FIRST_BYTE_S 600
#define IDLE_S 120
#define ROOM_AHEAD ((size_t)1024 * 1024)

static int64_t
now(const struct belay__http_transfer *transfer)
{
    return belay__clock_now(transfer->shard->http->runtime);
}

void
belay__http_transfer_refuse(struct belay__http_transfer *transfer,
    enum belay__http_failure failure, int code)
{
    if (transfer->refused == 0) {
        transfer->refused = code;
        transfer->failure = failure;
    }
}

/* For a callback: 0 is not the number of bytes, hence CURLE_WRITE_ERROR. */
static size_t
refuse(struct belay__http_transfer *transfer, enum belay__http_failure failure,
    int code)
{
    belay__http_transfer_refuse(transfer, failure, code);
    return 0;
}

static int64_t
after(int64_t start_ns, belay_duration span, int64_t default_s)
{
    int64_t due;

    if (span.ns == 0) {
        span = belay_seconds(default_s);
    }
    return __builtin_add_overflow(start_ns, span.ns, &due) ? INT64_MAX : due;
}

static int64_t
idle_due(const struct belay__http_transfer *transfer)
{
    return after(
        transfer->activity_ns, transfer->request->idle_timeout, IDLE_S);
}

/* The timer stays as it is, unless it would come too late; when it comes too
 * early it is set anew.
 */
static void
arm_by(struct belay__http_transfer *transfer, int64_t due_ns)
{
    belay_runtime *runtime = transfer->shard->http->runtime;

    if (due_ns < belay__timer_due(runtime, &transfer->timer)) {
        belay__timer_start(runtime, &transfer->timer, due_ns);
    }
}

static void
note_activity(struct belay__http_transfer *transfer)
{
    transfer->activity_ns = now(transfer);
    if (transfer->reply->first_byte.ns == 0) {
        transfer->reply->first_byte.ns = transfer->activity_ns;
        arm_by(transfer, idle_due(transfer));
        if (transfer->dialled) {
            belay__http_watch_keep(transfer);
        }
    }
}

static bool
ends_head(const char *line, size_t len)
{
    return (len == 2 && line[0] == '\r' && line[1] == '\n')
           || (len == 1 && line[0] == '\n');
}

static size_t
on_header(char *line, size_t one, size_t len, void *arg)
{
    struct belay__http_transfer *transfer = arg;
    struct belay__http_reply *reply = transfer->reply;

    (void)one;
    note_activity(transfer);
    if (len > reply->head.max - transfer->head_bytes) {
        return refuse(transfer, BELAY__HTTP_HEAD_TOO_LARGE, BELAY_ETOOLARGE);
    }
    transfer->head_bytes += len;
    if (len > 5 && memcmp(line, "HTTP/", 5) == 0) {
        transfer->head_done = false; /* one after a 1xx */
    }
    if (transfer->head_done) {
        return len; /* a trailer */
    }
    if (ends_head(line, len)) {
        transfer->head_done = true;
        if (transfer->request->on_head != NULL && reply->status / 100 == 2) {
            transfer->request->on_head(transfer->request->head_arg);
        }
        return len;
    }
    if (belay__http_reply_line(reply, line, len) < 0) {
        return refuse(transfer, BELAY__HTTP_NO_MEMORY, BELAY_ENOMEM);
    }
    return len;
}

static size_t
give_to_sink(
    struct belay__http_transfer *transfer, const char *data, size_t len)
{
    const struct belay__http_request *request = transfer->request;
    int answer;

    answer = request->sink(
        transfer->reply, (struct belay_slice){data, len}, request->sink_arg);
    if (answer < 0) {
        return refuse(transfer, BELAY__HTTP_SINK, answer);
    }
    if (answer == BELAY__HTTP_PAUSE) {
        transfer->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (answer > 0) {
        transfer->activity_ns = now(transfer);
    }
    transfer->reply->body_bytes += len;
    return len;
}

/* The server's word for the length saves growing the buffer step by step. */
static void
reserve_body(struct belay__http_transfer *transfer)
{
    struct belay__buffer *body = &transfer->reply->body;
    curl_off_t length = -1;

    (void)curl_easy_getinfo(
        transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (length > 0 && (uint64_t)length <= ROOM_AHEAD
        && (uint64_t)length <= body->max) {
        /* Without memory for it all, appending will tell. */
        (void)belay__buffer_reserve(body, (size_t)length);
    }
}

static size_t
on_body(char *data, size_t one, size_t len, void *arg)
{
    struct belay__http_transfer *transfer = arg;
    struct belay__http_reply *reply = transfer->reply;

    (void)one;
    if (len > reply->body.max - reply->body_bytes) {
        return refuse(transfer, BELAY__HTTP_BODY_TOO_LARGE, BELAY_ETOOLARGE);
    }
    if (transfer->request->sink != NULL && reply->status / 100 == 2) {
        return give_to_sink(transfer, data, len);
    }
    reply->body_bytes += len;
    note_activity(transfer);
    if (reply->body.room == 0) {
        reserve_body(transfer);
    }
    if (belay__buffer_append(&reply->body, data, len) < 0) {
        return refuse(transfer, BELAY__HTTP_NO_MEMORY, BELAY_ENOMEM);
    }
    return len;
}

/* libcurl hands over what it has kept before it returns, and wants to be
 * called again from the loop; a failure is collected there.
 */
void
belay__http_transfer_resume(struct belay__http_transfer *transfer)
{
    struct belay__http_shard *shard = transfer->shard;

    if (!transfer->paused) {
        return;
    }
    transfer->paused = false;
    transfer->activity_ns = now(transfer);
    if (curl_easy_pause(transfer->easy, CURLPAUSE_CONT) != CURLE_OK) {
        belay__http_transfer_refuse(
            transfer, BELAY__HTTP_NO_MEMORY, BELAY_ENOMEM);
        shard->failing = true;
        shard->due = true;
    }
    belay__http_shard_settle(shard);
}

/* ---- timeouts ---- */

bool
belay__http_transfer_sending(const struct belay__http_transfer *transfer)
{
    curl_off_t us = 0;

    (void)curl_easy_getinfo(transfer->easy, CURLINFO_PRETRANSFER_TIME_T, &us);
    return us > 0;
}

/* The timeout that counts at the stage which the exchange has reached. The
 * stages before the first byte are found out here, not noted as they pass:
 * most exchanges never come to this place.
 */
static int64_t
due_now(
    const struct belay__http_transfer *transfer, enum belay__http_failure *ret)
{
    const struct belay__http_request *request = transfer->request;
    const int64_t started = transfer->reply->started.ns;

    if (transfer->paused) {
        *ret = BELAY__HTTP_TIMEOUT_IDLE; /* not its fault: look again later */
        return after(now(transfer), request->idle_timeout, IDLE_S);
    }
    if (transfer->reply->first_byte.ns != 0) {
        *ret = BELAY__HTTP_TIMEOUT_IDLE;
        return idle_due(transfer);
    }
    if (belay__http_transfer_sending(transfer)) {
        *ret = BELAY__HTTP_TIMEOUT_FIRST_BYTE;
        return after(started, request->first_byte_timeout, FIRST_BYTE_S);
    }
    *ret = BELAY__HTTP_TIMEOUT_CONNECT;
    /* Connected; or it waits for another exchange's connection, in case that
     * can be shared (HTTP/2). libcurl only tells when TLS is done too. */
    if (transfer->shard->endpoint->tls
        && (!transfer->dialled || belay__http_watch_connected(transfer))) {
        return after(started, request->tls_timeout, TLS_S);
    }
    return after(started, request->connect_timeout, CONNECT_S);
}

/* When to look for the first time: nothing is known of the stages yet. */
void
belay__http_transfer_arm(struct belay__http_transfer *transfer)
{
    const struct belay__http_request *request = transfer->request;
    const int64_t started = transfer->reply->started.ns;

    belay__timer_start(transfer->shard->http->runtime, &transfer->timer,
        after(started, request->connect_timeout, CONNECT_S));
    arm_by(transfer, after(started, request->first_byte_timeout, FIRST_BYTE_S));
    if (transfer->shard->endpoint->tls) {
        arm_by(transfer, after(started, request->tls_timeout, TLS_S));
    }
}

void
belay__http_transfer_timeout(struct belay__timer *timer)
{
    struct belay__http_transfer *transfer =
        BELAY__CONTAINER(timer, struct belay__http_transfer, timer);
    struct belay__http_shard *shard = transfer->shard;
    enum belay__http_failure failure;
    const int64_t due = due_now(transfer, &failure);

    if (due > now(transfer)) {
        belay__timer_start(shard->http->runtime, timer, due);
        return;
    }
    belay__http_transfer_refuse(transfer, failure, BELAY_ETIMEDOUT);
    belay__http_transfer_finish(transfer, CURLE_OK);
    belay__http_shard_settle(shard);
}

CURLcode
belay__http_transfer_listen(struct belay__http_transfer *transfer)
{
    CURL *easy = transfer->easy;
    CURLcode code;

    code = curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    }
    return code;
}
