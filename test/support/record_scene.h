/* record_scene.h - a block that records some attempts, and what it has written.
 *
 * Each test opens a folder (files.h). in_folder() names the file there that the
 * next block writes to; what is in it is read, or asked for with a query.
 */
#ifndef BELAY_TEST_SUPPORT_RECORD_SCENE_H
#define BELAY_TEST_SUPPORT_RECORD_SCENE_H

#include "llm/record/recorder.h"
#include "test/support/files.h"
#include "test/support/program.h"
#include "test/support/slice.h"
#include "test/support/texts.h"

#include <sys/stat.h>

/* The path of a file there; what recorder_path is from now on: */
const char *in_folder(const char *name);
extern const char *recorder_path;

/* ---- an attempt, and a block that records some ---- */

/* Begins, takes its time, and ends as told, with usage if that is well. */
struct attempt {
    const char *session;
    const char *turn;
    const char *body;
    const char *reply;
    const char *message; /* of an error */
    enum belay__record_status status;
    const struct belay__secrets *secrets;
    bool checked; /* the bodies are JSON */
    belay_duration time;
    int *begun; /* NULL, or counts those that could begin */
    struct belay__record_ticket ticket;
};
extern const belay_function attempt;

#define ATTEMPTS_MAX 6

struct session {
    struct belay_recorder_opts opts;
    struct attempt attempts[ATTEMPTS_MAX]; /* those with a body */
    struct belay_recorder_stats *ret;
    bool at_once;
    belay_recorder *recorder;
    belay_group *group;
    int i;
};
extern const belay_function session;

/* Where a run writes: trials of a sweep have files of their own, and a new one
 * each time.
 */
const char *path_of_run(const char *wanted);

#define OPTS(...)                                                          \
    {                                                                      \
        .size = sizeof(struct belay_recorder_opts), .path = recorder_path, \
        __VA_ARGS__                                                        \
    }
#define CHAT(...)                                 \
    "{\"model\":\"m\",\"seed\":9007199254740993," \
    "\"messages\":[" __VA_ARGS__ "]}"
#define USER(text) "{\"role\":\"user\",\"content\":\"" text "\"}"
#define MODEL(text) "{\"role\":\"assistant\",\"content\":\"" text "\"}"
#define REPLY "{\"choices\":[{\"message\":{\"content\":\"hi\"}}]}"

/* ---- what is in a file ---- */

char *read_whole(const char *name);
char *query(const char *name, const char *sql);

#define expect_query(name, sql, wanted) \
    cr_expect(eq(str, query((name), (sql)), (char *)(wanted)), "%s", (sql))

mode_t mode_of(const char *name);

#endif
