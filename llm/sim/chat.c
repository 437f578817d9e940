/* chat.c - the page /v1/chat/completions.
 *
 * One admission scope round each request does the counting, so that the
 * counts are right however the request ends. Inside it the request is judged
 * first, then refused or answered.
 */
#include "llm/sim/internal.h"

#include <belay/async.h>

#include <inttypes.h>
#include <stdio.h>

/* ---- counting ---- */

struct admission {
    struct belay__sim_chat *chat;
};

static belay_next
admission_enter(belay_task *task, void *frame)
{
    struct belay__sim_chat *chat = ((struct admission *)frame)->chat;
    struct belay__sim_stats *stats = &chat->sim->stats;

    stats->hits++;
    stats->body_hash_sum += chat->entry.body_hash;
    stats->in_flight++;
    if (stats->in_flight > stats->in_flight_max) {
        stats->in_flight_max = stats->in_flight;
    }
    return belay_return(task, NULL);
}

static belay_next
admission_exit(belay_task *task, void *frame)
{
    struct belay__sim_chat *chat = ((struct admission *)frame)->chat;
    struct belay__sim *sim = chat->sim;
    struct belay__sim_stats *stats = &sim->stats;
    struct belay__sim_entry *entry = &chat->entry;

    stats->in_flight--;
    stats->ends[entry->end]++;
    if (entry->end == BELAY__SIM_ANSWERED) {
        stats->prompt_tokens += entry->prompt_tokens;
        stats->completion_tokens += entry->completion_tokens;
    }
    if (sim->opts.log_fn != NULL) {
        entry->took = BELAY_DURATION_NS(belay_now(task).ns - chat->began.ns);
        sim->opts.log_fn(entry, sim->opts.arg);
    }
    if (sim->opts.max_requests > 0
        && stats->hits - stats->in_flight >= sim->opts.max_requests) {
        belay_event_set(&sim->finished);
    }
    return belay_return(task, NULL);
}

static const belay_manager admission = {
    {"admission", __FILE__, sizeof(struct admission), admission_enter, 0},
    admission_exit};

/* ---- judging ---- */

static void
note_request(belay_task *task, struct belay__sim_chat *chat)
{
    struct belay__sim *sim = chat->sim;
    const uint64_t hash = belay__sim_hash(chat->call.request->body);
    const uint64_t attempt = belay__sim_see(&sim->seen, hash);

    belay__sim_draw_fate(&sim->opts, hash, attempt, &chat->fate);
    chat->began = belay_now(task);
    chat->entry = (struct belay__sim_entry){
        .body_hash = hash,
        .attempt = attempt < UINT32_MAX ? (uint32_t)attempt : UINT32_MAX,
        .status = 200,
        .end = BELAY__SIM_LEFT,
    };
}

static int
add_headers(const struct belay__sim_chat *chat)
{
    struct belay__reply *reply = chat->call.reply;
    char text[40];
    int code;

    (void)snprintf(text, sizeof(text), "req_%016" PRIx64, chat->fate.id);
    code = belay__reply_header(reply, "x-request-id", text);
    if (code < 0) {
        return code;
    }
    (void)snprintf(text, sizeof(text), "%016" PRIx64, chat->entry.body_hash);
    return belay__reply_header(reply, "x-sim-body-fnv1a64", text);
}

static uint64_t
pick_length(const struct belay__sim_chat *chat)
{
    const struct belay__sim_opts *opts = &chat->sim->opts;
    struct belay__sim_dice dice = {
        opts->seed + belay__sim_hash(chat->request.prompt)};
    const uint64_t more = opts->tokens_max - opts->tokens_min;
    const uint64_t wanted =
        opts->tokens_min + belay__sim_roll(&dice) % (more + 1);

    return wanted < chat->request.max_tokens ? wanted
                                             : chat->request.max_tokens;
}

static void
prepare(struct belay__sim_chat *chat)
{
    const struct belay__sim_opts *opts = &chat->sim->opts;

    belay__sim_words_init(&chat->words, opts->seed, chat->request.prompt);
    chat->tokens = pick_length(chat);
    chat->entry.prompt_tokens = chat->request.prompt_tokens;
    chat->entry.completion_tokens = chat->tokens;
    chat->first = belay__sim_after(
        belay__sim_after(chat->began, chat->fate.latency.ns), opts->ttft.ns);
}

/* The status that the request deserves; if it is not 200, *ret_why says why. */
static int
judge(struct belay__sim_chat *chat, const char **ret_why)
{
    const struct belay__sim *sim = chat->sim;

    if (!belay__sim_may(sim, chat->call.request)) {
        *ret_why = "Incorrect API key provided";
        return 401;
    }
    *ret_why = belay__sim_read(chat->call.request->body, &chat->request);
    if (*ret_why != NULL) {
        return 400;
    }
    chat->entry.stream = chat->request.stream;
    if (sim->opts.capacity > 0 && sim->stats.in_flight > sim->opts.capacity) {
        *ret_why = "Too many requests at once";
        return 429;
    }
    switch (chat->fate.status) {
    case 200:
        break;
    case 429:
        *ret_why = "Rate limit reached for requests";
        break;
    case 500:
        *ret_why = "The server had an error while processing your request";
        break;
    default:
        *ret_why = "The engine is currently overloaded, try again later";
        break;
    }
    return chat->fate.status;
}

static belay_next
refuse(belay_task *task, struct belay__sim_chat *chat, const char *why)
{
    const belay_duration wait = chat->sim->opts.retry_after;
    const int status = chat->entry.status;
    char text[128];
    int code = 0;

    chat->entry.end = BELAY__SIM_REFUSED;
    if (status == 429 && wait.ns > 0) {
        (void)snprintf(
            text, sizeof(text), "%.12g", (double)wait.ns / BELAY__SIM_NS_PER_S);
        code = belay__reply_header(chat->call.reply, "retry-after", text);
    }
    if (code < 0) {
        return belay_fail(task, code, NULL);
    }
    if (chat->request.wrong_at != SIZE_MAX) {
        (void)snprintf(text, sizeof(text),
            "the body is not JSON: %s at byte %zu", why,
            chat->request.wrong_at);
        why = text;
    }
    return belay__sim_refuse(task, chat->sim, &chat->call, status, why);
}

/* ---- the page ---- */

static belay_next
respond(belay_task *task, struct belay__sim_chat *chat)
{
    const char *why = NULL;

    chat->request.wrong_at = SIZE_MAX;
    chat->entry.status = judge(chat, &why);
    if (chat->entry.status != 200) {
        return refuse(task, chat, why);
    }
    prepare(chat);
    return belay__sim_answer(task, chat);
}

static belay_next
page_step(belay_task *task, void *frame)
{
    struct belay__sim_chat *self = frame;

    BELAY_BEGIN;
    note_request(task, self);
    BELAY_WITH (BELAY_ENTER(admission, .chat = self)) {
        BELAY_CHECK(add_headers(self));
        BELAY_AWAIT(respond(task, self));
        if (self->sim->opts.max_requests > 0
            && self->entry.end != BELAY__SIM_CUT) {
            /* It may be the last: the simulator closes behind it. */
            BELAY_AWAIT(belay__reply_flush(task, self->call.reply));
        }
    }
    BELAY_END;
}

static const belay_function page = {
    "chat completion", __FILE__, sizeof(struct belay__sim_chat), page_step, 0};

belay_next
belay__sim_chat(
    belay_task *task, struct belay__sim *sim, const struct belay__call *call)
{
    return belay_call(task, &page,
        &(const struct belay__sim_chat){.call = *call, .sim = sim});
}
