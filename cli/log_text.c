/* log_text.c - what was said, for people.
 *
 * Messages of all formats, as far as one reader knows them; what it does not
 * know is shown as JSON. Nothing of it moves a cursor or sets a colour.
 */
#include "cli/log.h"

#include "llm/json/text.h"
#include "llm/printable.h"
#include "llm/provider/provider.h"

#include <string.h>

/* One line of it. */
static int
print_line(struct belay__buffer *buffer, struct belay_slice line, FILE *out)
{
    size_t len;
    int code;

    belay__buffer_clear(buffer);
    code = belay__buffer_reserve(buffer, line.len * 3 + 16);
    if (code < 0) {
        return code;
    }
    len = belay__printable(line, NULL, buffer->data, buffer->room);
    return fwrite(buffer->data, 1, len, out) == len ? 0 : BELAY_EIO;
}

int
belay__log_print_text(
    struct belay__memory *memory, struct belay_slice text, FILE *out)
{
    struct belay__buffer buffer;
    int code = 0;

    belay__buffer_init(&buffer, memory, SIZE_MAX / 2);
    while (code == 0 && text.len > 0) {
        const char *end = memchr(text.data, '\n', text.len);
        const size_t len = end != NULL ? (size_t)(end - text.data) : text.len;

        code = print_line(&buffer, (struct belay_slice){text.data, len}, out);
        if (code == 0) {
            code = fputc('\n', out) == EOF ? BELAY_EIO : 0;
        }
        text.data += len + (end != NULL);
        text.len -= len + (end != NULL);
    }
    belay__buffer_fini(&buffer);
    return code;
}

/* A JSON string, decoded; of anything else the JSON. */
static int
print_value(struct belay__memory *memory, const struct belay__json_value *value,
    FILE *out)
{
    struct belay__buffer buffer;
    int code;

    if (value->type != BELAY__JSON_STRING) {
        return belay__log_print_text(memory, value->raw, out);
    }
    belay__buffer_init(&buffer, memory, SIZE_MAX / 2);
    code = belay__json_append_decoded(&buffer, value->raw);
    if (code == 0) {
        code = belay__log_print_text(memory, belay__buffer_slice(&buffer), out);
    }
    belay__buffer_fini(&buffer);
    return code;
}

/* A part of a content, or an item: its text, or the whole of it. */
static int
print_part(struct belay__memory *memory, struct belay_slice part, FILE *out)
{
    static const char *const members[] = {"text", "content", "output"};
    struct belay__json_value values[3];

    belay__provider_members(part, members, 3, values);
    for (int i = 0; i < 3; i++) {
        if (values[i].type == BELAY__JSON_STRING) {
            return print_value(memory, &values[i], out);
        }
    }
    return belay__log_print_text(memory, part, out);
}

static int
print_parts(struct belay__memory *memory, struct belay_slice parts, FILE *out)
{
    struct belay__json_value part;
    struct belay__json json;
    int code = 0;

    belay__json_open(&json, parts);
    (void)belay__json_enter_array(&json);
    while (code == 0 && belay__json_next_element(&json)) {
        if (belay__json_take(&json, &part)) {
            code = part.type == BELAY__JSON_OBJECT
                       ? print_part(memory, part.raw, out)
                       : print_value(memory, &part, out);
        }
    }
    return code;
}

static int
print_content(struct belay__memory *memory,
    const struct belay__json_value *content, FILE *out)
{
    if (content->type == BELAY__JSON_ARRAY) {
        return print_parts(memory, content->raw, out);
    }
    return content->type == BELAY__JSON_NULL
                   || content->type == BELAY__JSON_NONE
               ? 0
               : print_value(memory, content, out);
}

static int
print_body(struct belay__memory *memory, struct belay_slice body, FILE *out)
{
    static const char *const members[] = {"content", "tool_calls", "output"};
    struct belay__json_value values[3];
    struct belay__json_value whole = {.raw = body};
    int code;

    if (belay__json_check(body, &whole.type, NULL) < 0) {
        return belay__log_print_text(memory, body, out);
    }
    if (whole.type != BELAY__JSON_OBJECT) {
        return print_content(memory, &whole, out);
    }
    belay__provider_members(body, members, 3, values);
    if (values[0].type == BELAY__JSON_NONE
        && values[2].type == BELAY__JSON_NONE) {
        return belay__log_print_text(memory, body, out);
    }
    code = print_content(memory, &values[0], out);
    if (code == 0) {
        code = print_content(memory, &values[2], out);
    }
    return code < 0 ? code : print_content(memory, &values[1], out);
}

int
belay__log_print_message(struct belay__memory *memory, struct belay_slice role,
    struct belay_slice body, FILE *out)
{
    char name[64];

    (void)belay__printable(role, NULL, name, sizeof(name));
    if (fprintf(out, "--- %s\n", name[0] != '\0' ? name : "?") < 0) {
        return BELAY_EIO;
    }
    if (body.len == 0) {
        return fputs("(not kept)\n", out) < 0 ? BELAY_EIO : 0;
    }
    return print_body(memory, body, out);
}

/* ---- answers ---- */

static enum belay_llm_format
format_of(struct belay_slice provider)
{
    if (belay__log_begins(provider, "responses")) {
        return BELAY_LLM_FORMAT_RESPONSES;
    }
    return belay__log_begins(provider, "messages") ? BELAY_LLM_FORMAT_MESSAGES
                                                   : BELAY_LLM_FORMAT_CHAT;
}

static int
print_call(
    struct belay__memory *memory, const struct belay__tool *tool, FILE *out)
{
    int code = fputs("-> ", out) < 0 ? BELAY_EIO : 0;

    if (code == 0) {
        code = belay__log_print_text(
            memory, belay__llm_text_slice(tool->name), out);
    }
    return code < 0 ? code
                    : belay__log_print_text(memory,
                        belay__llm_text_slice(tool->arguments.text), out);
}

static int
print_choice(
    struct belay__memory *memory, const struct belay__choice *choice, FILE *out)
{
    int code = belay__log_print_text(
        memory, belay__stretch_slice(choice, BELAY__TEXT), out);

    if (code == 0) {
        code = belay__log_print_text(
            memory, belay__stretch_slice(choice, BELAY__REFUSAL), out);
    }
    for (size_t i = 0; code == 0 && i < choice->tool_count; i++) {
        code = print_call(memory, &choice->tools[i], out);
    }
    return code;
}

/* What a stream has put together was written down in Chat's form, whatever the
 * server's is.
 */
static int
read_answer(struct belay__memory *memory, struct belay_slice provider,
    struct belay_slice body, struct belay__answer *ret)
{
    const enum belay_llm_format formats[] = {
        format_of(provider), BELAY_LLM_FORMAT_CHAT};
    int code = 0;

    for (size_t i = 0; i < 2; i++) {
        belay__answer_init(ret, memory, false);
        code = belay__provider_read(belay__provider_of(formats[i]), ret, body);
        if (code == BELAY_ENOMEM || (code == 0 && ret->choice_count > 0)) {
            break;
        }
        belay__answer_fini(ret);
    }
    return code;
}

int
belay__log_print_answer(struct belay__memory *memory,
    struct belay_slice provider, struct belay_slice body, FILE *out)
{
    struct belay__answer answer;
    int code;

    if (fputs("--- answer\n", out) < 0) {
        return BELAY_EIO;
    }
    if (body.len == 0) {
        return fputs("(none, or not kept)\n", out) < 0 ? BELAY_EIO : 0;
    }
    code = read_answer(memory, provider, body, &answer);
    if (code == BELAY_ENOMEM) {
        belay__answer_fini(&answer);
        return code;
    }
    if (code < 0 || answer.choice_count == 0) {
        code = belay__log_print_text(memory, body, out);
    }
    for (size_t i = 0; code == 0 && i < answer.choice_count; i++) {
        code = print_choice(memory, belay__answer_nth(&answer, i), out);
    }
    belay__answer_fini(&answer);
    return code;
}
