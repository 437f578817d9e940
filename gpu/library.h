/* library.h - a vendor's library, found at run time (private). */
#ifndef BELAY_GPU_LIBRARY_H
#define BELAY_GPU_LIBRARY_H

#include "gpu/backend.h"

/* A function that is needed, and where its address is stored. */
struct belay__gpu_symbol {
    const char *name;
    size_t offset; /* in the table of functions */
};

/* Loads the library that the environment variable `variable` names, else
 * `soname`, and fills the table. BELAY_ENOSYS, and `why`, if it or one of the
 * functions is not there. It is never unloaded: it has threads of its own,
 * which would go on in code that is gone (G33).
 */
int belay__gpu_library_load(const char *variable, const char *soname,
    const struct belay__gpu_symbol *symbols, size_t count, void *ret_table,
    char why[BELAY__GPU_NOTE]);

#endif
