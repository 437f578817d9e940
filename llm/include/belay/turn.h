/* turn.h - what is said in a session, one turn after the other.
 *
 * A turn is a scope: what is said in it is staged, and becomes part of the
 * session when the block has ended well and nothing is left open. However else
 * it ends, by an error, a cancel, a guardrail that drops it, the session is as
 * before, byte for byte; what the attempts have cost stays in its figures.
 *
 *     BELAY_WITH (belay_llm_turn_open(task, session, &self->turn)) {
 *         BELAY_CHECK(belay_llm_turn_add(self->turn, &question));
 *         BELAY_AWAIT(belay_llm_turn_ask(task, self->turn, &self->reply));
 *         ...   run the tools that it asks for, add their results, ask again
 *     }
 *
 * Most turns are one question: belay_llm_chat(). Rules: L66-L68, L72.
 */
#ifndef BELAY_TURN_H
#define BELAY_TURN_H

#include <belay/llm_stream.h>
#include <belay/session.h>

BELAY_BEGIN_DECLS

typedef struct belay_llm_turn belay_llm_turn; /* opaque; its block's */

/* The result of a tool as a message, borrowed. */
static inline struct belay_llm_message
belay_llm_tool_result(struct belay_slice call_id, const char *text, bool failed)
{
    struct belay_llm_message message = belay_llm_message("tool", text);

    message.tool_call_id = call_id;
    message.tool_failed = failed;
    return message;
}

/**
 * belay_llm_turn_open - enter a turn; use it in BELAY_WITH
 *
 *   session  NULL: the task's current one
 *   ret      receives the turn once entered; untouched on failure
 *
 * Waits until the turns that were asked for before have ended; strictly first
 * come, first served. Model, system text and tools are those of this moment.
 *
 * Owner:   the block. Asks of other tasks in it are ended by the exit.
 * Errors:  BELAY_ESTATE     session is NULL and there is no current one
 *          BELAY_ECLOSED    the session has been left
 *          BELAY_EBUSY      with busy_fails: another turn is under way
 *          BELAY_EDEADLK    the task is in a turn of the session already
 *          BELAY_ENOMEM     no memory
 *          BELAY_ECANCELED  flagged: cancelled
 *          In each case nothing has changed. The exit fails with
 *          BELAY_ESTATE     the block has ended well, but a question has no
 *                           answer, or a call no result; the turn is undone
 *          BELAY_ECLOSED    the same, but the session was left; it is undone
 * Threads: loop thread. Entering is a cancellation point, leaving is not.
 * Since:   0.1. Source: contract L66, L67.
 */
BELAY_API BELAY_TOKEN belay_llm_turn_open(
    belay_task *task, belay_llm_session *session, belay_llm_turn **ret);

/**
 * belay_llm_turn_add - say something, or hand in the result of a tool
 *
 *   turn     of an open block
 *   message  copied. Results stand right behind the message that calls, in any
 *            order, one for each call
 *
 * Owner:   nothing changes hands.
 * Errors:  BELAY_EINVAL     the message cannot be used
 *          BELAY_ESTATE     it cannot stand here: a call has no result yet, a
 *                           result no call, or has come before
 *          BELAY_EBUSY      the model is being asked
 *          BELAY_ETOOLARGE  beyond the session's max_bytes
 *          BELAY_ENOMEM     no memory
 *          In each case nothing has changed.
 * Threads: loop thread.
 * Since:   0.1. Source: contract L67, L68.
 */
BELAY_API int belay_llm_turn_add(
    belay_llm_turn *turn, const struct belay_llm_message *message);

/**
 * belay_llm_turn_ask - ask the model, and stage its answer
 *
 *   turn  of an open block; one task at a time
 *   ret   receives the reply; untouched on failure
 *
 * A failure leaves the turn as it was: one may ask again. An answer without a
 * word is no message; the turn counts as answered.
 *
 * Owner:   *ret is the caller's, for belay_llm_reply_free().
 * Errors:  as belay_llm_complete(), and
 *          BELAY_ESTATE     a call has no result yet; nothing was sent
 *          BELAY_EBUSY      another task asks
 *          BELAY_ECLOSED    the session, the turn or the client was left
 *          BELAY_ETRUNCATED the answer was cut within a call of a tool
 *          BELAY_ETOOLARGE  also: beyond the session's max_bytes
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract L66-L68, L72.
 */
BELAY_API BELAY_TOKEN belay_llm_turn_ask(
    belay_task *task, belay_llm_turn *turn, belay_llm_reply **ret);

/**
 * belay_llm_turn_stream - ask, and have the answer bit by bit; in BELAY_WITH
 *
 *   turn  of an open block; one task at a time
 *   opts  NULL for all defaults; copied
 *   ret   receives the stream once entered; untouched on failure
 *
 * The answer is staged when the block has ended well and the stream has come
 * to its end, BELAY_LLM_EVENT_DONE. If the turn or the session is left, the
 * block is cancelled and fails with BELAY_ECLOSED.
 *
 * Owner:   the block.
 * Errors:  as belay_llm_stream_open() and belay_llm_turn_ask()
 * Threads: loop thread. Entering is not a checkpoint; the exit as that of a
 *          stream.
 * Since:   0.1. Source: contract L67.
 */
BELAY_API BELAY_TOKEN belay_llm_turn_stream(belay_task *task,
    belay_llm_turn *turn, const struct belay_llm_stream_opts *opts,
    belay_llm_stream **ret);

/**
 * belay_llm_turn_drop - undo the turn, though its block may end well
 *
 *   turn  of an open block
 *
 * For guardrails. With keep_partial too nothing is kept.
 *
 * Owner:   nothing changes hands.
 * Errors:  none; nothing more can be staged (BELAY_ESTATE).
 * Threads: loop thread.
 * Since:   0.1. Source: contract L67.
 */
BELAY_API void belay_llm_turn_drop(belay_llm_turn *turn);

/**
 * belay_llm_turn_ledger - what the turn has used and cost until now
 *
 *   turn  of an open block
 *
 * Owner:   lives as long as the block.
 * Errors:  none; never NULL.
 * Threads: loop thread.
 * Since:   0.1. Source: contract L46.
 */
BELAY_API const struct belay_ledger *belay_llm_turn_ledger(
    const belay_llm_turn *turn);

/**
 * belay_llm_chat - a turn of one question
 *
 *   session  NULL: the task's current one
 *   text     what the user says; must live until the end
 *   ret      receives the reply; untouched on failure
 *
 * Owner:   *ret is the caller's, for belay_llm_reply_free().
 * Errors:  as belay_llm_turn_open() and belay_llm_turn_ask(). An answer that
 *          asks for a tool leaves a call open: BELAY_ESTATE.
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: api.md; contract L66.
 */
BELAY_API BELAY_TOKEN belay_llm_chat(belay_task *task,
    belay_llm_session *session, const char *text, belay_llm_reply **ret);

/**
 * belay_llm_chat_stream - the same, the answer given to a callback as it comes
 *
 *   session   NULL: the task's current one
 *   text      what the user says; must live until the end
 *   on_event  NULL, or called with each event; negative: the turn fails
 *   arg       for on_event
 *   ret       receives the reply; untouched on failure
 *
 * Owner:   *ret is the caller's, for belay_llm_reply_free().
 * Errors:  as belay_llm_chat() and belay_llm_stream_run().
 * Threads: loop thread. Cancellation point.
 * Since:   0.1. Source: contract L42, L66.
 */
BELAY_API BELAY_TOKEN belay_llm_chat_stream(belay_task *task,
    belay_llm_session *session, const char *text, belay_llm_event_fn *on_event,
    void *arg, belay_llm_reply **ret);

BELAY_END_DECLS

#endif
