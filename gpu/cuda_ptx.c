/* cuda_ptx.c - the parameters of a kernel, read from its PTX text.
 *
 * The driver takes an array of pointers and no count: one argument too few,
 * and it reads what lies behind the array; one too small, and it reads what
 * lies behind that. So the declaration is read before the first launch:
 *
 *     .entry name ( .param .u64 a, .param .align 8 .b8 b[24] )
 *
 * Comments may stand anywhere, as in C.
 */
#include "gpu/cuda.h"

#include <string.h>

struct text {
    const char *at;
    const char *end;
};

static bool
is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
           || (c >= '0' && c <= '9') || c == '_' || c == '$' || c == '%'
           || c == '.';
}

static void
skip_line(struct text *text)
{
    while (text->at < text->end && *text->at != '\n') {
        text->at++;
    }
}

static void
skip_comment(struct text *text)
{
    text->at += 2;
    while (text->end - text->at >= 2
           && !(text->at[0] == '*' && text->at[1] == '/')) {
        text->at++;
    }
    text->at = text->end - text->at >= 2 ? text->at + 2 : text->end;
}

/* The next word or sign; of length 0 at the end. */
static struct belay_slice
next(struct text *text)
{
    const char *start;

    while (text->at < text->end) {
        bool two = text->end - text->at >= 2 && text->at[0] == '/';

        if (two && text->at[1] == '/') {
            skip_line(text);
        } else if (two && text->at[1] == '*') {
            skip_comment(text);
        } else if (*text->at <= ' ') {
            text->at++;
        } else {
            break;
        }
    }
    start = text->at;
    while (text->at < text->end && is_word(*text->at)) {
        text->at++;
    }
    if (text->at == start && text->at < text->end) {
        text->at++;
    }
    return (struct belay_slice){start, (size_t)(text->at - start)};
}

static bool
is(struct belay_slice word, const char *text)
{
    return word.len == strlen(text) && memcmp(word.data, text, word.len) == 0;
}

/* Of ".u64" and the like; 0 for other words. */
static uint32_t
type_bytes(struct belay_slice word)
{
    static const struct {
        const char *bits;
        uint32_t bytes;
    } sizes[] = {{"8", 1}, {"16", 2}, {"32", 4}, {"64", 8}};

    if (word.len < 3 || word.data[0] != '.'
        || strchr("bsuf", word.data[1]) == NULL) {
        return 0;
    }
    word.data += 2;
    word.len -= 2;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (is(word, sizes[i].bits)) {
            return sizes[i].bytes;
        }
    }
    return 0;
}

static uint32_t
number(struct belay_slice word)
{
    uint32_t value = 0;

    for (size_t i = 0; i < word.len; i++) {
        if (word.data[i] < '0' || word.data[i] > '9' || value > 65536) {
            return 0;
        }
        value = value * 10 + (uint32_t)(word.data[i] - '0');
    }
    return value;
}

/* What stands between the parentheses. */
static int
read_parameters(struct text *text, uint32_t *sizes, int room)
{
    struct belay_slice word = next(text);
    int count = 0;

    if (!is(word, "(")) {
        return 0; /* a kernel without parameters may leave them out */
    }
    for (word = next(text); is(word, ".param");) {
        uint32_t bytes = 0;

        for (word = next(text);
             word.len > 0 && !is(word, ",") && !is(word, ")");
             word = next(text)) {
            if (bytes == 0) {
                bytes = type_bytes(word);
            } else if (is(word, "[")) {
                bytes *= number(next(text));
            }
        }
        if (bytes == 0) {
            return -1;
        }
        if (count < room) {
            sizes[count] = bytes;
        }
        count++;
        if (is(word, ",")) {
            word = next(text);
        }
    }
    return is(word, ")") ? count : -1;
}

int
belay__cuda_ptx_parameters(
    const char *text, size_t len, const char *entry, uint32_t *sizes, int room)
{
    struct text at = {text, text + len};
    struct belay_slice word;

    for (word = next(&at); word.len > 0; word = next(&at)) {
        if (is(word, ".entry") && is(next(&at), entry)) {
            return read_parameters(&at, sizes, room);
        }
    }
    return -1;
}
