/* recorder.h - how calls are recorded (private to llm/).
 *
 *     begin: a row that says what is asked, and room for the one that says
 *            how it ended; a crash in between leaves the attempt in doubt
 *     end:   that second row
 *
 * Begin is the only place that waits. Nothing here fails a call unless the
 * recorder is strict.
 */
#ifndef BELAY_LLM_RECORD_RECORDER_H
#define BELAY_LLM_RECORD_RECORDER_H

#include <belay/price.h>
#include <belay/record.h>
#include <belay/uv.h>

#include "llm/record/ulid.h"
#include "runtime/life.h"

struct belay__secrets;

/* {NULL, 0} and NULL mean not known. Texts must stay until begin is over. */
struct belay__record_start {
    const char *session; /* ids */
    const char *turn;
    const char *parent_turn;
    uint32_t number;          /* of the attempt in its call, from 1 */
    const char *endpoint;     /* without anything secret */
    const char *provider;     /* the wire format's name */
    struct belay_slice model; /* that is asked for */
    struct belay_slice body;  /* the request's JSON */
    bool checked;             /* … it is; else that is found out */
    const struct belay__secrets *secrets; /* which no text may show, or NULL */
};

/* An attempt being recorded; in the caller's memory, which must stay in place
 * until begin is over. {0} is not recorded.
 */
struct belay__record_ticket {
    belay_recorder *recorder; /* a reference; NULL: not recorded */
    char attempt[BELAY__ULID_BYTES];
    struct belay_op op;
    /* While it waits for room: */
    struct belay__record_start start;
    size_t bytes; /* that its row will take */
    struct belay__record_ticket *next;
    struct belay__record_ticket *prev;
};

enum belay__record_status {
    BELAY__RECORD_OK,
    BELAY__RECORD_ERROR,
    BELAY__RECORD_CANCELLED,
    BELAY__RECORD_TRUNCATED,
};

/* Texts are copied. */
struct belay__record_end {
    enum belay__record_status status;
    const struct belay_llm_attempt *attempt; /* its times, its HTTP status */
    belay_time now;
    struct belay_slice model; /* that has answered */
    struct belay_slice body;  /* the answer's JSON, or its text */
    bool checked;             /* it is known to be JSON */
    bool cut;                 /* it may end anywhere */
    struct belay_slice request_id;
    struct belay_slice message; /* of an error */
    struct belay_slice end;     /* the server's word for why it ends */
    const struct belay_llm_usage *usage;
    struct belay_cost cost;
    const struct belay__secrets *secrets; /* which no text may show, or NULL */
};

/* One more reference, one less; NULL is fine. */
belay_recorder *belay__recorder_ref(belay_recorder *recorder);
void belay__recorder_unref(belay_recorder *recorder);

/* It ends with the last reference. */
struct belay__life belay__recorder_life(const belay_recorder *recorder);
/* Has its block been left? */
bool belay__recorder_is_over(const belay_recorder *recorder);

/* An await. `recorder` NULL: nothing is done, at once. The ticket is {0}.
 * Errors: of a strict recorder BELAY_EIO, BELAY_ENOMEM, and BELAY_ECLOSED: it
 * was left; BELAY_ECANCELED, flagged. On failure the ticket is {0}.
 */
belay_next belay__record_begin(belay_task *task, belay_recorder *recorder,
    const struct belay__record_start *start,
    struct belay__record_ticket *ticket);

/* Does it wait for room? */
static inline bool
belay__record_waits(const struct belay__record_ticket *ticket)
{
    return ticket->recorder != NULL && belay_op_pending(&ticket->op);
}

/* Then that ends with BELAY_ECLOSED; else nothing happens. Runs no step. */
void belay__record_give_up(struct belay__record_ticket *ticket);

/* The ticket is {0} afterwards. Runs no step; without memory the row is
 * counted as lost.
 */
void belay__record_finish(
    struct belay__record_ticket *ticket, const struct belay__record_end *end);

#endif
