/* answer_dump.c - what was read of an answer, as text that can be compared. */
#include "test/support/answer_dump.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void add(char **text, const char *format, ...) BELAY_PRINTF(2, 3);

static void
add(char **text, const char *format, ...)
{
    const size_t len = *text != NULL ? strlen(*text) : 0;
    va_list args;
    int more;

    va_start(args, format);
    more = vsnprintf(NULL, 0, format, args);
    va_end(args);
    *text = realloc(*text, len + (size_t)more + 1);
    if (*text == NULL) {
        abort();
    }
    va_start(args, format);
    (void)vsnprintf(*text + len, (size_t)more + 1, format, args);
    va_end(args);
}

static void
add_slice(char **text, const char *before, struct belay_slice slice)
{
    if (slice.len > 0) {
        add(text, " %s'", before);
        for (size_t i = 0; i < slice.len; i++) {
            add(text, slice.data[i] == '\0' ? "\\0" : "%c", slice.data[i]);
        }
        add(text, "'");
    }
}

static struct belay_slice
word(const struct belay__word *word)
{
    return (struct belay_slice){word->text, word->len};
}

static void
add_choice(char **text, const struct belay__choice *choice)
{
    add(text, "%" PRId64, choice->index);
    add_slice(text, "T", belay__stretch_slice(choice, BELAY__TEXT));
    add_slice(text, "R", belay__stretch_slice(choice, BELAY__REFUSAL));
    add_slice(text, "Y", belay__stretch_slice(choice, BELAY__REASONING));
    for (size_t i = 0; i < choice->tool_count; i++) {
        const struct belay__tool *tool = &choice->tools[i];

        add(text, " C(");
        add_slice(text, "", belay__llm_text_slice(tool->id));
        add_slice(text, "", belay__llm_text_slice(tool->name));
        add_slice(text, "", belay__llm_text_slice(tool->arguments.text));
        add(text, " )");
    }
    if (choice->ended || choice->end != BELAY_LLM_END_UNKNOWN) {
        add(text, " E%d", (int)choice->end);
        add_slice(text, "", word(&choice->end_word));
    }
    add(text, "\n");
}

char *
answer_dump(struct belay__answer *answer)
{
    struct belay_llm_usage usage;
    char *text = NULL;

    add(&text, "%s", "");
    for (size_t i = 0; i < answer->choice_count; i++) {
        add_choice(&text, belay__answer_nth(answer, i));
    }
    belay__answer_get_usage(answer, &usage);
    if (usage.state != BELAY_LLM_USAGE_UNKNOWN) {
        add(&text, "U %" PRId64 "/%" PRId64 "/%" PRId64 "\n", usage.in_total,
            usage.in_cache_read, usage.out_total);
    }
    if (answer->error_status != 0) {
        add(&text, "X%d", answer->error_status);
        add_slice(&text, "", word(&answer->error_type));
        add_slice(&text, "", belay__llm_text_slice(answer->error_message));
        add(&text, "\n");
    }
    if (answer->code != 0) {
        add(&text, "#%s\n", belay_code_name(answer->code));
    }
    return text;
}

void
event_dump(char **text, const struct belay_llm_event *event)
{
    static const char *const names[] = {
        "T", "R", "Y", "C", "A", "E", "RESTART", "DONE"};

    add(text, "%s%" PRId64, names[event->type], event->choice);
    if (event->type == BELAY_LLM_EVENT_TOOL
        || event->type == BELAY_LLM_EVENT_ARGUMENTS) {
        add(text, ".%zu", event->tool);
    }
    if (event->type == BELAY_LLM_EVENT_TOOL) {
        add_slice(text, "", event->id);
        add_slice(text, "", event->name);
    }
    add_slice(text, "", event->text);
    add(text, "\n");
}

char *
dump_whole(struct belay__memory *memory, const struct belay__provider *provider,
    struct belay_slice body)
{
    struct belay__answer answer;
    char *text;

    belay__answer_init(&answer, memory, false);
    (void)belay__provider_read(provider, &answer, body);
    text = answer_dump(&answer);
    belay__answer_fini(&answer);
    return text;
}

static void
take_all(struct belay__answer *answer, char **events)
{
    struct belay_llm_event event;

    while (belay__answer_take(answer, &event)) {
        if (events != NULL) {
            event_dump(events, &event);
        }
    }
}

char *
dump_stream(struct belay__memory *memory,
    const struct belay__provider *provider, struct belay_slice stream,
    char **ret_events)
{
    struct belay__answer answer;
    struct belay__sse sse;
    struct belay__sse_event event;
    bool ended = false;
    char *text;
    int code;

    belay__answer_init(&answer, memory, true);
    belay__sse_init(&sse, memory, 0);
    belay__sse_push(&sse, stream);
    while (!answer.finished && answer.code == 0) {
        code = belay__sse_next(&sse, &event);
        if (code > 0) {
            (void)belay__provider_event(provider, &answer, &event);
            take_all(&answer, ret_events);
        } else if (code < 0 || ended) {
            break;
        } else {
            belay__sse_end(&sse);
            ended = true;
        }
    }
    belay__answer_close(&answer);
    take_all(&answer, ret_events);
    text = answer_dump(&answer);
    belay__sse_fini(&sse);
    belay__answer_fini(&answer);
    return text;
}
