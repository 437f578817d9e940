/* reserve.h - the most that a request may use (private).
 *
 * Decisions only: no clock, no I/O, no memory. Rules: L54, L56.
 */
#ifndef BELAY_LLM_BUDGET_RESERVE_H
#define BELAY_LLM_BUDGET_RESERVE_H

#include <belay/budget.h>

#include "llm/budget/estimate.h"
#include "llm/money/tier.h"

enum belay__reserve_mode {
    BELAY__RESERVE_STRICT,   /* the input is bounded by its bytes */
    BELAY__RESERVE_EXPECTED, /* … by the estimate, which may be passed */
};

/* What a request's body says about its size, as sent. */
struct belay__request_size {
    size_t body_bytes;
    int64_t by_bytes; /* belay__estimate_bytes() of the body, once it is needed;
                         not for STRICT */
    struct belay_slice model; /* as it stands in the JSON, within its quotes,
                                 maybe with escapes; an account's is decoded */
    struct belay__tier tier;
    int64_t output_cap; /* of one answer; -1: it says none */
    int64_t answers;    /* n; at least 1 */
    bool no_output;     /* embeddings and the like */
    uint32_t prompts;   /* that the server adds, to tell of tools */
    bool adds_input;    /* … or more: what it has kept (an earlier answer, a
                           conversation, a prompt), or what tools of its own
                           find */
};

/* Reads it off a body, which ret->model points into; `by_bytes` and
 * `no_output` are the caller's to set. What is missing or of another type is
 * not said.
 */
void belay__request_measure(
    struct belay_slice body, struct belay__request_size *ret);

/* The most tokens that its input can have, but for what adds_input means. */
int64_t belay__request_bound(const struct belay__request_size *size);

struct belay__reserve_rules {
    const belay_prices *prices;               /* or NULL */
    const struct belay_price_model *model;    /* its entry, or NULL */
    const struct belay__estimator *estimator; /* or NULL */
    enum belay__reserve_mode mode;
    struct belay__tier tier;    /* that is asked for */
    int64_t default_output_cap; /* 0: none */
    bool uncapped;              /* what nothing limits may be sent all the same:
                                   for its output no room is held anyway */
};

/* *ret is complete even where it is of no use. BELAY_ENOCAP, if not uncapped:
 * nothing limits the output, or for STRICT the input: one with adds_input has
 * no bound but what the model can read. BELAY_ENOPRICE: its cost is not known;
 * the tokens are, as far as something limits them.
 */
int belay__reserve_most(const struct belay__reserve_rules *rules,
    const struct belay__request_size *size, struct belay_amount *ret);

#endif
