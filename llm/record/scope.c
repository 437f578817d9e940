/* scope.c - a recorder as a block: its file is open from its enter to the end
 * of its exit, and all that was on its way is in it by then.
 */
#include "llm/record/state.h"

#include "runtime/internal.h"

#define MAX_ROWS 8192
#define MAX_BYTES ((size_t)64 * 1024 * 1024)
#define BATCH_ROWS 2048
#define BATCH_NS UINT64_C(50000000)

static void
destroy_value(void *value)
{
    belay__recorder_unref(value);
}

static const struct belay_var current = {"recorder", destroy_value};

belay_recorder *
belay_recorder_current(const belay_task *task)
{
    return belay_var_get(task, &current);
}

struct recording {
    struct belay_recorder_opts opts;
    belay_recorder **ret;
    belay_recorder *recorder;
    struct belay_var_token token;
    int code; /* of an enter that fails, of an exit's reset */
};

static void
on_closed(uv_handle_t *handle)
{
    belay_recorder *recorder =
        BELAY__CONTAINER((uv_async_t *)handle, belay_recorder, writer.async);

    belay_op_done(&recorder->op, 0, NULL);
}

/* Begins a wait for news; the loop lives until they come. */
static void
expect_news(belay_task *task, belay_recorder *recorder, const char *what)
{
    belay_op_begin_shielded(task, &recorder->op);
    recorder->op.name = what;
    belay__recorder_update_loop(recorder);
}

/* Waits for the writer's handle to close; the thread has ended, or never ran.
 */
static belay_next
close_writer(belay_task *task, belay_recorder *recorder, belay_step *next)
{
    expect_news(task, recorder, "recorder close");
    belay__writer_fini(&recorder->writer, on_closed);
    return belay_then(task, next, belay_op_wait(&recorder->op));
}

static belay_next
enter_failed(belay_task *task, void *self)
{
    struct recording *recording = self;
    belay_recorder *recorder = recording->recorder;
    belay_next next;

    if (recorder->news.why[0] != '\0') {
        next = belay_fail(task, recording->code, "recorder \"%s\": %s",
            recorder->path, recorder->news.why);
    } else {
        next = belay_fail(task, recording->code, NULL);
    }
    belay__recorder_unref(recorder);
    return next;
}

static belay_next
fail_enter(belay_task *task, struct recording *recording, int code)
{
    recording->code = code;
    recording->recorder->over = true;
    return close_writer(task, recording->recorder, enter_failed);
}

static belay_next
writer_stopped(belay_task *task, void *self)
{
    struct recording *recording = self;

    return fail_enter(task, recording, recording->code);
}

static belay_next
was_cancelled(belay_task *task, void *self)
{
    (void)self;
    return belay_result(task)->code < 0
               ? belay_pass(task)
               : belay_fail(task, BELAY_ECANCELED, NULL);
}

/* What cancelled the wait still does, and so this checkpoint. */
static belay_next
enter_cancelled(belay_task *task, void *self)
{
    struct recording *recording = self;

    belay__recorder_unref(recording->recorder);
    return belay_then(task, was_cancelled, belay_checkpoint(task));
}

/* The wait for the file is cut short, as soon as the writer has noticed. */
static enum belay_abort
abort_open(struct belay_op *op)
{
    belay_recorder *recorder = BELAY__CONTAINER(op, belay_recorder, op);

    recorder->over = true;
    belay__writer_stop(&recorder->writer);
    return BELAY_ABORT_LATER;
}

/* The file is open; or the writer has ended because it is not. */
static belay_next
opened(belay_task *task, void *self)
{
    struct recording *recording = self;
    belay_recorder *recorder = recording->recorder;

    belay__recorder_update_loop(recorder);
    if (recorder->over) {
        return close_writer(task, recorder, enter_cancelled);
    }
    if (recorder->news.ended) {
        return fail_enter(task, recording, recorder->news.error);
    }
    recording->code =
        belay_var_set(task, &current, recorder, &recording->token);
    if (recording->code < 0) {
        recorder->over = true;
        expect_news(task, recorder, "recorder drain");
        belay__writer_stop(&recorder->writer);
        return belay_then(task, writer_stopped, belay_op_wait(&recorder->op));
    }
    recorder->refs++; /* the variable has one */
    if (recording->ret != NULL) {
        *recording->ret = recorder;
    }
    return belay_return(task, recorder);
}

/* The writer's thread could not be started. */
static belay_next
not_started(belay_task *task, void *self)
{
    struct recording *recording = self;

    return fail_enter(task, recording, belay_result(task)->code);
}

/* Begins to open the file, and to wait for that. */
static belay_next
start_writer(belay_task *task, belay_recorder *recorder)
{
    const int code = belay__writer_start(&recorder->writer);

    if (code < 0) {
        belay_op_done(&recorder->op, code, NULL);
        return belay_then(task, not_started, belay_op_wait(&recorder->op));
    }
    belay__recorder_update_loop(recorder);
    return belay_then(task, opened, belay_op_wait(&recorder->op));
}

static belay_recorder *
recorder_new(
    struct belay__memory *memory, const struct belay_recorder_opts *opts)
{
    belay_recorder *recorder = belay__alloc_zero(memory, sizeof(*recorder));

    if (recorder == NULL) {
        return NULL;
    }
    recorder->path = belay__copy_text(memory, opts->path, strlen(opts->path));
    if (recorder->path == NULL
        || belay__life_begin(memory, &recorder->life) < 0) {
        if (recorder->path != NULL) {
            belay__free(memory, recorder->path, strlen(opts->path) + 1);
        }
        belay__free(memory, recorder, sizeof(*recorder));
        return NULL;
    }
    recorder->memory = belay__memory_ref(memory);
    recorder->refs = 1;
    recorder->opts = *opts;
    belay__ulid_make(&recorder->ids, belay__unix_us() / 1000, recorder->run);
    return recorder;
}

static void
set_defaults(belay_recorder *recorder, const struct belay__sink_kind *kind)
{
    struct belay_recorder_opts *opts = &recorder->opts;

    opts->max_rows = opts->max_rows > 0 ? opts->max_rows : MAX_ROWS;
    opts->max_bytes = opts->max_bytes > 0 ? opts->max_bytes : MAX_BYTES;
    recorder->writer.kind = kind;
    recorder->writer.sink_opts = (struct belay__sink_opts){
        .path = recorder->path, .run = recorder->run, .text = opts->text};
    recorder->writer.batch_rows =
        opts->batch_rows > 0 ? opts->batch_rows : BATCH_ROWS;
    recorder->writer.batch_ns =
        opts->batch_time.ns > 0 ? (uint64_t)opts->batch_time.ns : BATCH_NS;
}

static const struct belay__sink_kind *
kind_of(const char *path)
{
    const size_t len = strlen(path);
    const bool lines = len >= 6 && strcmp(path + len - 6, ".jsonl") == 0;

    return lines ? &belay__sink_jsonl : belay__sink_sqlite;
}

static belay_next
recording_enter(belay_task *task, void *self)
{
    struct recording *recording = self;
    const struct belay__sink_kind *kind = kind_of(recording->opts.path);
    belay_recorder *recorder;
    int code;

    if (kind == NULL) {
        return belay_fail(task, BELAY_ENOSYS,
            "recorder \"%s\": this build has no SQLite", recording->opts.path);
    }
    recorder = recorder_new(task->runtime->memory, &recording->opts);
    if (recorder == NULL) {
        return belay_fail(task, BELAY_ENOMEM, NULL);
    }
    recording->recorder = recorder;
    set_defaults(recorder, kind);
    recorder->op.name = "recorder open";
    code = belay__writer_init(
        &recorder->writer, task->runtime->loop, belay__recorder_on_news);
    if (code < 0) {
        belay__recorder_unref(recorder);
        return belay_fail(task, code, NULL);
    }
    if (belay_op_begin(task, &recorder->op, abort_open) < 0) {
        recorder->over = true;
        return belay_then(task, opened, belay_op_wait(&recorder->op));
    }
    return start_writer(task, recorder);
}

static belay_next
closed(belay_task *task, void *self)
{
    struct recording *recording = self;
    belay_recorder *recorder = recording->recorder;
    const bool failed =
        recorder->opts.strict && recorder->news.lost + recorder->lost > 0;
    belay_next next = belay_return(task, NULL);

    if (recording->code < 0) {
        next = belay_fail(task, recording->code,
            "recorder left while one that was entered later is still open");
    } else if (failed) {
        next = belay_fail(task, BELAY_EIO,
            "recorder \"%s\": rows could not be written: %s", recorder->path,
            recorder->news.lost > 0 ? recorder->news.why
                                    : belay_code_text(recorder->error));
    }
    belay__recorder_unref(recorder);
    return next;
}

static belay_next
drained(belay_task *task, void *self)
{
    struct recording *recording = self;

    return close_writer(task, recording->recorder, closed);
}

/* The grace is over: the writer waits for nobody else any more, and so is done
 * soon, which is waited for.
 */
static enum belay_abort
abort_drain(struct belay_op *op)
{
    belay__writer_hurry(&BELAY__CONTAINER(op, belay_recorder, op)->writer);
    return BELAY_ABORT_REFUSED;
}

static belay_next
drain_in_hurry(belay_task *task, void *self)
{
    struct recording *recording = self;
    belay_recorder *recorder = recording->recorder;

    expect_news(task, recorder, "recorder drain");
    belay__writer_hurry(&recorder->writer);
    return belay_then(task, drained, belay_op_wait(&recorder->op));
}

static belay_next
recording_exit(belay_task *task, void *self)
{
    struct recording *recording = self;
    belay_recorder *recorder = recording->recorder;

    recording->code = belay_var_reset(task, &current, &recording->token);
    belay__recorder_leave_queue(recorder); /* calls of tasks outside */
    recorder->over = true;
    recorder->op.name = "recorder drain";
    if (belay_op_begin(task, &recorder->op, abort_drain) < 0) {
        return belay_then(task, drain_in_hurry, belay_op_wait(&recorder->op));
    }
    belay__recorder_update_loop(recorder);
    belay__writer_stop(&recorder->writer);
    return belay_then(task, drained, belay_op_wait(&recorder->op));
}

belay_next
belay_recorder_open(belay_task *task, const struct belay_recorder_opts *opts,
    belay_recorder **ret)
{
    static const belay_manager manager = {
        {"recorder", __FILE__, sizeof(struct recording), recording_enter, 0},
        recording_exit};

    if (opts->size != sizeof(*opts) || opts->path == NULL
        || opts->path[0] == '\0') {
        return belay__refuse(task, BELAY_EINVAL);
    }
    return belay_enter(
        task, &manager, &(const struct recording){.opts = *opts, .ret = ret});
}
