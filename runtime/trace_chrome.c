/* trace_chrome.c - a trace that Perfetto and chrome://tracing open.
 *
 * "JSON Array Format" of the Trace Event Format: an array with one event a
 * line. Each task is a thread with its own track, on which its life, its
 * scopes, their enters and exits and its waits are nested slices (B, E). What
 * is on an exit stack may end in another order or task: it is a nestable async
 * slice (b, e), as spans of notes are. A spawn is a flow (s, f), what only
 * happens an instant (i). The closing bracket is written at the end; the
 * format does without it after a crash.
 */
#include "runtime/internal.h"
#include "runtime/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

static void
begin(const struct belay__trace *trace, struct belay__record *record,
    const char *phase, const struct belay_observed *seen, const char *name)
{
    const int64_t ns = seen->when.ns - trace->began_ns;

    record->len = 0;
    record->cut = false;
    belay__record_raw(record,
        "{\"ph\":\"%s\",\"pid\":%d,\"tid\":%" PRIu64 ",\"ts\":%" PRId64 ".%03d",
        phase, (int)getpid(), seen->task_id, ns / 1000, (int)(ns % 1000));
    belay__record_text(record, "name", name);
}

/* Separators come before an event, so that none is at the end of the array. */
static void
put(struct belay__trace *trace, struct belay__record *record)
{
    char text[BELAY__RECORD_BYTES + 4];
    const int n = snprintf(text, sizeof(text), "%s%.*s",
        trace->first ? "[\n" : ",\n", (int)record->len, record->text);
    const uint64_t dropped = trace->dropped;

    belay__trace_put(trace, text, (size_t)n);
    trace->first = trace->first && trace->dropped != dropped;
}

static void
simple(struct belay__trace *trace, const char *phase,
    const struct belay_observed *seen, const char *name, const char *category)
{
    struct belay__record record;

    begin(trace, &record, phase, seen, name);
    belay__record_text(&record, "cat", category);
    belay__record_end(&record, "}");
    put(trace, &record);
}

/* ---- scopes ---- */

/* An event of the scope itself; its arguments follow. */
static void
begin_scope(const struct belay__trace *trace, struct belay__record *record,
    bool opens, const struct belay_observed *seen)
{
    const char *const phases[2][2] = {{"E", "B"}, {"e", "b"}};

    begin(trace, record, phases[seen->detached][opens], seen, seen->name);
    belay__record_text(record, "cat", seen->detached ? "entry" : "scope");
    if (seen->detached) {
        belay__record_raw(record, ",\"id\":\"0x%" PRIx64 "\"", seen->id);
    }
}

static void
end_scope(struct belay__trace *trace, const struct belay_observed *seen)
{
    struct belay__record record;

    begin_scope(trace, &record, false, seen);
    belay__record_raw(&record, ",\"args\":{\"scope\":%" PRIu64, seen->id);
    if (seen->label[0] != '\0') {
        belay__record_text(&record, "label", seen->label);
    }
    belay__record_outcome(&record, "outcome", seen->code, seen->cancelled);
    if (seen->result != NULL) {
        belay__record_outcome(
            &record, "result", seen->result->code, seen->result->cancelled);
        if (seen->result->error != NULL) {
            belay__record_text(
                &record, "error", belay_error_message(seen->result->error));
        }
    }
    belay__record_end(&record, "}}");
    put(trace, &record);
}

static void
open_scope(struct belay__trace *trace, const struct belay_observed *seen)
{
    struct belay__record record;

    begin_scope(trace, &record, true, seen);
    belay__record_end(&record, "}");
    put(trace, &record);
}

/* The part of a scope in which its enter, or its exit, runs. What is in it
 * must end with it.
 */
static void
part(struct belay__trace *trace, const char *phase,
    const struct belay_observed *seen, const char *name)
{
    if (!seen->detached && !seen->generator) {
        simple(trace, phase, seen, name, "scope");
    }
}

static void
scope(struct belay__trace *trace, const struct belay_observed *seen)
{
    switch ((int)seen->event) {
    case BELAY_OBSERVED_SCOPE_OPEN:
        open_scope(trace, seen);
        part(trace, "B", seen, "enter");
        break;
    case BELAY_OBSERVED_SCOPE_ENTER:
        part(trace, "E", seen, "enter");
        break;
    case BELAY_OBSERVED_SCOPE_LEAVE:
        part(trace, "B", seen, "exit");
        break;
    case BELAY_OBSERVED_SCOPE_ERROR:
        if (!seen->entered) {
            part(trace, "E", seen, "enter");
            end_scope(trace, seen);
        }
        break;
    default:
        part(trace, "E", seen, "exit");
        end_scope(trace, seen);
        break;
    }
}

/* ---- tasks ---- */

static void
name_track(struct belay__trace *trace, const struct belay_observed *seen)
{
    struct belay__record record;

    begin(trace, &record, "M", seen, "thread_name");
    belay__record_raw(&record, ",\"args\":{\"id\":%" PRIu64, seen->task_id);
    belay__record_text(&record, "name", seen->task_name);
    belay__record_end(&record, "}}");
    put(trace, &record);
}

static void
flow(struct belay__trace *trace, const char *phase,
    const struct belay_observed *seen, uint64_t task_id)
{
    struct belay_observed end = *seen;
    struct belay__record record;

    end.task_id = task_id;
    begin(trace, &record, phase, &end, "spawn");
    belay__record_text(&record, "cat", "spawn");
    belay__record_raw(&record, ",\"id\":%" PRIu64 "%s", seen->task_id,
        phase[0] == 'f' ? ",\"bp\":\"e\"" : "");
    belay__record_end(&record, "}");
    put(trace, &record);
}

static void
spawn(struct belay__trace *trace, const struct belay_observed *seen)
{
    if (seen->by_id != 0) {
        flow(trace, "s", seen, seen->by_id);
    }
    name_track(trace, seen);
    simple(trace, "B", seen, seen->task_name, "task");
    if (seen->by_id != 0) {
        flow(trace, "f", seen, seen->task_id);
    }
    if (trace->steps) {
        simple(trace, "B", seen, "start", "wait");
    }
}

static void
end_task(struct belay__trace *trace, const struct belay_observed *seen)
{
    struct belay__record record;

    if (trace->steps && seen->result == NULL) { /* it was never started */
        simple(trace, "E", seen, "start", "wait");
    }
    begin(trace, &record, "E", seen, seen->task_name);
    belay__record_text(&record, "cat", "task");
    belay__record_raw(&record, ",\"args\":{\"id\":%" PRIu64, seen->task_id);
    belay__record_outcome(&record, "result", seen->code, seen->cancelled);
    belay__record_end(&record, "}}");
    put(trace, &record);
}

static void
park(struct belay__trace *trace, const struct belay_observed *seen)
{
    struct belay__record record;

    begin(trace, &record, "B", seen, seen->name);
    belay__record_text(&record, "cat", "wait");
    belay__record_raw(&record, ",\"args\":{\"line\":%d", seen->line);
    belay__record_text(&record, "file", seen->file);
    belay__record_end(&record, "}}");
    put(trace, &record);
}

/* ---- what only happens, and notes ---- */

static void
instant(struct belay__trace *trace, const struct belay_observed *seen)
{
    struct belay__record record;

    begin(trace, &record, "i", seen, seen->event_name);
    belay__record_text(&record, "cat", "event");
    belay__record_raw(&record, ",\"s\":\"%s\",\"args\":{\"count\":%" PRIu64,
        seen->task_id != 0 ? "t" : "p", seen->count);
    belay__record_text(&record, "name", seen->name);
    if (seen->event == BELAY_OBSERVED_SCOPE_CANCEL) {
        belay__record_text(
            &record, "source", belay__cancel_source_name(seen->source));
        belay__record_text(&record, "text", seen->text);
    }
    if (seen->by_id != 0) {
        belay__record_text(&record, "by", seen->by_name);
        belay__record_number(&record, "by_id", (int64_t)seen->by_id);
    }
    belay__record_end(&record, "}}");
    put(trace, &record);
}

static void
note(struct belay__trace *trace, const struct belay_observed *seen)
{
    static const char *const phases[] = {"i", "b", "e"};
    struct belay__record record;

    begin(trace, &record, phases[seen->phase], seen, seen->event_name);
    belay__record_text(&record, "cat", "note");
    if (seen->phase == BELAY_NOTE_MOMENT) {
        belay__record_text(&record, "s", seen->task_id != 0 ? "t" : "p");
    } else {
        belay__record_raw(&record, ",\"id\":\"0x%" PRIx64 "\"", seen->id);
    }
    belay__record_raw(&record, ",\"args\":{\"id\":%" PRIu64, seen->id);
    belay__record_fields(&record, seen->fields, seen->field_count);
    belay__record_end(&record, "}}");
    put(trace, &record);
}

void
belay__trace_chrome(
    struct belay__trace *trace, const struct belay_observed *seen)
{
    switch (seen->event) {
    case BELAY_OBSERVED_SCOPE_OPEN:
    case BELAY_OBSERVED_SCOPE_ENTER:
    case BELAY_OBSERVED_SCOPE_LEAVE:
    case BELAY_OBSERVED_SCOPE_ERROR:
    case BELAY_OBSERVED_SCOPE_EXIT:
        scope(trace, seen);
        break;
    case BELAY_OBSERVED_TASK_SPAWN:
        spawn(trace, seen);
        break;
    case BELAY_OBSERVED_TASK_END:
        end_task(trace, seen);
        break;
    case BELAY_OBSERVED_TASK_PARK:
        if (seen->task_id > trace->first_task) {
            park(trace, seen);
        }
        break;
    case BELAY_OBSERVED_TASK_RESUME:
        if (seen->task_id > trace->first_task) {
            simple(trace, "E", seen, seen->name, "wait");
        }
        break;
    case BELAY_OBSERVED_SCOPE_CANCEL:
    case BELAY_OBSERVED_DEADLINE_EXPIRE:
    case BELAY_OBSERVED_DEADLINE_MOVE:
    case BELAY_OBSERVED_DEADLINE_GRACE:
    case BELAY_OBSERVED_GROUP_JOIN:
    case BELAY_OBSERVED_GROUP_FAIL:
        instant(trace, seen);
        break;
    case BELAY_OBSERVED_NOTE:
        note(trace, seen);
        break;
    }
}

void
belay__trace_chrome_begin(struct belay__trace *trace)
{
    const struct belay_observed seen = {.when = {trace->began_ns}};
    struct belay__record record;

    begin(trace, &record, "M", &seen, "process_name");
    belay__record_raw(&record, ",\"args\":{\"name\":\"belay %s\"", trace->run);
    belay__record_end(&record, "}}");
    put(trace, &record);
    begin(trace, &record, "M", &seen, "thread_name");
    belay__record_raw(&record, ",\"args\":{\"name\":\"runtime\"");
    belay__record_end(&record, "}}");
    put(trace, &record);
}

void
belay__trace_chrome_dropped(struct belay__trace *trace, uint64_t count)
{
    const struct belay_observed seen = {
        .when = {belay__clock_now(trace->runtime)}};
    struct belay__record record;

    begin(trace, &record, "i", &seen, "trace.dropped");
    belay__record_raw(&record,
        ",\"cat\":\"event\",\"s\":\"p\",\"args\":{\"count\":%" PRIu64, count);
    belay__record_end(&record, "}}");
    put(trace, &record);
}

void
belay__trace_chrome_end(struct belay__trace *trace)
{
    belay__trace_put(trace, "\n]\n", 3);
}
