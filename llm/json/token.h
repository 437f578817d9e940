/* token.h - strings, numbers and blanks, for the scanner only (private).
 *
 * Functions that pass something take the place where it begins and give the
 * place behind it; after an error they give NULL and the cursor is at the
 * end of the text, in no container.
 */
#ifndef BELAY_LLM_JSON_TOKEN_H
#define BELAY_LLM_JSON_TOKEN_H

#include "llm/json/scan.h"

/* Records the first error, at `at`, and ends all containers. Gives NULL. */
const char *belay__json_fail(
    struct belay__json *json, const char *at, const char *reason);
const char *belay__json_fail_end(struct belay__json *json);

/* Passes blanks, if there are any. */
const char *belay__json_pass_blanks(const char *at, const char *end);

/* Passes the number that begins with the digit or the sign at `at`. */
const char *belay__json_pass_number(struct belay__json *json, const char *at);

/* Passes the rest of a string, with its closing quote, from a byte in it
 * that is not plain, or from the end of the text.
 */
const char *belay__json_pass_string(struct belay__json *json, const char *at);

#endif
