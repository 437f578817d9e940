/* session_file.h - sessions as JSON, in memory and in files.
 *
 * Kept are the model, the system text, what was said, and what it has cost;
 * not the tools, which are the program's, nor any key or address. What was
 * written and read again gives the same bytes when it is written once more:
 *
 *     {"belay_session":1,"model":"m","system":"be brief","messages":[
 *     {"role":"user","content":"hi"},{"role":"assistant","content":"hello"}],
 *     "ledger":{"attempts":1, …}}
 *
 * A file may come from anywhere: what is not a session is refused with its
 * place, and calls of tools that have no result are mended. Rules: L68, L70.
 */
#ifndef BELAY_SESSION_FILE_H
#define BELAY_SESSION_FILE_H

#include <belay/session.h>

BELAY_BEGIN_DECLS

/* What is done about calls of tools that have no result, as when a program
 * was killed in a turn.
 */
enum belay_llm_repair {
    BELAY_LLM_REPAIR_RESULTS, /* the model is told that the tool has failed;
                                 results without a call are left out */
    BELAY_LLM_REPAIR_CUT,     /* what was said from there on is left out, with
                                 what the user said before */
};

/* What was read. */
struct belay_llm_loaded {
    size_t messages;     /* of the session now */
    size_t results_made; /* for calls that had none */
    size_t left_out;     /* messages */
};

/* Where a text is not a session, and why. */
struct belay_llm_session_problem {
    size_t offset;      /* of the byte, or of the message around it */
    const char *reason; /* static text; NULL: no problem */
};

/**
 * belay_llm_session_write - a session as JSON
 *
 *   session  not NULL; a turn under way is not part of it
 *   ret      receives the text, NUL-terminated; untouched on failure
 *   ret_len  NULL, or receives its length
 *
 * Owner:   *ret is the caller's, for belay_llm_text_free().
 * Errors:  BELAY_ENOMEM  no memory
 * Threads: loop thread; takes time with the length of what was said.
 * Since:   0.1. Source: contract L70.
 */
BELAY_API int belay_llm_session_write(
    const belay_llm_session *session, char **ret, size_t *ret_len);

/**
 * belay_llm_session_read - make a session what a text says
 *
 *   session      not NULL
 *   text         of belay_llm_session_write(), or what somebody made of it
 *   repair       what to do about calls without a result
 *   ret          NULL, or receives what was read; untouched on failure
 *   ret_problem  NULL, or receives what is wrong with the text
 *
 * Model, system text, messages and figures become those of the text.
 *
 * Owner:   nothing is kept of text.
 * Errors:  BELAY_EJSON      not JSON
 *          BELAY_EINVAL     not a session; a message that cannot be used
 *          BELAY_EPROTO     of a version that this library does not know
 *          BELAY_EBUSY      a turn is under way
 *          BELAY_ETOOLARGE  beyond the session's max_bytes
 *          BELAY_ENOMEM     no memory
 *          In each case nothing has changed.
 * Threads: loop thread; takes time with the length of the text.
 * Since:   0.1. Source: contract L68, L70.
 */
BELAY_API int belay_llm_session_read(belay_llm_session *session,
    struct belay_slice text, enum belay_llm_repair repair,
    struct belay_llm_loaded *ret,
    struct belay_llm_session_problem *ret_problem);

/**
 * belay_llm_session_save - write a session into a file
 *
 *   session  not NULL
 *   path     of the file; must live until the end. What is there is replaced
 *            as a whole, or not at all, whatever happens on the way; it is for
 *            its owner's eyes only
 *
 * Saved is what was said when it is called.
 *
 * Owner:   nothing changes hands.
 * Errors:  codes of the system  the file cannot be written; what was there
 *                           still is
 *          BELAY_ECLOSED    the session was gone before it began; likewise
 *          BELAY_ENOMEM     no memory; likewise
 *          BELAY_ECANCELED  flagged: likewise
 * Threads: loop thread; the disk is a thread's business. Cancellation point
 *          until the writing begins.
 * Since:   0.1. Source: contract L70, S9.
 */
BELAY_API BELAY_TOKEN belay_llm_session_save(
    belay_task *task, const belay_llm_session *session, const char *path);

/**
 * belay_llm_session_load - make a session what a file says
 *
 *   session  not NULL
 *   path     of a regular file; must live until the end
 *   repair   as for belay_llm_session_read()
 *   ret      NULL, or receives what was read; untouched on failure
 *
 * Owner:   nothing changes hands.
 * Errors:  as belay_llm_session_read(), with the place in the message;
 *          codes of the system  the file cannot be read
 *          BELAY_ECLOSED    the session was gone before it began
 *          BELAY_ECANCELED  flagged
 *          In each case nothing has changed.
 * Threads: loop thread; the disk is a thread's business. Cancellation point.
 * Since:   0.1. Source: contract L68, L70.
 */
BELAY_API BELAY_TOKEN belay_llm_session_load(belay_task *task,
    belay_llm_session *session, const char *path, enum belay_llm_repair repair,
    struct belay_llm_loaded *ret);

BELAY_END_DECLS

#endif
