/* insist.h - for fuzz targets: what does not hold ends the process. */
#ifndef BELAY_TEST_FUZZ_INSIST_H
#define BELAY_TEST_FUZZ_INSIST_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static inline void
insist(bool holds, const char *what)
{
    if (!holds) {
        (void)fprintf(stderr, "%s\n", what);
        abort();
    }
}

#endif
