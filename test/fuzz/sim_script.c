/* sim_script.c - any bytes as a script of a simulated server.
 *
 * What is refused is refused in words. What is taken is asked for requests of
 * every kind: the rules that are found are within their limits, what they point
 * to can be read, and the same text once more gives the same rules.
 */
#include "llm/sim/script.h"
#include "test/fuzz/insist.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ASKED 24

/* Reads every byte, for sanitizers to look at. */
static size_t
weigh(struct belay_slice text)
{
    size_t sum = text.len;

    for (size_t i = 0; i < text.len; i++) {
        sum = sum * 31 + (unsigned char)text.data[i];
    }
    return sum;
}

static size_t
weigh_text(const char *text)
{
    return text != NULL ? weigh((struct belay_slice){text, strlen(text)}) : 0;
}

static void
check_limits(const struct belay__sim_rule *rule, uint64_t nth, uint64_t attempt)
{
    insist(rule->nth == 0 || rule->nth == nth, "of another request");
    insist(rule->attempt < 0 || (uint64_t)rule->attempt == attempt,
        "of another attempt");
    insist(rule->used > 0 && (rule->times == 0 || rule->used <= rule->times),
        "more often than it may");
    insist(rule->status == 0 || (rule->status >= 200 && rule->status <= 599),
        "a status that is none");
    insist(rule->delay_ns >= -1 && rule->delay_ns <= INT64_C(86400000000000),
        "a delay beyond a day");
    insist(rule->where < 0 || rule->where <= 1, "a place outside");
}

/* All that the rule says, as a number. */
static size_t
read_rule(const struct belay__sim_rule *rule)
{
    size_t sum = weigh(rule->body) + weigh(rule->error_type)
                 + weigh(rule->error_code) + weigh(rule->usage)
                 + weigh(rule->end) + weigh_text(rule->error_message);

    insist(rule->has_text || rule->piece_count == 0, "pieces of no text");
    for (size_t i = 0; i < rule->piece_count; i++) {
        sum = sum * 31 + weigh(rule->pieces[i]);
    }
    for (size_t i = 0; i < rule->call_count; i++) {
        sum = sum * 31 + weigh(rule->calls[i].id) + weigh(rule->calls[i].name)
              + weigh(rule->calls[i].arguments);
    }
    for (size_t i = 0; i < rule->header_count; i++) {
        const struct belay__sim_header *header = &rule->headers[i];

        insist(strpbrk(header->name, "\r\n:") == NULL
                   && strpbrk(header->value, "\r\n") == NULL,
            "a header of two lines");
        sum = sum * 31 + weigh_text(header->name) + weigh_text(header->value);
    }
    return sum;
}

/* Requests of every kind; 0 for those that no rule is for. */
static void
ask(struct belay__sim_script *script, size_t ret[ASKED])
{
    static const char *const paths[] = {"/v1/chat/completions", "/v1/messages"};

    for (uint64_t n = 0; n < ASKED; n++) {
        const struct belay__sim_request request = {
            .model = {n % 3 == 0 ? "\"m\"" : "\"other\"", n % 3 == 0 ? 3 : 7},
            .prompt = {"say hi", n % 5 == 0 ? 0 : 6},
            .stream = n % 2 == 0,
        };
        const struct belay__sim_seen_request seen = {
            n + 1, n % 4, paths[n / 4 % 2], &request};
        const struct belay__sim_rule *rule =
            belay__sim_script_find(script, &seen);

        ret[n] = 0;
        if (rule != NULL) {
            check_limits(rule, n + 1, n % 4);
            ret[n] = read_rule(rule) | 1;
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct belay_slice text = {(const char *)data, size};
    struct belay__sim_script *script = NULL;
    char why[BELAY__SIM_WHY_BYTES] = "";
    size_t sums[2][ASKED];

    for (int i = 0; i < 2; i++) {
        if (belay__sim_script_parse(text, &script, why) < 0) {
            insist(script == NULL, "a script that was refused");
            insist(memchr(why, '\0', sizeof(why)) != NULL && why[0] != '\0',
                "a refusal without a reason");
            insist(i == 0, "the same text is refused");
            return 0;
        }
        ask(script, sums[i]);
        belay__sim_script_free(script);
        script = NULL;
    }
    insist(memcmp(sums[0], sums[1], sizeof(sums[0])) == 0,
        "the same text gives other rules");
    return 0;
}
