/* used.h - what an attempt has used, as its reply tells it (private to llm/).
 *
 * For calls and for the lines of batches alike. Rules: L50, L54, L55, L65.
 */
#ifndef BELAY_LLM_USED_H
#define BELAY_LLM_USED_H

#include "llm/budget/rate.h"
#include "llm/budget/reserve.h"
#include "llm/reply.h"

/* Input and output together. What is not told counts as none, and a sum that
 * no number holds as the largest: no cap lets it pass (L54).
 */
int64_t belay__used_tokens(const struct belay_llm_usage *usage);

/* Has the server counted all that it charges for? `size` is the request's. */
bool belay__used_is_exact(const struct belay_llm_usage *usage,
    const struct belay__request_size *size);

/* What an attempt has used that may be charged for: as its server has counted;
 * where it has not, or the answer broke off, the rest as the texts tell (L44).
 * `body` is the request; estimator NULL: nothing is known of its model. An
 * answer that was put together from events has been counted.
 */
void belay__used_count(const struct belay__estimator *estimator,
    struct belay_slice body, const struct belay__request_size *size,
    belay_llm_reply *reply, struct belay_llm_usage *ret);

/* The output, as far as the texts of an answer tell, or what there is of them.
 */
int64_t belay__used_output(
    const struct belay__estimator *estimator, const belay_llm_reply *reply);

/* Cost and tokens of an attempt, for its budget. */
struct belay_amount belay__used_amount(
    const struct belay_llm_usage *usage, struct belay_cost cost);

/* What that costs, in the service tier that the answer tells; where it tells
 * none, as usual, or in a dearer one that was asked for. `asked` is the entry
 * of the model that was asked for, which is what room was held for; NULL: it
 * has none, and that of the model which has answered, of this provider (or
 * NULL), is taken. Without that nobody knows.
 */
struct belay_cost belay__used_cost(const belay_prices *prices,
    const char *provider, const struct belay_price_model *asked,
    const struct belay__request_size *size, const belay_llm_reply *reply,
    const struct belay_llm_usage *usage);

/* What an attempt takes from its rates. `out`: the output that is expected of
 * it. What was learned takes no more than the rates let go in a minute, if the
 * request itself is not larger: a server that counts wrongly does not stop its
 * client for longer (as with belay__rate_settle()).
 */
struct belay__rate_use belay__used_expect(const struct belay__rate *rate,
    const struct belay__estimator *estimator,
    const struct belay__request_size *size, int64_t out);

/* The server has counted: as far as it can be true the next ones are expected
 * to be like that. rate NULL: the model has none. Of a size whose by_bytes is
 * not there only the output is learned.
 */
void belay__used_learn(struct belay__estimator *estimator,
    const struct belay__rate *rate, const struct belay__request_size *size,
    const struct belay_llm_usage *usage);

/* Gives back to the rates what was taken and not used, and charges them what
 * was used above that. usage NULL: nothing is known of it.
 */
void belay__used_settle_rate(struct belay__rate_use *use,
    const struct belay_llm_attempt *attempt,
    const struct belay__request_size *size,
    const struct belay_llm_usage *usage);

#endif
