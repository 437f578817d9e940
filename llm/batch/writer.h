/* writer.h - the two files that a batch writes (private).
 *
 * One write(2) a line, newline last, so that a reader of the growing file
 * never sees half a line, and a crash can tear only the last one. If a write
 * does not take the whole line (a full disk), the file is cut back to its
 * last whole line. It takes none from then on: lines for it are kept in
 * memory, up to 64 MiB, and tried once more at the end. In input order, lines
 * that come early wait in a window whose size is given; admission must stop
 * before it is exceeded. Rules: B5-B10, B19.
 */
#ifndef BELAY_LLM_BATCH_WRITER_H
#define BELAY_LLM_BATCH_WRITER_H

#include <belay/base.h>

#include "llm/batch/stats.h"
#include "runtime/memory.h"

enum belay__batch_file {
    BELAY__BATCH_OUTPUT,
    BELAY__BATCH_ERRORS,
};

struct belay__batch_sink {
    const char *path; /* "-": standard output */
    int fd;           /* -1: not open */
    bool regular;     /* it can be synced, … */
    bool ours;   /* … and cut back: standard output may be others', too */
    bool dirty;  /* written to since the last sync */
    int64_t end; /* of the last whole line, in a regular file */
    int code;    /* why it takes no more, or 0 */
};

/* Where a line goes, and what the caller has counted it as. */
struct belay__batch_kind {
    enum belay__batch_file file;
    int status;                   /* of the server's answer; 0: there is none */
    enum belay__line_error error; /* then */
    struct belay__model_stats *model; /* may be NULL */
};

/* A finished line that is in memory. */
struct belay__batch_held {
    struct belay__batch_held *next;
    struct belay__batch_kind kind;
    bool behind; /* a line of the input that is lost */
    size_t len;
    char text[]; /* with its newline */
};

struct belay__batch_early {
    bool there;
    struct belay__batch_held *line; /* NULL: it was skipped */
};

struct belay__batch_writer {
    struct belay__memory *memory;
    struct belay__batch_sink output;
    struct belay__batch_sink errors;  /* path NULL: inline in the output */
    struct belay__batch_early *early; /* window places, or NULL */
    size_t window;
    uint64_t next;  /* the sequence number whose line is due, if ordered */
    uint64_t lines; /* written, in both files */
    struct belay__batch_held *kept; /* their file takes no more */
    size_t kept_bytes;
    bool lost; /* in input order: one is in no file, and none comes behind it */
    int code;  /* the first failure to write, of either file, or 0 */
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
 * has room for len + 1 bytes. sequence counts lines from 0 without gaps. That
 * a file takes no more is told by writer->code: the line is kept then. Errors:
 * the line is lost, for want of memory (BELAY_ENOMEM) or of room to keep it
 * (codes of the system).
 */
int belay__batch_writer_put(struct belay__batch_writer *writer,
    uint64_t sequence, const struct belay__batch_kind *kind, char *line,
    size_t len);

/* In order: this line will not come. Needs no memory. */
void belay__batch_writer_skip(
    struct belay__batch_writer *writer, uint64_t sequence);

/* May a line with this sequence number be admitted? */
static inline bool
belay__batch_writer_has_room(
    const struct belay__batch_writer *writer, uint64_t sequence)
{
    return writer->window == 0 || sequence - writer->next < writer->window;
}

/* Once, when no more lines will come. Those that were kept are tried once more,
 * then, in input order, those that are still early. Behind a line that is
 * missing none is written, since a later run would put that one behind them;
 * unless `gaps` says that there will be no such run. Gives the lines that are
 * in no file; they stay the writer's.
 */
const struct belay__batch_held *belay__batch_writer_finish(
    struct belay__batch_writer *writer, bool gaps);

/* A file written to since it was last taken here, to be synced by the caller
 * while the writer stays open; -1 if there is none (any more).
 */
int belay__batch_writer_take_dirty(struct belay__batch_writer *writer);

#endif
