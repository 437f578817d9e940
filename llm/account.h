/* account.h - what an attempt passes before it is sent, and the books that it
 * is entered into afterwards (private to llm/).
 *
 *     begin -> admit -> (the exchange) -> settle -> ... admit ... -> end
 *
 * Admitted, an attempt holds room in its budgets, has taken from the rates of
 * its model and stands in the recorder. Settled, it holds nothing: so a call
 * that waits for its next attempt holds nothing of anybody's (L34). A call
 * captures whose budget and recorder these are when it begins (L72). Rules:
 * L34, L46, L50, L53-L65, L73-L77.
 */
#ifndef BELAY_LLM_ACCOUNT_H
#define BELAY_LLM_ACCOUNT_H

#include <belay/price.h>

#include "llm/budget/reserve.h"
#include "llm/client.h"
#include "llm/record/recorder.h"
#include "llm/reply.h"

/* The turn that a call is part of; what is NULL is not known, or as without
 * one. The caller's, which must remain until the call is over.
 */
struct belay__llm_turn {
    const char *session; /* ids */
    const char *turn;
    const char *parent_turn;
    belay_budget *budget; /* in place of the ambient one */
    belay_recorder *recorder;
};

struct belay__llm_account {
    /* Set by the caller. */
    const struct belay__llm_turn *turn; /* or NULL */
    struct belay_ledger *ledger;        /* or NULL */
    struct belay_slice body;            /* the request, before admit */
    bool checked;                       /* … which is JSON */
    struct belay_slice name; /* of the model, or {NULL, 0}: it is in the body */
    /* Of the call. */
    struct belay__memory *memory; /* the client's */
    belay_budget *budget;         /* a reference, or NULL */
    belay_recorder *recorder;     /* a reference, or NULL */
    bool measured;  /* size is what the body says, else the model only */
    bool estimated; /* size.by_bytes is there */
    struct belay__request_size size;
    struct belay__llm_text *model_text; /* its name, if the body has it with
                                           escapes */
    struct belay__llm_model *model;     /* NULL until it is asked for */
    /* Of the attempt. */
    struct belay__llm_access *access; /* with which it is made; kept until the
                                         next one, or the end of the call */
    bool admitted;                    /* and not yet settled */
    int code; /* why the answer that came is of no use, or 0 */
    struct belay_reservation held;
    struct belay__rate_use use;
    struct belay__record_ticket ticket;
};

/* What no text about the attempt may show; NULL: nothing. */
static inline const struct belay__secrets *
belay__llm_account_secrets(const struct belay__llm_account *account)
{
    return belay__llm_access_secrets(account->access);
}

/* Captures budget and recorder. */
void belay__llm_account_begin(const belay_task *task,
    const belay_llm_client *client, struct belay__llm_account *account);
/* Nothing is held any more. Zeroed is fine; the client may be gone. */
void belay__llm_account_end(struct belay__llm_account *account);

/* Is there nothing to pass, nor anything that would be entered? */
bool belay__llm_account_is_free(
    const belay_llm_client *client, const struct belay__llm_account *account);

/* An await: the next attempt of the call may be sent; number, from 1. Holds
 * nothing on failure. Errors: BELAY_EBUDGET, BELAY_ENOCAP, BELAY_ENOPRICE the
 * budget does not let it; BELAY_ECLOSED it, the client, or a strict recorder
 * was left; BELAY_EIO of a strict recorder; BELAY_ENOMEM; BELAY_ECANCELED,
 * flagged.
 */
belay_next belay__llm_admit(belay_task *task, belay_llm_client *client,
    struct belay__llm_account *account, const struct belay__provider *provider,
    uint32_t number);

/* The attempt is over, as its reply says; the usage of one that was put
 * together from events has been counted. pause_ns: for so long the server
 * wants to see nobody; 0: it did not say. Does nothing to an attempt that was
 * not admitted, but for what its answer tells of rates. Runs no step, cannot
 * fail.
 */
void belay__llm_settle(belay_llm_client *client,
    struct belay__llm_account *account, belay_llm_reply *reply,
    int64_t pause_ns);

/* What the server has taught of how it counts, for guesses (L44, L52); NULL:
 * nothing.
 */
const struct belay__estimator *belay__llm_account_estimator(
    const struct belay__llm_account *account);

/* ---- for admit ---- */

/* Reads the request. */
void belay__llm_account_measure(struct belay__llm_account *account);
/* And estimates its tokens. */
void belay__llm_account_weigh(struct belay__llm_account *account);
/* And finds what is known of its model; with its rates, if they are asked for.
 * Errors: BELAY_ENOMEM.
 */
int belay__llm_account_find(belay_llm_client *client,
    struct belay__llm_account *account, struct belay__rate **ret_rate);

#endif
