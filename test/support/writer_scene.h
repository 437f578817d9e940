/* writer_scene.h - a batch's writer, given lines; what its files hold then. */
#ifndef BELAY_TEST_SUPPORT_WRITER_SCENE_H
#define BELAY_TEST_SUPPORT_WRITER_SCENE_H

#include "llm/batch/writer.h"
#include "test/support/files.h"
#include "test/support/memory.h"

/* For .init and .fini: a folder, and a writer that is not open yet. */
void writer_set_up(void);
void writer_tear_down(void);

extern struct belay__batch_writer writer;
extern const char *out_path;
extern const char *err_path;
extern const char *failed_path; /* where it could not be opened */

int open_with(const struct belay__batch_writer_opts *opts);
/* Both files; a window for lines in the order of the input, or 0. */
int open_both(size_t window);

/* Puts a line of an answer with status 200; the code. */
int put(uint64_t sequence, enum belay__batch_file file, const char *text);

/* Gives how many lines are in no file. */
size_t writer_finish(bool gaps);

/* Of a file, in memory that the next call uses again; "(none)" without one. */
char *writer_contents(const char *path);

#define expect_file(path, text) \
    cr_expect(eq(str, writer_contents(path), (char *)(uintptr_t)(text)))
#define expect_code(call, code) cr_expect(eq(int, (call), (code)))

#endif
