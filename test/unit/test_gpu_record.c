/* test_gpu_record.c - what is made of a pool's events, and how it is drawn. */
#include "cli/gpu_pen.h"
#include "cli/gpu_record.h"

#include "test/support/program.h"

#include <stdlib.h>
#include <string.h>

TestSuite(gpu_record, .fini = check_clean, .timeout = 5);

#define SLOTS 2

static void
feed(struct belay__gpu_record *record, int64_t at, int kind, uint64_t lease,
    uint16_t slot, uint64_t detail)
{
    belay__gpu_record_event(
        record, &(const struct belay_gpu_event){.time = {at},
                    .kind = (uint8_t)kind,
                    .lease = lease,
                    .task_id = lease + 100,
                    .slot = slot,
                    .detail = detail});
}

static void
state(struct belay__gpu_record *record, int64_t at, uint16_t slot,
    enum belay_gpu_slot_state to)
{
    feed(record, at, BELAY_GPU_EVENT_SLOT, 0, slot, (uint64_t)to);
}

/* A long one that came late ends it, not how much there was to do. */
Test(gpu_record, no_lease_can_begin_before_it_is_asked_for)
{
    const belay_time began = {5};
    struct belay__gpu_record record;

    cr_assert(eq(int, belay__gpu_record_init(&record, SLOTS), 0));
    cr_expect(zero(i64, belay__gpu_record_soonest(&record, began).ns));
    feed(&record, 10, BELAY_GPU_EVENT_GRANT, 1, 0, 0);
    state(&record, 40, 0, BELAY_GPU_SLOT_FREE);
    cr_expect(eq(i64, belay__gpu_record_soonest(&record, began).ns, 35));
    /* Asked for at 30, granted at 40: it could have ended at 50. */
    feed(&record, 40, BELAY_GPU_EVENT_GRANT, 2, 0, 10);
    state(&record, 60, 0, BELAY_GPU_SLOT_FREE);
    cr_expect(eq(i64, belay__gpu_record_soonest(&record, began).ns, 45));
    /* One that waited longer could have ended long ago. */
    feed(&record, 60, BELAY_GPU_EVENT_GRANT, 3, 1, 50);
    state(&record, 90, 1, BELAY_GPU_SLOT_FREE);
    cr_expect(eq(i64, belay__gpu_record_soonest(&record, began).ns, 45));
    belay__gpu_record_fini(&record);
}

Test(gpu_record, a_lease_lasts_from_its_grant_to_its_slot_being_free)
{
    struct belay__gpu_record record;

    cr_assert(eq(int, belay__gpu_record_init(&record, SLOTS), 0));
    feed(&record, 10, BELAY_GPU_EVENT_GRANT, 1, 0, 0);
    state(&record, 12, 0, BELAY_GPU_SLOT_RUNNING);
    state(&record, 20, 0, BELAY_GPU_SLOT_DRAINING);
    state(&record, 25, 0, BELAY_GPU_SLOT_FREE);
    feed(&record, 25, BELAY_GPU_EVENT_GRANT, 2, 0, 5);
    belay__gpu_record_end(&record, (belay_time){30});
    cr_assert(eq(u32, record.hold_count, 2));
    cr_expect(eq(i64, record.holds[0].begin.ns, 10));
    cr_expect(eq(i64, record.holds[0].end.ns, 25));
    cr_expect(eq(u64, record.holds[0].task_id, 101));
    cr_expect(eq(i64, record.holds[1].end.ns, 30));
    cr_assert(eq(u32, record.span_count, 4));
    cr_expect(eq(u32, record.spans[2].state, BELAY_GPU_SLOT_DRAINING));
    cr_expect(eq(i64, record.spans[2].end.ns, 25));
    cr_expect(eq(u32, record.spans[2].hold, 0));
    cr_expect(eq(u32, record.spans[3].hold, 1));
    belay__gpu_record_fini(&record);
}

Test(gpu_record, a_slot_out_of_service_ends_the_lease_as_failed)
{
    struct belay__gpu_record record;

    cr_assert(eq(int, belay__gpu_record_init(&record, SLOTS), 0));
    feed(&record, 1, BELAY_GPU_EVENT_GRANT, 1, 1, 0);
    state(&record, 5, 1, BELAY_GPU_SLOT_QUARANTINED);
    state(&record, 9, 1, BELAY_GPU_SLOT_FREE);
    cr_expect(eq(i64, record.holds[0].end.ns, 5));
    cr_expect(record.holds[0].failed);
    cr_assert(eq(u32, record.span_count, 2));
    cr_expect(eq(u32, record.spans[1].hold, BELAY__GPU_NONE));
    cr_expect(eq(i64, record.spans[1].end.ns, 9));
    belay__gpu_record_fini(&record);
}

Test(gpu_record, an_operation_fails_its_lease_unless_it_was_cancelled)
{
    struct belay__gpu_record record;

    cr_assert(eq(int, belay__gpu_record_init(&record, SLOTS), 0));
    feed(&record, 1, BELAY_GPU_EVENT_GRANT, 1, 0, 0);
    feed(&record, 2, BELAY_GPU_EVENT_OP_END, 1, 0, 0);
    feed(&record, 3, BELAY_GPU_EVENT_OP_END, 1, 0,
        (uint64_t)-BELAY_GPU_ECANCELED);
    cr_expect(not(record.holds[0].failed));
    feed(&record, 4, BELAY_GPU_EVENT_OP_END, 1, 0, (uint64_t)-BELAY_GPU_EOP);
    cr_expect(record.holds[0].failed);
    belay__gpu_record_fini(&record);
}

Test(gpu_record, who_waits_is_counted_until_a_grant_or_a_refusal)
{
    struct belay__gpu_record record;

    cr_assert(eq(int, belay__gpu_record_init(&record, SLOTS), 0));
    for (uint64_t lease = 1; lease <= 1000; lease++) {
        feed(&record, (int64_t)lease, BELAY_GPU_EVENT_WAIT, lease,
            BELAY_GPU_NO_SLOT, 0);
    }
    cr_expect(eq(u32, record.depths[999].waiting[0], 1000));
    feed(&record, 1000, BELAY_GPU_EVENT_NO_GRANT, 3, BELAY_GPU_NO_SLOT, 5);
    cr_expect(eq(u32, record.depth_count, 1000)); /* the same time */
    cr_expect(eq(u32, record.depths[999].waiting[0], 999));
    feed(&record, 1001, BELAY_GPU_EVENT_NO_GRANT, 3, BELAY_GPU_NO_SLOT, 5);
    feed(&record, 1001, BELAY_GPU_EVENT_NO_GRANT, 2000, BELAY_GPU_NO_SLOT, 5);
    cr_expect(eq(u32, record.depth_count, 1000)); /* they did not wait */
    feed(&record, 1002, BELAY_GPU_EVENT_GRANT, 4, 0, 998);
    cr_expect(eq(u32, record.depths[1000].waiting[0], 998));
    cr_expect(not(record.holds[0].at_once));
    cr_expect(eq(u64, record.lost, 0));
    belay__gpu_record_fini(&record);
}

Test(gpu_record, a_slot_that_is_not_there_is_counted_as_lost)
{
    struct belay__gpu_record record;

    cr_assert(eq(int, belay__gpu_record_init(&record, SLOTS), 0));
    feed(&record, 1, BELAY_GPU_EVENT_GRANT, 1, SLOTS, 0);
    state(&record, 2, SLOTS, BELAY_GPU_SLOT_FREE);
    feed(&record, 3, BELAY_GPU_EVENT_OP_END, 1, BELAY_GPU_NO_SLOT, 5);
    cr_expect(eq(u64, record.lost, 2));
    cr_expect(eq(u32, record.hold_count, 0));
    belay__gpu_record_fini(&record);
}

/* Two slots and one that waits for none of them, from 10 to 20: one is free
 * from 12 to 15, which is lost time, the other from 30 on, which is not.
 */
Test(gpu_record, idle_time_counts_while_somebody_waits)
{
    struct belay__gpu_record record;

    cr_assert(eq(int, belay__gpu_record_init(&record, 2), 0));
    cr_expect(eq(i64, belay__gpu_record_idle_ns(&record, (belay_time){9}), 0));
    feed(&record, 0, BELAY_GPU_EVENT_GRANT, 1, 0, 0);
    feed(&record, 0, BELAY_GPU_EVENT_GRANT, 2, 1, 0);
    feed(&record, 10, BELAY_GPU_EVENT_WAIT, 3, BELAY_GPU_NO_SLOT, 0);
    state(&record, 12, 0, BELAY_GPU_SLOT_FREE);
    feed(&record, 15, BELAY_GPU_EVENT_GRANT, 4, 0, 0);
    state(&record, 20, 1, BELAY_GPU_SLOT_FREE);
    feed(&record, 20, BELAY_GPU_EVENT_GRANT, 3, 1, 10);
    state(&record, 30, 1, BELAY_GPU_SLOT_FREE);
    belay__gpu_record_end(&record, (belay_time){40});
    cr_expect(eq(i64, belay__gpu_record_idle_ns(&record, (belay_time){40}), 3));
    cr_expect(eq(i64, belay__gpu_record_idle_ns(&record, (belay_time){14}), 2));
    belay__gpu_record_fini(&record);
}

/* ---- lines on a terminal ---- */

/* What a pen of ten columns has drawn; the caller frees it. */
static char *
drawn(void (*draw)(struct belay__pen *pen), bool utf8)
{
    char *text = NULL;
    size_t len = 0;
    struct belay__pen pen = {.columns = 10, .utf8 = utf8};

    pen.out = open_memstream(&text, &len);
    cr_assert(ne(ptr, pen.out, NULL));
    draw(&pen);
    belay__pen_end_line(&pen);
    cr_expect(eq(u32, pen.lines, 1));
    (void)fclose(pen.out);
    return text;
}

static void
expect_drawn(void (*draw)(struct belay__pen *pen), bool utf8, const char *text)
{
    char *found = drawn(draw, utf8);

    cr_expect(eq(str, found, (char *)(uintptr_t)text));
    free(found);
}

static void
draw_long(struct belay__pen *pen)
{
    belay__pen_put(pen, NULL, "%s", "äöüßäöüß");
    belay__pen_put(pen, "1", "%d", 12345);
}

Test(gpu_record, what_does_not_fit_into_the_columns_is_cut)
{
    expect_drawn(draw_long, true, "äöüßäöüß\x1b[1m12\x1b[0m\x1b[K\n");
}

static void
draw_bars(struct belay__pen *pen)
{
    belay__pen_bar(pen, "3", 0.5625, 2); /* nine eighths of a cell */
    belay__pen_bar(pen, "3", 2, 1);
    belay__pen_bar(pen, "3", -1, 1);
}

Test(gpu_record, bars_are_drawn_in_eighths_and_never_beyond_their_cells)
{
    expect_drawn(draw_bars, true,
        "\x1b[3m█▏\x1b[0m\x1b[2m\x1b[0m\x1b[3m█\x1b[0m\x1b[2m\x1b[0m"
        "\x1b[3m\x1b[0m\x1b[2m·\x1b[0m\x1b[K\n");
    expect_drawn(draw_bars, false,
        "\x1b[3m#\x1b[0m\x1b[2m.\x1b[0m\x1b[3m#\x1b[0m\x1b[2m\x1b[0m"
        "\x1b[3m\x1b[0m\x1b[2m.\x1b[0m\x1b[K\n");
}

static void
draw_spark(struct belay__pen *pen)
{
    belay__pen_spark(pen, NULL, (const float[]){0, 0.25F, 0.5F, 1, 1}, 5);
}

Test(gpu_record, two_shares_make_one_cell_of_dots)
{
    expect_drawn(draw_spark, true, "⢀⣼\x1b[K\n");
    expect_drawn(draw_spark, false, ":#\x1b[K\n");
}
