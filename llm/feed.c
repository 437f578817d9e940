/* feed.c - what comes in for a stream, until somebody reads it.
 *
 * The queue is one buffer of records, read from the front. It is emptied when
 * all is read and moved to its start when half is, so a record is copied at
 * most twice.
 */
#include "llm/feed.h"

#include <string.h>

#define QUEUE_BYTES ((size_t)256 * 1024)
#define QUEUE_MOST ((size_t)1 << 30) /* one event above queue_max is taken */

/* In front of each event's name and data. */
struct record {
    size_t data_len;
    uint8_t name_len;
    bool unfinished;
};

void
belay__llm_feed_init(struct belay__llm_feed *feed, struct belay__memory *memory,
    size_t max_event, size_t max_queue)
{
    *feed = (struct belay__llm_feed){
        .queue_max = max_queue > 0 ? max_queue : QUEUE_BYTES};
    belay__sse_init(&feed->sse, memory, max_event);
    belay__buffer_init(&feed->queue, memory, QUEUE_MOST);
}

void
belay__llm_feed_fini(struct belay__llm_feed *feed)
{
    belay__sse_fini(&feed->sse);
    belay__buffer_fini(&feed->queue);
}

void
belay__llm_feed_begin(struct belay__llm_feed *feed,
    const struct belay__provider *provider, struct belay_slice request,
    struct belay__answer *answer, struct belay__buffer *body)
{
    const size_t max = feed->sse.max;
    struct belay__memory *memory = feed->queue.memory;

    belay__sse_fini(&feed->sse);
    belay__sse_init(&feed->sse, memory, max);
    belay__buffer_clear(&feed->queue);
    feed->queue_at = 0;
    feed->provider = provider;
    feed->request = request;
    feed->answer = answer;
    answer->request = request;
    feed->body = body;
    feed->form = BELAY__FEED_UNKNOWN;
    feed->paused = false;
    feed->ended = false;
    feed->closed = false;
    feed->code = 0;
    feed->broken = 0;
}

/* ---- pushing ---- */

static size_t
unread(const struct belay__llm_feed *feed)
{
    return feed->queue.len - feed->queue_at;
}

static void
compact(struct belay__llm_feed *feed)
{
    struct belay__buffer *queue = &feed->queue;

    if (feed->queue_at > 0 && feed->queue_at >= queue->len / 2) {
        memmove(queue->data, queue->data + feed->queue_at, unread(feed));
        queue->len = unread(feed);
        feed->queue_at = 0;
    }
}

static int
enqueue(struct belay__llm_feed *feed, const struct belay__sse_event *event)
{
    const struct record record = {
        .data_len = event->data.len,
        .name_len = (uint8_t)event->name.len,
        .unfinished = event->unfinished,
    };
    int code;

    compact(feed);
    code = belay__buffer_reserve(
        &feed->queue, sizeof(record) + event->name.len + event->data.len);
    if (code == 0) {
        (void)belay__buffer_append(
            &feed->queue, (const char *)&record, sizeof(record));
        (void)belay__buffer_append(
            &feed->queue, event->name.data, event->name.len);
        (void)belay__buffer_append(
            &feed->queue, event->data.data, event->data.len);
    }
    return code;
}

/* All events that are complete. After an error there is no more to be had of
 * the piece, which goes away.
 */
static int
frame(struct belay__llm_feed *feed)
{
    struct belay__sse_event event;
    int code = feed->broken;

    while (code == 0 && (code = belay__sse_next(&feed->sse, &event)) > 0) {
        code = enqueue(feed, &event);
    }
    feed->broken = code;
    return code;
}

/* What a body begins with that is no stream of events; their lines begin with
 * the name of a field or a colon.
 */
static void
find_form(struct belay__llm_feed *feed, struct belay_slice bytes)
{
    static const char mark[] = "\xef\xbb\xbf \t\r\n";

    for (size_t i = 0; i < bytes.len; i++) {
        const char c = bytes.data[i];

        if (c == '\0' || strchr(mark, c) == NULL) {
            feed->form = c == '{' || c == '[' || c == '<' ? BELAY__FEED_WHOLE
                                                          : BELAY__FEED_EVENTS;
            return;
        }
    }
}

int
belay__llm_feed_push(struct belay__llm_feed *feed, struct belay_slice bytes)
{
    int code;

    if (feed->answer->finished) {
        return 0; /* behind the end (L16) */
    }
    if (unread(feed) > feed->queue_max) {
        feed->paused = true;
        return BELAY__HTTP_PAUSE;
    }
    if (feed->form == BELAY__FEED_UNKNOWN) {
        find_form(feed, bytes);
    }
    if (feed->form == BELAY__FEED_WHOLE) {
        code = belay__buffer_append(feed->body, bytes.data, bytes.len);
        return code == 0 ? 1 : code;
    }
    feed->sse.active = false;
    belay__sse_push(&feed->sse, bytes);
    code = frame(feed);
    return code == 0 ? feed->sse.active : code;
}

int
belay__llm_feed_end(struct belay__llm_feed *feed)
{
    feed->ended = true;
    if (feed->form == BELAY__FEED_WHOLE) {
        return 0;
    }
    belay__sse_end(&feed->sse);
    return frame(feed);
}

/* ---- pulling ---- */

/* Takes the oldest event off the queue; false if there is none. It is good
 * until something is pushed.
 */
static bool
dequeue(struct belay__llm_feed *feed, struct belay__sse_event *ret)
{
    const char *at = feed->queue.data + feed->queue_at;
    struct record record;

    if (unread(feed) == 0) {
        return false;
    }
    memcpy(&record, at, sizeof(record));
    at += sizeof(record);
    *ret = (struct belay__sse_event){
        .name = {at, record.name_len},
        .data = {at + record.name_len, record.data_len},
        .unfinished = record.unfinished,
    };
    feed->queue_at += sizeof(record) + record.name_len + record.data_len;
    if (feed->queue_at == feed->queue.len) {
        belay__buffer_clear(&feed->queue); /* the bytes stay where they are */
        feed->queue_at = 0;
    }
    return true;
}

/* Reads on: 1 if something may be new, 0 if there is nothing to read now. */
static int
read_on(struct belay__llm_feed *feed)
{
    struct belay__answer *answer = feed->answer;
    struct belay__sse_event event;
    int code;

    if (answer->code != 0) {
        return answer->code;
    }
    if (!answer->finished && dequeue(feed, &event)) {
        code = belay__provider_event(feed->provider, answer, &event);
        return code == BELAY_EPROTO && event.unfinished ? BELAY_ETRUNCATED
               : code < 0                               ? code
                                                        : 1;
    }
    if (!answer->finished && feed->ended && feed->form == BELAY__FEED_WHOLE) {
        code = belay__provider_read(
            feed->provider, answer, belay__buffer_slice(feed->body));
        answer->finished = true;
        return code < 0 ? code : 1;
    }
    if (!feed->closed && (answer->finished || feed->ended)) {
        belay__answer_close(answer);
        feed->closed = true;
        return 1;
    }
    return 0;
}

int
belay__llm_feed_pull(struct belay__llm_feed *feed, struct belay_llm_event *ret)
{
    int code;

    while (!belay__answer_take(feed->answer, ret)) {
        if (feed->code < 0) {
            return feed->code; /* after what came before the error */
        }
        code = read_on(feed);
        if (code < 0) {
            feed->code = code;
        } else if (code == 0) {
            return 0;
        }
    }
    return 1;
}

/* How many choices were asked for; looked up where a stream has ended without
 * saying so, which is rare.
 */
static size_t
choices_asked(const struct belay__llm_feed *feed)
{
    static const char *const names[] = {"n"};
    struct belay__json_value count;

    belay__provider_members(feed->request, names, 1, &count);
    return (size_t)belay__provider_index(&count, 1);
}

bool
belay__llm_feed_may_end(const struct belay__llm_feed *feed)
{
    return feed->answer->finished
           || (feed->provider->ends_with_choices
               && belay__answer_ended(feed->answer, choices_asked(feed)));
}

bool
belay__llm_feed_finished(const struct belay__llm_feed *feed)
{
    return feed->closed && belay__llm_feed_may_end(feed);
}

bool
belay__llm_feed_hungry(const struct belay__llm_feed *feed)
{
    return feed->paused && unread(feed) <= feed->queue_max / 2;
}
