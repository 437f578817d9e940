/* answer.c - what a model answers, put together.
 *
 * Texts grow where they are; a delta is a place in one of them. In the usual
 * case, one choice and one text, an event of a stream costs no allocation:
 * the room of the texts doubles, and that of the deltas is used again.
 */
#include "llm/provider/answer.h"

#include "llm/json/text.h"
#include "llm/json/utf8.h"
#include "llm/provider/error.h"

#include <assert.h>
#include <string.h>

#define DELTAS_MAX ((size_t)1 << 20) /* of one event of a stream */
#define AHEAD 256 /* room for what is still to come, in a stream */

static const enum belay_llm_event_type event_types[BELAY__STRETCHES] = {
    [BELAY__TEXT] = BELAY_LLM_EVENT_TEXT,
    [BELAY__REFUSAL] = BELAY_LLM_EVENT_REFUSAL,
    [BELAY__REASONING] = BELAY_LLM_EVENT_REASONING,
};

/* ---- life ---- */

void
belay__answer_init(
    struct belay__answer *answer, struct belay__memory *memory, bool live)
{
    *answer = (struct belay__answer){
        .memory = memory, .live = live, .other_block = -1};
    belay__buffer_init(
        &answer->deltas, memory, DELTAS_MAX * sizeof(struct belay__delta));
    belay__usage_begin(&answer->counts);
}

static void
choice_fini(struct belay__memory *memory, struct belay__choice *choice)
{
    for (size_t i = 0; i < BELAY__STRETCHES; i++) {
        belay__llm_text_free(choice->stretches[i].text);
    }
    for (size_t i = 0; i < choice->tool_count; i++) {
        belay__llm_text_free(choice->tools[i].id);
        belay__llm_text_free(choice->tools[i].name);
        belay__llm_text_free(choice->tools[i].arguments.text);
    }
    belay__free(
        memory, choice->tools, choice->tool_room * sizeof(*choice->tools));
    belay__order_fini(memory, &choice->by_index, NULL);
    belay__order_fini(memory, &choice->by_id, NULL);
}

void
belay__answer_fini(struct belay__answer *answer)
{
    for (size_t i = 0; i < answer->choice_count; i++) {
        choice_fini(answer->memory, &answer->choices[i]);
    }
    if (answer->choices != NULL && answer->choices != &answer->first) {
        belay__free(answer->memory, answer->choices,
            answer->choice_room * sizeof(*answer->choices));
    }
    belay__order_fini(answer->memory, &answer->by_index, &answer->first_place);
    belay__llm_text_free(answer->scratch);
    belay__llm_text_free(answer->usage.copy);
    belay__llm_text_free(answer->model.copy);
    belay__llm_text_free(answer->error_message);
    belay__buffer_fini(&answer->deltas);
    *answer = (struct belay__answer){.memory = NULL};
}

static void
fail(struct belay__answer *answer, int code)
{
    if (answer->code == 0) {
        answer->code = code;
    }
}

/* ---- deltas ---- */

static void
note(struct belay__answer *answer, const struct belay__choice *choice,
    const struct belay__tool *tool, enum belay_llm_event_type type, size_t at,
    size_t len)
{
    const struct belay__delta delta = {
        .type = type,
        .choice = (uint32_t)(choice - answer->choices),
        .tool = tool != NULL ? (uint32_t)(tool - choice->tools) : 0,
        .at = at,
        .len = len,
    };

    if (!answer->live || answer->code != 0) {
        return;
    }
    if (answer->deltas_taken > 0
        && answer->deltas_taken * sizeof(delta) == answer->deltas.len) {
        belay__buffer_clear(&answer->deltas);
        answer->deltas_taken = 0;
    }
    if (belay__buffer_append(
            &answer->deltas, (const char *)&delta, sizeof(delta))
        < 0) {
        fail(answer, BELAY_ENOMEM);
    }
}

/* Appends to a stretch and notes what is new of it. */
static void
extend(struct belay__answer *answer, const struct belay__choice *choice,
    const struct belay__tool *tool, struct belay__stretch *stretch,
    enum belay_llm_event_type type, struct belay_slice string)
{
    const size_t before = belay__llm_text_slice(stretch->text).len;

    if (answer->code != 0) {
        return;
    }
    if (belay__llm_text_append_string(&stretch->text, answer->memory, string,
            &stretch->high, answer->live ? AHEAD : 0)
        < 0) {
        fail(answer, BELAY_ENOMEM);
    } else if (stretch->text->len > before) {
        note(answer, choice, tool, type, before, stretch->text->len - before);
    }
}

/* Half a character at the very end will not be made whole any more. */
static void
flush(struct belay__answer *answer, const struct belay__choice *choice,
    const struct belay__tool *tool, struct belay__stretch *stretch,
    enum belay_llm_event_type type)
{
    static const struct belay_slice replacement = {BELAY__UTF8_REPLACEMENT, 3};
    const size_t before = belay__llm_text_slice(stretch->text).len;

    if (stretch->high == 0 || answer->code != 0) {
        return;
    }
    stretch->high = 0;
    if (belay__llm_text_append(&stretch->text, answer->memory, replacement, 0)
        < 0) {
        fail(answer, BELAY_ENOMEM);
        return;
    }
    note(answer, choice, tool, type, before, replacement.len);
}

/* ---- short texts ---- */

/* Decodes a string that does not grow any more. */
static void
set_text(struct belay__answer *answer, struct belay__llm_text **text,
    const struct belay__json_value *value)
{
    struct belay__stretch stretch = {.text = *text};

    if (belay__llm_text_append_string(
            &stretch.text, answer->memory, value->raw, &stretch.high, 0)
        < 0) {
        fail(answer, BELAY_ENOMEM);
    }
    *text = stretch.text;
}

bool
belay__answer_says(const struct belay__json_value *value)
{
    return value->type == BELAY__JSON_STRING && value->raw.len > 2;
}

/* What it says, good until the next one is read; empty: nothing. */
static struct belay_slice
read_text(struct belay__answer *answer, const struct belay__json_value *value)
{
    if (value == NULL || !belay__answer_says(value)) {
        return (struct belay_slice){NULL, 0};
    }
    if (!value->escaped) {
        return belay__json_inside(value->raw);
    }
    if (answer->scratch != NULL) {
        answer->scratch->len = 0;
    }
    set_text(answer, &answer->scratch, value);
    return belay__llm_text_slice(answer->scratch);
}

static void
set_word(struct belay__word *word, struct belay_slice text)
{
    word->len = text.len < sizeof(word->text) ? text.len : sizeof(word->text);
    if (word->len > 0) {
        memcpy(word->text, text.data, word->len);
    }
}

/* ---- choices ---- */

/* Room for one more element of an array that starts in `first`, if there is
 * one; NULL without memory. The new element is zeroed.
 */
static void *
grow(struct belay__memory *memory, void *array, size_t count, size_t *room,
    size_t size, void *first)
{
    const size_t more = *room == 0 ? 4 : *room * 2;
    char *grown = array;

    if (array == NULL && first != NULL) {
        *room = 1;
        return first;
    }
    if (count == *room) {
        if (array == first && first != NULL) {
            grown = belay__alloc(memory, more * size);
            if (grown != NULL) {
                memcpy(grown, first, count * size);
            }
        } else {
            grown = belay__realloc(memory, array, *room * size, more * size);
        }
        if (grown == NULL) {
            return NULL;
        }
        *room = more;
    }
    assert(grown != NULL);
    memset(grown + count * size, 0, size);
    return grown;
}

struct belay__choice *
belay__answer_choice(struct belay__answer *answer, int64_t index)
{
    struct belay__choice *choices;

    if (answer->code != 0) {
        return NULL;
    }
    choices = belay__choice_find(answer, index);
    if (choices != NULL) {
        return choices;
    }
    if (answer->choice_count == BELAY__CHOICES_MAX) {
        fail(answer, BELAY_EREPLY);
        return NULL;
    }
    choices = grow(answer->memory, answer->choices, answer->choice_count,
        &answer->choice_room, sizeof(*choices), &answer->first);
    answer->choices = choices != NULL ? choices : answer->choices;
    if (choices == NULL || !belay__choice_enter(answer, index)) {
        fail(answer, BELAY_ENOMEM);
        return NULL;
    }
    choices[answer->choice_count].index = index;
    return &choices[answer->choice_count++];
}

void
belay__answer_text(struct belay__answer *answer, struct belay__choice *choice,
    enum belay__stretch_kind kind, const struct belay__json_value *value)
{
    if (choice != NULL && value->type == BELAY__JSON_STRING) {
        extend(answer, choice, NULL, &choice->stretches[kind],
            event_types[kind], value->raw);
    }
}

static void
flush_all(struct belay__answer *answer, struct belay__choice *choice)
{
    for (size_t i = 0; i < BELAY__STRETCHES; i++) {
        flush(answer, choice, NULL, &choice->stretches[i], event_types[i]);
    }
    for (size_t i = 0; i < choice->tool_count; i++) {
        flush(answer, choice, &choice->tools[i], &choice->tools[i].arguments,
            BELAY_LLM_EVENT_ARGUMENTS);
    }
}

void
belay__answer_end(struct belay__answer *answer, struct belay__choice *choice,
    enum belay_llm_end end, const struct belay__json_value *word)
{
    if (choice == NULL || answer->code != 0 || choice->ended) {
        return;
    }
    flush_all(answer, choice);
    choice->end = belay__stretch_slice(choice, BELAY__REFUSAL).len > 0
                      ? BELAY_LLM_END_REFUSAL
                      : end;
    set_word(&choice->end_word, read_text(answer, word));
    choice->ended = true;
    note(answer, choice, NULL, BELAY_LLM_EVENT_END, 0, 0);
}

/* ---- tools ---- */

static bool
is_same(struct belay_slice a, struct belay_slice b)
{
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

/* The call that a delta belongs to, or NULL: it begins one (L7). */
static struct belay__tool *
find_tool(
    const struct belay__choice *choice, int64_t index, struct belay_slice id)
{
    struct belay__tool *tool;

    if (index < 0 && id.len > 0) {
        return belay__tool_of_id(choice, id);
    }
    if (index < 0) {
        return choice->tool_count > 0 ? &choice->tools[choice->tool_count - 1]
                                      : NULL;
    }
    tool = belay__tool_of_index(choice, index);
    return tool == NULL || id.len == 0 || tool->id == NULL
                   || is_same(belay__llm_text_slice(tool->id), id)
               ? tool
               : NULL;
}

static struct belay__tool *
new_tool(
    struct belay__answer *answer, struct belay__choice *choice, int64_t index)
{
    struct belay__tool *tools;

    if (choice->tool_count == BELAY__TOOLS_MAX) {
        fail(answer, BELAY_EREPLY);
        return NULL;
    }
    tools = grow(answer->memory, choice->tools, choice->tool_count,
        &choice->tool_room, sizeof(*tools), NULL);
    choice->tools = tools != NULL ? tools : choice->tools;
    if (tools == NULL || !belay__tool_enter(answer->memory, choice, index)) {
        fail(answer, BELAY_ENOMEM);
        return NULL;
    }
    tools[choice->tool_count].index = index;
    return &tools[choice->tool_count++];
}

static void
give_id(struct belay__answer *answer, struct belay__choice *choice,
    struct belay__tool *tool, struct belay_slice id)
{
    if (tool == NULL || tool->id != NULL || id.len == 0) {
        return;
    }
    if (belay__llm_text_append(&tool->id, answer->memory, id, 0) < 0
        || !belay__tool_enter_id(answer->memory, choice, tool)) {
        fail(answer, BELAY_ENOMEM);
    }
}

struct belay__tool *
belay__answer_tool(struct belay__answer *answer, struct belay__choice *choice,
    int64_t index, const struct belay__json_value *id)
{
    struct belay_slice text;
    struct belay__tool *tool;

    if (answer->code != 0 || choice == NULL) {
        return NULL;
    }
    text = read_text(answer, id);
    if (answer->code != 0) {
        return NULL;
    }
    tool = find_tool(choice, index, text);
    if (tool == NULL) {
        tool = new_tool(answer, choice, index);
    }
    give_id(answer, choice, tool, text);
    return tool;
}

struct belay__tool *
belay__answer_new_tool(struct belay__answer *answer,
    struct belay__choice *choice, int64_t index,
    const struct belay__json_value *id)
{
    struct belay_slice text;
    struct belay__tool *tool;

    if (answer->code != 0 || choice == NULL) {
        return NULL;
    }
    text = read_text(answer, id);
    tool = answer->code == 0 ? new_tool(answer, choice, index) : NULL;
    give_id(answer, choice, tool, text);
    return tool;
}

void
belay__answer_tool_name(struct belay__answer *answer,
    struct belay__choice *choice, struct belay__tool *tool,
    const struct belay__json_value *name)
{
    if (tool == NULL || tool->name != NULL || answer->code != 0
        || !belay__answer_says(name)) {
        return;
    }
    set_text(answer, &tool->name, name);
    note(answer, choice, tool, BELAY_LLM_EVENT_TOOL, 0, 0);
}

void
belay__answer_arguments(struct belay__answer *answer,
    struct belay__choice *choice, struct belay__tool *tool,
    const struct belay__json_value *piece)
{
    if (tool != NULL && piece->type == BELAY__JSON_STRING) {
        extend(answer, choice, tool, &tool->arguments,
            BELAY_LLM_EVENT_ARGUMENTS, piece->raw);
    }
}

void
belay__answer_raw_arguments(struct belay__answer *answer,
    struct belay__choice *choice, struct belay__tool *tool,
    struct belay_slice raw)
{
    if (tool == NULL || answer->code != 0) {
        return;
    }
    if (belay__llm_text_append(&tool->arguments.text, answer->memory, raw, 0)
        < 0) {
        fail(answer, BELAY_ENOMEM);
        return;
    }
    note(answer, choice, tool, BELAY_LLM_EVENT_ARGUMENTS,
        tool->arguments.text->len - raw.len, raw.len);
}

/* ---- the rest of an answer ---- */

static void
keep(struct belay__answer *answer, struct belay__kept *kept,
    struct belay_slice span)
{
    kept->span = span;
    if (!answer->live) {
        return;
    }
    if (kept->copy != NULL) {
        kept->copy->len = 0;
    }
    if (belay__llm_text_append(&kept->copy, answer->memory, span, 0) < 0) {
        fail(answer, BELAY_ENOMEM);
    }
    kept->span = belay__llm_text_slice(kept->copy);
}

void
belay__answer_usage(struct belay__answer *answer, struct belay_slice raw)
{
    if (raw.len == 0 || raw.data[0] != '{') {
        return; /* null is normal in all events but the last */
    }
    belay__usage_read(&answer->counts, raw); /* what was paid, in any case */
    if (answer->code == 0) {
        keep(answer, &answer->usage, raw);
    }
}

void
belay__answer_model(
    struct belay__answer *answer, const struct belay__json_value *model)
{
    if (answer->model.span.data != NULL || model->type != BELAY__JSON_STRING
        || answer->code != 0) {
        return;
    }
    if (model->escaped) {
        set_text(answer, &answer->model.copy, model);
        answer->model.span = belay__llm_text_slice(answer->model.copy);
    } else {
        keep(answer, &answer->model, belay__json_inside(model->raw));
    }
}

void
belay__answer_tier(
    struct belay__answer *answer, const struct belay__json_value *tier)
{
    const struct belay__tier told = belay__tier_read(tier);

    if (told.named) {
        answer->tier = told;
    }
}

void
belay__answer_error(struct belay__answer *answer, struct belay_slice body)
{
    struct belay__provider_error error;

    if (answer->code != 0) {
        return;
    }
    belay__provider_error_parse(body, &error);
    answer->error_status = belay__provider_error_status(&error);
    answer->error_is_quota = belay__provider_error_is_quota(&error);
    set_word(&answer->error_type,
        read_text(answer, belay__provider_error_word(&error)));
    if (error.message.type == BELAY__JSON_STRING) {
        set_text(answer, &answer->error_message, &error.message);
    }
    fail(answer, BELAY_EHTTP);
}

void
belay__answer_close(struct belay__answer *answer)
{
    for (size_t i = 0; i < answer->choice_count; i++) {
        struct belay__choice *choice = &answer->choices[i];

        flush_all(answer, choice);
        if (!choice->ended
            && belay__stretch_slice(choice, BELAY__REFUSAL).len > 0) {
            choice->end = BELAY_LLM_END_REFUSAL;
        }
    }
    if (answer->code == 0 && belay__answer_name_calls(answer) < 0) {
        fail(answer, BELAY_ENOMEM);
    }
    answer->request = (struct belay_slice){NULL, 0};
}
