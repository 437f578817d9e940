/* caller.h - a plain program that calls a model and is run by a test. */
#ifndef BELAY_TEST_SUPPORT_CALLER_H
#define BELAY_TEST_SUPPORT_CALLER_H

#include <belay/belay.h>
#include <belay/llm.h>

/* "responses" or "messages"; Chat Completions for any other word. */
enum belay_llm_format caller_format(const char *word);

/* Runs the function, for a main; gives its code. A failure is told on standard
 * error.
 */
int caller_run(const belay_function *function, const void *arguments);

#endif
