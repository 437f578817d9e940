/* resume_scene.h - a batch's files, and the state that is read back from them.
 *
 * One scene at a time: its state is the variables below.
 */
#ifndef BELAY_TEST_SUPPORT_RESUME_SCENE_H
#define BELAY_TEST_SUPPORT_RESUME_SCENE_H

#include "llm/batch/resume.h"
#include "test/support/files.h"
#include "test/support/memory.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#define JOB "0123456789abcdef"
#define OTHER "fedcba9876543210"
#define KIB ((size_t)1024)

extern struct belay__batch_state state;

/* For .init and .fini: a directory and a state of JOB in which nothing is done,
 * and their end.
 */
void resume_set_up(void);
void resume_tear_down(void);

/* Back to a state in which nothing is done. */
void forget(void);
/* Reads "out" and gives the number of lines done. */
uint64_t read_output(void);
/* Lines of JOB in "out". */
void add_lines(uint64_t first, uint64_t last);

#endif
