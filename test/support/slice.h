/* slice.h - a text as the library takes it. */
#ifndef BELAY_TEST_SUPPORT_SLICE_H
#define BELAY_TEST_SUPPORT_SLICE_H

#include <belay/base.h>

#include <string.h>

/* NULL is the empty one. */
static inline struct belay_slice
slice(const char *text)
{
    return (struct belay_slice){text, text != NULL ? strlen(text) : 0};
}

#endif
