/* options.h - numbers, sizes and times on the command line, and a warning that
 * goes with an option (private).
 */
#ifndef BELAY_CLI_OPTIONS_H
#define BELAY_CLI_OPTIONS_H

#include <belay/base.h>

/* A whole decimal number from `least` to `most`. False, with *ret untouched,
 * if text is anything else.
 */
bool belay__option_count(
    const char *text, uint64_t least, uint64_t most, uint64_t *ret);

/* Bytes: a whole number and, if one likes, k, M or G (powers of 1024). */
bool belay__option_bytes(const char *text, uint64_t *ret);

/* A time: "250ms", "30s", "1.5", "5m", "1h"; without a unit, seconds. */
bool belay__option_span(const char *text, belay_duration *ret);

/* Warns on standard error of what --insecure gives up (S3). */
void belay__option_warn_insecure(const char *command);

#endif
