/* request.h - what the requests of all formats have in common (private). */
#ifndef BELAY_LLM_PROVIDER_REQUEST_H
#define BELAY_LLM_PROVIDER_REQUEST_H

#include <belay/llm_chat.h>

#include "llm/json/write.h"

#define BELAY__REQUEST_KEYS 24

/* A request that is being written; it knows which members it has, so that
 * what the caller adds does not say them twice (L5).
 */
struct belay__request_writer {
    struct belay__json_writer json;
    const char *keys[BELAY__REQUEST_KEYS];
    size_t key_count;
};

/* What is wrong with the parts that mean the same in all formats, as static
 * text; NULL: nothing. `messages` is the name that the format gives them.
 */
const char *belay__request_check(
    const struct belay_llm_chat *chat, const char *messages);

/* The same for what is asked of any model; model NULL: it is in extra. */
const char *belay__request_check_basis(
    const char *model, struct belay_slice extra);

/* The member of `extra` of that name; NONE: there is none. */
struct belay__json_value;
void belay__request_extra(const struct belay_llm_chat *chat, const char *name,
    struct belay__json_value *ret);

/* The limit of the answer, said in one place or the other; 0: none. `name` is
 * what the format calls it.
 */
int64_t belay__request_limit(
    const struct belay_llm_chat *chat, const char *name);

/* The key of a member of the request itself. */
void belay__request_key(struct belay__request_writer *request, const char *key);

/* Members, if there is anything to say. */
void belay__request_model(
    struct belay__request_writer *request, const struct belay_llm_chat *chat);
void belay__request_number(
    struct belay__request_writer *request, const char *key, double value);
void belay__request_temperature(
    struct belay__request_writer *request, const struct belay_llm_chat *chat);
void belay__request_max_tokens(struct belay__request_writer *request,
    const char *key, const struct belay_llm_chat *chat);
void belay__request_stop(struct belay__request_writer *request, const char *key,
    const struct belay_llm_chat *chat);
/* "stream": true, if it is wanted. */
void belay__request_stream(struct belay__request_writer *request, bool stream);

/* The tools, each an object that `write_fn` fills. */
typedef void belay__request_tool_fn(
    struct belay__json_writer *json, const struct belay_llm_tool *tool);
void belay__request_tools(struct belay__request_writer *request,
    const struct belay_llm_chat *chat, belay__request_tool_fn *write_fn);
/* What all formats say of a tool: name, description, and its parameters under
 * this key; `none` stands for those that are not there.
 */
void belay__request_tool_members(struct belay__json_writer *json,
    const struct belay_llm_tool *tool, const char *key,
    struct belay_slice none);
/* OpenAI's way to say which tools may be called; `nested`: a function's name
 * is in an object of its own.
 */
void belay__request_function_choice(struct belay__request_writer *request,
    const struct belay_llm_chat *chat, bool nested);
/* The members of extra, but for those that were written; goes last. */
void belay__request_add_extra(
    struct belay__request_writer *request, struct belay_slice extra);

/* Values and members within. */
void belay__request_text_member(
    struct belay__json_writer *json, const char *key, const char *value);
void belay__request_slice_member(
    struct belay__json_writer *json, const char *key, struct belay_slice value);
/* A schema as it stands, or {} for none. */
void belay__request_schema(
    struct belay__json_writer *json, struct belay_slice schema);
/* An image's bytes as a string: "data:image/png;base64,…", or the base64. */
void belay__request_data_url(
    struct belay__json_writer *json, const struct belay_llm_part *part);
void belay__request_base64(
    struct belay__json_writer *json, struct belay_slice bytes);

/* Is it a JSON object? */
bool belay__request_is_object(struct belay_slice text);

/* Is the message of that role? */
bool belay__request_role_is(
    const struct belay_llm_message *message, const char *role);

#endif
