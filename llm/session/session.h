/* session.h - what a session and a turn hold (private to llm/session/). */
#ifndef BELAY_LLM_SESSION_PRIVATE_H
#define BELAY_LLM_SESSION_PRIVATE_H

#include <belay/sync.h>
#include <belay/timeout.h>
#include <belay/turn.h>

#include "llm/record/ulid.h"
#include "llm/session/history.h"
#include "runtime/memory.h"

/* What is asked besides the messages; never changes, counted, so that a turn
 * keeps what it began with (L72).
 */
struct belay__settings {
    uint32_t refs;
    size_t size;                /* of the block, with all texts */
    struct belay_llm_chat chat; /* without messages */
    double temperature;         /* chat's, if it has one */
};

struct belay_llm_session {
    struct belay__memory *memory; /* a reference */
    uint32_t refs;
    struct belay__life life;
    belay_llm_client *client; /* see belay__session_client() */
    struct belay__life client_life;
    struct belay__settings *settings;
    struct belay__history *history;
    belay_budget *budget; /* a reference, or NULL */
    bool busy_fails;
    bool keep_partial;
    bool over; /* it was left */
    size_t max_bytes;
    belay_llm_turn *turn;         /* under way, or NULL */
    struct belay_waiters waiters; /* for their turn */
    struct belay_ledger ledger;
    uint64_t turns;
    uint64_t undone;
    struct belay__ulid_source ids; /* of turns */
    char id[BELAY__ULID_BYTES];
    char last_turn[BELAY__ULID_BYTES]; /* that the next follows; "": none */
};

struct belay_llm_turn {
    uint32_t refs;
    struct belay__life life;
    belay_llm_session *session; /* a reference */
    struct belay__settings *settings;
    struct belay__history *history; /* the session's, and what is staged */
    struct belay__history *partial; /* the same with an answer that broke off */
    struct belay_ledger ledger;
    uint64_t task_id;           /* that it was opened by */
    belay_cancel_scope *asking; /* round a question under way, or NULL */
    bool silent;                /* the last answer was without a word */
    bool dropped;
    bool over; /* it was left */
    char id[BELAY__ULID_BYTES];
};

/* ---- settings.c ---- */

struct belay__settings *belay__settings_ref(struct belay__settings *settings);
void belay__settings_unref(
    struct belay__memory *memory, struct belay__settings *settings);

/* What is wrong with options, as static text; NULL: nothing. `base`, or NULL,
 * has what they leave out.
 */
const char *belay__settings_check(const struct belay_llm_session_opts *opts,
    const struct belay__settings *base);

/* A copy of a chat but for its messages; NULL without memory. */
struct belay__settings *belay__settings_copy(
    struct belay__memory *memory, const struct belay_llm_chat *chat);

/* A copy of what the options say, else of `base`, or NULL. */
struct belay__settings *belay__settings_new(struct belay__memory *memory,
    const struct belay_llm_session_opts *opts,
    const struct belay__settings *base);

/* ---- session.c ---- */

/* Errors: BELAY_ENOMEM. A session without a scope, with one reference. */
int belay__session_new(struct belay__memory *memory,
    const struct belay_llm_session_opts *opts, const belay_llm_session *base,
    belay_llm_session **ret);

/* An id that sorts behind those before it. */
void belay__session_new_id(
    belay_llm_session *session, char id[BELAY__ULID_BYTES]);

/* ---- turn.c ---- */

belay_llm_turn *belay__turn_ref(belay_llm_turn *turn);
void belay__turn_unref(belay_llm_turn *turn);

/* Says something in the turn. Errors: BELAY_EINVAL it cannot stand there;
 * BELAY_ETOOLARGE, BELAY_ENOMEM. Nothing has changed.
 */
int belay__turn_stage(
    belay_llm_turn *turn, const struct belay_llm_message *message);

/* An answer that broke off, kept if the turn fails; or not, without memory. */
void belay__turn_stage_partial(
    belay_llm_turn *turn, const struct belay_llm_message *message);

/* The session is being left: ends what is asked, refuses those who wait. */
void belay__turns_end(belay_llm_session *session);

/* NULL: the session was left, or its client is gone. */
static inline belay_llm_client *
belay__session_client(const belay_llm_session *session)
{
    return !session->over
                   && belay__life_lasts(session->memory, session->client_life)
               ? session->client
               : NULL;
}

/* What the session has said may change now: no turn is under way. */
static inline bool
belay__session_is_free(const belay_llm_session *session)
{
    return session->turn == NULL;
}

#endif
