/* trace_lines.c - a trace as JSON lines: one event, one object, one line.
 *
 * Every line has run, ns and event; the other fields are those that the event
 * has, docs/design/trace.md lists them. Fields may be added, never renamed.
 */
#include "runtime/internal.h"
#include "runtime/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static void
begin(const struct belay__trace *trace, struct belay__record *record,
    int64_t ns, const char *event)
{
    record->len = 0;
    record->cut = false;
    belay__record_raw(
        record, "{\"run\":\"%s\",\"ns\":%" PRId64, trace->run, ns);
    belay__record_text(record, "event", event);
}

static void
end(struct belay__trace *trace, struct belay__record *record)
{
    belay__record_end(record, "}\n");
    belay__trace_put(trace, record->text, record->len);
}

static void
by(struct belay__record *record, const struct belay_observed *seen)
{
    if (seen->by_id != 0) {
        belay__record_text(record, "by", seen->by_name);
        belay__record_number(record, "by_id", (int64_t)seen->by_id);
    }
}

static void
result(struct belay__record *record, const struct belay_observed *seen)
{
    if (seen->result == NULL) {
        return;
    }
    belay__record_outcome(
        record, "result", seen->result->code, seen->result->cancelled);
    if (seen->result->error != NULL) {
        belay__record_text(
            record, "error", belay_error_message(seen->result->error));
    }
}

static void
scope(struct belay__record *record, const struct belay_observed *seen)
{
    const enum belay_observed_event event = seen->event;

    belay__record_text(record, "name", seen->name);
    if (seen->label[0] != '\0') {
        belay__record_text(record, "label", seen->label);
    }
    belay__record_number(record, "scope", (int64_t)seen->id);
    if (event == BELAY_OBSERVED_SCOPE_LEAVE
        || event == BELAY_OBSERVED_SCOPE_EXIT) {
        belay__record_outcome(record, "outcome", seen->code, seen->cancelled);
        belay__record_number(record, "open_ns", seen->open.ns);
    }
    if (seen->entered) {
        belay__record_raw(record, ",\"entered\":true");
    }
    result(record, seen);
    if (event != BELAY_OBSERVED_SCOPE_OPEN
        && event != BELAY_OBSERVED_SCOPE_LEAVE) {
        belay__record_number(record, "took_ns", seen->took.ns);
    }
}

static void
details(struct belay__record *record, const struct belay_observed *seen)
{
    switch (seen->event) {
    case BELAY_OBSERVED_SCOPE_OPEN:
    case BELAY_OBSERVED_SCOPE_ENTER:
    case BELAY_OBSERVED_SCOPE_LEAVE:
    case BELAY_OBSERVED_SCOPE_ERROR:
    case BELAY_OBSERVED_SCOPE_EXIT:
        scope(record, seen);
        break;
    case BELAY_OBSERVED_TASK_SPAWN:
        by(record, seen);
        break;
    case BELAY_OBSERVED_TASK_END:
        result(record, seen);
        belay__record_number(record, "took_ns", seen->took.ns);
        break;
    case BELAY_OBSERVED_TASK_PARK:
        belay__record_text(record, "awaits", seen->name);
        if (seen->line > 0) {
            belay__record_text(record, "file", seen->file);
            belay__record_number(record, "line", seen->line);
        }
        break;
    case BELAY_OBSERVED_TASK_RESUME:
        break;
    case BELAY_OBSERVED_SCOPE_CANCEL:
        belay__record_text(record, "name", seen->name);
        belay__record_text(
            record, "source", belay__cancel_source_name(seen->source));
        belay__record_text(record, "text", seen->text);
        by(record, seen);
        break;
    case BELAY_OBSERVED_DEADLINE_EXPIRE:
    case BELAY_OBSERVED_DEADLINE_GRACE:
        belay__record_text(record, "name", seen->name);
        break;
    case BELAY_OBSERVED_DEADLINE_MOVE:
        belay__record_text(record, "name", seen->name);
        belay__record_number(record, "deadline_ns", seen->deadline.ns);
        break;
    case BELAY_OBSERVED_GROUP_JOIN:
    case BELAY_OBSERVED_GROUP_FAIL:
        belay__record_text(record, "name", seen->name);
        belay__record_number(record, "count", (int64_t)seen->count);
        by(record, seen);
        result(record, seen);
        break;
    case BELAY_OBSERVED_NOTE:
        if (seen->phase != BELAY_NOTE_MOMENT) {
            belay__record_text(record, "phase",
                seen->phase == BELAY_NOTE_BEGIN ? "begin" : "end");
            belay__record_number(record, "span", (int64_t)seen->id);
        }
        belay__record_fields(record, seen->fields, seen->field_count);
        break;
    }
}

void
belay__trace_lines(
    struct belay__trace *trace, const struct belay_observed *seen)
{
    struct belay__record record;

    begin(trace, &record, seen->when.ns, seen->event_name);
    if (seen->task_id != 0) {
        belay__record_text(&record, "task", seen->task_name);
        belay__record_number(&record, "id", (int64_t)seen->task_id);
    }
    details(&record, seen);
    end(trace, &record);
}

/* The one line that says what time of day it is. */
void
belay__trace_lines_begin(struct belay__trace *trace)
{
    struct belay__record record;
    struct timespec now = {0};
    struct tm utc;
    char text[32] = "";

    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (gmtime_r(&now.tv_sec, &utc) != NULL) {
        (void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
    }
    begin(trace, &record, trace->began_ns, "trace.begin");
    belay__record_text(&record, "time", text);
    belay__record_number(&record, "pid", (int64_t)getpid());
    belay__record_text(&record, "belay", belay_version());
    end(trace, &record);
}

void
belay__trace_lines_dropped(struct belay__trace *trace, uint64_t count)
{
    struct belay__record record;

    begin(trace, &record, belay__clock_now(trace->runtime), "trace.dropped");
    belay__record_number(&record, "count", (int64_t)count);
    end(trace, &record);
}

void
belay__trace_lines_end(struct belay__trace *trace)
{
    struct belay__record record;

    begin(trace, &record, belay__clock_now(trace->runtime), "trace.end");
    belay__record_number(&record, "dropped", (int64_t)trace->dropped);
    belay__record_number(
        &record, "lost", (int64_t)belay_observe_lost(trace->runtime));
    end(trace, &record);
}
