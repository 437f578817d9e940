/* test_batch_models.c - the models of a batch, and lines between attempts. */
#include "llm/batch/models.h"

#include "runtime/internal.h"
#include "test/support/memory.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>

TestSuite(
    batch_models, .init = open_memory, .fini = close_memory, .timeout = 30);

/* ---- sleepers ---- */

#define ROOM 7

Test(batch_models, b20_b22_sleepers_take_no_more_than_they_have_room_for)
{
    struct belay__sleepers sleepers = {.items = NULL};
    struct belay__item *items = calloc(ROOM + 1, sizeof(*items));

    cr_assert(eq(int, belay__sleepers_init(&sleepers, memory, ROOM), 0));
    for (int i = 0; i < ROOM; i++) {
        items[i].wakes_ns = (i * 3) % ROOM;
        cr_expect(belay__sleepers_add(&sleepers, &items[i]));
    }
    cr_expect(not(belay__sleepers_add(&sleepers, &items[ROOM])));
    cr_expect(eq(sz, sleepers.count, ROOM));
    for (int i = 0; i < ROOM; i++) {
        cr_expect(eq(i64, belay__sleepers_take(&sleepers)->wakes_ns, i));
    }
    cr_expect(eq(ptr, (void *)belay__sleepers_first(&sleepers), NULL));
    belay__sleepers_fini(&sleepers, memory);
    free(items);
}

/* ---- lines that are put off ---- */

Test(batch_models, b20_lines_that_are_put_off_are_bounded_all_together)
{
    struct belay__batch_models models = {.first = NULL};
    struct belay__batch_model a = {.name = {"a", 1}, .next = NULL};
    struct belay__batch_model b = {.name = {"b", 1}, .next = &a};
    struct belay__put_off line = {.number = 0};

    models.first = &b;
    for (uint64_t i = 0; i < BELAY__PUT_OFF_MAX; i++) {
        line.number = i;
        cr_assert(eq(int,
            belay__model_put_off(&models, memory, i % 2 == 0 ? &a : &b, &line),
            0));
    }
    cr_expect(eq(int, belay__model_put_off(&models, memory, &b, &line),
        BELAY_ETOOLARGE));
    cr_expect(eq(u64, belay__model_take_back(&models, memory, &b).number, 1));
    cr_expect(eq(u64, belay__model_take_back(&models, memory, &b).number, 3));
    cr_expect(eq(int, belay__model_put_off(&models, memory, &a, &line), 0));
    cr_expect(eq(sz, belay__models_forget_put_off(&models, memory),
        BELAY__PUT_OFF_MAX - 1));
    cr_expect(eq(sz, models.put_off, 0));
}
