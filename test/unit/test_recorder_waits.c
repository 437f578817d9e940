/* test_recorder_waits.c - waiting for others who have the file, and for room:
 * L73.
 */
#include "test/support/record_scene.h"

#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Less than a recorder waits for others. */
TestSuite(recorder_waits, .init = test_files_open, .fini = test_files_fini,
    .timeout = 40);

/* ---- for others ---- */

struct hasty {
    const char *path;
    belay_group *group;
};

struct opener {
    const char *path;
};

BELAY_ASYNC(opener)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_recorder_open(
        task, BELAY_RECORDER_OPTS(.path = self->path), NULL)) {
        trace("open");
    }
    BELAY_END;
}

BELAY_ASYNC(hasty)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_CHECK(belay_spawn(self->group, opener, .path = self->path));
        BELAY_AWAIT(belay_checkpoint(task));
        BELAY_AWAIT(belay_checkpoint(task));
        (void)belay_group_cancel(self->group, "no time");
    }
    trace("left");
    BELAY_END;
}

/* A process that writes to the file until it is killed, and for longer than a
 * recorder waits.
 */
static pid_t
begin_to_write(const char *path)
{
    sqlite3 *db;
    int ready[2];
    char byte;
    pid_t pid;

    cr_assert(zero(int, pipe(ready)));
    pid = fork();
    cr_assert(ge(int, pid, 0));
    if (pid == 0) {
        if (sqlite3_open(path, &db) == SQLITE_OK
            && sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL)
                   == SQLITE_OK) {
            (void)write(ready[1], "", 1);
            (void)sleep(100);
        }
        _exit(1);
    }
    (void)close(ready[1]);
    cr_assert(eq(sz, (size_t)read(ready[0], &byte, 1), 1));
    (void)close(ready[0]);
    return pid;
}

Test(recorder_waits, l73_a_wait_for_the_file_can_be_cancelled)
{
    pid_t other;

    program_unswept = true; /* it would wait for a minute */
    cr_assert(zero(int, RUN(opener, .path = in_folder("a.db"))));
    other = begin_to_write(recorder_path);
    cr_expect(zero(int, RUN(hasty, .path = recorder_path)));
    expect_trace("open; left");
    cr_assert(zero(int, kill(other, SIGKILL)));
    cr_assert(eq(int, waitpid(other, NULL, 0), other));
    cr_expect(zero(int, RUN(opener, .path = recorder_path)));
}

struct leaver {
    const char *path;
    pid_t *other;
    struct attempt attempt;
};

BELAY_ASYNC(leaver)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_recorder_open(task,
        BELAY_RECORDER_OPTS(.path = self->path,
            .batch_time = belay_nanoseconds(1)),
        NULL)) {
        *self->other = begin_to_write(self->path);
        self->attempt.body = "{}";
        BELAY_AWAIT(belay_call(task, &attempt, &self->attempt));
        (void)belay_task_cancel(task, "no time");
        BELAY_AWAIT(belay_checkpoint(task));
    }
    BELAY_END;
}

static void
leave(belay_duration grace)
{
    const struct leaver arguments = {
        .path = in_folder("a.db"), .other = &(pid_t){0}};
    struct belay_result result;
    int code;

    code = belay_run(&leaver, &arguments,
        BELAY_RUNTIME_OPTS(.allocator = &test_allocator, .grace = grace),
        &result);
    cr_expect(eq(int, code, BELAY_ECANCELED));
    belay_error_unref(result.error);
    cr_assert(zero(int, kill(*arguments.other, SIGKILL)));
    cr_assert(eq(int, waitpid(*arguments.other, NULL, 0), *arguments.other));
    expect_query("a.db", "SELECT count(*) FROM attempt", "0");
}

Test(recorder_waits, l73_s101_a_left_recorder_waits_for_others_in_its_grace)
{
    program_unswept = true; /* it would wait for a minute */
    leave(belay_milliseconds(20));
    leave(BELAY_NO_GRACE);
}

/* ---- for room ---- */

struct roomy {
    struct session session;
};

#define BODY_BYTES 1000000

BELAY_ASYNC(roomy)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay_call(task, &session, &self->session));
    cr_expect(lt(u64, runtime_stats(task).memory_peak_bytes, 3 * BODY_BYTES));
    BELAY_END;
}

Test(recorder_waits, l73_what_waits_for_room_is_not_copied)
{
    static char body[BODY_BYTES + 1];

    memset(body, ' ', BODY_BYTES);
    (void)in_folder("a.jsonl");
    cr_assert(zero(int,
        RUN(roomy,
            .session = {.at_once = true,
                .opts = OPTS(.max_bytes = 1000, .text = BELAY_RECORD_HASHES,
                    .batch_time = belay_milliseconds(1)),
                .attempts = {{.body = body}, {.body = body}, {.body = body},
                    {.body = body}, {.body = body}, {.body = body}}})));
    cr_expect(eq(sz, count_in(read_whole("a.jsonl"), "\"row\":\"end\""), 6));
}

/* ---- for a recorder that is left meanwhile, or was before ---- */

struct outsider {
    belay_recorder *recorder;
    int *code;
    struct belay__record_ticket ticket;
};

BELAY_ASYNC(outsider)
{
    static const struct belay__record_start start = {
        .number = 1, .endpoint = "e", .provider = "p", .body = {"{}", 2}};
    static const struct belay__record_end end = {.status = BELAY__RECORD_OK};

    BELAY_BEGIN;
    BELAY_TRY(belay__record_begin(task, self->recorder, &start, &self->ticket));
    *self->code = belay_result(task)->code;
    if (belay_result(task)->cancelled) {
        return belay_pass(task);
    }
    BELAY_AWAIT(belay_checkpoint(task));
    belay__record_finish(&self->ticket, &end);
    BELAY_END;
}

/* The first attempt holds all the room there is; the second waits for it. */
struct left {
    bool strict;
    int *codes;
    belay_group *group;
    belay_recorder *recorder;
    struct belay__record_ticket ticket;
    int i;
};

BELAY_ASYNC(left)
{
    static const struct belay__record_start start = {
        .number = 1, .endpoint = "e", .provider = "p", .body = {"{}", 2}};
    static const struct belay__record_end end = {.status = BELAY__RECORD_OK};

    BELAY_BEGIN;
    BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
        BELAY_WITH (belay_recorder_open(task,
            BELAY_RECORDER_OPTS(.path = path_of_run(recorder_path),
                .strict = self->strict, .max_rows = 2),
            &self->recorder)) {
            (void)belay__recorder_ref(self->recorder);
            BELAY_TRY(belay__record_begin(
                task, self->recorder, &start, &self->ticket));
            (void)belay_spawn(self->group, outsider, .recorder = self->recorder,
                .code = &self->codes[0]);
            for (; self->i < 4 && belay_result(task)->code == 0; self->i++) {
                BELAY_TRY(belay_checkpoint(task));
            }
        }
        belay__record_finish(&self->ticket, &end);
        BELAY_TRY(BELAY_CALL(
            outsider, .recorder = self->recorder, .code = &self->codes[1]));
        belay__recorder_unref(self->recorder);
    }
    BELAY_END;
}

Test(recorder_waits, l77_a_strict_recorder_that_was_left_lets_no_call_through)
{
    int codes[2] = {1, 1};

    program_unswept = true; /* what it holds by hand, a cancel would leave */
    (void)in_folder("strict.jsonl");
    cr_expect(zero(int, RUN(left, .strict = true, .codes = codes)));
    cr_expect(eq(int, codes[0], BELAY_ECLOSED));
    cr_expect(eq(int, codes[1], BELAY_ECLOSED));
    (void)in_folder("lenient.jsonl");
    cr_expect(zero(int, RUN(left, .strict = false, .codes = codes)));
    cr_expect(zero(int, codes[0]));
    cr_expect(zero(int, codes[1]));
}
