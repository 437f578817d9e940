/* headers.h - the headers of a made-up answer. */
#ifndef BELAY_TEST_SUPPORT_HEADERS_H
#define BELAY_TEST_SUPPORT_HEADERS_H

#include "test/support/slice.h"

#include <strings.h>

/* name, value, …, NULL */
static inline struct belay_slice
get_header(const void *arg, const char *name)
{
    const char *const *at = arg;

    while (*at != NULL && strcasecmp(at[0], name) != 0) {
        at += 2;
    }
    return slice(*at != NULL ? at[1] : NULL);
}

#define HEADERS(...)                     \
    (&(const struct belay__llm_headers){ \
        get_header, (const char *const[]){__VA_ARGS__, NULL, NULL}})

#endif
