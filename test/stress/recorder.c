/* recorder.c - attempts recorded by a thread, for ThreadSanitizer: L73.
 *
 * Many tasks record many attempts through a queue that is always full; of lines
 * each must be in the file with its start and its end.
 */
#include <belay/belay.h>

#include "llm/record/recorder.h"
#include "llm/record/sink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TASKS 16
#define EACH 500

#define CHECK(condition)                                                \
    do {                                                                \
        if (!(condition)) {                                             \
            (void)fprintf(                                              \
                stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                    \
        }                                                               \
    } while (0)

struct asker {
    int i;
    struct belay__record_ticket ticket;
};

BELAY_ASYNC(asker)
{
    BELAY_BEGIN;
    for (self->i = 0; self->i < EACH; self->i++) {
        BELAY_AWAIT(belay__record_begin(task, belay_recorder_current(task),
            &(struct belay__record_start){.number = 1, .body = {"{}", 2}},
            &self->ticket));
        BELAY_AWAIT(belay_checkpoint(task));
        belay__record_finish(
            &self->ticket, &(struct belay__record_end){.now = belay_now(task)});
    }
    BELAY_END;
}

struct all {
    const char *path;
    belay_recorder *recorder;
    belay_group *group;
    int i;
};

BELAY_ASYNC(all)
{
    BELAY_BEGIN;
    BELAY_WITH (belay_recorder_open(task,
        BELAY_RECORDER_OPTS(.path = self->path, .max_rows = 8, .batch_rows = 4,
            .batch_time = belay_nanoseconds(1)),
        &self->recorder)) {
        BELAY_WITH (belay_group_open(task, NULL, &self->group)) {
            for (self->i = 0; self->i < TASKS; self->i++) {
                BELAY_CHECK(belay_spawn(self->group, asker, .i = 0));
            }
        }
    }
    BELAY_END;
}

static void
record_in(const char *path)
{
    CHECK(belay_run(&all, &(struct all){.path = path}, NULL, NULL) == 0);
}

static size_t
lines_in(const char *path)
{
    FILE *file = fopen(path, "r");
    size_t lines = 0;
    int c;

    CHECK(file != NULL);
    while ((c = fgetc(file)) != EOF) {
        lines += c == '\n';
    }
    (void)fclose(file);
    return lines;
}

int
main(void)
{
    char folder[] = "/tmp/belay-stress-XXXXXX";
    char path[64];
    struct stat status;

    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof(path), "%s/a.jsonl", folder);
    record_in(path);
    CHECK(lines_in(path) == (size_t)2 * TASKS * EACH);
    (void)unlink(path);
    if (belay__sink_sqlite != NULL) {
        (void)snprintf(path, sizeof(path), "%s/a.db", folder);
        record_in(path);
        CHECK(stat(path, &status) == 0 && status.st_size > TASKS * EACH * 30);
        (void)unlink(path);
    }
    CHECK(rmdir(folder) == 0);
    return 0;
}
