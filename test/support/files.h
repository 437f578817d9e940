/* files.h - a folder of a test's own, and the files in it.
 *
 * A test opens the folder, makes and looks at files in it by name, and closes
 * it with everything in it. A failure to do so ends the test. Paths and texts
 * that are handed out live until the folder is closed.
 */
#ifndef BELAY_TEST_SUPPORT_FILES_H
#define BELAY_TEST_SUPPORT_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void test_files_open(void);
void test_files_close(void);
/* For .fini: closes it, then check_clean(). */
void test_files_fini(void);

/* Its path, and that of a file in it. */
extern char test_folder[64];
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
/* A success line of a batch's job, with its newline. */
void test_file_add_line(const char *name, const char *job, uint64_t line);

#endif
