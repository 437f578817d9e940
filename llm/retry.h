/* retry.h - whether to try again, and when (private).
 *
 * Decisions only: no clock, no I/O, no memory. What is random comes from a
 * seed, what the time is from an argument, so every rule can be tested to
 * the nanosecond. Rules: L30-L35.
 */
#ifndef BELAY_LLM_RETRY_H
#define BELAY_LLM_RETRY_H

#include <belay/llm.h>

#include "llm/http/client.h"

enum belay__llm_verdict {
    BELAY__LLM_NEVER, /* it cannot get better */
    BELAY__LLM_ONCE,  /* a nonsensical answer: give it one more chance (L9) */
    BELAY__LLM_RETRY,
    BELAY__LLM_REFUSED, /* the key: never, unless there is another one */
};

/* Headers of an answer, wherever they are kept: {NULL, 0} if there is none. */
struct belay__llm_headers {
    struct belay_slice (*get_fn)(const void *arg, const char *name);
    const void *arg;
};

/* What to do about an answer of this status (L30); x-should-retry counts
 * first. `quota`: the account has run out, which counts before that (L31).
 */
enum belay__llm_verdict belay__llm_judge_status(
    int status, bool quota, const struct belay__llm_headers *headers);

/* What to do about an exchange without a whole answer (L30). */
enum belay__llm_verdict belay__llm_judge_failure(
    enum belay__http_failure failure);

/* Who pays for an attempt: by its status, or if there was no whole answer
 * (status 0), by whether the server had the whole request.
 */
enum belay_llm_billed belay__llm_billed(int status, bool request_sent);

/* How delays are made. */
struct belay__llm_policy {
    int64_t base_ns;
    int64_t cap_ns;       /* of our own delays */
    int64_t after_cap_ns; /* of those that the server asks for */
    bool full_jitter;     /* anywhere between nothing and the delay */
};

/* The policy of a profile, with the caller's numbers put in (0: default). */
struct belay__llm_policy belay__llm_policy_of(enum belay_llm_profile profile,
    belay_duration base, belay_duration cap, belay_duration after_cap);

/* The wait before retry n, from 0, when the server asks for none (L32). */
int64_t belay__llm_backoff(
    const struct belay__llm_policy *policy, uint32_t n, uint64_t *random);

/* The wait that the server asks for (L33), unscattered. False if it asks for
 * none, or for one that makes no sense.
 *
 *   status      429 lets the rate-limit headers speak too
 *   wall_clock  seconds since 1970, for dates without a Date beside them
 */
bool belay__llm_asked_delay(int status,
    const struct belay__llm_headers *headers, int64_t wall_clock,
    int64_t *ret_ns);

/* The asked delay, scattered upwards by a tenth (L33). */
int64_t belay__llm_scatter(int64_t asked_ns, uint64_t *random);

/* A span as rate-limit headers write it: "12ms", "1h2m3s", "1.5s", "20"
 * (seconds). False if it is anything else (L63).
 */
bool belay__llm_parse_span(struct belay_slice text, int64_t *ret_ns);

/* A date in one of the three forms of RFC 9110, as seconds since 1970; or an
 * RFC 3339 time. False if it is neither.
 */
bool belay__llm_parse_date(struct belay_slice text, int64_t *ret_s);

/* How many retries a client may make: a tenth of its calls of the last
 * minute, and ten more (L35). A server in trouble gets no multiple of the
 * load that brought it there. Starts zeroed.
 */
#define BELAY__LLM_SLOTS 12

struct belay__llm_allowance {
    int64_t slot; /* the newest one; a slot is 5 s of the runtime's clock */
    uint32_t calls[BELAY__LLM_SLOTS];
    uint32_t retries[BELAY__LLM_SLOTS];
};

void belay__llm_allowance_call(
    struct belay__llm_allowance *allowance, int64_t now_ns);
/* Takes one retry. False, and nothing has changed, if there is none left. */
bool belay__llm_allowance_take(
    struct belay__llm_allowance *allowance, int64_t now_ns);

/* Splitmix64: bits, and a number in [0, 1) that has 53 of them. */
uint64_t belay__llm_random_bits(uint64_t *random);
double belay__llm_random(uint64_t *random);

#endif
