/* record_scene.c - a block that records some attempts, and what it has written.
 */
#include "test/support/record_scene.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *recorder_path;

const char *
in_folder(const char *name)
{
    recorder_path = test_file(name);
    return recorder_path;
}

BELAY__STEP(attempt)
const belay_function attempt = {
    "attempt", __FILE__, sizeof(struct attempt), attempt__step, 0};
BELAY__BODY(attempt)
{
    BELAY_BEGIN;
    BELAY_AWAIT(belay__record_begin(task, belay_recorder_current(task),
        &(struct belay__record_start){.session = self->session,
            .turn = self->turn,
            .number = 1,
            .endpoint = "http://127.0.0.1/v1",
            .provider = "chat",
            .model = slice("m"),
            .body = slice(self->body),
            .checked = self->checked,
            .secrets = self->secrets},
        &self->ticket));
    if (self->begun != NULL) {
        ++*self->begun;
    }
    BELAY_TRY(belay_sleep(task, self->time));
    {
        const struct belay_llm_usage usage = {
            .in_total = 7, .out_total = 3, .in_cache_read = -1, .requests = 1};
        const struct belay_llm_attempt how = {.number = 1,
            .status = self->status == BELAY__RECORD_OK ? 200 : 500,
            .started = belay_now(task),
            .ended = belay_now(task)};

        belay__record_finish(&self->ticket,
            &(struct belay__record_end){.status = self->status,
                .attempt = &how,
                .now = belay_now(task),
                .model = slice("m-2"),
                .body = slice(self->reply),
                .checked = self->checked,
                .secrets = self->secrets,
                .request_id = slice("req-1"),
                .message = slice(self->message),
                .end = slice("stop"),
                .usage = self->status == BELAY__RECORD_OK ? &usage : NULL,
                .cost = {{75000}, false}});
    }
    cr_expect(self->ticket.recorder == NULL);
    BELAY_END;
}

const char *
path_of_run(const char *wanted)
{
    static char trials[2][96];
    static int count;
    char *trial = trials[count++ % 2];
    const char *end = wanted != NULL ? strrchr(wanted, '.') : NULL;

    if (!program_disturbed || wanted == NULL) {
        return wanted;
    }
    (void)snprintf(trial, sizeof(trials[0]), "%s/trial-%ld-%d%s", test_folder,
        (long)getpid(), count, end != NULL ? end : "");
    return trial;
}

BELAY__STEP(session)
const belay_function session = {
    "session", __FILE__, sizeof(struct session), session__step, 0};
BELAY__BODY(session)
{
    BELAY_BEGIN;
    self->opts.path = path_of_run(self->opts.path);
    BELAY_WITH (belay_recorder_open(task, &self->opts, &self->recorder)) {
        cr_expect(eq(ptr, belay_recorder_current(task), self->recorder));
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (self->i = 0;
                 self->i < ATTEMPTS_MAX && self->attempts[self->i].body != NULL;
                 self->i++) {
                if (self->at_once) {
                    BELAY_CHECK(belay_group_spawn(
                        self->group, &attempt, &self->attempts[self->i], NULL));
                } else {
                    BELAY_AWAIT(
                        belay_call(task, &attempt, &self->attempts[self->i]));
                }
            }
        }
        if (self->ret != NULL) {
            belay_recorder_get_stats(self->recorder, self->ret);
        }
    }
    cr_expect(belay_recorder_current(task) == NULL);
    BELAY_END;
}

char *
read_whole(const char *name)
{
    return file_text(in_folder(name));
}

char *
query(const char *name, const char *sql)
{
    return query_text(in_folder(name), sql);
}

mode_t
mode_of(const char *name)
{
    struct stat status;

    cr_assert(zero(int, stat(in_folder(name), &status)));
    return status.st_mode & 0777;
}
