/* trim.c - the oldest messages go.
 *
 * What goes is found first and told only when the new list is there, so that
 * a trim without memory has done, and said, nothing. Entries are never
 * changed: what is kept above the first one that goes gets new entries.
 */
#include "llm/session/session.h"

#include "runtime/basics.h"

struct plan {
    const belay_llm_session *session;
    struct belay__said **said; /* all of them, the oldest first */
    size_t count;
    size_t first;    /* the exchanges before it go */
    size_t messages; /* kept */
    int64_t tokens;
};

/* A system's words stay wherever they stand. */
static bool
is_system(const struct belay__said *said)
{
    return belay__said_is(said, "system") || belay__said_is(said, "developer");
}

static bool
fits(const struct plan *plan, const struct belay_llm_trim *trim)
{
    return (trim->max_messages == 0 || plan->messages <= trim->max_messages)
           && (trim->max_tokens == 0 || plan->tokens <= trim->max_tokens);
}

/* Behind the exchange that begins at `at`: where a user speaks after somebody
 * else did.
 */
static size_t
next_exchange(const struct plan *plan, size_t at)
{
    bool others = false;

    for (; at < plan->count; at++) {
        if (!belay__said_is(plan->said[at], "user")) {
            others |= !is_system(plan->said[at]);
        } else if (others) {
            break;
        }
    }
    return at;
}

/* Exchanges go until the rest fits; never the last one. */
static void
choose(struct plan *plan, const struct belay_llm_trim *trim)
{
    size_t next;

    while (!fits(plan, trim)) {
        next = next_exchange(plan, plan->first);
        if (next == plan->count) {
            return;
        }
        for (; plan->first < next; plan->first++) {
            if (!is_system(plan->said[plan->first])) {
                plan->messages--;
                plan->tokens -= plan->said[plan->first]->tokens;
            }
        }
    }
}

static bool
stays(const struct plan *plan, size_t n)
{
    return n >= plan->first || is_system(plan->said[n]);
}

/* Errors: BELAY_ENOMEM, *ret is untouched. */
static int
rebuild(const struct plan *plan, struct belay__history **ret)
{
    struct belay__memory *memory = plan->session->memory;
    struct belay__history *history = NULL;
    int code = 0;

    for (size_t i = 0; code == 0 && i < plan->count; i++) {
        if (stays(plan, i)) {
            code = belay__history_push(memory, &history, plan->said[i]);
        }
    }
    if (code < 0) {
        belay__history_unref(memory, history);
        return code;
    }
    *ret = history;
    return 0;
}

static void
tell(const struct plan *plan, const struct belay_llm_trim *trim)
{
    for (size_t i = 0; trim->on_dropped != NULL && i < plan->first; i++) {
        if (!stays(plan, i)) {
            trim->on_dropped(&plan->said[i]->message, trim->arg);
        }
    }
}

static int
carry_out(belay_llm_session *session, struct plan *plan,
    const struct belay_llm_trim *trim)
{
    struct belay__history *history;
    int code;

    for (struct belay__history *entry = session->history; entry != NULL;
         entry = entry->below) {
        plan->said[entry->count - 1] = entry->said;
    }
    choose(plan, trim);
    if (plan->first == 0) {
        return 0;
    }
    code = rebuild(plan, &history);
    if (code == 0) {
        tell(plan, trim);
        belay__history_unref(session->memory, session->history);
        session->history = history;
    }
    return code;
}

int
belay_llm_session_trim(belay_llm_session *session,
    const struct belay_llm_trim *trim, struct belay_llm_trimmed *ret)
{
    const size_t count = belay__history_count(session->history);
    const int64_t tokens = belay__history_tokens(session->history);
    const size_t bytes = count * sizeof(struct belay__said *);
    struct plan plan = {
        .session = session,
        .count = count,
        .messages = count,
        .tokens = tokens,
    };
    int code;

    if (trim->max_tokens < 0) {
        return BELAY_EINVAL;
    }
    if (!belay__session_is_free(session)) {
        return BELAY_EBUSY;
    }
    plan.said = belay__alloc(session->memory, bytes);
    if (count > 0 && plan.said == NULL) {
        return BELAY_ENOMEM;
    }
    code = carry_out(session, &plan, trim);
    belay__free(session->memory, plan.said, bytes);
    if (code == 0 && ret != NULL) {
        *ret = (struct belay_llm_trimmed){
            .dropped = count - plan.messages,
            .kept = plan.messages,
            .dropped_tokens = tokens - plan.tokens,
            .kept_tokens = plan.tokens,
            .too_large = !fits(&plan, trim),
        };
    }
    return code;
}
