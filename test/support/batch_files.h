/* batch_files.h - a directory of files as a batch leaves them.
 *
 * A test opens the directory, makes and looks at files in it by name, and
 * closes it with everything in it. A failure to do so ends the test. Texts
 * that are handed out live until the directory is closed.
 */
#ifndef BELAY_TEST_SUPPORT_BATCH_FILES_H
#define BELAY_TEST_SUPPORT_BATCH_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void test_files_open(void);
void test_files_close(void);

/* The path of a file in the directory. */
const char *test_file(const char *name);

bool test_file_exists(const char *name);
uint64_t test_file_size(const char *name);
/* What is in it, with a NUL behind; "" if it is not there. */
char *test_file_read(const char *name);

void test_file_write(const char *name, const char *text);
void test_file_append(const char *name, const char *data, size_t len);
/* `bytes` times the same byte. */
void test_file_fill(const char *name, char byte, size_t bytes);
void test_file_poke(const char *name, size_t offset, char byte);
/* A success line of the job, with its newline. */
void test_file_add_line(const char *name, const char *job, uint64_t line);

#endif
