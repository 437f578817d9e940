/* gpu_trace.c - a run as a trace for Perfetto and chrome://tracing.
 *
 * A track for each slot: a slice for each lease, and in it slices of what the
 * slot did; out of service is a slice of its own. Slices of a track are
 * written in their order, one ends before the next begins, and those of a
 * lease lie inside it, so that every B has its E.
 */
#include "cli/gpu_record.h"

#include <inttypes.h>

#define PROCESS 1

struct tracer {
    const struct belay__gpu_picture *picture;
    FILE *out;
    bool more; /* there is an event already */
};

static double
micros(const struct tracer *tracer, belay_time time)
{
    return (double)(time.ns - tracer->picture->begin.ns) / 1e3;
}

static void
begin_event(struct tracer *tracer)
{
    (void)fputs(tracer->more ? ",\n  " : "\n  ", tracer->out);
    tracer->more = true;
}

static void
name_tracks(struct tracer *tracer)
{
    const struct belay__gpu_picture *picture = tracer->picture;

    begin_event(tracer);
    (void)fprintf(tracer->out,
        "{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":%d,"
        "\"args\":{\"name\":\"%s\"}}",
        PROCESS, picture->title);
    for (uint32_t i = 0; i < picture->slots; i++) {
        begin_event(tracer);
        (void)fprintf(tracer->out,
            "{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":%d,\"tid\":%" PRIu32
            ",\"args\":{\"name\":\"device %" PRIu32 " slot %" PRIu32 "\"}}",
            PROCESS, i + 1, i / picture->slots_per_device,
            i % picture->slots_per_device);
    }
}

static void
begin_slice(struct tracer *tracer, uint32_t slot, belay_time time,
    const char *name, const char *category)
{
    begin_event(tracer);
    (void)fprintf(tracer->out,
        "{\"ph\":\"B\",\"pid\":%d,\"tid\":%" PRIu32
        ",\"ts\":%.3f,\"name\":\"%s\",\"cat\":\"%s\"",
        PROCESS, slot + 1, micros(tracer, time), name, category);
}

static void
end_slice(struct tracer *tracer, uint32_t slot, belay_time time)
{
    begin_event(tracer);
    (void)fprintf(tracer->out,
        "{\"ph\":\"E\",\"pid\":%d,\"tid\":%" PRIu32 ",\"ts\":%.3f}", PROCESS,
        slot + 1, micros(tracer, time));
}

static void
put_span(struct tracer *tracer, const struct belay__gpu_span *span)
{
    static const char *const names[] = {"free", "held", "running", "draining",
        "quarantined", "probation", "stuck", "dead", "foreign"};

    begin_slice(tracer, span->slot, span->begin, names[span->state], "slot");
    (void)fputc('}', tracer->out);
    end_slice(tracer, span->slot, span->end);
}

static void
put_hold(struct tracer *tracer, const struct belay__gpu_hold *hold)
{
    const struct belay__gpu_names *names = &tracer->picture->names;

    begin_slice(tracer, hold->slot, hold->begin,
        names->task(hold->task_id, names->arg),
        names->priority(hold->priority, names->arg));
    (void)fprintf(tracer->out,
        ",\"args\":{\"lease\":%" PRIu64 ",\"waited_ms\":%.3f,\"failed\":%s}}",
        hold->lease, (double)hold->waited.ns / 1e6,
        hold->failed ? "true" : "false");
}

static void
put_cancel(struct tracer *tracer, const struct belay__gpu_hold *hold)
{
    begin_event(tracer);
    (void)fprintf(tracer->out,
        "{\"ph\":\"i\",\"pid\":%d,\"tid\":%" PRIu32
        ",\"ts\":%.3f,\"s\":\"t\",\"name\":\"cancel\"}",
        PROCESS, hold->slot + 1U, micros(tracer, hold->stopped));
}

static void
put_slot(struct tracer *tracer, uint32_t slot)
{
    const struct belay__gpu_record *record = tracer->picture->record;
    const struct belay__gpu_span *span;
    uint32_t hold = BELAY__GPU_NONE;

    for (uint32_t i = 0; i < record->span_count; i++) {
        span = &record->spans[i];
        if (span->slot != slot) {
            continue;
        }
        if (span->hold != hold) {
            if (hold != BELAY__GPU_NONE) {
                end_slice(tracer, slot, record->holds[hold].end);
            }
            hold = span->hold;
            if (hold != BELAY__GPU_NONE) {
                put_hold(tracer, &record->holds[hold]);
            }
        }
        put_span(tracer, span);
    }
    if (hold != BELAY__GPU_NONE) {
        end_slice(tracer, slot, record->holds[hold].end);
    }
}

static void
put_depth(struct tracer *tracer, const struct belay__gpu_depth *depth)
{
    const struct belay__gpu_names *names = &tracer->picture->names;
    const char *comma = "";
    const char *name;

    begin_event(tracer);
    (void)fprintf(tracer->out,
        "{\"ph\":\"C\",\"pid\":%d,\"ts\":%.3f,\"name\":\"waiting\","
        "\"args\":{",
        PROCESS, micros(tracer, depth->time));
    for (uint32_t i = 0; i < BELAY_GPU_PRIORITIES; i++) {
        name = names->priority(i, names->arg);
        if (name != NULL) {
            (void)fprintf(tracer->out, "%s\"%s\":%" PRIu32, comma, name,
                depth->waiting[i]);
            comma = ",";
        }
    }
    (void)fputs("}}", tracer->out);
}

void
belay__gpu_trace_write(const struct belay__gpu_picture *picture, FILE *out)
{
    struct tracer tracer = {.picture = picture, .out = out};

    (void)fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[", out);
    name_tracks(&tracer);
    for (uint32_t i = 0; i < picture->slots; i++) {
        put_slot(&tracer, i);
    }
    for (uint32_t i = 0; i < picture->record->hold_count; i++) {
        if (picture->record->holds[i].stopped.ns != 0) {
            put_cancel(&tracer, &picture->record->holds[i]);
        }
    }
    for (uint32_t i = 0; i < picture->record->depth_count; i++) {
        put_depth(&tracer, &picture->record->depths[i]);
    }
    (void)fputs("\n]}\n", out);
}
