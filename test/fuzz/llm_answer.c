/* llm_answer.c - any bytes as an answer, and as a stream of one.
 *
 * The first byte says which format. The rest, as a whole answer, must give
 * the same whether or not deltas are noted, and for Chat Completions the
 * texts that cJSON finds; as a stream, the pieces that are told must add up
 * to the texts that are kept, and all calls of a choice have ids of their own.
 */
#include "test/fuzz/insist.h"
#include "test/support/answer_dump.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct belay__provider *const providers[] = {&belay__chat_provider,
    &belay__responses_provider, &belay__messages_provider,
    &belay__embeddings_provider};

/* ---- the pieces and the whole ---- */

/* What was told of the first choice's text, in order. */
struct told {
    struct belay__buffer text;
};

static void
take_all(struct belay__answer *answer, struct told *told)
{
    struct belay_llm_event event;

    while (belay__answer_take(answer, &event)) {
        if (event.type == BELAY_LLM_EVENT_TEXT
            && event.choice == answer->choices[0].index) {
            insist(belay__buffer_append(
                       &told->text, event.text.data, event.text.len)
                       == 0,
                "out of memory");
        }
        insist(event.type != BELAY_LLM_EVENT_TOOL || event.name.len > 0,
            "a tool without a name");
    }
}

static void
check_told(struct belay__answer *answer, struct told *told)
{
    struct belay_slice text = {NULL, 0};

    if (answer->choice_count > 0) {
        text = belay__stretch_slice(&answer->choices[0], BELAY__TEXT);
    }
    insist(text.len == told->text.len
               && (text.len == 0
                   || memcmp(text.data, told->text.data, text.len) == 0),
        "the pieces are not the text");
}

/* Each call of a choice can be answered: it has an id, and no other has it. */
static void
check_ids(const struct belay__answer *answer)
{
    for (size_t i = 0; i < answer->choice_count; i++) {
        const struct belay__choice *choice = &answer->choices[i];

        for (size_t k = 0; k < choice->tool_count; k++) {
            const struct belay_slice id =
                belay__llm_text_slice(choice->tools[k].id);

            insist(id.len > 0, "a call without an id");
            for (size_t m = 0; m < k; m++) {
                const struct belay_slice other =
                    belay__llm_text_slice(choice->tools[m].id);

                insist(other.len != id.len
                           || memcmp(other.data, id.data, id.len) != 0,
                    "two calls with the same id");
            }
        }
    }
}

static void
read_stream(struct belay__memory *memory,
    const struct belay__provider *provider, struct belay_slice stream)
{
    struct belay__answer answer;
    struct belay__sse sse;
    struct belay__sse_event event;
    struct told told;

    if (provider->event_fn == NULL) {
        return;
    }
    belay__answer_init(&answer, memory, true);
    belay__buffer_init(&told.text, memory, SIZE_MAX);
    belay__sse_init(&sse, memory, 0);
    belay__sse_push(&sse, stream);
    while (!answer.finished && answer.code == 0
           && belay__sse_next(&sse, &event) > 0) {
        (void)belay__provider_event(provider, &answer, &event);
        take_all(&answer, &told);
    }
    belay__answer_close(&answer);
    take_all(&answer, &told);
    check_told(&answer, &told);
    if (answer.code == 0) {
        check_ids(&answer);
    }
    belay__buffer_fini(&told.text);
    belay__sse_fini(&sse);
    belay__answer_fini(&answer);
}

/* ---- whole, two ways ---- */

static char *
read_whole(struct belay__memory *memory, const struct belay__provider *provider,
    struct belay_slice body, bool live)
{
    struct belay__answer answer;
    char *text;

    belay__answer_init(&answer, memory, live);
    (void)belay__provider_read(provider, &answer, body);
    text = answer_dump(&answer);
    belay__answer_fini(&answer);
    return text;
}

/* ---- what cJSON says ---- */

static bool
has_duplicates(const cJSON *node)
{
    for (const cJSON *a = node->child; a != NULL; a = a->next) {
        for (const cJSON *b = a->next; cJSON_IsObject(node) && b != NULL;
             b = b->next) {
            if (strcmp(a->string, b->string) == 0) {
                return true;
            }
        }
        if (has_duplicates(a)) {
            return true;
        }
    }
    return false;
}

static void
add_text(struct belay__buffer *text, const cJSON *value)
{
    if (cJSON_IsString(value)) {
        insist(belay__buffer_append(
                   text, value->valuestring, strlen(value->valuestring))
                   == 0,
            "out of memory");
    }
}

/* The content of each choice, in the order of the array. */
static void
find_texts(struct belay__buffer *text, const cJSON *root)
{
    const cJSON *choices = cJSON_GetObjectItemCaseSensitive(root, "choices");
    const cJSON *choice;

    if (!cJSON_IsArray(choices)) {
        return;
    }
    cJSON_ArrayForEach(choice, choices)
    {
        const cJSON *message =
            cJSON_GetObjectItemCaseSensitive(choice, "message");

        add_text(text, cJSON_GetObjectItemCaseSensitive(message, "content"));
    }
}

/* Ours: all texts that are told, of whatever choice, in order. */
static void
tell_texts(struct belay__memory *memory, struct belay_slice body,
    struct belay__buffer *text, int *ret_code)
{
    struct belay__answer answer;
    struct belay_llm_event event;

    belay__answer_init(&answer, memory, true);
    *ret_code = belay__provider_read(&belay__chat_provider, &answer, body);
    while (belay__answer_take(&answer, &event)) {
        if (event.type == BELAY_LLM_EVENT_TEXT) {
            insist(belay__buffer_append(text, event.text.data, event.text.len)
                       == 0,
                "out of memory");
        }
    }
    belay__answer_fini(&answer);
}

static bool
holds(struct belay_slice body, const char *part)
{
    const size_t len = strlen(part);

    for (size_t i = 0; i + len <= body.len; i++) {
        if (memcmp(body.data + i, part, len) == 0) {
            return true;
        }
    }
    return false;
}

static void
compare_cjson(struct belay__memory *memory, struct belay_slice body)
{
    struct belay__buffer ours;
    struct belay__buffer theirs;
    cJSON *root;
    int code;

    /* Half characters, and the other places for a text, are ours alone. */
    if (belay__json_check(body, NULL, NULL) < 0 || holds(body, "\\u")
        || holds(body, "delta") || holds(body, "text")) {
        return;
    }
    root = cJSON_ParseWithLength(body.data, body.len);
    if (root != NULL && !has_duplicates(root)) {
        belay__buffer_init(&ours, memory, SIZE_MAX);
        belay__buffer_init(&theirs, memory, SIZE_MAX);
        tell_texts(memory, body, &ours, &code);
        find_texts(&theirs, root);
        insist(code != 0
                   || (ours.len == theirs.len
                       && (ours.len == 0
                           || memcmp(ours.data, theirs.data, ours.len) == 0)),
            "cJSON finds another text");
        belay__buffer_fini(&ours);
        belay__buffer_fini(&theirs);
    }
    cJSON_Delete(root);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct belay__memory *memory = belay__memory_new(NULL);
    const struct belay__provider *provider;
    struct belay_slice body;
    char *quiet;
    char *live;

    insist(memory != NULL, "out of memory");
    if (size > 0) {
        provider = providers[data[0] % 4];
        body = (struct belay_slice){(const char *)data + 1, size - 1};
        quiet = read_whole(memory, provider, body, false);
        live = read_whole(memory, provider, body, true);
        insist(strcmp(quiet, live) == 0, "noting deltas makes a difference");
        free(quiet);
        free(live);
        read_stream(memory, provider, body);
        compare_cjson(memory, body);
    }
    insist(memory->live_blocks == 0, "memory is left");
    belay__memory_unref(memory);
    return 0;
}
