/* last_signal.c - the second SIGINT or SIGTERM ends the process. */
#include "cli/last_signal.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define SIGNAL_CODE 128

static sigset_t watched;

/* To the handler that there is, here: it is the process's. */
static void
hand_on(int number)
{
    sigset_t one;

    (void)sigemptyset(&one);
    (void)sigaddset(&one, number);
    (void)raise(number); /* it waits until it may come */
    (void)pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    (void)pthread_sigmask(SIG_BLOCK, &one, NULL);
}

static void *
watch(void *arg)
{
    const struct timespec second = {1, 0};
    int first = 0;
    int number;

    (void)arg;
    while (sigwait(&watched, &number) == 0) {
        hand_on(number);
        if (first != 0) {
            (void)nanosleep(&second, NULL);
            _exit(SIGNAL_CODE + first);
        }
        first = number;
    }
    return NULL;
}

void
belay__last_signal_watch(void)
{
    pthread_attr_t detached;
    pthread_t thread;
    sigset_t before;

    (void)sigemptyset(&watched);
    (void)sigaddset(&watched, SIGINT);
    (void)sigaddset(&watched, SIGTERM);
    if (pthread_attr_init(&detached) != 0) {
        return;
    }
    (void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    (void)pthread_sigmask(SIG_BLOCK, &watched, &before);
    if (pthread_create(&thread, &detached, watch, NULL) != 0) {
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    (void)pthread_attr_destroy(&detached);
}
