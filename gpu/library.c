/* library.c - a vendor's library, found at run time. */
#define _GNU_SOURCE /* secure_getenv() */
#include "gpu/library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int
belay__gpu_library_load(const char *variable, const char *soname,
    const struct belay__gpu_symbol *symbols, size_t count, void *ret_table,
    char why[BELAY__GPU_NOTE])
{
    /* Not for programs that run with another's rights. */
    const char *path = secure_getenv(variable);
    const char *reason;
    void *library;

    path = path != NULL && path[0] != '\0' ? path : soname;
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library == NULL) {
        reason = dlerror();
        (void)snprintf(
            why, BELAY__GPU_NOTE, "%s", reason != NULL ? reason : path);
        return BELAY_ENOSYS;
    }
    for (size_t i = 0; i < count; i++) {
        void *symbol = dlsym(library, symbols[i].name);

        if (symbol == NULL) {
            (void)snprintf(why, BELAY__GPU_NOTE, "%s has no %s: it is too old",
                path, symbols[i].name);
            return BELAY_ENOSYS;
        }
        /* ISO C knows no way from an object's pointer to a function's. */
        memcpy((char *)ret_table + symbols[i].offset, &symbol, sizeof(symbol));
    }
    return 0;
}
