/* names.h - a table from names to numbers (private to llm/money/).
 *
 * Open addressing, at most half full; nothing is ever taken out. The names'
 * bytes belong to somebody else and must outlive the table.
 */
#ifndef BELAY_LLM_MONEY_NAMES_H
#define BELAY_LLM_MONEY_NAMES_H

#include "runtime/memory.h"

struct belay__name {
    struct belay_slice text; /* data NULL: an empty slot */
    uint32_t number;
};

struct belay__names {
    struct belay__memory *memory;
    struct belay__name *slots;
    size_t room; /* a power of two, or 0 */
    size_t count;
};

void belay__names_init(
    struct belay__names *names, struct belay__memory *memory);
void belay__names_fini(struct belay__names *names);

/* Enters a name; one that is there already gets the new number, and the new
 * bytes. BELAY_ENOMEM: nothing has changed.
 */
int belay__names_set(
    struct belay__names *names, struct belay_slice text, uint32_t number);

/* Gives a name another number, not other bytes. BELAY_ENOENT: it is not there.
 */
int belay__names_replace(
    struct belay__names *names, struct belay_slice text, uint32_t number);

/* BELAY_ENOENT: it is not there; *ret is untouched. */
int belay__names_get(
    const struct belay__names *names, struct belay_slice text, uint32_t *ret);

#endif
