/* test_sim_sweeps.c - the simulator, whatever is cancelled or refused. */
#include "test/support/sim_scene.h"
#include "test/support/turn_canceller.h"

#include <signal.h>
#include <string.h>

TestSuite(sim_sweeps, .init = raw_open_what_libuv_keeps, .fini = check_clean,
    .timeout = 120);

static bool
accept_reply(int fd)
{
    struct raw_reply reply;
    bool good;

    raw_read_reply(fd, &reply);
    good = reply.end == RAW_WHOLE;
    RAW_CHECK(!good || reply.status == 200 || reply.status == 500
              || reply.status == 503);
    raw_reply_fini(&reply);
    return good;
}

static void
tolerant_client(void *arg)
{
    int fd = raw_try_connect(sim_scene.port);

    (void)arg;
    if (fd < 0) {
        return;
    }
    post(fd, chat_body("one", ""));
    if (accept_reply(fd)) {
        post(fd, chat_body("two", ",\"stream\":true"));
        (void)accept_reply(fd);
    }
    raw_close(fd);
}

Test(sim_sweeps, survives_the_failure_of_every_allocation)
{
    const struct play arguments = {.client = tolerant_client};
    size_t k;
    int code;

    for (k = 0; k < 500; k++) {
        test_alloc_fail_at(k);
        code = run_sim(&arguments);
        cr_assert(eq(sz, test_alloc_live_blocks(), 0));
        if (test_alloc_failures() == 0) {
            break;
        }
        cr_assert(code == 0 || code == BELAY_ENOMEM || code == BELAY_EGROUP);
    }
    test_alloc_never_fail();
    cr_assert(gt(sz, k, 10));
    cr_assert(lt(sz, k, 500));
}

struct sweep {
    struct play play;
    uint64_t turns;
    belay_group *group;
    belay_task *victim;
};

BELAY_ASYNC(sweep)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_group_spawn(self->group, &sim_play, &self->play,
            BELAY_SPAWN_OPTS(.task = &self->victim)));
        BELAY_CHECK(belay_spawn(self->group, canceller, .victim = self->victim,
            .turns = self->turns));
    }
    BELAY_END;
}

Test(sim_sweeps, survives_a_cancel_at_every_turn)
{
    struct sweep arguments = {.play = {.client = tolerant_client,
                                  .opts = {.latency = belay_milliseconds(1),
                                      .tokens_per_second = 5000}}};
    size_t fds = raw_count_fds();

    (void)signal(SIGPIPE, SIG_IGN);
    for (arguments.turns = 0; arguments.turns < 120; arguments.turns++) {
        memset(&sim_scene, 0, sizeof(sim_scene));
        cr_assert(eq(int,
            belay_run(&sweep, &arguments,
                BELAY_RUNTIME_OPTS(.allocator = &test_allocator), NULL),
            0));
        cr_assert(eq(sz, test_alloc_live_blocks(), 0));
        cr_assert(eq(sz, raw_count_fds(), fds));
    }
}
