/* secrets.h - a list of secrets that allocates nothing. */
#ifndef BELAY_TEST_SUPPORT_SECRETS_H
#define BELAY_TEST_SUPPORT_SECRETS_H

#include "llm/secret.h"

/* Of up to two, of 127 bytes at most, whose texts stay where they are; an empty
 * one is left out. In static memory, until the next call.
 */
const struct belay__secrets *secrets_of(
    struct belay_slice first, struct belay_slice second);

static inline const struct belay__secrets *
secret_of(struct belay_slice text)
{
    return secrets_of(text, (struct belay_slice){NULL, 0});
}

#endif
