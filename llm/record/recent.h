/* recent.h - messages that were stored lately (private to llm/record/).
 *
 * A conversation is sent whole with each of its calls, a system text with all
 * of them. What is known here needs neither SHA-256 nor a look into the
 * database. A cheap hash finds an entry, the comparison of all bytes decides:
 * texts come from outside. Bounded in entries and bytes; what was not asked
 * for longest goes first.
 */
#ifndef BELAY_LLM_RECORD_RECENT_H
#define BELAY_LLM_RECORD_RECENT_H

#include "llm/record/hash.h"
#include "runtime/memory.h"

#define BELAY__RECENT_ENTRIES 4096
#define BELAY__RECENT_BYTES ((size_t)8 * 1024 * 1024)

struct belay__recent_entry;

/* Invariants: each entry is in the list and in the bucket of its mix; count
 * and bytes are those of the list, and within the bounds.
 */
struct belay__recent {
    struct belay__memory *memory;
    struct belay__recent_entry *newest;
    struct belay__recent_entry *oldest;
    size_t count;
    size_t bytes;
    struct belay__recent_entry *buckets[BELAY__RECENT_ENTRIES];
};

/* A message; also the name under which it is kept. */
struct belay__recent_key {
    const struct belay__hash *parent; /* NULL: the first one */
    struct belay_slice role;
    struct belay_slice body;
};

/* memory is borrowed and must outlive it; it is {0} before. */
void belay__recent_init(
    struct belay__recent *recent, struct belay__memory *memory);
/* Forgets everything; it can be used again. {0} is fine. */
void belay__recent_clear(struct belay__recent *recent);

/* The hash that was kept with these bytes; false: it is not known. */
bool belay__recent_find(struct belay__recent *recent,
    const struct belay__recent_key *key, struct belay__hash *ret);
/* Keeps a copy of what find() has not found. What is too large, or finds no
 * memory, is not kept; it will be hashed again.
 */
void belay__recent_add(struct belay__recent *recent,
    const struct belay__recent_key *key, const struct belay__hash *hash);

#endif
