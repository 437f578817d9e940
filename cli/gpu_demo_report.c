/* gpu_demo_report.c - what `belay gpu demo` says at its end. */
#include "cli/gpu_demo.h"

#include <inttypes.h>
#include <stdlib.h>

static double
seconds(int64_t ns)
{
    return (double)ns / 1e9;
}

/* All work on all slots, without a gap; or, if that is later, a lease that was
 * asked for last and is long: it has but one slot, and nobody can begin it
 * before it is asked for.
 */
belay_duration
belay__gpu_demo_ideal(const struct belay__gpu_demo *demo)
{
    const int64_t work = demo->spent[BELAY_GPU_SLOT_RUNNING].ns
                         + demo->spent[BELAY_GPU_SLOT_DRAINING].ns;
    const int64_t slots = demo->stats.slots > 0 ? demo->stats.slots : 1;
    const belay_duration soonest =
        belay__gpu_record_soonest(&demo->record, demo->began);

    return work / slots > soonest.ns ? belay_nanoseconds(work / slots)
                                     : soonest;
}

/* ---- waits ---- */

static int
compare(const void *a, const void *b)
{
    const int64_t *x = a;
    const int64_t *y = b;

    return (*x > *y) - (*x < *y);
}

static void
report_waits(const struct belay__gpu_record *record, FILE *out)
{
    int64_t *waits = malloc((record->hold_count + 1) * sizeof(*waits));
    uint32_t count = 0;

    if (waits == NULL) {
        return;
    }
    for (uint32_t i = 0; i < record->hold_count; i++) {
        if (!record->holds[i].at_once) {
            waits[count++] = record->holds[i].waited.ns;
        }
    }
    qsort(waits, count, sizeof(*waits), compare);
    if (count > 0) {
        (void)fprintf(out,
            "  waits        p50 %.3f s, p99 %.3f s, longest %.3f s\n",
            seconds(waits[(count - 1) / 2]),
            seconds(waits[(uint64_t)(count - 1) * 99 / 100]),
            seconds(waits[count - 1]));
    }
    free(waits);
}

/* ---- the report ---- */

static void
report_slots(const struct belay__gpu_demo *demo, FILE *out)
{
    static const char *const names[] = {
        "idle", "held", "running", "draining", "out of service"};
    const double makespan =
        (double)(demo->ended_at.ns - demo->began.ns) * demo->stats.slots;
    double shares[BELAY_GPU_SLOT_TIMES] = {1};
    int64_t idle;

    if (!(makespan > 0)) {
        return;
    }
    for (int i = 1; i < BELAY_GPU_SLOT_TIMES; i++) {
        shares[i] = (double)demo->spent[i].ns / makespan;
        shares[0] -= shares[i];
    }
    (void)fprintf(out, "  slots        ");
    (void)fprintf(out, "%.1f%% running", shares[BELAY_GPU_SLOT_RUNNING] * 100);
    for (int i = 0; i < BELAY_GPU_SLOT_TIMES; i++) {
        if (i != BELAY_GPU_SLOT_RUNNING) {
            (void)fprintf(out, ", %.1f%% %s",
                shares[i] > 0 ? shares[i] * 100 : 0, names[i]);
        }
    }
    (void)fputc('\n', out);
    idle = belay__gpu_record_idle_ns(&demo->record, demo->ended_at);
    if (idle >= 0) {
        (void)fprintf(out, "               %.2f%% idle while a task waited\n",
            (double)idle * 100 / makespan);
    }
}

static uint32_t
at_once(const struct belay__gpu_record *record)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < record->hold_count; i++) {
        count += record->holds[i].at_once;
    }
    return count;
}

void
belay__gpu_demo_report(const struct belay__gpu_demo *demo, FILE *out)
{
    const int64_t makespan = demo->ended_at.ns - demo->began.ns;
    const int64_t ideal = belay__gpu_demo_ideal(demo).ns;
    const uint32_t immediate = at_once(&demo->record);

    (void)fprintf(out,
        "belay gpu demo: %s, %" PRIu32 " slot%s of %" PRIu32 " device%s (%s)\n",
        demo->signal != 0 ? "interrupted" : "done", demo->stats.slots,
        demo->stats.slots == 1 ? "" : "s", demo->stats.devices,
        demo->stats.devices == 1 ? "" : "s", demo->kind);
    (void)fprintf(out,
        "  makespan     %.3f s%s; ideal %.3f s, which is %.1f%% of it\n",
        seconds(makespan),
        demo->options->once && demo->backend[0] == 's' ? " of simulated time"
                                                       : "",
        seconds(ideal),
        makespan > 0 ? (double)ideal * 100 / (double)makespan : 100);
    report_slots(demo, out);
    (void)fprintf(out,
        "  leases       %" PRIu64 " granted, %" PRIu32 " at once, %" PRIu32
        " after a wait\n",
        demo->stats.grants, immediate, demo->record.hold_count - immediate);
    report_waits(&demo->record, out);
    (void)fprintf(out,
        "  tasks        %" PRIu32 " of %" PRIu32 " done, %" PRIu32
        " cancelled, %" PRIu32 " failed",
        demo->done, demo->job_count, demo->cancelled, demo->failed);
    if (demo->spawned < demo->job_count) {
        (void)fprintf(
            out, ", %" PRIu32 " not begun", demo->job_count - demo->spawned);
    }
    (void)fputc('\n', out);
    if (demo->failed > 0) {
        (void)fprintf(out, "               %s\n", demo->failure);
    }
    (void)fprintf(out,
        "  results      %" PRIu32 " checked on the CPU, %" PRIu32 " wrong\n",
        demo->checked, demo->wrong);
    (void)fprintf(
        out, "  kernels      %" PRIu64 " launches asked for\n", demo->launches);
    if (demo->record.lost > 0) {
        (void)fprintf(out,
            "  events       %" PRIu64 " lost: pictures are not complete\n",
            demo->record.lost);
    }
}
