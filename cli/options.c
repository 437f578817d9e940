/* options.c - numbers, sizes and times on the command line, and a warning that
 * goes with an option.
 */
#include "cli/options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool
starts_with_digit(const char *text)
{
    return text[0] >= '0' && text[0] <= '9';
}

/* The number at the start of text; *ret_rest is what follows. */
static bool
take_count(const char *text, uint64_t *ret, const char **ret_rest)
{
    char *end;
    unsigned long long value;

    if (!starts_with_digit(text)) {
        return false;
    }
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno != 0) {
        return false;
    }
    *ret = value;
    *ret_rest = end;
    return true;
}

bool
belay__option_count(
    const char *text, uint64_t least, uint64_t most, uint64_t *ret)
{
    const char *rest;
    uint64_t value;

    if (!take_count(text, &value, &rest) || *rest != '\0' || value < least
        || value > most) {
        return false;
    }
    *ret = value;
    return true;
}

bool
belay__option_bytes(const char *text, uint64_t *ret)
{
    static const char units[] = "kMG";
    const char *rest;
    const char *unit;
    uint64_t value;

    if (!take_count(text, &value, &rest)) {
        return false;
    }
    if (*rest != '\0') {
        unit = strchr(units, *rest == 'K' ? 'k' : *rest);
        if (unit == NULL || rest[1] != '\0') {
            return false;
        }
        for (long i = unit - units; i >= 0; i--) {
            if (__builtin_mul_overflow(value, (uint64_t)1024, &value)) {
                return false;
            }
        }
    }
    *ret = value;
    return true;
}

bool
belay__option_span(const char *text, belay_duration *ret)
{
    static const struct {
        const char *name;
        double ns;
    } units[] = {
        {"ms", 1e6}, {"s", 1e9}, {"", 1e9}, {"m", 60e9}, {"h", 3600e9}};
    char *rest;
    double value;

    if (!starts_with_digit(text) || strpbrk(text, "xX") != NULL) {
        return false; /* strtod() reads hexadecimal too */
    }
    value = strtod(text, &rest);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(rest, units[i].name) == 0) {
            value *= units[i].ns;
            if (!isfinite(value) || value >= 9e18) {
                return false;
            }
            *ret = belay_nanoseconds((int64_t)value);
            return true;
        }
    }
    return false;
}

void
belay__option_warn_insecure(const char *command)
{
    (void)fprintf(stderr,
        "belay %s: warning: --insecure: any certificate is accepted; whoever "
        "is on the way can read the key and all texts, and answer\n",
        command);
}
