/* answer_ids.c - ids for calls that the server gave none.
 *
 * They go on from those that the request has, so that none of ours is another
 * call's of the conversation: its messages say how far it is, and an attempt
 * that is made again names its calls as the one before it. What ids a server
 * gives in two answers is its own affair: they are kept.
 */
#define _GNU_SOURCE /* memmem() */
#include "llm/provider/answer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What has more is chance or a prank: the numbers do not go on behind it, but
 * stay such as are read again, whatever a request says.
 */
#define DIGITS_MAX 9
#define NUMBER_MAX 999999999

/* The numbers that the request has not. */
struct numbers {
    struct belay_slice request;
    bool begun;
    size_t count;
    uint64_t found[BELAY__TOOLS_MAX]; /* in ascending order */
    uint64_t next;
    uint64_t window; /* the first that has a bit below */
    uint8_t taken[4096];
};

/* Goes on to the next string "call_<number>" of the JSON, whatever it is there:
 * few are not ids.
 */
static bool
find_number(
    const char **at, const char *end, ptrdiff_t digits_max, uint64_t *ret)
{
    static const char begin[] = "\"call_";

    while (*at < end
           && (*at = memmem(*at, (size_t)(end - *at), begin, sizeof(begin) - 1))
                  != NULL) {
        const char *digits = *at + sizeof(begin) - 1;
        const char *c = digits;

        *ret = 0;
        for (; c < end && *c >= '0' && *c <= '9' && c - digits < digits_max;
             c++) {
            *ret = *ret * 10 + (uint64_t)(*c - '0');
        }
        *at = c;
        if (c > digits && c < end && *c == '"') {
            return true;
        }
    }
    return false;
}

/* Behind the highest of few digits; 0 if there is none. */
static void
begin_numbers(struct numbers *numbers, struct belay_slice request)
{
    const char *at = request.data;
    const char *end = request.len > 0 ? at + request.len : at;
    uint64_t number;

    *numbers = (struct numbers){.request = request, .begun = true};
    while (find_number(&at, end, DIGITS_MAX, &number)) {
        if (number >= numbers->next) {
            numbers->next = number + 1;
        }
    }
}

/* Notes which of the next ones the request has. */
static void
move_window(struct numbers *numbers)
{
    const char *at = numbers->request.data;
    const char *end = at + numbers->request.len;
    uint64_t number;

    numbers->window = numbers->next;
    memset(numbers->taken, 0, sizeof(numbers->taken));
    while (find_number(&at, end, (ptrdiff_t)2 * DIGITS_MAX, &number)) {
        number -= numbers->window; /* a lot if it is before */
        if (number / 8 < sizeof(numbers->taken)) {
            numbers->taken[number / 8] |= (uint8_t)(1U << (number % 8));
        }
    }
}

/* The next that the request has not. Those of few digits have been looked at;
 * behind them there may be more, many if somebody wants this to take long.
 */
static uint64_t
next_number(struct numbers *numbers)
{
    for (;; numbers->next++) {
        uint64_t bit = numbers->next - numbers->window;

        if (numbers->next <= NUMBER_MAX) {
            break;
        }
        if (bit / 8 >= sizeof(numbers->taken)) {
            move_window(numbers);
            bit = 0;
        }
        if ((numbers->taken[bit / 8] & (1U << (bit % 8))) == 0) {
            break;
        }
    }
    return numbers->next++;
}

/* Those of an answer's choices are the same: looked for once. */
static uint64_t
nth_number(struct numbers *numbers, struct belay_slice request, size_t n)
{
    if (!numbers->begun) {
        begin_numbers(numbers, request);
    }
    assert(n < BELAY__TOOLS_MAX); /* each is a call's, its id or our name */
    while (numbers->count <= n) {
        numbers->found[numbers->count++] = next_number(numbers);
    }
    return numbers->found[n];
}

static int
name_calls(const struct belay__answer *answer, struct belay__choice *choice,
    struct numbers *numbers)
{
    char text[32];
    struct belay_slice ours = {text, 0};
    size_t n = 0;

    for (size_t i = 0; i < choice->tool_count; i++) {
        struct belay__tool *tool = &choice->tools[i];
        const bool told = belay__llm_text_slice(tool->id).len > 0;

        if (told && belay__tool_is_first(choice, tool)) {
            continue;
        }
        do {
            ours.len = (size_t)snprintf(text, sizeof(text), "call_%" PRIu64,
                nth_number(numbers, answer->request, n++));
        } while (belay__tool_of_id(choice, ours) != NULL);
        if (told) {
            belay__tool_leave_id(choice, tool);
            tool->id->len = 0;
        }
        if (belay__llm_text_append(&tool->id, answer->memory, ours, 0) < 0
            || !belay__tool_enter_id(answer->memory, choice, tool)) {
            return BELAY_ENOMEM;
        }
    }
    return 0;
}

int
belay__answer_name_calls(struct belay__answer *answer)
{
    struct numbers numbers;
    int code = 0;

    numbers.begun = false;
    for (size_t i = 0; code == 0 && i < answer->choice_count; i++) {
        code = name_calls(answer, &answer->choices[i], &numbers);
    }
    return code;
}
