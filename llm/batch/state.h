/* state.h - what a batch has done, kept beside its output (private).
 *
 * OUTPUT.state begins with a header, a JSON object on one line, which says
 * for which input it holds. Behind it comes a journal, a record a line:
 *
 *     s N ATTEMPT RESERVED MOST     line N is about to be sent
 *     a N RESERVED UNCERTAIN MOST TOKENS HOW         … and no result came
 *     d N RESERVED SPENT UNCERTAIN MOST TOKENS HOW   … and it is in a file
 *     u N                           given up, and nobody has charged for it
 *     r N                           failed; to be tried again (B18)
 *
 * RESERVED, SPENT and UNCERTAIN are picodollars; MOST is how many tokens were
 * reserved, TOKENS how many were used; HOW is an enum belay__batch_charge.
 * Zeroes at the end are left out. Each "s" is followed by an "a" or a "d" that
 * repeats what was reserved, so sums are enough to know what attempts without
 * an end may have used. A state of version 1 has no MOST, TOKENS and HOW, and
 * leaves out an "a" that would be zeroes. While a run has the file open it is
 * locked.
 * What has been done is read from the output files, whose ids hold the line
 * numbers; the journal tells which lines were sent and have no result, since
 * a server may have billed them, and what was spent. Rules: B11-B16, B26.
 */
#ifndef BELAY_LLM_BATCH_STATE_H
#define BELAY_LLM_BATCH_STATE_H

#include "runtime/buffer.h"

#define BELAY__BATCH_JOB_SIZE 17 /* sixteen hexadecimal digits and a NUL */
#define BELAY__BATCH_WHY 512

/* One bit a line. */
struct belay__line_set {
    uint8_t *bits;
    size_t bytes;
    uint64_t count;
};

struct belay__batch_state {
    struct belay__memory *memory;
    int fd;          /* -1: there is no state, as with standard output */
    bool pending;    /* the header of a new job is yet to be written */
    bool foreign_ok; /* lines of another job are passed over */
    bool counted;    /* its journal tells tokens and requests */
    bool dirty;      /* written to since the last sync */
    char *path;      /* OUTPUT.state */
    size_t path_size;
    char job[BELAY__BATCH_JOB_SIZE];
    struct belay__line_set done;     /* in one of the files */
    struct belay__line_set in_doubt; /* sent, and no result */
    struct belay__line_set unbilled; /* a success, until the journal tells of
                                        its being sent; empty once that was
                                        read */
    uint64_t lines_max; /* a number above it is in no file of this input */
    uint64_t failed;    /* of done, in error lines, wherever */
    uint64_t again;     /* failed before, moved away to be tried again */
    int64_t spent;      /* by earlier runs, in picodollars */
    int64_t uncertain;  /* … that servers may have charged besides */
    int64_t unpriced;   /* … attempts whose cost nobody knows */
    int64_t tokens;     /* … that they used, or may have */
    int64_t requests;   /* … attempts that counted, or may have */
    struct belay__buffer journal; /* records not yet written */
    uint64_t noted;     /* how many lines were announced, in this run … */
    uint64_t committed; /* … and of how many that was written */
    int lost; /* why a record could not be written: the first code, or 0 */
};

struct belay__batch_state_opts {
    const char *output_path;
    const char *errors_path; /* NULL: inline */
    const char *bare_url;    /* NULL: the lines say where they go */
    const char *model;       /* NULL: the lines' own */
    bool simulated;          /* no result of it is worth any money */
    int input_fd;
    uint64_t input_size;
    bool overwrite;    /* begin anew whatever is there */
    bool force;        /* go on although the input has changed */
    bool retry_failed; /* failed lines count as not done */
    bool needs_counts; /* of tokens and requests: a state without is refused */
};

/* Opens and locks the state, and reads what was done before. If there is an
 * output file that does not end with a whole line of ours, it is cut back. A
 * new job begins where nothing was done before; the old header stays until
 * belay__batch_state_begin().
 *
 *   ret_why  receives a sentence on failure
 *
 * Owner:   the caller closes the state, also after a failure.
 * Errors:  BELAY_EBUSY  another run has it, or there is an output without a
 *                       state
 *          BELAY_ESTATE it is for another input, or other options, or a
 *                       file holds lines of another job, or an older belay
 *                       has not counted what is to be capped
 *          BELAY_EINVAL its path leads to the input or the error file
 *          BELAY_ENOMEM, codes of the system
 */
int belay__batch_state_open(struct belay__batch_state *state,
    struct belay__memory *memory, const struct belay__batch_state_opts *opts,
    char ret_why[BELAY__BATCH_WHY]);

/* Opens the state to look at it, of whoever's run it is: nothing is changed.
 *
 *   ret_journal  receives where the journal begins
 *   ret_running  receives whether a run has it locked
 *
 * Owner:   the caller closes the state, also after a failure.
 * Errors:  BELAY_ESTATE its header is none; BELAY_ENOMEM, codes of the system.
 */
int belay__batch_state_look(struct belay__batch_state *state,
    struct belay__memory *memory, const char *output_path,
    uint64_t *ret_journal, bool *ret_running);

/* Writes the header of a new job, onto the disk. The output files have been
 * emptied by now: otherwise a crash between the two would leave old lines that
 * the new state does not know. Errors: codes of the system, with a sentence.
 */
int belay__batch_state_begin(
    struct belay__batch_state *state, char ret_why[BELAY__BATCH_WHY]);

/* A state of no file, for runs that cannot be resumed. Same errors. */
int belay__batch_state_none(
    struct belay__batch_state *state, struct belay__memory *memory);

/* Writes what is left of the journal; unlocks. A zeroed state is fine. */
void belay__batch_state_close(struct belay__batch_state *state);

/* ---- the journal (journal.c) ---- */

/* Does an attempt count? As numbers of the journal. */
enum belay__batch_charge {
    BELAY__BATCH_FREE,     /* the server has refused it, or never had it */
    BELAY__BATCH_CHARGED,  /* or may have been */
    BELAY__BATCH_UNPRICED, /* … and nobody knows what it has cost */
};

/* What an attempt may use, and has used; amounts are picodollars. */
struct belay__batch_bill {
    int64_t reserved;
    int64_t spent;
    int64_t uncertain;
    int64_t most; /* reserved, in tokens */
    int64_t tokens;
    enum belay__batch_charge charge;
};

/* The line is about to be sent, after a commit up to this mark. Attempts count
 * from 0. Errors: BELAY_ENOMEM; it must not be sent then.
 */
int belay__batch_state_sent(struct belay__batch_state *state, uint64_t line,
    uint32_t attempt, const struct belay__batch_bill *bill, uint64_t *ret_mark);

/* Sees to it that the record of the mark outlives the process (not the loss of
 * power). All that wait are written with it: for many lines one write may do.
 * Errors: those of belay__batch_state_flush(); no line may be sent then.
 */
int belay__batch_state_commit(struct belay__batch_state *state, uint64_t mark);

/* The following are written with the next record: should they be lost, a file
 * still tells that a line is done, and what was reserved counts as uncertain.
 */

/* An attempt has brought no result; another may follow. */
void belay__batch_state_attempt(struct belay__batch_state *state, uint64_t line,
    const struct belay__batch_bill *bill);

/* It was given up, and no server has charged for it: it is not in doubt. What
 * was reserved has been told before, or nothing was.
 */
void belay__batch_state_unsent(struct belay__batch_state *state, uint64_t line);

/* Its result is in a file. */
void belay__batch_state_done(struct belay__batch_state *state, uint64_t line,
    const struct belay__batch_bill *bill);

/* It has failed, and its error line is about to be moved away. */
int belay__batch_state_again(struct belay__batch_state *state, uint64_t line);

/* Writes the records that wait, in one write(2). Errors: codes of the system;
 * the records are lost, and since they may have been anybody's, this and every
 * later call fails: nothing more may be sent.
 */
int belay__batch_state_flush(struct belay__batch_state *state);

/* Writes the records that wait; the file to be synced by the caller while the
 * state stays open, -1 if nothing was written since it was last taken here.
 * What cannot be written is told by the next commit.
 */
int belay__batch_state_take_dirty(struct belay__batch_state *state);

/* Digits at *at, which is moved behind them. False: there are none, they begin
 * with a zero, or the number is above max: a spoilt file must not make us
 * allocate bits for lines that cannot be.
 */
bool belay__parse_number(
    const char **at, const char *end, uint64_t max, uint64_t *ret);

static inline bool
belay__line_set_has(const struct belay__line_set *set, uint64_t line)
{
    return line / 8 < set->bytes && (set->bits[line / 8] >> line % 8 & 1) != 0;
}

#endif
