/* writer_scene.h - a batch's writer, given lines; what its files hold then. */
#ifndef BELAY_TEST_SUPPORT_WRITER_SCENE_H
#define BELAY_TEST_SUPPORT_WRITER_SCENE_H

#include "llm/batch/writer.h"

/* Puts a line of an answer with status 200; the code. */
int writer_put(struct belay__batch_writer *writer, uint64_t sequence,
    enum belay__batch_file file, const char *text);

/* Gives how many lines are in no file. */
size_t writer_finish(struct belay__batch_writer *writer, bool gaps);

/* Of a file, in memory that the next call uses again; "(none)" without one. */
char *writer_contents(const char *path);

#endif
