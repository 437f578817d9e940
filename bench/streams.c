/* streams.c - many streams at once, on Belay: what an idle one keeps, and how
 * late an event is told when all of them are busy.
 *
 * called as `streams N EVENTS`: N streams (1000), EVENTS of each (250), one
 * every 20 ms. The server is a second process, by hand on libuv, that writes
 * the time of its writing into each event; client and server have a core each
 * if there are two. First every stream gets one event and then nothing, while
 * the memory is looked at; then all begin.
 */
#define _GNU_SOURCE /* sched_setaffinity() */
#include <belay/belay.h>
#include <belay/llm_stream.h>

#include "bench/bench.h"

#include <arpa/inet.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#define EVENT_MS 20
#define CALL_BYTES 4096 /* of frames: what a stream takes */

static uint64_t
now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void
must(int holds, const char *what)
{
    if (!holds) {
        (void)fprintf(stderr, "streams: %s\n", what);
        exit(1);
    }
}

static void
pin_to(int core)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(core, &set);
    (void)sched_setaffinity(0, sizeof(set), &set); /* if there is one */
}

/* ---- the server ---- */

static struct {
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_timer_t timer;
    uv_pipe_t starter; /* a byte in it: begin */
    uv_tcp_t *streams;
    long count;
    long events;
    long tick;
} server;

static void
on_written(uv_write_t *write, int status)
{
    (void)status;
    free(write);
}

static void
put(uv_stream_t *stream, const char *text, size_t len)
{
    uv_write_t *write = must_alloc(1, sizeof(*write) + len);
    uv_buf_t buf = {(char *)(write + 1), len};

    memcpy(buf.base, text, len);
    must(uv_write(write, stream, &buf, 1, on_written) == 0, "write");
}

static void
put_event(uv_stream_t *stream)
{
    char text[256];
    const int len = snprintf(text, sizeof(text),
        "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\","
        "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%llu\"},"
        "\"finish_reason\":null}]}\n\n",
        (unsigned long long)now_ns());

    put(stream, text, (size_t)len);
}

static void
on_closed(uv_handle_t *handle)
{
    (void)handle;
}

static void
put_end(uv_stream_t *stream)
{
    static const char text[] =
        "data: {\"choices\":[{\"index\":0,\"delta\":{},"
        "\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

    put(stream, text, sizeof(text) - 1);
    uv_close((uv_handle_t *)stream, on_closed);
}

/* A twentieth of the streams each millisecond. */
static void
on_tick(uv_timer_t *timer)
{
    const long round = server.tick / EVENT_MS;

    for (long i = server.tick % EVENT_MS; i < server.count; i += EVENT_MS) {
        if (round < server.events) {
            put_event((uv_stream_t *)&server.streams[i]);
        } else {
            put_end((uv_stream_t *)&server.streams[i]);
        }
    }
    server.tick++;
    if (server.tick == (server.events + 1) * EVENT_MS) {
        (void)uv_timer_stop(timer);
    }
}

static void
on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    static char bytes[65536];

    (void)handle;
    (void)size;
    *buf = uv_buf_init(bytes, sizeof(bytes));
}

/* A request comes in one piece here; what it asks for is known. */
static void
on_request(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: "
                               "text/event-stream\r\nConnection: "
                               "close\r\n\r\n";

    (void)buf;
    if (len > 0) {
        (void)uv_read_stop(stream);
        put(stream, head, sizeof(head) - 1);
        put_event(stream);
    }
}

static void
on_connection(uv_stream_t *listener, int status)
{
    uv_tcp_t *stream = &server.streams[server.count++];

    must(status == 0, "accept");
    (void)uv_tcp_init(&server.loop, stream);
    must(uv_accept(listener, (uv_stream_t *)stream) == 0, "accept");
    (void)uv_tcp_nodelay(stream, 1);
    (void)uv_read_start((uv_stream_t *)stream, on_alloc, on_request);
}

static void
on_start(uv_stream_t *pipe, ssize_t len, const uv_buf_t *buf)
{
    (void)buf;
    if (len > 0) {
        (void)uv_timer_start(&server.timer, on_tick, 1, 1);
    } else {
        (void)pipe;
        exit(0); /* the client has ended */
    }
}

static void
serve(int listener, int starter, long count, long events)
{
    pin_to(1);
    server.streams = must_alloc((size_t)count, sizeof(*server.streams));
    server.events = events;
    must(
        uv_loop_init(&server.loop) == 0
            && uv_tcp_init(&server.loop, &server.listener) == 0
            && uv_tcp_open(&server.listener, listener) == 0
            && uv_listen((uv_stream_t *)&server.listener, 1024, on_connection)
                   == 0
            && uv_timer_init(&server.loop, &server.timer) == 0
            && uv_pipe_init(&server.loop, &server.starter, 0) == 0
            && uv_pipe_open(&server.starter, starter) == 0
            && uv_read_start((uv_stream_t *)&server.starter, on_alloc, on_start)
                   == 0,
        "server");
    (void)uv_run(&server.loop, UV_RUN_DEFAULT);
    exit(0);
}

/* ---- the client ---- */

struct fan {
    char url[64];
    long count;
    int starter;
    /* locals */
    belay_group *group;
    belay_llm_client *client;
    long i;
};

static struct {
    long first; /* streams that had their first event */
    long bad;
    uint64_t *delays_ns;
    size_t delay_count;
    size_t delay_room;
    bool measuring;
} seen;

static int
on_event(const struct belay_llm_event *event, void *arg)
{
    const uint64_t now = now_ns();
    bool *had_first = arg;
    char text[32];

    if (event->type != BELAY_LLM_EVENT_TEXT
        || event->text.len >= sizeof(text)) {
        return 0;
    }
    memcpy(text, event->text.data, event->text.len);
    text[event->text.len] = '\0';
    seen.first += !*had_first;
    *had_first = true;
    if (seen.measuring && seen.delay_count < seen.delay_room) {
        seen.delays_ns[seen.delay_count++] = now - strtoull(text, NULL, 10);
    }
    return 0;
}

struct reader {
    struct fan *fan;
    belay_llm_reply *reply;
    bool had_first;
};

BELAY_ASYNC_SIZED(reader, CALL_BYTES)
{
    static const struct belay_llm_message messages[1] = {
        {.role = "user", .content = {"hi", 2}}};

    BELAY_BEGIN;
    BELAY_TRY(belay_llm_complete_stream(task, self->fan->client,
        BELAY_LLM_CHAT(.model = "m", .messages = messages, .message_count = 1,
            .max_retries = BELAY_LLM_NO_RETRIES),
        NULL, on_event, &self->had_first, &self->reply));
    if (belay_result(task)->code == 0) {
        belay_llm_reply_free(self->reply);
    } else {
        seen.bad++;
    }
    BELAY_END;
}

static double before;
static double idle;
static size_t before_own;
static size_t idle_own;
static struct moment started;

static size_t
own_bytes(const belay_task *task)
{
    struct belay_runtime_stats stats = {.size = sizeof(stats)};

    belay_runtime_get_stats(belay_task_runtime(task), &stats);
    return (size_t)stats.memory_bytes;
}

BELAY_ASYNC(fan)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_llm_client_open(
        task, BELAY_LLM_CLIENT_OPTS(.base_url = self->url), &self->client)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            before = resident_bytes();
            before_own = own_bytes(task);
            for (self->i = 0; self->i < self->count; self->i++) {
                BELAY_CHECK(belay_spawn(self->group, reader, .fan = self));
            }
            while (seen.first + seen.bad < self->count) {
                BELAY_AWAIT(belay_sleep(task, belay_milliseconds(20)));
            }
            idle = resident_bytes();
            idle_own = own_bytes(task);
            seen.measuring = true;
            started = moment_now();
            must(write(self->starter, "x", 1) == 1, "start");
        }
    }
    BELAY_END;
}

static int
compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static double
percentile_ms(double part)
{
    const size_t at = (size_t)(part * (double)(seen.delay_count - 1));

    return (double)seen.delays_ns[at] / 1e6;
}

static int
listen_somewhere(char *url, size_t size)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);

    must(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0
             && getsockname(fd, (struct sockaddr *)&address, &len) == 0
             && listen(fd, 1024) == 0, /* the server may be late */
        "no port");
    (void)snprintf(
        url, size, "http://127.0.0.1:%u/v1", ntohs(address.sin_port));
    return fd;
}

static void
allow_fds(long count)
{
    struct rlimit limit;

    (void)getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < (rlim_t)count + 64) {
        limit.rlim_cur = (rlim_t)count + 64;
        must(setrlimit(RLIMIT_NOFILE, &limit) == 0, "too many streams");
    }
}

int
main(int argc, char **argv)
{
    const long count = argument(argc, argv, 1, 1000);
    const long events = argument(argc, argv, 2, 250);
    struct fan arguments = {.count = count};
    struct moment end;
    int starter[2];
    char more[512];
    int listener;
    pid_t child;
    int code;

    (void)signal(SIGPIPE, SIG_IGN);
    allow_fds(count);
    listener = listen_somewhere(arguments.url, sizeof(arguments.url));
    must(pipe(starter) == 0, "pipe");
    child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        (void)close(starter[1]);
        serve(listener, starter[0], count, events);
    }
    (void)close(listener);
    (void)close(starter[0]);
    arguments.starter = starter[1];
    pin_to(0);
    seen.delay_room = (size_t)count * (size_t)events;
    seen.delays_ns = must_alloc(seen.delay_room, sizeof(*seen.delays_ns));
    memset(seen.delays_ns, 1, seen.delay_room * sizeof(*seen.delays_ns));
    code = belay_run(&fan, &arguments, NULL, NULL);
    end = moment_now();
    (void)close(starter[1]);
    (void)waitpid(child, NULL, 0);
    must(code == 0 && seen.bad == 0 && seen.delay_count == seen.delay_room,
        "streams have failed");
    qsort(seen.delays_ns, seen.delay_count, sizeof(*seen.delays_ns), compare);
    (void)snprintf(more, sizeof(more),
        ",\"bytes_per_stream\":%.0f,\"own_bytes_per_stream\":%.0f,"
        "\"delay_p50_ms\":%.3f,\"delay_p99_ms\":%.3f,\"delay_most_ms\":%.3f",
        (idle - before) / (double)count,
        (double)(idle_own - before_own) / (double)count, percentile_ms(0.5),
        percentile_ms(0.99), percentile_ms(1));
    report(count * events, started, end, (uint64_t)seen.delay_count, more);
    return 0;
}
