/* texts.h - what was written, and how often something stands in it. */
#ifndef BELAY_TEST_SUPPORT_TEXTS_H
#define BELAY_TEST_SUPPORT_TEXTS_H

#include <stddef.h>

/* What is in a file, which must be there, with a NUL behind; at most a MiB. It
 * lives until the next call.
 */
char *file_text(const char *path);

/* The first column of the first row of a query to an SQLite database, as text;
 * "" for NULL and for no row. It lives until the next call.
 */
char *query_text(const char *path, const char *sql);

/* How often a part stands in a text, without overlaps; the part is not "". */
size_t count_in(const char *text, const char *part);

#endif
