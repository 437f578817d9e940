/* batch_first.c - of each kind of failure the first line.
 *
 * A count says that something is wrong; the first line of it, what and where.
 * It is taken from the error lines as they are written.
 */
#include "cli/batch_first.h"

#include "llm/json/text.h"
#include "llm/printable.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_MOST 1024

/* The error of a line: its code, and its message if that is of a usual size. */
static enum belay__line_error
read_error(struct belay__json *json, struct belay__json_value *ret_message)
{
    enum belay__line_error error = BELAY__LINE_OK;
    struct belay__json_value key;
    struct belay__json_value code;

    while (belay__json_next_member(json, &key)) {
        if (belay__json_key_is(&key, "message")) {
            (void)belay__json_take(json, ret_message);
        } else if (belay__json_key_is(&key, "code")
                   && belay__json_take(json, &code)) {
            for (int i = 1; i < BELAY__LINE_ERROR_COUNT; i++) {
                const char *name =
                    belay__line_error_code((enum belay__line_error)i);

                if (belay__json_key_equals(&code, name, strlen(name))) {
                    error = (enum belay__line_error)i;
                }
            }
        }
    }
    return error;
}

static void
set(char *ret, size_t size, uint64_t number, struct belay_slice message)
{
    char start[40];
    const int len =
        snprintf(start, sizeof(start), "line %" PRIu64 ": ", number);

    /* What is wrong with a line of the input begins with its number. */
    if (message.len >= (size_t)len
        && memcmp(message.data, start, (size_t)len) == 0) {
        message.data += len;
        message.len -= (size_t)len;
    }
    memcpy(ret, start, (size_t)len);
    (void)belay__printable(message, NULL, ret + len, size - (size_t)len);
}

void
belay__batch_firsts_take(
    struct belay__batch_firsts *firsts, const struct belay__batch_written *line)
{
    struct belay__json json;
    struct belay__json_value key;
    struct belay__json_value message = {.type = BELAY__JSON_NONE};
    enum belay__line_error error = BELAY__LINE_OK;
    char text[MESSAGE_MOST];

    if (line->ok) {
        return;
    }
    belay__json_open(&json, line->text);
    if (!belay__json_enter_object(&json)) {
        return;
    }
    while (belay__json_next_member(&json, &key)) {
        if (belay__json_key_is(&key, "error")
            && belay__json_enter_object(&json)) {
            error = read_error(&json, &message);
        }
    }
    if (error != BELAY__LINE_OK && firsts->texts[error][0] == '\0'
        && message.type == BELAY__JSON_STRING
        && message.raw.len <= sizeof(text)) {
        set(firsts->texts[error], sizeof(firsts->texts[error]), line->number,
            (struct belay_slice){text, belay__json_decode(message.raw, text)});
    }
}

void
belay__batch_firsts_say(const struct belay__batch_firsts *firsts)
{
    for (int i = 1; i < BELAY__LINE_ERROR_COUNT; i++) {
        if (firsts->texts[i][0] != '\0' && i != BELAY__LINE_SKIPPED
            && i != BELAY__LINE_EXPIRED) {
            (void)fprintf(stderr, "  first %-20s %s\n",
                belay__line_error_code((enum belay__line_error)i),
                firsts->texts[i]);
        }
    }
}
