/* ids.h - which custom_ids a batch has used already (private).
 *
 * A set of 64-bit fingerprints, because ten million ids of any length must
 * fit in 12 bytes each (B21). Two different ids with the same fingerprint
 * are taken for a duplicate: among n ids that happens with a chance of
 * n * n / 2^65, 3e-6 for ten million. The fingerprint is SipHash-2-4 with a
 * random key, so that no input file can be made to collide on purpose.
 */
#ifndef BELAY_LLM_BATCH_IDS_H
#define BELAY_LLM_BATCH_IDS_H

#include "runtime/memory.h"

#define BELAY__IDS_SHARDS 64

/* A sorted hash table over one part of the range of fingerprints. */
struct belay__ids_shard {
    uint64_t *slots; /* NULL: nothing was added yet; 0: an empty slot */
    size_t homes;    /* slots that are the home of a fingerprint */
    size_t count;
};

struct belay__ids {
    struct belay__memory *memory;
    uint64_t key[2];
    size_t count;
    struct belay__ids_shard shards[BELAY__IDS_SHARDS];
};

/* An empty set; memory is borrowed and outlives it. seed is 16 bytes, or
 * NULL for random ones. Errors: what getrandom(2) says; *ids is untouched.
 */
int belay__ids_init(struct belay__ids *ids, struct belay__memory *memory,
    const uint8_t seed[16]);

/* Frees the set. NULL and a zeroed set are fine. */
void belay__ids_fini(struct belay__ids *ids);

/* Adds an id. Returns 1 if it is new, 0 if it was there. Errors:
 * BELAY_ENOMEM, the set is as before.
 */
int belay__ids_add(struct belay__ids *ids, struct belay_slice id);

/* The bytes that the slots take. */
size_t belay__ids_bytes(const struct belay__ids *ids);

/* SipHash-2-4 of an id under the set's key. */
uint64_t belay__ids_hash(const struct belay__ids *ids, struct belay_slice id);

#endif
