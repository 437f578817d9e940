/* jumping_clock.c - a wall clock that jumps; to be preloaded.
 *
 * Each look at the wall clock is BELAY_CLOCK_STEP seconds from the one before,
 * forwards or backwards; the steady clock stays as it is. At the end the
 * number of looks goes into the file BELAY_CLOCK_LOG, so that a test knows
 * that somebody has looked.
 */
#define _GNU_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static unsigned long looks;

static long
jump(void)
{
    static long step;

    if (step == 0) {
        const char *text = getenv("BELAY_CLOCK_STEP");

        step = text != NULL ? strtol(text, NULL, 10) : 1;
    }
    return step * (long)(__atomic_add_fetch(&looks, 1, __ATOMIC_RELAXED) % 100);
}

int
clock_gettime(clockid_t id, struct timespec *ret)
{
    const int code = (int)syscall(SYS_clock_gettime, id, ret);

    if (code == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        ret->tv_sec += jump();
    }
    return code;
}

time_t
time(time_t *ret)
{
    struct timespec now = {0};

    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (ret != NULL) {
        *ret = now.tv_sec;
    }
    return now.tv_sec;
}

int
gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
    struct timespec now = {0};

    (void)zone;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    *ret = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

__attribute__((destructor)) static void
tell(void)
{
    const char *path = getenv("BELAY_CLOCK_LOG");
    FILE *file = path != NULL ? fopen(path, "w") : NULL;

    if (file != NULL) {
        (void)fprintf(file, "%lu\n", looks);
        (void)fclose(file);
    }
}
