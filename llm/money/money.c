/* money.c - amounts as integers: from text, to text.
 *
 * No double comes in: 7.5e-08 dollars are 75,000 picodollars, not nearly so.
 */
#include <belay/price.h>

#include <inttypes.h>
#include <stdio.h>

#define DECIMALS 12 /* of a picodollar */
#define DOLLAR UINT64_C(1000000000000)
#define DIGITS_KEPT 38      /* what an unsigned __int128 holds for certain */
#define EXPONENT_MAX 100000 /* beyond that nothing is left, or nothing fits */

__extension__ typedef unsigned __int128 wide;

/* A number as its text has it: kept * 10^exponent. */
struct decimal {
    wide kept;
    int kept_digits;
    int64_t exponent;
    bool any_digit;
    bool negative;
};

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A digit more than can be kept is worth less than half a unit of the last
 * one: the place counts, the digit does not.
 */
static void
take_digit(struct decimal *number, char digit, bool behind_point)
{
    number->any_digit = true;
    if (number->kept_digits == DIGITS_KEPT) {
        number->exponent += !behind_point;
        return;
    }
    number->kept = number->kept * 10 + (unsigned)(digit - '0');
    number->kept_digits += number->kept > 0;
    number->exponent -= behind_point;
}

/* The digits and the point; gives where they end. */
static const char *
take_digits(struct decimal *number, const char *at, const char *end)
{
    bool behind_point = false;

    for (; at < end; at++) {
        if (*at == '.' && !behind_point) {
            behind_point = true;
        } else if (is_digit(*at)) {
            take_digit(number, *at, behind_point);
        } else {
            break;
        }
    }
    return at;
}

/* What stands behind an e; false if that is no number. */
static bool
take_exponent(struct decimal *number, const char *at, const char *end)
{
    const bool negative = at < end && *at == '-';
    int64_t exponent = 0;

    if (at < end && (*at == '-' || *at == '+')) {
        at++;
    }
    if (at == end) {
        return false;
    }
    for (; at < end; at++) {
        if (!is_digit(*at)) {
            return false;
        }
        if (exponent < EXPONENT_MAX) {
            exponent = exponent * 10 + (*at - '0');
        }
    }
    number->exponent += negative ? -exponent : exponent;
    return true;
}

static bool
take_number(struct decimal *number, struct belay_slice text)
{
    const char *at = text.data;
    const char *end = at + text.len;

    if (text.len == 0) {
        return false;
    }
    number->negative = *at == '-';
    at = take_digits(number, at + number->negative, end);
    if (!number->any_digit) {
        return false;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        return take_exponent(number, at + 1, end);
    }
    return at == end;
}

/* kept * 10^exponent, rounded to the nearest; false if it does not fit. */
static bool
scale(const struct decimal *number, int64_t exponent, wide *ret)
{
    wide value = number->kept;
    wide unit = 1;

    if (value == 0) {
        *ret = 0;
        return true;
    }
    for (; exponent > 0; exponent--) {
        if (value > INT64_MAX) {
            return false;
        }
        value *= 10;
    }
    for (; exponent < 0 && unit <= value; exponent++) {
        unit *= 10;
    }
    if (exponent < 0) {
        value = 0; /* less than a tenth */
    } else if (unit > 1) {
        value = value / unit + (value % unit >= unit / 2);
    }
    *ret = value > 0 ? value : 1;
    return value <= INT64_MAX;
}

int
belay_money_parse(struct belay_slice text, belay_money *ret)
{
    struct decimal number = {0};
    wide pico;

    if (!take_number(&number, text)) {
        return BELAY_EINVAL;
    }
    if (!scale(&number, number.exponent + DECIMALS, &pico)) {
        return BELAY_ETOOLARGE;
    }
    ret->pico = number.negative ? -(int64_t)pico : (int64_t)pico;
    return 0;
}

size_t
belay_money_format(belay_money money, char *out)
{
    const uint64_t pico =
        money.pico < 0 ? -(uint64_t)money.pico : (uint64_t)money.pico;
    size_t len = (size_t)snprintf(out, BELAY_MONEY_TEXT_BYTES,
        "%s%" PRIu64 ".%0*" PRIu64, money.pico < 0 ? "-" : "", pico / DOLLAR,
        DECIMALS, pico % DOLLAR);
    const size_t least = len - (DECIMALS - 2);

    while (len > least && out[len - 1] == '0') {
        len--;
    }
    out[len] = '\0';
    return len;
}
