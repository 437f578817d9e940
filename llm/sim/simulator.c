/* simulator.c - the simulator for other people's programs.
 *
 * A manager round the one that the command uses: public options in, the rest
 * of them at their defaults.
 */
#include <belay/simulator.h>

#include "llm/sim/sim.h"
#include "runtime/internal.h"
#include "runtime/stream.h"

#include <belay/async.h>

struct belay_simulator {
    struct belay__sim_opts opts;
    belay_simulator **ret;
    struct belay__sim *sim;
};

static belay_next
simulator_step(belay_task *task, void *frame)
{
    struct belay_simulator *self = frame;

    BELAY_BEGIN;
    belay__ignore_broken_pipes();
    BELAY_WITH (belay__sim_open(task, &self->opts, &self->sim)) {
        *self->ret = self;
        BELAY_YIELD(self);
    }
    BELAY_END;
}

static bool
is_share(double value)
{
    return value >= 0 && value <= 1;
}

static bool
makes_sense(const struct belay_simulator_opts *opts)
{
    return opts->size == sizeof(*opts) && opts->latency.ns >= 0
           && opts->tokens_per_second >= 0 && is_share(opts->fail_429)
           && is_share(opts->fail_5xx) && is_share(opts->cut);
}

belay_next
belay_simulator_open(belay_task *task, const struct belay_simulator_opts *opts,
    belay_simulator **ret)
{
    static const belay_manager manager = {
        {"simulator", __FILE__, sizeof(struct belay_simulator), simulator_step,
            0},
        NULL};
    struct belay_simulator simulator = {.ret = ret};

    if (opts != NULL && !makes_sense(opts)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    if (opts != NULL) {
        simulator.opts = (struct belay__sim_opts){
            .port = opts->port,
            .seed = opts->seed,
            .latency = opts->latency,
            .tokens_per_second = opts->tokens_per_second,
            .tokens_min = opts->tokens,
            .fail_429 = opts->fail_429,
            .fail_5xx = opts->fail_5xx,
            .cut = opts->cut,
            .capacity = opts->capacity,
            .api_key = opts->api_key,
        };
    }
    return belay_enter(task, &manager, &simulator);
}

const char *
belay_simulator_url(const belay_simulator *simulator)
{
    return belay__sim_url(simulator->sim);
}
