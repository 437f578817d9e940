/* errors.h - making error objects, and what they are made of (private).
 *
 * Only error.c knows the structure. An object is immutable once somebody else
 * has seen it; the functions below that change one say so.
 */
#ifndef BELAY_RUNTIME_ERRORS_H
#define BELAY_RUNTIME_ERRORS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <belay/error.h>

struct belay__memory;

struct belay__error_site {
    const char *task_name;
    const char *file;
    int line;
};

/* NULL when out of memory. The text is formatted and cut at 1 KiB. */
belay_error *belay__error_new(struct belay__memory *memory, int code,
    const struct belay__error_site *site, const char *format, ...)
    BELAY_PRINTF(4, 5);
belay_error *belay__error_new_va(struct belay__memory *memory, int code,
    const struct belay__error_site *site, const char *format, va_list args)
    BELAY_PRINTF(4, 0);
/* Only on an error that nobody else has seen; each takes the reference over. */
void belay__error_set_cause(belay_error *error, belay_error *cause);
void belay__error_set_alone(belay_error *error);
void belay__error_set_foreign(
    belay_error *error, const char *domain, int foreign_code);

/* How many failures of each code there are; those of codes that come when it
 * is full are in no count.
 */
#define BELAY__TALLY_CODES 8
struct belay__tally {
    uint32_t used;
    int codes[BELAY__TALLY_CODES];
    size_t counts[BELAY__TALLY_CODES];
};
void belay__tally_add(struct belay__tally *tally, int code);

/* Room for children is made when the error is made; name: the group's, or
 * NULL; more: what the failures without a child are, or NULL.
 */
belay_error *belay__error_new_group(struct belay__memory *memory,
    const struct belay__error_site *site, const char *name, size_t failures,
    belay_error **children, size_t count, const struct belay__tally *more);
/* The tally of a group error, or NULL. */
const struct belay__tally *belay__error_more(const belay_error *error);
/* `error` with `context` at the end of its chain; takes both over and gives
 * the error to use instead. Without memory the context is dropped, and so it
 * is if the chain ends with an error that is to stay alone.
 */
belay_error *belay__error_with_context(
    struct belay__memory *memory, belay_error *error, belay_error *context);
/* Is it one error, perhaps with more in the context of the one object? NULL:
 * a bare code, which is one error with each object that was made for it; the
 * codes are the caller's to compare.
 */
bool belay__error_same(const belay_error *a, const belay_error *b);
/* A result as an error object: its own, or a new one for a bare code. */
belay_error *belay__error_of(struct belay__memory *memory,
    const struct belay_result *result, const char *task_name);

#endif
