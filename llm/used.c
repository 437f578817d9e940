/* used.c - what an attempt has used, as its reply tells it. */
#include "llm/used.h"

int64_t
belay__used_tokens(const struct belay_llm_usage *usage)
{
    const int64_t in = usage->in_total > 0 ? usage->in_total : 0;
    const int64_t out = usage->out_total > 0 ? usage->out_total : 0;

    return out < INT64_MAX - in ? in + out : INT64_MAX;
}
