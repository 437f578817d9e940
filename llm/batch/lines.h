/* lines.h - the lines of a file that arrives in pieces (private).
 *
 * Bytes are pushed as they come, lines are pulled:
 *
 *     belay__lines_push(&lines, data, len);
 *     while ((code = belay__lines_next(&lines, &line)) > 0) {
 *         ...
 *     }
 *
 * A line ends with LF or CR LF, the last one with the end of the file. Lines
 * are counted from 1; those with nothing but blanks are counted and not
 * shown. A byte order mark at the start of the file is passed over. Any other
 * byte is part of its line, NUL too. How the file was cut into pieces makes
 * no difference. A line longer than the maximum is shown once, marked, with
 * its first bytes, and skipped. Memory: the line that is being put together,
 * at most `max` bytes and four, and nothing while lines lie within one piece. Rules:
 * B1, B2, S7.
 */
#ifndef BELAY_LLM_BATCH_LINES_H
#define BELAY_LLM_BATCH_LINES_H

#include "runtime/buffer.h"

#define BELAY__LINES_MAX_DEFAULT ((size_t)64 << 20)
#define BELAY__LINES_HEAD 4096 /* bytes shown of a line that is too long */

struct belay__line {
    struct belay_slice text; /* without its end; valid until the next call */
    uint64_t number;         /* from 1, blank lines included */
    uint64_t offset;         /* of its first byte in the file */
    bool too_long;           /* text is only the beginning */
};

struct belay__lines {
    struct belay__buffer held; /* the start of a line, from earlier pieces */
    struct belay_slice piece;  /* what is left of the bytes pushed last */
    size_t max;
    uint64_t number;   /* of the line that is being read */
    uint64_t offset;   /* of its first byte in the file */
    uint64_t position; /* of the piece in the file */
    bool shown;        /* the line in held was shown: forget it */
    bool skipping;     /* the line is too long and was shown: skip its rest */
    bool ended;        /* nothing more will be pushed */
};

/* Before the first byte of a file. max is the longest line in bytes without
 * its end, 0 for the default. memory is borrowed and outlives the lines.
 */
void belay__lines_init(
    struct belay__lines *lines, struct belay__memory *memory, size_t max);

/* Frees what is held. NULL and zeroed lines are fine. */
void belay__lines_fini(struct belay__lines *lines);

/* Adds len bytes, which stay the caller's and must not change until
 * belay__lines_next() has given 0. Only then may more be pushed.
 */
void belay__lines_push(
    struct belay__lines *lines, const char *data, size_t len);

/* The file ends here: the last line may be without an end. */
void belay__lines_end(struct belay__lines *lines);

/* The next line: 1 with *ret set, or 0 if more bytes are needed (after end:
 * if there are no more lines). Errors: BELAY_ENOMEM; nothing is lost and the
 * call can be repeated. *ret is untouched unless the result is 1.
 */
int belay__lines_next(struct belay__lines *lines, struct belay__line *ret);

#endif
