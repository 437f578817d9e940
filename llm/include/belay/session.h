/* session.h - a conversation with a model.
 *
 * A session is a scope: it has a model, a system text, tools, what was said so
 * far, and what that has cost. Any number of tasks may use it at once; their
 * turns are taken one after the other (turn.h). It is the current session of
 * its block and of all tasks that are spawned there; sessions nest. A turn
 * that fails or is cancelled leaves what was said as it was. Rules: L66-L72.
 */
#ifndef BELAY_SESSION_H
#define BELAY_SESSION_H

#include <belay/budget.h>
#include <belay/llm.h>

BELAY_BEGIN_DECLS

typedef struct belay_llm_session belay_llm_session; /* opaque; counted */

/* Options for belay_llm_session_open(). A zero field means its default. */
struct belay_llm_session_opts {
    size_t size;       /* of this struct; BELAY_LLM_SESSION_OPTS() fills it */
    const char *model; /* required, unless `extra` has it or, of a fork, the
                          session that is forked */
    struct belay_slice system;          /* UTF-8, ahead of all messages */
    enum belay_llm_format format;       /* default the client's */
    const struct belay_llm_tool *tools; /* that the model may ask for */
    size_t tool_count;
    enum belay_llm_tool_choice tool_choice;
    const char *tool_name;
    int64_t max_tokens;        /* of an answer; Messages requires it */
    bool old_max_tokens;       /* as in belay_llm_chat */
    const double *temperature; /* finite */
    struct belay_slice extra;  /* a JSON object: its members as they are */
    struct belay_amount limit; /* a budget of its own; default none */
    bool busy_fails;   /* a turn that would wait for another one fails */
    bool keep_partial; /* the text of an answer that broke off is kept */
    size_t max_bytes;  /* of what was said; default 64 MiB */
};
#define BELAY_LLM_SESSION_OPTS(...)          \
    (&(const struct belay_llm_session_opts){ \
        .size = sizeof(struct belay_llm_session_opts), __VA_ARGS__})

/**
 * belay_llm_session_open - enter a session; use it in BELAY_WITH
 *
 *   client  of an open block around this one
 *   opts    not NULL; the struct is copied, what it points to must live until
 *           entered and is copied then
 *   ret     NULL, or receives the session once entered; untouched on failure
 *
 * Inside it is the task's current session; an outer one is current again when
 * it is left. The exit ends turns of other tasks that are under way, as of
 * tasks in an outer block, with BELAY_ECLOSED, and does not wait for them.
 *
 * Owner:   the block holds one reference.
 * Errors:  BELAY_EINVAL  no model; a tool, a number or extra that cannot be
 *                        used; an opts->size that is unknown
 *          BELAY_ECLOSED the client was left before the session was entered
 *          BELAY_ENOMEM  no memory
 *          In each case nothing has changed. The exit fails with BELAY_ESTATE
 *          if a session that was entered later is still open.
 * Threads: loop thread. Entering and leaving are no checkpoints.
 * Since:   0.1. Source: contract L66, L71; llamabot's PromptRecorder.
 */
BELAY_API BELAY_TOKEN belay_llm_session_open(belay_task *task,
    belay_llm_client *client, const struct belay_llm_session_opts *opts,
    belay_llm_session **ret);

/**
 * belay_llm_session_fork - enter a session that begins where another one is
 *
 *   session  not NULL
 *   opts     NULL, or what is to be different; as for belay_llm_session_open(),
 *            but a zero field is as in session.
 *            The limit is the fork's own, within that of session
 *   ret      as for belay_llm_session_open()
 *
 * Nothing is copied but the options: both share what was said until now. A
 * turn under way in session is not part of it. The fork's figures begin at 0.
 *
 * Owner:   the block holds one reference.
 * Errors:  as belay_llm_session_open();
 *          BELAY_ECLOSED  also: the session has been left
 * Threads: loop thread. Entering and leaving are no checkpoints.
 * Since:   0.1. Source: contract L66.
 */
BELAY_API BELAY_TOKEN belay_llm_session_fork(belay_task *task,
    belay_llm_session *session, const struct belay_llm_session_opts *opts,
    belay_llm_session **ret);

/**
 * belay_llm_session_current - the innermost session that the task is in
 *
 *   task  not NULL
 *
 * Owner:   valid in the task's next steps as long as it is the current one;
 *          belay_llm_session_ref() for longer.
 * Errors:  NULL if there is none.
 * Threads: loop thread.
 * Since:   0.1. Source: contract L71.
 */
BELAY_API belay_llm_session *belay_llm_session_current(const belay_task *task);

/**
 * belay_llm_session_ref - one more reference
 *
 *   session  NULL is legal
 *
 * Owner:   each reference is for one belay_llm_session_unref(). Returns
 *          session. A session that was left can still be looked at and saved.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: style.md 2.2.
 */
BELAY_API belay_llm_session *belay_llm_session_ref(belay_llm_session *session);

/**
 * belay_llm_session_unref - give a reference back; the last one frees
 *
 *   session  NULL is legal
 *
 * Owner:   the reference is gone.
 * Errors:  none.
 * Threads: loop thread; also after the runtime's end.
 * Since:   0.1. Source: style.md 2.2.
 */
BELAY_API void belay_llm_session_unref(belay_llm_session *session);

/**
 * belay_llm_session_set_model - ask another model from the next turn on
 *
 *   session  not NULL
 *   model    copied
 *
 * Owner:   nothing changes hands.
 * Errors:  BELAY_EINVAL  NULL or empty
 *          BELAY_ENOMEM  no memory
 *          In each case nothing has changed.
 * Threads: loop thread.
 * Since:   0.1. Source: contract L66.
 */
BELAY_API int belay_llm_session_set_model(
    belay_llm_session *session, const char *model);

/**
 * belay_llm_session_set_system - another system text from the next turn on
 *
 *   session  not NULL
 *   system   copied; {NULL, 0}: none
 *
 * Owner:   nothing changes hands.
 * Errors:  BELAY_ENOMEM  nothing has changed
 * Threads: loop thread.
 * Since:   0.1. Source: contract L66.
 */
BELAY_API int belay_llm_session_set_system(
    belay_llm_session *session, struct belay_slice system);

/**
 * belay_llm_session_append - add messages that were said elsewhere
 *
 *   session   not NULL
 *   messages  copied. Calls and results belong together, none is left open
 *   count     of messages
 *
 * All of them or none.
 *
 * Owner:   nothing changes hands.
 * Errors:  BELAY_EINVAL     a message cannot be used, or stands where no model
 *                           takes it
 *          BELAY_EBUSY      a turn is under way
 *          BELAY_ETOOLARGE  beyond max_bytes
 *          BELAY_ENOMEM     no memory
 *          In each case nothing has changed.
 * Threads: loop thread.
 * Since:   0.1. Source: contract L66, L68.
 */
BELAY_API int belay_llm_session_append(belay_llm_session *session,
    const struct belay_llm_message *messages, size_t count);

/**
 * belay_llm_session_clear - forget what was said
 *
 *   session  not NULL
 *
 * System text, model and figures stay.
 *
 * Owner:   forks keep what they share.
 * Errors:  BELAY_EBUSY  a turn is under way; nothing has changed
 * Threads: loop thread.
 * Since:   0.1. Source: contract L66.
 */
BELAY_API int belay_llm_session_clear(belay_llm_session *session);

/* Told of each message that a trim drops, before it goes; it may not change
 * the session.
 */
typedef void belay_llm_dropped_fn(
    const struct belay_llm_message *message, void *arg);

/* What belay_llm_session_trim() is to leave. A zero field is no limit. */
struct belay_llm_trim {
    size_t max_messages;
    int64_t max_tokens; /* estimated */
    belay_llm_dropped_fn *on_dropped;
    void *arg; /* for on_dropped */
};

/* What a trim has done. */
struct belay_llm_trimmed {
    size_t dropped; /* messages */
    size_t kept;
    int64_t dropped_tokens; /* estimated */
    int64_t kept_tokens;
    bool too_large; /* what must be kept is still above a limit */
};

/**
 * belay_llm_session_trim - drop the oldest messages
 *
 *   session  not NULL
 *   trim     not NULL
 *   ret      NULL, or receives what was done; untouched on failure
 *
 * Dropped are whole exchanges, from what a user has said to before what a user
 * said next, so that no call is parted from its result. The newest exchange is
 * kept, and so are the messages of "system" and "developer" in the others.
 *
 * Owner:   forks keep what they share.
 * Errors:  BELAY_EBUSY   a turn is under way
 *          BELAY_EINVAL  a negative number
 *          BELAY_ENOMEM  no memory
 *          In each case nothing has changed, and nothing was told.
 * Threads: loop thread.
 * Since:   0.1. Source: contract L69.
 */
BELAY_API int belay_llm_session_trim(belay_llm_session *session,
    const struct belay_llm_trim *trim, struct belay_llm_trimmed *ret);

/**
 * belay_llm_session_message - a message of what was said
 *
 *   session         not NULL
 *   n               from 0, the oldest
 *   ret             receives it; untouched on failure
 *   ret_incomplete  NULL, or receives whether its answer broke off
 *
 * Owner:   what *ret points to lives until the session forgets the message:
 *          until a trim, clear or load, or its end.
 * Errors:  BELAY_ENOENT  there is no such message
 * Threads: loop thread.
 * Since:   0.1. Source: contract L66.
 */
BELAY_API int belay_llm_session_message(const belay_llm_session *session,
    size_t n, struct belay_llm_message *ret, bool *ret_incomplete);

/* Where a session stands. */
struct belay_llm_session_stats {
    const char *id;             /* a ULID; lives as long as the session */
    const char *model;          /* until it is set again; NULL: in extra */
    struct belay_slice system;  /* until it is set again */
    size_t messages;            /* said */
    size_t bytes;               /* that they take */
    int64_t tokens;             /* of them; estimated */
    uint64_t turns;             /* kept */
    uint64_t undone;            /* turns that left no trace in what was said */
    struct belay_ledger ledger; /* of all attempts, undone turns included */
    belay_budget *budget;       /* of .limit, or NULL; as long as the session */
    bool in_turn;
    size_t waiting; /* turns; O(n) */
};

/**
 * belay_llm_session_get_stats - where a session stands now
 *
 *   session  not NULL
 *   ret      receives it
 *
 * Owner:   see the struct.
 * Errors:  none.
 * Threads: loop thread.
 * Since:   0.1. Source: contract L46, L66, L67.
 */
BELAY_API void belay_llm_session_get_stats(
    const belay_llm_session *session, struct belay_llm_session_stats *ret);

BELAY_END_DECLS

#endif
