/* test_room.c - room for scopes and deadlines is given back: S69, S136. */
#include "test/support/program.h"

#include "runtime/internal.h"

TestSuite(room, .fini = check_clean, .timeout = 30);

/* More than a runtime has for its first 60 scopes. */
#define FEW_BYTES 8192

static uint64_t
room_bytes(const belay_task *task)
{
    const belay_runtime *runtime = belay_task_runtime(task);

    return runtime->deadlines.room * sizeof(*runtime->deadlines.slots)
           + runtime->cancels.room * sizeof(*runtime->cancels.slots);
}

struct sleeper {
    belay_duration span;
};

BELAY_ASYNC(sleeper)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_sleep(task, self->span));
    BELAY_END;
}

struct leaver {
    belay_duration span;
};

/* The one that stays when the others have ended: it takes two seconds to. */
BELAY_ASYNC(leaver)
{
    BELAY_BEGIN;
    BELAY_WITH (
        BELAY_ENTER(probe, .name = "a", .exit_sleep = belay_seconds(2))) {
        BELAY_AWAIT(belay_sleep(task, self->span));
    }
    BELAY_END;
}

struct crowd {
    int count;
    bool shortage; /* no memory while room could be given back */
    bool cancel;   /* the children do not end by themselves */
    belay_group *group;
    size_t calls;
    int rounds;
};

static int
spawn_all(const struct crowd *self)
{
    int code = belay_spawn(self->group, leaver, .span = belay_seconds(9));

    for (int i = 0; code == 0 && i < self->count; i++) {
        code = belay_spawn(self->group, sleeper,
            .span = self->cancel ? BELAY_FOREVER : belay_seconds(1 + i % 3));
    }
    return code;
}

/* They are there twice, so that room given back is taken again. */
BELAY_ASYNC(crowd)
{
    BELAY_BEGIN;
    cr_expect(le(u64, room_bytes(task), FEW_BYTES));
    for (self->rounds = 2; self->rounds > 0; self->rounds--) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(spawn_all(self));
            BELAY_AWAIT(belay_checkpoint(task));
            cr_expect(gt(u64, room_bytes(task), FEW_BYTES));
            if (self->cancel) {
                belay_group_cancel(self->group, NULL);
            } else {
                if (self->shortage) {
                    test_alloc_fail_after(0);
                }
                BELAY_AWAIT(belay_sleep(task, belay_seconds(5)));
                if (self->shortage) {
                    cr_expect(gt(sz, test_alloc_failures(), 0));
                    test_alloc_never_fail();
                    cr_expect(gt(u64, room_bytes(task), FEW_BYTES));
                } else {
                    cr_expect(le(u64, room_bytes(task), FEW_BYTES));
                }
            }
            self->calls = test_alloc_calls();
        }
        if (self->cancel) {
            cr_expect(eq(sz, test_alloc_calls(), self->calls));
            cr_expect(gt(u64, room_bytes(task), FEW_BYTES));
        }
        BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
        cr_expect(le(u64, room_bytes(task), FEW_BYTES));
    }
    BELAY_END;
}

Test(room, s69_what_children_took_is_given_back_while_one_goes_on)
{
    program_unswept = true; /* thousands of places that are all alike */
    cr_expect(zero(int, RUN(crowd, .count = 5000)));
}

Test(room, s136_without_memory_it_is_kept)
{
    program_unswept = true; /* it refuses allocations itself */
    cr_expect(zero(int, RUN(crowd, .count = 5000, .shortage = true)));
}

Test(room, s136_nothing_is_given_back_between_a_cancel_and_the_join)
{
    program_unswept = true; /* thousands of places that are all alike */
    cr_expect(zero(int, RUN(crowd, .count = 5000, .cancel = true)));
}

#ifndef BELAY_ARENA_MALLOC

/* Children that have ended leave their memory to those who come while the loop
 * is busy, and to the allocator when it waits, or when nobody comes for long.
 */
struct waves {
    int count;
    int rest;   /* rounds behind the waves, without a wait … */
    int steady; /* … with as many children each */
    bool mixed; /* each wave's children have another size */
    belay_group *group;
    int round;
    size_t calls;
    size_t bytes;
};

struct passer {
    int turns;
};

BELAY_ASYNC(passer)
{
    BELAY_BEGIN;
    for (; self->turns > 0; self->turns--) {
        BELAY_AWAIT(belay_checkpoint(task));
    }
    BELAY_END;
}

struct wide_passer {
    char room[200];
};

BELAY_ASYNC(wide_passer)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_checkpoint(task));
    BELAY_END;
}

static int
spawn_passers(const struct waves *self, int count)
{
    int code = 0;

    for (int i = 0; code == 0 && i < count; i++) {
        code = self->mixed && self->round % 2 == 1
                   ? belay_spawn(self->group, wide_passer, .room = {0})
                   : belay_spawn(self->group, passer, .turns = 1);
    }
    return code;
}

/* All that is in use but those tables, which shrink when the loop waits. */
static size_t
other_bytes(const belay_task *task)
{
    return test_alloc_live_bytes() - (size_t)room_bytes(task);
}

/* The first wave takes memory, others of the same size take none; and of
 * another size not beside it.
 */
static void
look_at_wave(const struct waves *self, const belay_task *task)
{
    const size_t calls = test_alloc_calls() - self->calls;

    if (self->round == 0) {
        cr_expect(gt(sz, calls, (size_t)self->count / 100));
    } else if (!self->mixed) {
        cr_expect(lt(sz, calls, 10));
    }
    cr_expect(
        gt(sz, other_bytes(task), self->bytes + (size_t)self->count * 128));
    cr_expect(
        lt(sz, other_bytes(task), self->bytes + (size_t)self->count * 600));
}

BELAY_ASYNC(waves)
{
    BELAY_BEGIN;
    self->bytes = other_bytes(task);
    for (self->round = 0; self->round < 4; self->round++) {
        self->calls = test_alloc_calls();
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(spawn_passers(self, self->count));
        }
        look_at_wave(self, task);
    }
    for (self->round = 0; self->round < self->rest; self->round++) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            BELAY_CHECK(spawn_passers(self, self->steady));
            BELAY_AWAIT(belay_checkpoint(task));
        }
    }
    if (self->rest == 0) {
        BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
    }
    cr_expect(lt(sz, other_bytes(task), self->bytes + 60 * 4096));
    BELAY_END;
}

Test(room, s69_a_wave_takes_the_memory_of_the_last_one_until_the_loop_waits)
{
    program_unswept = true; /* thousands of places that are all alike */
    cr_expect(zero(int, RUN(waves, .count = 10000)));
}

Test(room, s69_waves_of_several_sizes_take_what_the_largest_takes)
{
    program_unswept = true; /* thousands of places that are all alike */
    cr_expect(zero(int, RUN(waves, .count = 10000, .mixed = true)));
}

Test(room, s69_a_loop_that_never_waits_gives_memory_back_too)
{
    program_unswept = true; /* thousands of places that are all alike */
    cr_expect(zero(int, RUN(waves, .count = 10000, .rest = 1200000)));
    cr_expect(
        zero(int, RUN(waves, .count = 10000, .rest = 40000, .steady = 50)));
}

/* When a host drops a task's handle, say, the loop may be about to wait. */
Test(room, s69_what_is_freed_outside_of_a_pass_goes_back_at_once)
{
    struct belay__memory *memory = belay__memory_new(&test_allocator);
    struct belay__blocks blocks = {.busy = false};
    struct belay__block held[2000];
    const size_t count = sizeof(held) / sizeof(held[0]);
    const size_t bytes = memory->live_bytes;

    for (int busy = 1; busy >= 0; busy--) {
        if (busy == 1) {
            belay__blocks_begin(&blocks);
        }
        for (size_t i = 0; i < count; i++) {
            held[i] = belay__block_alloc(memory, &blocks, 256);
            cr_assert(ne(ptr, held[i].ptr, NULL));
        }
        for (size_t i = 0; i < count; i++) {
            belay__block_free(memory, &blocks, held[i], 256);
        }
        cr_expect(eq(int, memory->live_bytes > bytes + 40 * 4096, busy));
        belay__blocks_shrink(memory, &blocks, false);
    }
    belay__blocks_fini(memory, &blocks);
    cr_expect(eq(sz, memory->live_bytes, bytes));
    belay__memory_unref(memory);
}

/* What each wave needs stays, however long that goes on. */
Test(room, s69_a_busy_loop_keeps_what_it_needs)
{
    struct belay__memory *memory = belay__memory_new(&test_allocator);
    struct belay__blocks blocks = {.busy = false};
    struct belay__block held[200];
    const size_t count = sizeof(held) / sizeof(held[0]);
    size_t calls = 0;

    for (int pass = 0; pass < 20000; pass++) {
        belay__blocks_begin(&blocks);
        for (size_t i = 0; i < count; i++) {
            held[i] = belay__block_alloc(memory, &blocks, 1000);
            cr_assert(ne(ptr, held[i].ptr, NULL));
        }
        for (size_t i = 0; i < count; i++) {
            belay__block_free(memory, &blocks, held[i], 1000);
        }
        belay__blocks_shrink(memory, &blocks, false);
        if (pass == 0) {
            calls = test_alloc_calls();
        }
    }
    cr_expect(eq(sz, test_alloc_calls(), calls));
    belay__blocks_fini(memory, &blocks);
    belay__memory_unref(memory);
}

/* Memory that nobody uses does not make an allocation fail. */
Test(room, s136_empty_slabs_of_other_sizes_go_first)
{
    struct belay__memory *memory = belay__memory_new(&test_allocator);
    struct belay__blocks blocks = {.busy = true};
    struct belay__block held[2000];
    const size_t count = sizeof(held) / sizeof(held[0]);
    struct belay__block other;

    for (size_t i = 0; i < count; i++) {
        held[i] = belay__block_alloc(memory, &blocks, 256);
        cr_assert(ne(ptr, held[i].ptr, NULL));
    }
    for (size_t i = 0; i < count; i++) {
        belay__block_free(memory, &blocks, held[i], 256);
    }
    test_alloc_fail_at(0);
    other = belay__block_alloc(memory, &blocks, 512);
    cr_expect(eq(sz, test_alloc_failures(), 1));
    test_alloc_never_fail();
    cr_assert(ne(ptr, other.ptr, NULL));
    belay__block_free(memory, &blocks, other, 512);
    belay__blocks_fini(memory, &blocks);
    belay__memory_unref(memory);
}

#endif
