/* key.c - keys out of the environment.
 *
 * A key that is in use is in memory: ours, and that of the library that sends
 * it. What can be done is that nothing of the process outlives it: no core is
 * written, and nobody can read its environment or attach to it meanwhile (S2).
 */
#include "cli/key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

/* Cores that go through a pipe do not heed the limit, but they do this. */
static void
leave_no_core(void)
{
    const struct rlimit none = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &none); /* only ever lowers it */
#ifdef __linux__
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

const char *
belay__key_take(const char *name)
{
    static char *taken; /* of the last call, for those who look for leaks */
    char *value = getenv(name);

    if (value == NULL || value[0] == '\0') {
        return NULL;
    }
    taken = strdup(value);
    if (taken == NULL) {
        return NULL;
    }
    leave_no_core();
    explicit_bzero(value, strlen(value));
    (void)unsetenv(name);
    return taken;
}

bool
belay__key_on_line(const char *word, int argc, char **argv)
{
    static const char name[] = "--api-key-env";

    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const size_t len = strcspn(argv[i], "=");

        if (len > 4 && len < sizeof(name) - 1
            && strncmp(argv[i], name, len) == 0) {
            (void)fprintf(stderr,
                "belay %s: a key on the command line can be seen by "
                "everybody; --api-key-env names the variable that holds it\n",
                word);
            return true;
        }
    }
    return false;
}
