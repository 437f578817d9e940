/* answer_write.c - an answer that was put together from events, written down.
 *
 * In Chat's form, whatever the server's is: one that its reader knows, so that
 * what was written can be read again.
 */
#include "llm/json/write.h"
#include "llm/provider/answer.h"

static void
add_text(struct belay__json_writer *json, const char *key,
    const struct belay__choice *choice, enum belay__stretch_kind kind)
{
    const struct belay_slice text = belay__stretch_slice(choice, kind);

    if (text.len > 0) {
        belay__json_key(json, key);
        belay__json_string(json, text);
    }
}

static void
add_member(
    struct belay__json_writer *json, const char *key, struct belay_slice text)
{
    belay__json_key(json, key);
    belay__json_string(json, text);
}

static void
add_calls(struct belay__json_writer *json, const struct belay__choice *choice)
{
    belay__json_key(json, "tool_calls");
    belay__json_open_array(json);
    for (size_t i = 0; i < choice->tool_count; i++) {
        const struct belay__tool *tool = &choice->tools[i];

        belay__json_open_object(json);
        add_member(json, "id", belay__llm_text_slice(tool->id));
        belay__json_key(json, "type");
        belay__json_text(json, "function");
        belay__json_key(json, "function");
        belay__json_open_object(json);
        add_member(json, "name", belay__llm_text_slice(tool->name));
        add_member(
            json, "arguments", belay__llm_text_slice(tool->arguments.text));
        belay__json_close_object(json);
        belay__json_close_object(json);
    }
    belay__json_close_array(json);
}

static void
add_choice(struct belay__json_writer *json, const struct belay__choice *choice)
{
    belay__json_open_object(json);
    belay__json_key(json, "index");
    belay__json_int(json, choice->index);
    belay__json_key(json, "message");
    belay__json_open_object(json);
    belay__json_key(json, "role");
    belay__json_text(json, "assistant");
    add_text(json, "reasoning_content", choice, BELAY__REASONING);
    add_member(json, "content", belay__stretch_slice(choice, BELAY__TEXT));
    add_text(json, "refusal", choice, BELAY__REFUSAL);
    if (choice->tool_count > 0) {
        add_calls(json, choice);
    }
    belay__json_close_object(json);
    if (choice->ended) {
        add_member(json, "finish_reason",
            (struct belay_slice){choice->end_word.text, choice->end_word.len});
    }
    belay__json_close_object(json);
}

int
belay__answer_write(struct belay__answer *answer, struct belay__buffer *buffer)
{
    struct belay__json_writer json;

    belay__json_begin(&json, buffer);
    belay__json_open_object(&json);
    belay__json_key(&json, "choices");
    belay__json_open_array(&json);
    for (size_t i = 0; i < answer->choice_count; i++) {
        add_choice(&json, belay__answer_nth(answer, i));
    }
    belay__json_close_array(&json);
    belay__json_close_object(&json);
    return belay__json_end(&json);
}
