/* text.c - what strings and numbers of a JSON text mean.
 *
 * A string is decoded in pieces: a run without backslash is a slice of the
 * input, an escape becomes a few bytes. Decoding and comparing share this.
 * A \u escape is 6 bytes and gives at most 3, a pair 12 and 4, so the text
 * is never longer than its source.
 */
#include "llm/json/text.h"

#include "llm/json/utf8.h"

#define REPLACEMENT 0xfffd

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int32_t
belay__json_hex4(const char *at)
{
    int32_t unit = 0;

    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);

        if (digit < 0) {
            return -1;
        }
        unit = unit * 16 + digit;
    }
    return unit;
}

int32_t
belay__json_short_escape(int32_t letter)
{
    switch (letter) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return letter;
    }
}

/* A string on its way to text. */
struct decoder {
    const char *at; /* behind the quote, or what is done */
    const char *end;
    uint32_t high;            /* first half of a character, or 0 */
    struct belay_slice piece; /* of the input, or in room; may be empty */
    char room[4];
};

static void
decoder_init(struct decoder *decoder, struct belay_slice string, uint32_t high)
{
    decoder->at = string.data + 1;
    decoder->end = string.data + string.len - 1;
    decoder->high = high;
}

static void
give_point(struct decoder *decoder, uint32_t point)
{
    decoder->piece.data = decoder->room;
    decoder->piece.len = belay__utf8_encode(point, decoder->room);
}

static void
give_run(struct decoder *decoder)
{
    size_t left = (size_t)(decoder->end - decoder->at);
    const char *stop = memchr(decoder->at, '\\', left);

    decoder->piece.data = decoder->at;
    decoder->piece.len = stop != NULL ? (size_t)(stop - decoder->at) : left;
    decoder->at += decoder->piece.len;
}

/* Sets piece to the next part of the text; at is before end. */
static void
next_piece(struct decoder *decoder)
{
    const char *at = decoder->at;
    int32_t unit = -1;
    uint32_t high = decoder->high;

    if (*at == '\\') {
        unit = at[1] == 'u' ? belay__json_hex4(at + 2)
                            : belay__json_short_escape(at[1]);
    }
    if (high != 0) {
        decoder->high = 0;
        if (!belay__json_is_low(unit)) {
            give_point(decoder, REPLACEMENT); /* and come back for this */
            return;
        }
        unit = (int32_t)(0x10000 + ((high - 0xd800) << 10)) + unit - 0xdc00;
    } else if (unit < 0) {
        give_run(decoder);
        return;
    }
    decoder->at += at[1] == 'u' ? 6 : 2;
    if (belay__json_is_high(unit)) {
        decoder->high = (uint32_t)unit;
        decoder->piece = (struct belay_slice){decoder->room, 0};
    } else {
        give_point(
            decoder, belay__json_is_low(unit) ? REPLACEMENT : (uint32_t)unit);
    }
}

size_t
belay__json_decode_part(struct belay_slice string, uint32_t *high, char *out)
{
    struct decoder decoder;
    char *to = out;

    decoder_init(&decoder, string, *high);
    while (decoder.at < decoder.end) {
        next_piece(&decoder);
        memcpy(to, decoder.piece.data, decoder.piece.len);
        to += decoder.piece.len;
    }
    *high = decoder.high;
    return (size_t)(to - out);
}

size_t
belay__json_decode(struct belay_slice string, char *out)
{
    uint32_t high = 0;
    size_t len = belay__json_decode_part(string, &high, out);

    if (high != 0) {
        len += belay__utf8_encode(REPLACEMENT, out + len);
    }
    return len;
}

int
belay__json_append_decoded(
    struct belay__buffer *buffer, struct belay_slice string)
{
    int code = belay__buffer_reserve(buffer, string.len - 2);

    if (code == 0 && string.len > 2) {
        buffer->len += belay__json_decode(string, buffer->data + buffer->len);
    }
    return code;
}

bool
belay__json_equals(
    const struct belay__json_value *string, const char *text, size_t len)
{
    struct decoder decoder;

    decoder_init(&decoder, string->raw, 0);
    while (decoder.at < decoder.end || decoder.high != 0) {
        if (decoder.at < decoder.end) {
            next_piece(&decoder);
        } else {
            decoder.high = 0;
            give_point(&decoder, REPLACEMENT);
        }
        if (decoder.piece.len > len
            || memcmp(decoder.piece.data, text, decoder.piece.len) != 0) {
            return false;
        }
        text += decoder.piece.len;
        len -= decoder.piece.len;
    }
    return len == 0;
}

/* A number is [-] digits [. digits] [e exponent]; here its digits are taken
 * as one whole number times a power of ten.
 */
struct decimal {
    struct belay_slice whole;
    struct belay_slice fraction;
    int64_t exponent;
    bool negative;
};

static struct belay_slice
take_digits(const char **at, const char *end)
{
    struct belay_slice digits = {*at, 0};

    while (*at < end && **at >= '0' && **at <= '9') {
        (*at)++;
        digits.len++;
    }
    return digits;
}

/* An exponent beyond any length of digits counts as that. */
static int64_t
take_exponent(const char *at, const char *end)
{
    const int64_t enough = INT64_C(1) << 60;
    bool negative = *at == '-';
    int64_t value = 0;

    at += *at == '-' || *at == '+';
    for (; at < end; at++) {
        value = value < enough / 16 ? value * 10 + (*at - '0') : enough;
    }
    return negative ? -value : value;
}

static struct decimal
split_decimal(struct belay_slice number)
{
    const char *at = number.data;
    const char *end = at + number.len;
    struct decimal decimal = {.negative = *at == '-'};

    at += decimal.negative;
    decimal.whole = take_digits(&at, end);
    if (at < end && *at == '.') {
        at++;
        decimal.fraction = take_digits(&at, end);
    }
    while (decimal.fraction.len > 0
           && decimal.fraction.data[decimal.fraction.len - 1] == '0') {
        decimal.fraction.len--;
    }
    if (at < end) {
        decimal.exponent = take_exponent(at + 1, end);
    }
    decimal.exponent -= (int64_t)decimal.fraction.len;
    return decimal;
}

/* Appends digits to *value; false if it no longer fits. */
static bool
append_digits(struct belay_slice digits, int64_t sign, int64_t *value)
{
    for (size_t i = 0; i < digits.len; i++) {
        if (__builtin_mul_overflow(*value, 10, value)
            || __builtin_add_overflow(
                *value, sign * (digits.data[i] - '0'), value)) {
            return false;
        }
    }
    return true;
}

int
belay__json_integer(struct belay_slice number, int64_t *ret)
{
    struct decimal decimal = split_decimal(number);
    int64_t sign = decimal.negative ? -1 : 1;
    int64_t value = 0;

    /* 1500e-2 is 15: zeroes that the exponent takes away again. */
    while (decimal.exponent < 0 && decimal.fraction.len == 0
           && decimal.whole.len > 0
           && decimal.whole.data[decimal.whole.len - 1] == '0') {
        decimal.whole.len--;
        decimal.exponent++;
    }
    if (decimal.whole.len == 0 && decimal.fraction.len == 0) {
        *ret = 0;
        return 0;
    }
    if (decimal.exponent < 0) {
        return BELAY_EINVAL;
    }
    if (!append_digits(decimal.whole, sign, &value)
        || !append_digits(decimal.fraction, sign, &value)) {
        return BELAY_ETOOLARGE;
    }
    for (; decimal.exponent > 0 && value != 0; decimal.exponent--) {
        if (__builtin_mul_overflow(value, 10, &value)) {
            return BELAY_ETOOLARGE;
        }
    }
    *ret = value;
    return 0;
}
