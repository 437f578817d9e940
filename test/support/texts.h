/* texts.h - what was written, how much may be, and what stands in it. */
#ifndef BELAY_TEST_SUPPORT_TEXTS_H
#define BELAY_TEST_SUPPORT_TEXTS_H

#include <stddef.h>
#include <sys/resource.h>

/* What is in a file, which must be there, with a NUL behind; at most a MiB. It
 * lives until the next call.
 */
char *file_text(const char *path);

/* The first column of the first row of a query to an SQLite database, as text;
 * "" for NULL and for no row. It lives until the next call.
 */
char *query_text(const char *path, const char *sql);

/* From now on no file of this process grows beyond so many bytes, as on a disk
 * that is full; RLIM_INFINITY ends it. SIGXFSZ must be ignored.
 */
void limit_file_size(rlim_t bytes);

/* How often a part stands in a text, without overlaps; the part is not "". */
size_t count_in(const char *text, const char *part);

#endif
