/* error.h - what servers write in the place of an answer (private). */
#ifndef BELAY_LLM_PROVIDER_ERROR_H
#define BELAY_LLM_PROVIDER_ERROR_H

#include "llm/json/scan.h"

/* Values of type NONE were not there. */
struct belay__provider_error {
    struct belay__json_value message;
    struct belay__json_value type;
    struct belay__json_value code; /* a string or a number */
};

/* Finds the members of an error object in any of the usual shapes. Whatever
 * the body is, this does no harm.
 */
void belay__provider_error_parse(
    struct belay_slice body, struct belay__provider_error *ret);

/* The HTTP status that an error in a stream stands for (L22): by its code if
 * that is one, by its type, else 500.
 */
int belay__provider_error_status(const struct belay__provider_error *error);

/* What says most of why: the type, or the code; NULL: neither is told. */
const struct belay__json_value *belay__provider_error_word(
    const struct belay__provider_error *error);

/* Does it say, by its type or code, that the account has run out? No time will
 * help then (L31).
 */
bool belay__provider_error_is_quota(const struct belay__provider_error *error);

#endif
