/* lanes.h - calls by hand on libuv, libcurl and cJSON.
 *
 * What libcurl's multi interface costs at best: a fixed number of lanes, each
 * with one easy handle that keeps its options, one uv_poll_t per connection,
 * the connections spread over as many multi handles as make sense. No tasks,
 * no cancel, no limits. A program includes this once and defines what is done
 * with an answer: on_body() and lane_ended(). BENCH_CA in the environment
 * names a file with who may sign for a server that speaks TLS.
 */
#ifndef BELAY_BENCH_RAW_LANES_H
#define BELAY_BENCH_RAW_LANES_H

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <uv.h>

#include "bench/bench.h"

#include <signal.h>
#include <unistd.h>

#define LANES_PER_GROUP 96
#define FDS_MAX 65536

struct group { /* one multi handle */
    CURLM *multi;
    uv_timer_t timer;
    int due;
};

struct lane {
    struct group *group;
    CURL *easy;
    char *request;
    char *bytes; /* of the answer, what was not looked at yet */
    size_t len;
    size_t room;
};

struct watch {
    uv_poll_t poll;
    struct group *group;
    int fd;
    int events; /* 0: libcurl does not use the connection now */
    int polled;
};

static struct {
    uv_loop_t *loop;
    struct watch *watches[FDS_MAX];
    CURLU *url;
    const char *ca_file; /* who may sign for the server; NULL: no TLS */
    struct curl_slist *headers;
    char system_text[512];
    char user_text[1024];
    int stream;
    char *prepared; /* the request, when JSON is left out */
    long total;
    long started;
    long done;
    uint64_t tokens;
    uint64_t content;
    long bad;
    uint64_t chunks;
} run;

/* The program's: bytes of an answer; and its end, negative if it is bad. */
static size_t on_body(char *data, size_t one, size_t len, void *arg);
static int lane_ended(struct lane *lane);

static void start(struct lane *lane);

static void
must(int holds, const char *what)
{
    if (!holds) {
        (void)fprintf(stderr, "bench: %s\n", what);
        exit(1);
    }
}

/* ---- requests ---- */

static void
texts_init(void)
{
    size_t len = 0;

    for (int i = 0; i < 4; i++) {
        len += (size_t)snprintf(run.system_text + len,
            sizeof(run.system_text) - len, "You are a careful \"assistant\". ");
    }
    len = 0;
    for (int i = 0; i < 16; i++) {
        len +=
            (size_t)snprintf(run.user_text + len, sizeof(run.user_text) - len,
                "The quick brown fox jumps over the lazy dog.\n");
    }
}

static void
add_message(cJSON *messages, const char *role, const char *content)
{
    cJSON *message = cJSON_CreateObject();

    must(message != NULL && cJSON_AddStringToObject(message, "role", role)
             && cJSON_AddStringToObject(message, "content", content)
             && cJSON_AddItemToArray(messages, message),
        "out of memory");
}

static char *
build_request(long number, int stream)
{
    char user[1100];
    cJSON *request = cJSON_CreateObject();
    cJSON *messages;
    char *text;

    (void)snprintf(user, sizeof(user), "%sRequest %ld", run.user_text, number);
    must(cJSON_AddStringToObject(request, "model", "bench-1") != NULL,
        "out of memory");
    messages = cJSON_AddArrayToObject(request, "messages");
    add_message(messages, "system", run.system_text);
    add_message(messages, "user", user);
    (void)cJSON_AddNumberToObject(request, "temperature", 0.7);
    (void)cJSON_AddNumberToObject(request, "max_tokens", 256);
    (void)cJSON_AddBoolToObject(request, "stream", stream);
    if (stream) {
        cJSON *options = cJSON_AddObjectToObject(request, "stream_options");

        (void)cJSON_AddBoolToObject(options, "include_usage", 1);
    }
    text = cJSON_PrintBuffered(request, 1536, 0);
    must(text != NULL, "out of memory");
    cJSON_Delete(request);
    return text;
}

/* ---- lanes ---- */

/* Keeps bytes of the answer for later. */
static inline void
lane_keep(struct lane *lane, const char *data, size_t len)
{
    if (len > lane->room - lane->len) {
        lane->room = 2 * (lane->len + len);
        lane->bytes = realloc(lane->bytes, lane->room);
        must(lane->bytes != NULL, "out of memory");
    }
    memcpy(lane->bytes + lane->len, data, len);
    lane->len += len;
}

static void
finish(struct lane *lane, CURLcode code)
{
    long status = 0;

    (void)curl_easy_getinfo(lane->easy, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK || status != 200
        || (run.prepared == NULL && lane_ended(lane) < 0)) {
        run.bad++;
    }
    (void)curl_multi_remove_handle(lane->group->multi, lane->easy);
    if (lane->request != run.prepared) {
        free(lane->request);
    }
    run.done++;
    if (run.started < run.total) {
        start(lane);
    }
}

static void
collect(struct group *group)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(group->multi, &left)) != NULL) {
        const CURLcode code = message->data.result;
        char *lane = NULL;

        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &lane);
        finish((struct lane *)(void *)lane, code);
    }
}

/* Calls libcurl for as long as it wants to be called at once. */
static void
turn(struct group *group, curl_socket_t fd, int flags)
{
    int running;

    (void)curl_multi_socket_action(group->multi, fd, flags, &running);
    collect(group);
    while (group->due) {
        group->due = 0;
        (void)curl_multi_socket_action(
            group->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        collect(group);
    }
    if (run.done == run.total) {
        uv_stop(run.loop);
    }
}

static void
start(struct lane *lane)
{
    const long number = run.started++;

    lane->request =
        run.prepared != NULL ? run.prepared : build_request(number, run.stream);
    lane->len = 0;
    (void)curl_easy_setopt(
        lane->easy, CURLOPT_POSTFIELDSIZE, (long)strlen(lane->request));
    (void)curl_easy_setopt(lane->easy, CURLOPT_POSTFIELDS, lane->request);
    must(curl_multi_add_handle(lane->group->multi, lane->easy) == CURLM_OK,
        "cannot add a transfer");
}

/* ---- sockets and time ---- */

static void
on_timer(uv_timer_t *timer)
{
    turn(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static int
on_curl_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct group *group = arg;

    (void)multi;
    group->due = timeout_ms == 0;
    if (timeout_ms > 0) {
        (void)uv_timer_start(&group->timer, on_timer, (uint64_t)timeout_ms, 0);
    } else {
        (void)uv_timer_stop(&group->timer);
    }
    return 0;
}

static void
on_poll(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = poll->data;
    int flags = 0;

    if (watch->events == 0) {
        (void)uv_poll_stop(poll);
        watch->polled = 0;
        return;
    }
    if (status < 0) {
        watch->polled = 0;
        flags = CURL_CSELECT_IN | CURL_CSELECT_OUT;
    }
    flags |= (events & UV_READABLE) != 0 ? CURL_CSELECT_IN : 0;
    flags |= (events & UV_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0;
    turn(watch->group, watch->fd, flags);
}

static int
on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
    struct watch *watch = run.watches[fd];

    (void)easy;
    (void)unused;
    if (what == CURL_POLL_REMOVE) {
        if (watch != NULL) {
            watch->events = 0; /* the poll stays on, until the close */
        }
        return 0;
    }
    if (watch == NULL) {
        watch = must_alloc(1, sizeof(*watch));
        watch->fd = fd;
        watch->group = arg;
        watch->poll.data = watch;
        must(uv_poll_init_socket(run.loop, &watch->poll, fd) == 0,
            "cannot poll a socket");
        run.watches[fd] = watch;
    }
    watch->events = ((what & CURL_POLL_IN) != 0 ? UV_READABLE : 0)
                    | ((what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0);
    if (watch->events != watch->polled) {
        watch->polled = watch->events;
        (void)uv_poll_start(&watch->poll, watch->events, on_poll);
    }
    return 0;
}

static void
on_watch_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static int
on_close(void *arg, curl_socket_t fd)
{
    struct watch *watch = run.watches[fd];

    (void)arg;
    if (watch != NULL) {
        run.watches[fd] = NULL;
        uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
    }
    return close(fd);
}

/* ---- setting up ---- */

static void
group_init(struct group *group)
{
    group->multi = curl_multi_init();
    must(group->multi != NULL, "no multi handle");
    (void)uv_timer_init(run.loop, &group->timer);
    group->timer.data = group;
    (void)curl_multi_setopt(
        group->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    (void)curl_multi_setopt(group->multi, CURLMOPT_SOCKETDATA, group);
    (void)curl_multi_setopt(
        group->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    (void)curl_multi_setopt(group->multi, CURLMOPT_TIMERDATA, group);
    (void)curl_multi_setopt(
        group->multi, CURLMOPT_MAXCONNECTS, (long)LANES_PER_GROUP);
}

static void
lane_init(struct lane *lane, struct group *group)
{
    CURL *easy = curl_easy_init();

    must(easy != NULL, "no easy handle");
    lane->group = group;
    lane->easy = easy;
    (void)curl_easy_setopt(easy, CURLOPT_CURLU, run.url);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_POST, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_PROXY, "");
    /* HTTP/2 is for TLS only; what is to come goes over what there is. */
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
        run.ca_file != NULL ? (long)CURL_HTTP_VERSION_2TLS
                            : (long)CURL_HTTP_VERSION_1_1);
    if (run.ca_file != NULL) {
        (void)curl_easy_setopt(easy, CURLOPT_CAINFO, run.ca_file);
        (void)curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
    }
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, run.headers);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, lane);
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, lane);
    (void)curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
}

static void
request_init(const char *url, int bare)
{
    run.url = curl_url();
    run.ca_file = getenv("BENCH_CA");
    must(run.url != NULL
             && curl_url_set(run.url, CURLUPART_URL, url, 0) == CURLUE_OK,
        "not a URL");
    run.headers = curl_slist_append(NULL, "Content-Type: application/json");
    run.headers = curl_slist_append(run.headers,
        "Authorization: Bearer sk-bench-0123456789abcdef0123456789abcdef");
    must(run.headers != NULL, "out of memory");
    texts_init();
    run.prepared = bare ? build_request(0, run.stream) : NULL;
}

/* Runs it all; the result of main. */
static int
run_lanes(int argc, char **argv)
{
    const long at_once = argument(argc, argv, 2, 256);
    const long group_count = (at_once + LANES_PER_GROUP - 1) / LANES_PER_GROUP;
    struct group *groups = must_alloc((size_t)group_count, sizeof(*groups));
    struct lane *lanes = must_alloc((size_t)at_once, sizeof(*lanes));
    struct moment from;
    struct moment to;
    char more[96];

    (void)signal(SIGPIPE, SIG_IGN);
    must(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK, "no libcurl");
    run.loop = uv_default_loop();
    run.total = argument(argc, argv, 1, 20000);
    request_init(
        argc > 3 ? argv[3] : "http://127.0.0.1:8080/v1/chat/completions",
        argc > 4);
    for (long i = 0; i < group_count; i++) {
        group_init(&groups[i]);
    }
    for (long i = 0; i < at_once; i++) {
        lane_init(&lanes[i], &groups[i % group_count]);
    }
    from = moment_now();
    for (long i = 0; i < at_once && run.started < run.total; i++) {
        start(&lanes[i]);
    }
    for (long i = 0; i < group_count; i++) {
        turn(&groups[i], CURL_SOCKET_TIMEOUT, 0);
    }
    (void)uv_run(run.loop, UV_RUN_DEFAULT);
    to = moment_now();
    (void)snprintf(more, sizeof(more),
        ",\"content\":%llu,\"bad\":%ld,\"chunks\":%llu",
        (unsigned long long)run.content, run.bad,
        (unsigned long long)run.chunks);
    report(run.total, from, to, run.tokens, more);
    return run.bad == 0 ? 0 : 1;
}

#endif
