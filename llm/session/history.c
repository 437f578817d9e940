/* history.c - what was said, as a list that sessions share.
 *
 * As in runtime/context.c: a new entry refers to the one before it, so that
 * going back, sharing and forking cost nothing. What goes through all of it
 * goes from the newest to the oldest.
 */
#include "llm/session/history.h"

#include "runtime/basics.h"

#include <string.h>

void
belay__history_unref(
    struct belay__memory *memory, struct belay__history *history)
{
    struct belay__history *below;

    while (history != NULL && --history->refs == 0) {
        below = history->below;
        belay__said_unref(memory, history->said);
        belay__free(memory, history, sizeof(*history));
        history = below;
    }
}

int
belay__history_push(struct belay__memory *memory,
    struct belay__history **history, struct belay__said *said)
{
    struct belay__history *below = *history;
    struct belay__history *entry = belay__alloc(memory, sizeof(*entry));

    if (entry == NULL) {
        return BELAY_ENOMEM;
    }
    *entry = (struct belay__history){
        .below = below, /* the reference moves here */
        .said = belay__said_ref(said),
        .refs = 1,
        .count = belay__history_count(below) + 1,
        .bytes = belay__history_bytes(below) + said->size,
        .tokens = belay__history_tokens(below) + said->tokens,
    };
    *history = entry;
    return 0;
}

/* ---- calls and results ---- */

/* The message whose calls the next result would answer, or NULL; *ret_results
 * is how many there are already.
 */
static const struct belay__history *
find_caller(const struct belay__history *history, size_t *ret_results)
{
    size_t results = 0;

    for (; history != NULL && belay__said_is(history->said, "tool");
         history = history->below) {
        results++;
    }
    *ret_results = results;
    return history;
}

size_t
belay__history_open_calls(const struct belay__history *history)
{
    size_t results;
    const struct belay__history *caller = find_caller(history, &results);

    return caller != NULL ? caller->said->message.tool_call_count - results : 0;
}

static bool
equal(struct belay_slice a, struct belay_slice b)
{
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

static bool
calls(const struct belay_llm_message *message, struct belay_slice id)
{
    for (size_t i = 0; i < message->tool_call_count; i++) {
        if (equal(message->tool_calls[i].id, id)) {
            return true;
        }
    }
    return false;
}

static const char *
refuses_result(const struct belay__history *history, struct belay_slice id)
{
    size_t results;
    const struct belay__history *caller = find_caller(history, &results);

    if (caller == NULL || !calls(&caller->said->message, id)) {
        return "a result answers no call of the message before it";
    }
    for (; history != caller; history = history->below) {
        if (equal(history->said->message.tool_call_id, id)) {
            return "a call has two results";
        }
    }
    return NULL;
}

const char *
belay__history_refuses(const struct belay__history *history,
    const struct belay_llm_message *message)
{
    if (strcmp(message->role, "tool") == 0) {
        return refuses_result(history, message->tool_call_id);
    }
    return belay__history_open_calls(history) > 0 ? "a call has no result yet"
                                                  : NULL;
}

int
belay__history_add(struct belay__memory *memory,
    struct belay__history **history, const struct belay_llm_message *message,
    bool incomplete, size_t max, const char **ret_why)
{
    const size_t used = belay__history_bytes(*history);
    const char *why = belay__said_check(message);
    struct belay__said *said;
    int code;

    if (why == NULL) {
        why = belay__history_refuses(*history, message);
    }
    if (why != NULL) {
        *ret_why = why;
        return BELAY_EINVAL;
    }
    code = belay__said_new(
        memory, message, incomplete, max > used ? max - used : 0, &said);
    if (code < 0) {
        return code;
    }
    code = belay__history_push(memory, history, said);
    belay__said_unref(memory, said);
    return code;
}

/* ---- looking ---- */

const struct belay__said *
belay__history_nth(const struct belay__history *history, size_t n)
{
    assert(n < belay__history_count(history));
    while (history->count > n + 1) {
        history = history->below;
    }
    return history->said;
}

void
belay__history_fill(
    const struct belay__history *history, struct belay_llm_message *ret)
{
    for (; history != NULL; history = history->below) {
        ret[history->count - 1] = history->said->message;
    }
}
