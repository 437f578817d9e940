/* error.h - the errors of calls, in words (private to llm/). */
#ifndef BELAY_LLM_ERROR_H
#define BELAY_LLM_ERROR_H

#include "llm/attempt.h"

/* Each gives an error object with one reference, or NULL without memory; the
 * code alone is then the error. No text holds a secret.
 */

/* There is no key for an attempt; `code` as of belay__llm_access_take(). */
belay_error *belay__llm_error_key(
    const belay_task *task, const belay_llm_client *client, int code);

/* There was no answer; `cause`, which may be NULL, gets a reference more. */
belay_error *belay__llm_error_silent(const belay_task *task,
    const struct belay__llm_tries *tries, int code, belay_error *cause);

/* The answer has a status that a completion cannot have. */
int belay__llm_status_code(const struct belay_llm_attempt *attempt);
belay_error *belay__llm_error_status(
    const belay_task *task, const struct belay__llm_tries *tries);

/* The server has sent an error in the place of an answer, or in a stream. */
belay_error *belay__llm_error_stream(
    const belay_task *task, const struct belay__llm_tries *tries);

/* The stream cannot be read, or breaks off. */
belay_error *belay__llm_error_broken(
    const belay_task *task, const struct belay__llm_tries *tries, int code);

/* The answer is not a completion (L9). */
belay_error *belay__llm_error_shape(
    const belay_task *task, const struct belay__llm_tries *tries);

#endif
