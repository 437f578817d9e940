/* retry.c - the rules for trying again.
 *
 * The tables of contract-llm.md, 2.3, in their order: what to do, how long to
 * wait, how often at all. What servers ask for is read in retry_after.c.
 */
#include "llm/retry.h"

#include <string.h>
#include <strings.h>

#define NS_PER_S INT64_C(1000000000)

/* ---- what to do (L30, L31) ---- */

static bool
is_word(struct belay_slice text, const char *word)
{
    const size_t len = strlen(word);

    return text.len == len && strncasecmp(text.data, word, len) == 0;
}

static enum belay__llm_verdict
judge_plain_status(int status)
{
    switch (status) {
    case 408: /* request timeout */
    case 409: /* conflict: of locks, with these servers */
    case 425: /* too early */
    case 429: /* too many requests */
        return BELAY__LLM_RETRY;
    case 401: /* unauthorized */
        return BELAY__LLM_REFUSED;
    case 501: /* not implemented: cannot get better */
        return BELAY__LLM_NEVER;
    default:
        return status >= 500 && status < 600 ? BELAY__LLM_RETRY
                                             : BELAY__LLM_NEVER;
    }
}

enum belay__llm_verdict
belay__llm_judge_status(
    int status, bool quota, const struct belay__llm_headers *headers)
{
    struct belay_slice told;

    if (quota || (status >= 200 && status < 300)) {
        return BELAY__LLM_NEVER;
    }
    told = headers->get_fn(headers->arg, "x-should-retry");
    if (is_word(told, "true")) {
        return BELAY__LLM_RETRY;
    }
    if (is_word(told, "false")) {
        return BELAY__LLM_NEVER;
    }
    return judge_plain_status(status);
}

enum belay__llm_verdict
belay__llm_judge_failure(enum belay__http_failure failure)
{
    switch (failure) {
    case BELAY__HTTP_RESOLVE:
    case BELAY__HTTP_CONNECT:
    case BELAY__HTTP_PROXY:
    case BELAY__HTTP_TLS:
    case BELAY__HTTP_SEND:
    case BELAY__HTTP_RESET:
    case BELAY__HTTP_EMPTY:
    case BELAY__HTTP_SHORT_BODY:
    case BELAY__HTTP_STREAM:
    case BELAY__HTTP_TIMEOUT_CONNECT:
    case BELAY__HTTP_TIMEOUT_FIRST_BYTE:
    case BELAY__HTTP_TIMEOUT_IDLE:
        return BELAY__LLM_RETRY;
    case BELAY__HTTP_MALFORMED:
        return BELAY__LLM_ONCE;
    case BELAY__HTTP_OK:
    case BELAY__HTTP_CERTIFICATE:
    case BELAY__HTTP_BODY_TOO_LARGE:
    case BELAY__HTTP_HEAD_TOO_LARGE:
    case BELAY__HTTP_NO_MEMORY:
    case BELAY__HTTP_SINK:
    case BELAY__HTTP_BAD_REQUEST:
    case BELAY__HTTP_CLOSED:
    case BELAY__HTTP_CANCELLED:
    case BELAY__HTTP_LOCAL:
        break;
    }
    return BELAY__LLM_NEVER;
}

enum belay_llm_billed
belay__llm_billed(int status, bool request_sent)
{
    if (status >= 200 && status < 300) {
        return BELAY_LLM_BILLED_YES;
    }
    /* A gateway's word: the model behind it may have run all the same. */
    if (status == 408 || status == 502 || status == 504) {
        return BELAY_LLM_BILLED_UNKNOWN;
    }
    if (status != 0) {
        return BELAY_LLM_BILLED_NO;
    }
    return request_sent ? BELAY_LLM_BILLED_UNKNOWN : BELAY_LLM_BILLED_NO;
}

/* ---- our own delays (L32) ---- */

static int64_t
span_or(belay_duration span, int64_t default_ns)
{
    return span.ns > 0 ? span.ns : default_ns;
}

struct belay__llm_policy
belay__llm_policy_of(enum belay_llm_profile profile, belay_duration base,
    belay_duration cap, belay_duration after_cap)
{
    const bool batch = profile == BELAY_LLM_BATCH;

    return (struct belay__llm_policy){
        .base_ns = span_or(base, NS_PER_S / 2),
        .cap_ns = span_or(cap, (batch ? 60 : 8) * NS_PER_S),
        .after_cap_ns = span_or(after_cap, (batch ? 600 : 120) * NS_PER_S),
        .full_jitter = batch,
    };
}

uint64_t
belay__llm_random_bits(uint64_t *random)
{
    uint64_t z = *random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

double
belay__llm_random(uint64_t *random)
{
    return (double)(belay__llm_random_bits(random) >> 11) * 0x1p-53;
}

static int64_t
part_of(int64_t ns, double part)
{
    return (int64_t)((double)ns * part);
}

int64_t
belay__llm_backoff(
    const struct belay__llm_policy *policy, uint32_t n, uint64_t *random)
{
    const double u = belay__llm_random(random);
    int64_t delay = policy->base_ns;

    while (n-- > 0 && delay < policy->cap_ns) {
        delay = delay > INT64_MAX / 2 ? INT64_MAX : delay * 2;
    }
    if (delay > policy->cap_ns) {
        delay = policy->cap_ns;
    }
    return delay - part_of(delay, policy->full_jitter ? u : u / 4);
}

int64_t
belay__llm_scatter(int64_t asked_ns, uint64_t *random)
{
    int64_t ns;

    if (__builtin_add_overflow(
            asked_ns, part_of(asked_ns / 10, belay__llm_random(random)), &ns)) {
        return INT64_MAX;
    }
    return ns;
}

/* ---- the retry budget (L35) ---- */

#define SLOT_NS (5 * NS_PER_S)

/* Clears what has become older than a minute. */
static uint32_t
advance(struct belay__llm_allowance *allowance, int64_t now_ns)
{
    const int64_t slot = now_ns / SLOT_NS;

    if (slot - allowance->slot >= BELAY__LLM_SLOTS) {
        *allowance = (struct belay__llm_allowance){.slot = slot};
    }
    while (allowance->slot < slot) {
        const size_t at = (size_t)(++allowance->slot % BELAY__LLM_SLOTS);

        allowance->calls[at] = 0;
        allowance->retries[at] = 0;
    }
    return (uint32_t)(allowance->slot % BELAY__LLM_SLOTS);
}

void
belay__llm_allowance_call(
    struct belay__llm_allowance *allowance, int64_t now_ns)
{
    const uint32_t at = advance(allowance, now_ns);

    if (allowance->calls[at] < UINT32_MAX) {
        allowance->calls[at]++;
    }
}

bool
belay__llm_allowance_take(
    struct belay__llm_allowance *allowance, int64_t now_ns)
{
    const uint32_t at = advance(allowance, now_ns);
    uint64_t calls = 0;
    uint64_t retries = 0;

    for (size_t i = 0; i < BELAY__LLM_SLOTS; i++) {
        calls += allowance->calls[i];
        retries += allowance->retries[i];
    }
    if (retries >= calls / 10 + 10) {
        return false;
    }
    allowance->retries[at]++;
    return true;
}
