/* rate_scene.c - a limiter of rates for a block. */
#include "test/support/rate_scene.h"

static belay_next
limiting_enter(belay_task *task, void *self)
{
    struct limiting *scope = self;
    int code = belay__rate_init(
        scope->limiter, belay_task_runtime(task), &scope->limits);

    return code < 0 ? belay_fail(task, code, NULL) : belay_return(task, NULL);
}

static belay_next
limiting_exit(belay_task *task, void *self)
{
    struct limiting *scope = self;

    belay__rate_close(scope->limiter);
    belay__rate_fini(scope->limiter);
    return belay_return(task, NULL);
}

const belay_manager limiting = {
    {"limiting", __FILE__, sizeof(struct limiting), limiting_enter, 0},
    limiting_exit};
