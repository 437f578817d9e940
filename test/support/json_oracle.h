/* json_oracle.h - other opinions on a JSON text.
 *
 * A strict validator written as plainly as can be, and cJSON, which accepts
 * more but should read the same things out of what is valid. Used by the
 * random tests and by the fuzz target.
 */
#ifndef BELAY_TEST_SUPPORT_JSON_ORACLE_H
#define BELAY_TEST_SUPPORT_JSON_ORACLE_H

#include <belay/base.h>

/* Is this one JSON value as RFC 8259 has it, in UTF-8, at most 128 deep? */
bool json_oracle_valid(struct belay_slice text);

/* NULL if the scanner agrees with the validator, and, for valid text, with
 * cJSON on every key, string, number and word; else what differs (static).
 * Excused: texts that cJSON is known to refuse (lone surrogates, numbers of
 * more than 62 characters) and what it does to strings behind a NUL.
 */
const char *json_oracle_compare(struct belay_slice text);

#endif
