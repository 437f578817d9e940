/* descriptors.c - how many files and sockets may be open.
 *
 * Shells start programs with a soft limit that protects those that select();
 * we poll, and a request in flight is a socket.
 */
#include "cli/descriptors.h"

#include <sys/resource.h>

uint64_t
belay__descriptors_raise(uint64_t wanted)
{
    struct rlimit limit;
    rlim_t before;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return wanted; /* cannot be; then nobody knows better */
    }
    before = limit.rlim_cur;
    if (before == RLIM_INFINITY || before >= wanted) {
        return before;
    }
    limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || limit.rlim_max > wanted
                         ? wanted
                         : limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? before : limit.rlim_cur;
}
