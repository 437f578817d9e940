/* test_money.c - amounts from text and to text, to the picodollar. */
#include <belay/price.h>

#include "test/support/alloc.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(money, .fini = check_clean, .timeout = 20);

static int
parse(const char *text, belay_money *ret)
{
    return belay_money_parse((struct belay_slice){text, strlen(text)}, ret);
}

#define expect_pico(text, wanted)                              \
    do {                                                       \
        belay_money money = {-7};                              \
        cr_expect(zero(int, parse(text, &money)), "%s", text); \
        cr_expect(eq(i64, money.pico, (wanted)), "%s", text);  \
    } while (0)

#define expect_refused(text, code)                                 \
    do {                                                           \
        belay_money money = {-7};                                  \
        cr_expect(eq(int, parse(text, &money), code), "%s", text); \
        cr_expect(eq(i64, money.pico, -7), "%s", text);            \
    } while (0)

Test(money, l51_prices_are_exact)
{
    expect_pico("7.5e-08", 75000);
    expect_pico("0.000000075", 75000);
    expect_pico("1e-12", 1);
    expect_pico("0.0000001", 100000);
    expect_pico("1.25E-6", 1250000);
    expect_pico("2.5e+1", INT64_C(25000000000000));
    expect_pico("-3", INT64_C(-3000000000000));
    expect_pico("9223372.036854775807", INT64_MAX);
    expect_pico(".5", INT64_C(500000000000));
    expect_pico("5.", INT64_C(5000000000000));
    expect_pico("0", 0);
    expect_pico("0e999999999999", 0);
    expect_pico("-0.000", 0);
}

Test(money, l51_what_is_finer_goes_to_the_nearest_but_never_to_nothing)
{
    expect_pico("1.4e-12", 1);
    expect_pico("1.5e-12", 2);
    expect_pico("1.0000000000000001e-07", 100000);
    expect_pico("9.9999999999999995e-07", 1000000);
    expect_pico("1e-13", 1);
    expect_pico("1e-99999999", 1);
    expect_pico("-4e-40", -1);
    expect_pico("0.00000000000000000000000000000000000000000000000000001", 1);
    expect_pico("1.99999999999999999999999999999999999999999999999999999",
        INT64_C(2000000000000));
}

Test(money, l51_what_does_not_fit_is_refused)
{
    expect_refused("9223372.036854775808", BELAY_ETOOLARGE);
    expect_refused("1e7", BELAY_ETOOLARGE);
    expect_refused("1e99999999999999999999", BELAY_ETOOLARGE);
    expect_refused("-1e8", BELAY_ETOOLARGE);
    expect_refused(
        "100000000000000000000000000000000000000000000000", BELAY_ETOOLARGE);
}

Test(money, what_is_no_number_is_refused)
{
    static const char *const texts[] = {"", "-", ".", "-.", "e5", "1e", "1e+",
        "1e-", "1.2.3", "1 ", " 1", "+1", "0x10", "1e5.0", "nan", "inf", "$5",
        "1,5", "--1"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        expect_refused(texts[i], BELAY_EINVAL);
    }
}

/* ---- the oracle: schoolbook arithmetic on strings of digits ---- */

/* digits * 10^exponent as picodollars, in decimal text without a limit. */
static void
oracle(const char *digits, long exponent, char *out, size_t room)
{
    const long shift = exponent + 12;
    const size_t len = strlen(digits);
    const size_t whole = shift >= 0              ? len
                         : (size_t)-shift >= len ? 0
                                                 : len - (size_t)-shift;
    const bool up =
        whole < len && (size_t)-shift <= len && digits[whole] >= '5';
    size_t n = 0;

    cr_assert(lt(sz, len + (size_t)labs(shift) + 2, room));
    out[n++] = '0';
    memcpy(out + n, digits, whole);
    n += whole;
    for (long i = 0; i < shift; i++) {
        out[n++] = '0';
    }
    out[n] = '\0';
    if (up) {
        size_t i = n - 1;

        while (out[i] == '9') {
            out[i--] = '0';
        }
        out[i]++;
    }
    n = strspn(out, "0");
    memmove(out, out + n, strlen(out + n) + 1);
    if (out[0] == '\0') {
        snprintf(out, room, "%s", strspn(digits, "0") == len ? "0" : "1");
    }
}

static uint32_t
pick(uint64_t *random, uint32_t below)
{
    *random =
        *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*random >> 33) % below;
}

static bool
fits(const char *pico)
{
    const char *most = "9223372036854775807";

    return strlen(pico) < strlen(most)
           || (strlen(pico) == strlen(most) && strcmp(pico, most) <= 0);
}

Test(money, l51_agrees_with_arithmetic_on_strings)
{
    uint64_t random = 51;
    size_t fitting = 0;

    for (int round = 0; round < 200000; round++) {
        const uint32_t count = 1 + pick(&random, round % 4 == 0 ? 60 : 18);
        const uint32_t behind = pick(&random, count + 1);
        const int exponent = (int)pick(&random, 41) - 20;
        char digits[64] = {0};
        char text[128];
        char wanted[256];
        char got[32];
        belay_money money = {0};
        int code;

        for (uint32_t i = 0; i < count; i++) {
            digits[i] = (char)('0'
                               + (pick(&random, 3) == 0 ? 9 * pick(&random, 2)
                                                        : pick(&random, 10)));
        }
        snprintf(text, sizeof(text), "%.*s.%se%d", (int)(count - behind),
            digits, digits + count - behind, exponent);
        oracle(digits, exponent - (long)behind, wanted, sizeof(wanted));
        code = parse(text, &money);
        cr_assert(
            eq(int, code, fits(wanted) ? 0 : BELAY_ETOOLARGE), "%s", text);
        if (code == 0) {
            fitting++;
            snprintf(got, sizeof(got), "%" PRId64, money.pico);
            cr_assert(eq(str, got, wanted), "%s", text);
        }
    }
    cr_expect(gt(sz, fitting, 50000));
}

/* ---- to text ---- */

static void
expect_text(int64_t pico, char *wanted)
{
    char text[BELAY_MONEY_TEXT_BYTES];
    size_t len = belay_money_format((belay_money){pico}, text);

    cr_expect(eq(str, text, wanted));
    cr_expect(eq(sz, len, strlen(wanted)));
}

Test(money, text_is_exact_and_has_two_decimals)
{
    expect_text(0, "0.00");
    expect_text(75000, "0.000000075");
    expect_text(INT64_C(12500000000000), "12.50");
    expect_text(INT64_C(-1000000000000), "-1.00");
    expect_text(1, "0.000000000001");
    expect_text(INT64_C(1230000000000), "1.23");
    expect_text(INT64_MAX, "9223372.036854775807");
    expect_text(INT64_MIN, "-9223372.036854775808");
}

Test(money, text_that_was_written_is_read_again)
{
    uint64_t random = 3;

    for (int i = 0; i < 100000; i++) {
        int64_t pico = (int64_t)(((uint64_t)pick(&random, UINT32_MAX) << 32
                                     | pick(&random, UINT32_MAX))
                                 >> pick(&random, 63));
        char text[BELAY_MONEY_TEXT_BYTES];
        belay_money money;

        pico = pick(&random, 2) == 0 ? pico : -pico;
        belay_money_format((belay_money){pico}, text);
        cr_assert(zero(int, parse(text, &money)), "%s", text);
        cr_assert(eq(i64, money.pico, pico), "%s", text);
    }
}

Test(money, sums_stay_at_the_largest_amount)
{
    cr_expect(eq(i64,
        belay_money_sum((belay_money){INT64_MAX}, (belay_money){1}).pico,
        INT64_MAX));
    cr_expect(eq(i64,
        belay_money_sum((belay_money){INT64_MIN}, (belay_money){-1}).pico,
        INT64_MIN));
    cr_expect(
        eq(i64, belay_money_sum((belay_money){5}, (belay_money){-7}).pico, -2));
}
