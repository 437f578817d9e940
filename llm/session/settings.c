/* settings.c - what a session asks besides its messages.
 *
 * One block, made anew when something of it is set: whoever began with the
 * old one keeps it.
 */
#include "llm/provider/provider.h"
#include "llm/session/pack.h"
#include "llm/session/session.h"

#define TOOLS_MAX 4096

struct belay__settings *
belay__settings_ref(struct belay__settings *settings)
{
    settings->refs++;
    return settings;
}

void
belay__settings_unref(
    struct belay__memory *memory, struct belay__settings *settings)
{
    if (settings != NULL && --settings->refs == 0) {
        belay__free(memory, settings, settings->size);
    }
}

/* The options with what they leave out from the base. */
static struct belay_llm_chat
merge(const struct belay_llm_session_opts *opts,
    const struct belay__settings *base)
{
    static const struct belay_llm_chat nothing = {.size = 0};
    const struct belay_llm_chat *old = base != NULL ? &base->chat : &nothing;
    struct belay_llm_chat chat = *old;

    chat.size = sizeof(chat);
    if (opts->model != NULL) {
        chat.model = opts->model;
    }
    if (opts->system.len > 0) {
        chat.system = opts->system;
    }
    if (opts->format != BELAY_LLM_FORMAT_DEFAULT) {
        chat.format = opts->format;
    }
    if (opts->tool_count > 0) {
        chat.tools = opts->tools;
        chat.tool_count = opts->tool_count;
    }
    if (opts->tool_choice != BELAY_LLM_TOOL_DEFAULT) {
        chat.tool_choice = opts->tool_choice;
        chat.tool_name = opts->tool_name;
    }
    if (opts->max_tokens != 0) {
        chat.max_tokens = opts->max_tokens;
    }
    chat.old_max_tokens |= opts->old_max_tokens;
    if (opts->temperature != NULL) {
        chat.temperature = opts->temperature;
    }
    if (opts->extra.len > 0) {
        chat.extra = opts->extra;
    }
    return chat;
}

/* A question is put to the check that every request goes through. */
const char *
belay__settings_check(const struct belay_llm_session_opts *opts,
    const struct belay__settings *base)
{
    static const struct belay_llm_message question = {
        .role = "user", .content = {"?", 1}};
    struct belay_llm_chat chat = merge(opts, base);
    const struct belay__provider *provider = belay__provider_of(chat.format);

    if (provider == NULL) {
        return "there is no such format";
    }
    if (chat.tool_count > TOOLS_MAX) {
        return "there are too many tools";
    }
    chat.messages = &question;
    chat.message_count = 1;
    return belay__request_check(&chat, "messages");
}

static void
pack_tools(struct belay__packer *packer, const struct belay_llm_chat *from,
    struct belay_llm_chat *to)
{
    struct belay_llm_tool *tools =
        belay__pack_array(packer, from->tool_count, sizeof(*tools));

    for (size_t i = 0; i < from->tool_count; i++) {
        struct belay_llm_tool tool = from->tools[i];

        tool.name = belay__pack_text(packer, tool.name);
        tool.description = belay__pack_slice(packer, tool.description);
        tool.parameters = belay__pack_slice(packer, tool.parameters);
        if (tools != NULL) {
            tools[i] = tool;
        }
    }
    to->tools = tools;
}

static void
pack_chat(struct belay__packer *packer, const struct belay_llm_chat *from,
    struct belay_llm_chat *to)
{
    *to = *from;
    pack_tools(packer, from, to);
    to->model = belay__pack_text(packer, from->model);
    to->tool_name = belay__pack_text(packer, from->tool_name);
    to->system = belay__pack_slice(packer, from->system);
    to->extra = belay__pack_slice(packer, from->extra);
}

struct belay__settings *
belay__settings_copy(
    struct belay__memory *memory, const struct belay_llm_chat *chat)
{
    struct belay__packer packer = {NULL, sizeof(struct belay__settings), false};
    struct belay_llm_chat measured;
    struct belay__settings *settings;
    size_t size;

    pack_chat(&packer, chat, &measured);
    size = packer.used;
    settings = packer.overflow ? NULL : belay__alloc(memory, size);
    if (settings == NULL) {
        return NULL;
    }
    *settings = (struct belay__settings){.refs = 1, .size = size};
    packer = (struct belay__packer){
        (char *)settings, sizeof(struct belay__settings), false};
    pack_chat(&packer, chat, &settings->chat);
    if (chat->temperature != NULL) {
        settings->temperature = *chat->temperature;
        settings->chat.temperature = &settings->temperature;
    }
    return settings;
}

struct belay__settings *
belay__settings_new(struct belay__memory *memory,
    const struct belay_llm_session_opts *opts,
    const struct belay__settings *base)
{
    const struct belay_llm_chat chat = merge(opts, base);

    return belay__settings_copy(memory, &chat);
}

/* ---- setting ---- */

static int
set(belay_llm_session *session, const struct belay_llm_chat *chat)
{
    struct belay__settings *settings =
        belay__settings_copy(session->memory, chat);

    if (settings == NULL) {
        return BELAY_ENOMEM;
    }
    belay__settings_unref(session->memory, session->settings);
    session->settings = settings;
    return 0;
}

int
belay_llm_session_set_model(belay_llm_session *session, const char *model)
{
    struct belay_llm_chat chat = session->settings->chat;

    if (model == NULL || model[0] == '\0') {
        return BELAY_EINVAL;
    }
    chat.model = model;
    return set(session, &chat);
}

int
belay_llm_session_set_system(
    belay_llm_session *session, struct belay_slice system)
{
    struct belay_llm_chat chat = session->settings->chat;

    chat.system = system;
    return set(session, &chat);
}
