/* 05_nested_managers.c - a budget, a monitor and a session, one in the other.
 *
 * Shows: blocks are left in order, newest first, and can see how it went.
 */
#include <belay/belay.h>

#include <stdio.h>

struct budget {
    int tokens; /* left */
};

BELAY_MANAGER(budget)
{
    BELAY_BEGIN;
    BELAY_TRY_YIELD(self);
    printf("budget: %d tokens left\n", self->tokens);
    BELAY_END;
}

struct monitor {
    int calls;
};

BELAY_MANAGER(monitor)
{
    BELAY_BEGIN;
    BELAY_TRY_YIELD(self);
    printf("monitor: %d calls, %s\n", self->calls,
        belay_code_text(belay_result(task)->code));
    BELAY_END;
}

static void
session_close(void *arg)
{
    (void)arg;
    printf("session: closed\n");
}

struct work {
    int costs[3]; /* tokens of each call */
    struct budget *budget;
    struct monitor *monitor;
};

BELAY_ASYNC(work)
{
    BELAY_BEGIN;
    BELAY_WITH (BELAY_ENTER(budget, .tokens = 1000)) {
        self->budget = belay_result(task)->value;
        BELAY_WITH (BELAY_ENTER(monitor, .calls = 0)) {
            self->monitor = belay_result(task)->value;
            BELAY_WITH (belay_defer(task, session_close, NULL)) {
                for (int i = 0; i < 3; i++) {
                    self->monitor->calls++;
                    if (self->costs[i] > self->budget->tokens) {
                        BELAY_FAIL(BELAY_EQUOTA, "call %d", i);
                    }
                    self->budget->tokens -= self->costs[i];
                    printf("answer of %d tokens\n", self->costs[i]);
                }
            }
        }
    }
    BELAY_END;
}

int
main(void)
{
    const struct work fits = {.costs = {200, 300, 400}};
    const struct work exceeds = {.costs = {200, 900, 400}};

    return belay_run(&work, &fits, NULL, NULL) < 0
           || belay_run(&work, &exceeds, NULL, NULL) != BELAY_EQUOTA;
}
