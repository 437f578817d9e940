/* test_life.c - which objects are still there. */
#include "test/support/memory.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#define COUNT 100

TestSuite(life, .init = open_memory, .fini = close_memory, .timeout = 5);

Test(life, it_lasts_from_begin_to_end)
{
    struct belay__life life = {0, 0};
    struct belay__life seen;

    cr_expect(not(belay__life_lasts(memory, life)));
    belay__life_end(memory, &life);
    cr_assert(zero(int, belay__life_begin(memory, &life)));
    seen = life;
    cr_expect(belay__life_lasts(memory, seen));
    belay__life_end(memory, &life);
    cr_expect(not(belay__life_lasts(memory, seen)));
    cr_expect(zero(u32, life.place));
    belay__life_end(memory, &life);
    cr_expect(zero(sz, memory->live_blocks), "without a life there is no list");
}

Test(life, one_that_has_ended_is_not_mistaken_for_the_next_in_its_place)
{
    struct belay__life lives[COUNT];
    struct belay__life ended[COUNT];

    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            cr_assert(zero(int, belay__life_begin(memory, &lives[i])));
            if (round > 0) {
                cr_expect(not(belay__life_lasts(memory, ended[i])));
            }
        }
        for (size_t i = 0; i < COUNT; i += 2) {
            ended[i] = lives[i];
            belay__life_end(memory, &lives[i]);
            cr_assert(zero(int, belay__life_begin(memory, &lives[i])));
            cr_expect(not(belay__life_lasts(memory, ended[i])));
        }
        for (size_t i = 0; i < COUNT; i++) {
            ended[i] = lives[i];
            cr_expect(belay__life_lasts(memory, lives[i]));
            belay__life_end(memory, &lives[i]);
        }
    }
    memory->lives.serial = UINT32_MAX;
    cr_assert(zero(int, belay__life_begin(memory, &lives[0])));
    cr_expect(ne(u32, lives[0].serial, 0));
    belay__life_end(memory, &lives[0]);
}

Test(life, without_memory_none_begins)
{
    struct belay__life lives[COUNT];
    size_t count = 0;
    int code = 0;

    test_alloc_fail_at(2);
    while (code == 0) {
        code = belay__life_begin(memory, &lives[count]);
        count += code == 0;
    }
    test_alloc_never_fail();
    cr_expect(eq(int, code, BELAY_ENOMEM));
    for (size_t i = 0; i < count; i++) {
        cr_expect(belay__life_lasts(memory, lives[i]));
        belay__life_end(memory, &lives[i]);
    }
}
