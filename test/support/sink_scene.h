/* sink_scene.h - a folder with an SQLite file, its writer and what it holds. */
#ifndef BELAY_TEST_SUPPORT_SINK_SCENE_H
#define BELAY_TEST_SUPPORT_SINK_SCENE_H

#include "llm/record/sink.h"
#include "test/support/files.h"
#include "test/support/program.h"
#include "test/support/texts.h"

/* For .init, with test_files_fini(): a folder, and no file in it yet. */
void sink_set_up(void);

extern const char *sink_path;
extern atomic_int sink_haste;
extern char why[BELAY__SINK_WHY_BYTES]; /* if it cannot be opened */

int sink_open(const char *run, struct belay__sink **ret);

/* Statements of others. */
void execute(const char *sql);

#define expect(sql, wanted) \
    cr_expect(              \
        eq(str, query_text(sink_path, (sql)), (char *)(wanted)), "%s", (sql))

#endif
