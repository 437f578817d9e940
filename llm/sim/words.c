/* words.c - what the simulator answers: words of the question, and others. */
#include "llm/sim/internal.h"

#include <string.h>

#define LOOK_AHEAD 64 /* bytes to search for the next word of the prompt */

static bool
is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
           || (c >= '0' && c <= '9');
}

void
belay__sim_words_init(
    struct belay__sim_words *words, uint64_t seed, struct belay_slice prompt)
{
    *words = (struct belay__sim_words){
        .dice = {seed ^ belay__sim_hash(prompt)}, .prompt = prompt};
}

/* A word of the prompt somewhere behind `at`: between two blanks, so that no
 * half of an escape is taken for one. Length 0: there is none near by.
 */
static struct belay_slice
prompt_word(struct belay_slice prompt, size_t at)
{
    const char *end = prompt.data + prompt.len;
    const char *limit = end - (prompt.data + at) > LOOK_AHEAD
                            ? prompt.data + at + LOOK_AHEAD
                            : end;
    const char *word = prompt.data + at;
    const char *stop;

    while (word < limit && *word != ' ') {
        word++;
    }
    while (word < limit && *word == ' ') {
        word++;
    }
    for (stop = word; stop < end && is_plain(*stop); stop++) {
        if (stop - word == BELAY__SIM_WORD_MAX) {
            return (struct belay_slice){NULL, 0};
        }
    }
    if (stop < end && *stop == '\\') {
        return (struct belay_slice){NULL, 0};
    }
    return (struct belay_slice){word, (size_t)(stop - word)};
}

static struct belay_slice
stock_word(uint64_t number)
{
    static const char *const stock[] = {"the", "rope", "holds", "when", "a",
        "climber", "falls", "and", "every", "anchor", "takes", "its", "share",
        "of", "load", "slowly", "so", "nobody", "is", "hurt", "below", "ledge",
        "knot", "tight", "before", "next", "pitch", "begins", "in", "order",
        "down", "again"};
    const char *word = stock[number % (sizeof(stock) / sizeof(stock[0]))];

    return (struct belay_slice){word, strlen(word)};
}

size_t
belay__sim_next_word(
    struct belay__sim_words *words, char ret[BELAY__SIM_WORD_MAX + 1])
{
    const uint64_t number = belay__sim_roll(&words->dice);
    struct belay_slice word = {NULL, 0};
    size_t len = 0;

    if (words->prompt.len > 0 && (number & 1) != 0) {
        word = prompt_word(words->prompt, (number >> 8) % words->prompt.len);
    }
    if (word.len == 0) {
        word = stock_word(number >> 8);
    }
    if (words->begun) {
        ret[len++] = ' ';
    }
    words->begun = true;
    memcpy(ret + len, word.data, word.len);
    return len + word.len;
}
