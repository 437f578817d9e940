/* provider.c - one format of requests and answers.
 *
 * JSON is checked here, before a reader sees it, so that a text that proves
 * wrong at its end has left nothing behind.
 */
#include "llm/provider/provider.h"

#include "llm/json/text.h"

#include <string.h>

const struct belay__provider *
belay__provider_of(enum belay_llm_format format)
{
    switch (format) {
    case BELAY_LLM_FORMAT_DEFAULT:
    case BELAY_LLM_FORMAT_CHAT:
        return &belay__chat_provider;
    case BELAY_LLM_FORMAT_RESPONSES:
        return &belay__responses_provider;
    case BELAY_LLM_FORMAT_MESSAGES:
        return &belay__messages_provider;
    }
    return NULL;
}

static bool
ends_with(const char *path, size_t len, const char *end)
{
    const size_t end_len = strlen(end);

    return len >= end_len && memcmp(path + len - end_len, end, end_len) == 0;
}

const struct belay__provider *
belay__provider_of_path(const char *path)
{
    const size_t len = strcspn(path, "?");

    if (ends_with(path, len, "/responses")) {
        return &belay__responses_provider;
    }
    if (ends_with(path, len, "/messages")) {
        return &belay__messages_provider;
    }
    return ends_with(path, len, "/embeddings") ? &belay__embeddings_provider
                                               : &belay__chat_provider;
}

int
belay__provider_build(const struct belay__provider *provider,
    const struct belay_llm_chat *chat, struct belay__wish wish,
    struct belay__buffer *buffer)
{
    struct belay__request_writer request = {.key_count = 0};

    belay__json_begin(&request.json, buffer);
    belay__json_open_object(&request.json);
    provider->write_fn(&request, chat, wish);
    belay__request_add_extra(&request, chat->extra);
    belay__json_close_object(&request.json);
    return belay__json_end(&request.json);
}

int
belay__provider_read(const struct belay__provider *provider,
    struct belay__answer *answer, struct belay_slice body)
{
    if (answer->code == 0 && belay__json_check(body, NULL, NULL) < 0) {
        answer->code = BELAY_EREPLY;
    }
    if (answer->code == 0) {
        provider->read_fn(answer, body);
    }
    belay__answer_close(answer);
    return answer->code;
}

/* "[DONE]", with blanks round it (L16). */
static bool
is_done(struct belay_slice data)
{
    while (data.len > 0 && (*data.data == ' ' || *data.data == '\t')) {
        data.data++;
        data.len--;
    }
    while (data.len > 0
           && (data.data[data.len - 1] == ' '
               || data.data[data.len - 1] == '\t')) {
        data.len--;
    }
    return data.len == 6 && memcmp(data.data, "[DONE]", 6) == 0;
}

int
belay__provider_event(const struct belay__provider *provider,
    struct belay__answer *answer, const struct belay__sse_event *event)
{
    enum belay__json_type type;

    if (answer->code != 0) {
        return answer->code;
    }
    if (provider->done_word && is_done(event->data)) {
        answer->finished = true;
        return 0;
    }
    if (belay__json_check(event->data, &type, NULL) < 0) {
        answer->code = BELAY_EPROTO;
    } else if (event->name.len == 5
               && memcmp(event->name.data, "error", 5) == 0) {
        belay__answer_error(answer, event->data);
    } else if (type == BELAY__JSON_OBJECT) {
        provider->event_fn(answer, event);
    }
    return answer->code;
}

void
belay__provider_members(struct belay_slice object, const char *const *names,
    size_t count, struct belay__json_value *ret)
{
    struct belay__json json;
    struct belay__json_value key;

    memset(ret, 0, count * sizeof(*ret));
    belay__json_open(&json, object);
    if (!belay__json_enter_object(&json)) {
        return;
    }
    while (belay__json_next_member(&json, &key)) {
        for (size_t i = 0; i < count; i++) {
            if (belay__json_key_equals(&key, names[i], strlen(names[i]))) {
                (void)belay__json_take(&json, &ret[i]);
                break;
            }
        }
    }
}

bool
belay__provider_is_reason(const struct belay__json_value *value)
{
    return belay__answer_says(value) && !belay__json_key_is(value, "null");
}

int64_t
belay__provider_index(const struct belay__json_value *value, int64_t otherwise)
{
    int64_t index;

    return value->type == BELAY__JSON_NUMBER
                   && belay__json_integer(value->raw, &index) == 0 && index >= 0
               ? index
               : otherwise;
}
