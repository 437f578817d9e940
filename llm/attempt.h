/* attempt.h - what plain and streamed calls have in common: that they try
 * again (private to llm/).
 *
 * A call makes attempts; each is recorded, judged by its kind of call, and
 * planned for: is there another one, and when? Rules: L29-L37.
 */
#ifndef BELAY_LLM_ATTEMPT_H
#define BELAY_LLM_ATTEMPT_H

#include "llm/account.h"
#include "llm/client.h"
#include "llm/reply.h"

#define BELAY__LLM_KEY_BYTES 33 /* 128 bits as hexadecimal digits, and a NUL */

struct belay__llm_tries {
    belay_llm_client *client;
    struct belay__llm_account account;
    belay_llm_reply *reply; /* of the attempt that runs, or ran last */
    belay_llm_attempt_fn *on_attempt;
    void *arg;
    int32_t max_retries; /* 0: the client's */
    int32_t retries;     /* made */
    uint32_t attempts;   /* recorded */
    bool recorded;       /* among them the one that runs, as far as it went */
    bool doubted;        /* an answer has made no sense already (L9) */
    bool renewed;        /* another key was asked for and given (L30) */
    char key[BELAY__LLM_KEY_BYTES];   /* of all attempts (L36); "": none */
    struct belay__http_header header; /* … as it is sent */
};

/* NULL, or why there can be no such call. */
const char *belay__llm_tries_check(const struct belay__llm_tries *tries);

/* A call begins. What counts in client->calls, so that the client outlives it,
 * is the caller's business. Errors: BELAY_ECLOSED the client is being left;
 * BELAY_ENOMEM. Then it has not begun.
 */
int belay__llm_tries_begin(
    const belay_task *task, struct belay__llm_tries *tries);
/* Frees the reply, if there still is one. */
void belay__llm_tries_end(struct belay__llm_tries *tries);

/* Must the next attempt be admitted before it is sent? By: */
static inline bool
belay__llm_tries_free(const struct belay__llm_tries *tries)
{
    return belay__llm_account_is_free(tries->client, &tries->account);
}

/* An await: see belay__llm_admit(). */
static inline belay_next
belay__llm_tries_admit(belay_task *task, struct belay__llm_tries *tries,
    const struct belay__provider *provider)
{
    return belay__llm_admit(
        task, tries->client, &tries->account, provider, tries->attempts + 1);
}

/* The key for an attempt that need not be admitted; who admits one, has it. 0,
 * or as belay__llm_access_take().
 */
static inline int
belay__llm_tries_take_key(struct belay__llm_tries *tries)
{
    return belay__llm_access_take(tries->client, &tries->account.access);
}

/* What an attempt sends, but for path, body and sink; points into `tries`. */
struct belay__http_request belay__llm_http_request(
    struct belay__llm_tries *tries);

/* Fills in how the attempt went; `code` is that of the exchange. Once more
 * before the plan: what was read later tells it better.
 */
void belay__llm_record(struct belay__llm_tries *tries, int code);

/* What to do about an answer that is not of 2xx, or about no answer. Asks the
 * source for another key if this one was refused.
 */
enum belay__llm_verdict belay__llm_judge(
    struct belay__llm_tries *tries, int code);

/* An error in the place of an answer, or in a stream, is as good as a status
 * (L22): the record becomes that of one.
 */
void belay__llm_record_error(struct belay__llm_tries *tries);

/* Completes the record with what follows from the verdict. Gives for how long
 * nobody is to ask the server.
 */
int64_t belay__llm_decide(const belay_task *task,
    struct belay__llm_tries *tries, enum belay__llm_verdict verdict);

/* The record is complete: settles the attempt's accounts and tells it to the
 * caller. Nobody asks the server for `pause_ns`.
 */
void belay__llm_conclude(struct belay__llm_tries *tries, int64_t pause_ns);

/* Both. Is there another attempt, once the record's delay is over? */
bool belay__llm_plan(const belay_task *task, struct belay__llm_tries *tries,
    enum belay__llm_verdict verdict);

/* An operation: waits for the delay of the record, or for the end of the
 * client (BELAY_ECLOSED).
 */
belay_next belay__llm_wait(belay_task *task, struct belay__llm_tries *tries);

#endif
