/* messages.h - Anthropic's Messages (private to llm/provider/). */
#ifndef BELAY_LLM_PROVIDER_MESSAGES_H
#define BELAY_LLM_PROVIDER_MESSAGES_H

#include "llm/provider/provider.h"

const char *belay__messages_check(const struct belay_llm_chat *chat);
void belay__messages_write(struct belay__request_writer *request,
    const struct belay_llm_chat *chat, struct belay__wish wish);

#endif
