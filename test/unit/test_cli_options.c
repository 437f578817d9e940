/* test_cli_options.c - numbers, sizes and times on the command line. */
#include "cli/options.h"
#include "test/support/alloc.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

TestSuite(cli_options, .fini = check_clean, .timeout = 10);

Test(cli_options, whole_numbers_in_their_range)
{
    static const struct {
        const char *text;
        uint64_t least;
        uint64_t most;
        bool good;
        uint64_t value;
    } cases[] = {
        {"0", 0, 10, true, 0},
        {"10", 0, 10, true, 10},
        {"007", 0, 10, true, 7},
        {"11", 0, 10, false, 0},
        {"0", 1, 10, false, 0},
        {"18446744073709551615", 0, UINT64_MAX, true, UINT64_MAX},
        {"18446744073709551616", 0, UINT64_MAX, false, 0},
        {"99999999999999999999999", 0, UINT64_MAX, false, 0},
        {"", 0, 10, false, 0},
        {" 1", 0, 10, false, 0},
        {"1 ", 0, 10, false, 0},
        {"+1", 0, 10, false, 0},
        {"-1", 0, UINT64_MAX, false, 0},
        {"1.5", 0, 10, false, 0},
        {"0x10", 0, 100, false, 0},
        {"1e1", 0, 100, false, 0},
        {"five", 0, 10, false, 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t value = 77;
        const bool good = belay__option_count(
            cases[i].text, cases[i].least, cases[i].most, &value);

        cr_expect(eq(int, good, cases[i].good), "'%s'", cases[i].text);
        cr_expect(eq(u64, value, cases[i].good ? cases[i].value : 77), "'%s'",
            cases[i].text);
    }
}

Test(cli_options, sizes_with_units)
{
    static const struct {
        const char *text;
        bool good;
        uint64_t value;
    } cases[] = {
        {"0", true, 0},
        {"512", true, 512},
        {"64k", true, 65536},
        {"64K", true, 65536},
        {"64M", true, UINT64_C(64) << 20},
        {"1G", true, UINT64_C(1) << 30},
        {"17179869183G", true, UINT64_C(17179869183) << 30},
        {"17179869184G", false, 0},
        {"18446744073709551615k", false, 0},
        {"1T", false, 0},
        {"1m", false, 0},
        {"1g", false, 0},
        {"1kB", false, 0},
        {"1 k", false, 0},
        {"1.5k", false, 0},
        {"k", false, 0},
        {"", false, 0},
        {"-1k", false, 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t value = 77;
        const bool good = belay__option_bytes(cases[i].text, &value);

        cr_expect(eq(int, good, cases[i].good), "'%s'", cases[i].text);
        cr_expect(eq(u64, value, cases[i].good ? cases[i].value : 77), "'%s'",
            cases[i].text);
    }
}

Test(cli_options, times_with_units)
{
    static const struct {
        const char *text;
        bool good;
        int64_t ns;
    } cases[] = {
        {"0", true, 0},
        {"250ms", true, 250000000},
        {"30s", true, INT64_C(30000000000)},
        {"30", true, INT64_C(30000000000)},
        {"1.5", true, INT64_C(1500000000)},
        {"0.5ms", true, 500000},
        {"5m", true, INT64_C(300000000000)},
        {"1h", true, INT64_C(3600000000000)},
        {"2400000h", true, INT64_C(2400000) * 3600 * 1000000000},
        {"2500000h", false, 0},
        {"1e400", false, 0},
        {"1e30", false, 0},
        {"inf", false, 0},
        {"nan", false, 0},
        {"-1s", false, 0},
        {"+1s", false, 0},
        {" 1s", false, 0},
        {"1 s", false, 0},
        {"1d", false, 0},
        {"1ss", false, 0},
        {"s", false, 0},
        {"", false, 0},
        {"0x10", false, 0},
        {"0x1p4s", false, 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        belay_duration span = {77};
        const bool good = belay__option_span(cases[i].text, &span);

        cr_expect(eq(int, good, cases[i].good), "'%s'", cases[i].text);
        cr_expect(eq(i64, span.ns, cases[i].good ? cases[i].ns : 77), "'%s'",
            cases[i].text);
    }
}
