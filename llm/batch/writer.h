/* writer.h - the two files that a batch writes (private).
 *
 * One write(2) a line, newline last, so that a reader of the growing file
 * never sees half a line, and a crash can tear only the last one. If a write
 * does not take the whole line (a full disk), the file is cut back to its
 * last whole line and the writer refuses from then on. In input order, lines
 * that come early wait in a window whose size is given; admission must stop
 * before it is exceeded. Rules: B5-B10.
 */
#ifndef BELAY_LLM_BATCH_WRITER_H
#define BELAY_LLM_BATCH_WRITER_H

#include <belay/base.h>

#include "runtime/memory.h"

enum belay__batch_file {
    BELAY__BATCH_OUTPUT,
    BELAY__BATCH_ERRORS,
};

struct belay__batch_sink {
    const char *path; /* "-": standard output */
    int fd;           /* -1: not open */
    bool regular;     /* it can be cut back and synced */
    bool dirty;       /* written to since the last sync */
    int64_t end;      /* of the last whole line, in a regular file */
};

struct belay__batch_early {
    bool there;
    enum belay__batch_file file;
    char *line; /* NULL: it was skipped */
    size_t len;
};

struct belay__batch_writer {
    struct belay__memory *memory;
    struct belay__batch_sink output;
    struct belay__batch_sink errors;  /* path NULL: inline in the output */
    struct belay__batch_early *early; /* window places, or NULL */
    size_t window;
    uint64_t next;  /* the sequence number whose line is due, if ordered */
    uint64_t lines; /* written, in both files */
    int code;       /* the failure that ended writing, or 0 */
    const char *failed_path;
};

struct belay__batch_writer_opts {
    const char *output_path; /* "-": standard output; borrowed */
    const char *errors_path; /* NULL: error lines go into the output */
    size_t window;           /* 0: lines are written as they come */
    bool overwrite;          /* existing files are emptied */
    bool append;             /* existing files are written on */
};

/* Looks at all that may be wrong with the paths before anything is opened.
 * Errors: those of open, but BELAY_ENOMEM and BELAY_EINVAL.
 */
int belay__batch_writer_check(
    const struct belay__batch_writer_opts *opts, const char **ret_path);

/* Opens the output; the error file is opened when its first line comes, but
 * checked now. Files are made with mode 0600.
 *
 * Errors: BELAY_EBUSY an existing file is not empty and may not be emptied;
 * BELAY_EINVAL both paths lead to one file; BELAY_ENOMEM; codes of the
 * system. Nothing is open and nothing was emptied; *ret_path names the file
 * concerned.
 */
int belay__batch_writer_open(struct belay__batch_writer *writer,
    struct belay__memory *memory, const struct belay__batch_writer_opts *opts,
    const char **ret_path);

/* Closes the files and drops lines that are still early. Half-open is fine. */
void belay__batch_writer_close(struct belay__batch_writer *writer);

/* Writes a line, without its newline, which is put behind it in place: line
 * has room for len + 1 bytes. sequence counts lines from 0 without gaps.
 * Errors: BELAY_ENOMEM (ordered only) the line is lost; codes of the system,
 * from then on for every call.
 */
int belay__batch_writer_put(struct belay__batch_writer *writer,
    uint64_t sequence, enum belay__batch_file file, char *line, size_t len);

/* In order: this line will not come. Needs no memory; errors: the failure
 * that ended writing, if one has.
 */
int belay__batch_writer_skip(
    struct belay__batch_writer *writer, uint64_t sequence);

/* May a line with this sequence number be admitted? */
static inline bool
belay__batch_writer_has_room(
    const struct belay__batch_writer *writer, uint64_t sequence)
{
    return writer->window == 0 || sequence - writer->next < writer->window;
}

/* In order: no more lines will come. Those that are still early are written,
 * in their order, without those that are missing before them. Errors: the
 * failure that ended writing, if one has.
 */
int belay__batch_writer_finish(struct belay__batch_writer *writer);

/* A file written to since it was last taken here, to be synced by the caller
 * while the writer stays open; -1 if there is none (any more).
 */
int belay__batch_writer_take_dirty(struct belay__batch_writer *writer);

#endif
