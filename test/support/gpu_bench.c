/* gpu_bench.c - a lease of a pool, and an async function to run in it. */
#include "test/support/gpu_bench.h"

BELAY__STEP(bench)
const belay_function bench = {
    "bench", __FILE__, sizeof(struct bench), bench__step, 0};
BELAY__BODY(bench)
{
    BELAY_BEGIN;
    self->opts.size = sizeof(self->opts);
    self->opts.devices = self->devices;
    self->lease_opts.size = sizeof(self->lease_opts);
    BELAY_WITH (belay_gpu_pool_open(task, &self->opts, &self->pool)) {
        gpu_oracle_watch(self->pool, false);
        BELAY_WITH (belay_gpu_lease_open(
            task, self->pool, &self->lease_opts, &self->lease)) {
            BELAY_AWAIT(belay_call(task, self->body, &(struct bench *){self}));
        }
        trace("free %u", self->pool->slots_free);
    }
    BELAY_END;
}

BELAY__STEP(in_lease)
const belay_function in_lease = {
    "in_lease", __FILE__, sizeof(struct in_lease), in_lease__step, 0};
BELAY__BODY(in_lease)
{
    BELAY_BEGIN;
    BELAY_WITH (
        belay_gpu_lease_open(task, self->b->pool, NULL, &self->b->lease)) {
        BELAY_AWAIT(belay_call(task, self->body, &(struct bench *){self->b}));
    }
    BELAY_END;
}
