/* session_program.h - a client and a session round a test.
 *
 * The client's server need not be there: nothing is sent unless asked.
 */
#ifndef BELAY_TEST_SUPPORT_SESSION_PROGRAM_H
#define BELAY_TEST_SUPPORT_SESSION_PROGRAM_H

#include "test/support/program.h"

#include <belay/session_file.h>
#include <belay/turn.h>

#define NO_SERVER "http://127.0.0.1:9/v1"

static inline struct belay_slice
slice_of(const char *text)
{
    return (struct belay_slice){text, strlen(text)};
}

/* Opens a client at base_url (default NO_SERVER) and a session of model "m"
 * with these options, and calls fn.
 */
struct in_session {
    void (*fn)(belay_llm_session *session);
    struct belay_llm_session_opts opts;
    const char *base_url;
    belay_llm_client *client;
    belay_llm_session *session;
};
extern const belay_function in_session;

/* The same as a test: it must end well. */
void run_in_session(
    void (*fn)(belay_llm_session *session), struct belay_llm_session_opts opts);

/* An enter operation: a client at base_url, without retries. */
belay_next open_client(
    belay_task *task, const char *base_url, belay_llm_client **ret);

/* The same: a session of this model, with all defaults. */
belay_next open_session(belay_task *task, belay_llm_client *client,
    const char *model, belay_llm_session **ret);

/* Two calls of tools, "look" with the id "a" and "find" with "b". */
extern const struct belay_llm_tool_call calls_ab[2];

/* What a model says that asks for tools: the first `count` of `calls`. */
struct belay_llm_message calling(
    const struct belay_llm_tool_call *calls, size_t count);
/* Appends a message; gives the code. */
int say(belay_llm_session *session, const char *role, const char *text);

struct belay_llm_session_stats stats_of(const belay_llm_session *session);

/* The session as JSON, in memory that is freed by the next call or at the end
 * of the process. In a trial of a sweep it may be "".
 */
const char *session_text(const belay_llm_session *session);
/* The messages alone, as a JSON array. */
const char *session_messages(const belay_llm_session *session);
/* They are these; says nothing where there is no memory to look. */
void expect_messages(const belay_llm_session *session, const char *expected);

#endif
