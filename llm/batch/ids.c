/* ids.c - which custom_ids a batch has used already.
 *
 * The top bits of a fingerprint choose the shard, so only one table in 64
 * grows at a time and old and new tables never exist together for all. The
 * bits below choose the home slot by scaling, which keeps the order: a shard
 * is sorted from end to end, with gaps, each fingerprint at its home or as
 * close behind it as order allows. Hence a search ends at the first larger
 * one, and growing is one pass that copies in order. It grows by an eighth
 * when seven eighths are full, so that between 9.1 and 10.3 bytes are used
 * per id; doubling would waste twice as much. What does not fit at the end
 * of a shard goes to a few spare slots behind the last home.
 */
#include "llm/batch/ids.h"

#include <string.h>
#include <sys/random.h>

#define SHARD_BITS 6
#define HOMES_MIN 64
#define HOMES_MAX UINT32_MAX
#define SPARE 32 /* slots behind the last home */

_Static_assert(1 << SHARD_BITS == BELAY__IDS_SHARDS, "as many shards as bits");

static uint64_t
rotate(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

static uint64_t
load_le(const uint8_t *at, size_t len)
{
    uint64_t value = 0;

    for (size_t i = 0; i < len; i++) {
        value |= (uint64_t)at[i] << (8 * i);
    }
    return value;
}

static void
sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static void
sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    sip_round(v);
    v[0] ^= word;
}

uint64_t
belay__ids_hash(const struct belay__ids *ids, struct belay_slice id)
{
    const uint8_t *at = (const uint8_t *)id.data;
    size_t left = id.len;
    uint64_t v[4] = {
        ids->key[0] ^ UINT64_C(0x736f6d6570736575),
        ids->key[1] ^ UINT64_C(0x646f72616e646f6d),
        ids->key[0] ^ UINT64_C(0x6c7967656e657261),
        ids->key[1] ^ UINT64_C(0x7465646279746573),
    };

    for (; left >= 8; left -= 8, at += 8) {
        sip_word(v, load_le(at, 8));
    }
    sip_word(v, load_le(at, left) | (uint64_t)id.len << 56);
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++) {
        sip_round(v);
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

int
belay__ids_init(struct belay__ids *ids, struct belay__memory *memory,
    const uint8_t seed[16])
{
    uint8_t bytes[16];

    if (seed != NULL) {
        memcpy(bytes, seed, sizeof(bytes));
    } else if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) {
        return errno != 0 ? -errno : BELAY_EIO;
    }
    *ids = (struct belay__ids){.memory = memory};
    ids->key[0] = load_le(bytes, 8);
    ids->key[1] = load_le(bytes + 8, 8);
    return 0;
}

static size_t
slots_for(size_t homes)
{
    return homes + SPARE;
}

void
belay__ids_fini(struct belay__ids *ids)
{
    if (ids == NULL) {
        return;
    }
    for (size_t i = 0; i < BELAY__IDS_SHARDS; i++) {
        struct belay__ids_shard *shard = &ids->shards[i];

        if (shard->slots != NULL) {
            belay__free(ids->memory, shard->slots,
                slots_for(shard->homes) * sizeof(*shard->slots));
        }
        *shard = (struct belay__ids_shard){0};
    }
    ids->count = 0;
}

/* Where a fingerprint belongs if that slot is free: the 32 bits behind those
 * of the shard, scaled to the homes. Never falls as fingerprints rise.
 */
static size_t
home_of(uint64_t fingerprint, size_t homes)
{
    const uint64_t bits = fingerprint << SHARD_BITS >> 32;

    return (size_t)(bits * homes >> 32);
}

/* Copies a table in order to an empty one; false if the last do not fit. */
static bool
copy_slots(const struct belay__ids_shard *from, struct belay__ids_shard *to)
{
    size_t next = 0; /* the first slot behind the last one used */

    for (size_t i = 0; from->slots != NULL && i < slots_for(from->homes); i++) {
        size_t at;

        if (from->slots[i] == 0) {
            continue;
        }
        at = home_of(from->slots[i], to->homes);
        if (at < next) {
            at = next;
        }
        if (at >= slots_for(to->homes)) {
            return false;
        }
        to->slots[at] = from->slots[i];
        next = at + 1;
    }
    return true;
}

static size_t
grown(size_t homes)
{
    return homes == 0 ? HOMES_MIN : homes + homes / 8;
}

static int
grow(struct belay__ids *ids, struct belay__ids_shard *shard)
{
    struct belay__ids_shard fresh = {.homes = shard->homes};
    const size_t old_size = slots_for(shard->homes) * sizeof(uint64_t);

    for (;;) {
        size_t size;

        fresh.homes = grown(fresh.homes);
        size = slots_for(fresh.homes) * sizeof(uint64_t);
        if (fresh.homes > HOMES_MAX) {
            return BELAY_ENOMEM;
        }
        fresh.slots = belay__alloc_zero(ids->memory, size);
        if (fresh.slots == NULL) {
            return BELAY_ENOMEM;
        }
        if (copy_slots(shard, &fresh)) {
            break;
        }
        belay__free(ids->memory, fresh.slots, size);
    }
    if (shard->slots != NULL) {
        belay__free(ids->memory, shard->slots, old_size);
    }
    shard->slots = fresh.slots;
    shard->homes = fresh.homes;
    return 0;
}

/* Where the fingerprint is, or where it would be put. */
static size_t
find(const struct belay__ids_shard *shard, uint64_t fingerprint)
{
    size_t at = home_of(fingerprint, shard->homes);

    while (at < slots_for(shard->homes) && shard->slots[at] != 0
           && shard->slots[at] < fingerprint) {
        at++;
    }
    return at;
}

/* Puts the fingerprint at `at` and moves what is there up to the next gap;
 * false, with nothing changed, if there is no gap.
 */
static bool
insert(struct belay__ids_shard *shard, size_t at, uint64_t fingerprint)
{
    size_t gap = at;

    while (gap < slots_for(shard->homes) && shard->slots[gap] != 0) {
        gap++;
    }
    if (gap >= slots_for(shard->homes)) {
        return false;
    }
    memmove(shard->slots + at + 1, shard->slots + at,
        (gap - at) * sizeof(*shard->slots));
    shard->slots[at] = fingerprint;
    shard->count++;
    return true;
}

static bool
is_full(const struct belay__ids_shard *shard)
{
    return shard->count >= shard->homes - shard->homes / 8;
}

int
belay__ids_add(struct belay__ids *ids, struct belay_slice id)
{
    const uint64_t hash = belay__ids_hash(ids, id);
    const uint64_t fingerprint = hash != 0 ? hash : 1;
    struct belay__ids_shard *shard =
        &ids->shards[fingerprint >> (64 - SHARD_BITS)];
    size_t at = 0;
    bool done = false;

    if (shard->slots != NULL) {
        at = find(shard, fingerprint);
        if (at < slots_for(shard->homes) && shard->slots[at] == fingerprint) {
            return 0;
        }
        done = !is_full(shard) && insert(shard, at, fingerprint);
    }
    while (!done) {
        int code = grow(ids, shard);

        if (code != 0) {
            return code;
        }
        done = insert(shard, find(shard, fingerprint), fingerprint);
    }
    ids->count++;
    return 1;
}

size_t
belay__ids_bytes(const struct belay__ids *ids)
{
    size_t bytes = 0;

    for (size_t i = 0; i < BELAY__IDS_SHARDS; i++) {
        if (ids->shards[i].slots != NULL) {
            bytes += slots_for(ids->shards[i].homes) * sizeof(uint64_t);
        }
    }
    return bytes;
}
