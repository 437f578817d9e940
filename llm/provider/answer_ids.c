/* answer_ids.c - ids for calls that the server gave none.
 *
 * They go on from those that the request has, so that none of ours is another
 * call's of the conversation: its messages say how far it is, and an attempt
 * that is made again names its calls as the one before it. What ids a server
 * gives in two answers is its own affair: they are kept.
 */
#define _GNU_SOURCE /* memmem() */
#include "llm/provider/answer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What has more is chance or a prank: the numbers do not go on behind it, but
 * stay such as are read again, whatever a request says.
 */
#define DIGITS_MAX 9

/* Has one of the first `count` calls that id? */
static bool
is_taken(
    const struct belay__choice *choice, size_t count, struct belay_slice id)
{
    for (size_t i = 0; i < count; i++) {
        const struct belay_slice other =
            belay__llm_text_slice(choice->tools[i].id);

        if (other.len > 0 && other.len == id.len
            && memcmp(other.data, id.data, id.len) == 0) {
            return true;
        }
    }
    return false;
}

/* One more than the highest number of those of few digits that a string
 * "call_<number>" of the JSON has, whatever it is there: few are not ids. 0:
 * there is none. It may be there all the same, with too many digits to count.
 */
static uint64_t
first_number(struct belay_slice request)
{
    static const char begin[] = "\"call_";
    const char *at = request.data;
    const char *end = request.len > 0 ? at + request.len : at;
    uint64_t first = 0;

    while (at < end
           && (at = memmem(at, (size_t)(end - at), begin, sizeof(begin) - 1))
                  != NULL) {
        uint64_t number = 0;
        const char *digits = at + sizeof(begin) - 1;

        for (at = digits;
             at < end && *at >= '0' && *at <= '9' && at - digits < DIGITS_MAX;
             at++) {
            number = number * 10 + (uint64_t)(*at - '0');
        }
        if (at > digits && at < end && *at == '"' && number >= first) {
            first = number + 1;
        }
    }
    return first;
}

/* Does that stand there as a string of the JSON? */
static bool
is_in_request(struct belay_slice request, struct belay_slice id)
{
    const char *at = request.data;
    const char *end = request.len > 0 ? at + request.len : at;

    while (at < end
           && (at = memmem(at, (size_t)(end - at), id.data, id.len)) != NULL) {
        if (at > request.data && at[-1] == '"' && at + id.len < end
            && at[id.len] == '"') {
            return true;
        }
        at += id.len;
    }
    return false;
}

int
belay__answer_name_calls(
    const struct belay__answer *answer, struct belay__choice *choice)
{
    char text[32];
    struct belay_slice ours = {text, 0};
    uint64_t number = UINT64_MAX; /* not known yet */

    for (size_t i = 0; i < choice->tool_count; i++) {
        struct belay__tool *tool = &choice->tools[i];
        const struct belay_slice id = belay__llm_text_slice(tool->id);

        if (id.len > 0 && !is_taken(choice, i, id)) {
            continue;
        }
        if (number == UINT64_MAX) {
            number = first_number(answer->request);
        }
        do {
            ours.len =
                (size_t)snprintf(text, sizeof(text), "call_%" PRIu64, number++);
        } while (is_taken(choice, choice->tool_count, ours)
                 || is_in_request(answer->request, ours));
        if (tool->id != NULL) {
            tool->id->len = 0;
        }
        if (belay__llm_text_append(&tool->id, answer->memory, ours, 0) < 0) {
            return BELAY_ENOMEM;
        }
    }
    return 0;
}
