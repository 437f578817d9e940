/* recent.c - messages that were stored lately. */
#include "llm/record/recent.h"

#include <string.h>

#define ENTRY_MAX (BELAY__RECENT_BYTES / 16)
#define CHAIN_MAX 16 /* entries of one bucket: each costs a comparison */
#define SAMPLE_BYTES 48

struct belay__recent_entry {
    struct belay__recent_entry *chain; /* the next in its bucket */
    struct belay__recent_entry *newer;
    struct belay__recent_entry *older;
    uint64_t mixed;
    struct belay__hash hash;
    struct belay__hash parent;
    bool has_parent;
    size_t role_len;
    size_t body_len;
    /* behind it: the role, the body */
};

void
belay__recent_init(struct belay__recent *recent, struct belay__memory *memory)
{
    recent->memory = memory;
}

/* ---- a cheap hash ---- */

static uint64_t
mix(uint64_t mixed, const void *data, size_t len)
{
    const char *at = data;
    uint64_t word;

    mixed ^= len;
    for (; len >= sizeof(word); len -= sizeof(word)) {
        memcpy(&word, at, sizeof(word));
        mixed = (mixed ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        mixed ^= mixed >> 29;
        at += sizeof(word);
    }
    if (len > 0) {
        word = 0;
        memcpy(&word, at, len);
        mixed = (mixed ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    }
    return mixed ^ mixed >> 32;
}

/* Of a long text its ends and its middle: most texts are not known, and to find
 * that out must not take long. Those that differ elsewhere only are told apart
 * byte by byte, up to the bound of what is kept.
 */
static uint64_t
mix_text(uint64_t mixed, struct belay_slice text)
{
    if (text.len <= (size_t)3 * SAMPLE_BYTES) {
        return mix(mixed, text.data, text.len);
    }
    mixed = mix(mixed ^ text.len, text.data, SAMPLE_BYTES);
    mixed = mix(mixed, text.data + text.len / 2, SAMPLE_BYTES);
    return mix(mixed, text.data + text.len - SAMPLE_BYTES, SAMPLE_BYTES);
}

static uint64_t
mix_key(const struct belay__recent_key *key)
{
    uint64_t mixed = 1;

    if (key->parent != NULL) {
        mixed = mix(mixed, key->parent->bytes, sizeof(mixed));
    }
    mixed = mix(mixed, key->role.data, key->role.len);
    return mix_text(mixed, key->body);
}

/* ---- entries ---- */

static size_t
size_of(size_t role_len, size_t body_len)
{
    return sizeof(struct belay__recent_entry) + role_len + body_len;
}

static bool
same_bytes(struct belay_slice a, const char *b)
{
    return a.len == 0 || memcmp(a.data, b, a.len) == 0;
}

static bool
is_of(const struct belay__recent_entry *entry,
    const struct belay__recent_key *key, uint64_t mixed)
{
    const char *texts = (const char *)(entry + 1);

    return entry->mixed == mixed && entry->role_len == key->role.len
           && entry->body_len == key->body.len
           && entry->has_parent == (key->parent != NULL)
           && (key->parent == NULL
               || memcmp(key->parent, &entry->parent, sizeof(entry->parent))
                      == 0)
           && same_bytes(key->role, texts)
           && same_bytes(key->body, texts + entry->role_len);
}

static struct belay__recent_entry **
bucket_of(struct belay__recent *recent, uint64_t mixed)
{
    return &recent->buckets[mixed % BELAY__RECENT_ENTRIES];
}

static void
unlink_entry(struct belay__recent *recent, struct belay__recent_entry *entry)
{
    if (entry->newer != NULL) {
        entry->newer->older = entry->older;
    } else {
        recent->newest = entry->older;
    }
    if (entry->older != NULL) {
        entry->older->newer = entry->newer;
    } else {
        recent->oldest = entry->newer;
    }
}

static void
make_newest(struct belay__recent *recent, struct belay__recent_entry *entry)
{
    entry->newer = NULL;
    entry->older = recent->newest;
    if (entry->older != NULL) {
        entry->older->newer = entry;
    } else {
        recent->oldest = entry;
    }
    recent->newest = entry;
}

static void
drop(struct belay__recent *recent, struct belay__recent_entry *entry)
{
    const size_t size = size_of(entry->role_len, entry->body_len);
    struct belay__recent_entry **at = bucket_of(recent, entry->mixed);

    while (*at != entry) {
        at = &(*at)->chain;
    }
    *at = entry->chain;
    unlink_entry(recent, entry);
    recent->count--;
    recent->bytes -= size;
    belay__free(recent->memory, entry, size);
}

/* Room for one more: whoever writes texts can have them all in one chain. */
static void
shorten(struct belay__recent *recent, struct belay__recent_entry **chain)
{
    struct belay__recent_entry *last = NULL;
    int count = 0;

    for (struct belay__recent_entry *one = *chain; one != NULL;
         one = one->chain) {
        last = one;
        count++;
    }
    if (count == CHAIN_MAX) {
        drop(recent, last);
    }
}

void
belay__recent_clear(struct belay__recent *recent)
{
    while (recent->oldest != NULL) {
        drop(recent, recent->oldest);
    }
}

bool
belay__recent_find(struct belay__recent *recent,
    const struct belay__recent_key *key, struct belay__hash *ret)
{
    const uint64_t mixed = mix_key(key);
    struct belay__recent_entry *entry = *bucket_of(recent, mixed);

    while (entry != NULL && !is_of(entry, key, mixed)) {
        entry = entry->chain; /* at most CHAIN_MAX */
    }
    if (entry == NULL) {
        return false;
    }
    *ret = entry->hash;
    unlink_entry(recent, entry);
    make_newest(recent, entry);
    return true;
}

void
belay__recent_add(struct belay__recent *recent,
    const struct belay__recent_key *key, const struct belay__hash *hash)
{
    struct belay__recent_entry *entry;
    struct belay__recent_entry **bucket;
    size_t size;
    char *texts;

    if (key->role.len > ENTRY_MAX || key->body.len > ENTRY_MAX) {
        return;
    }
    size = size_of(key->role.len, key->body.len);
    while (
        recent->count == BELAY__RECENT_ENTRIES
        || (recent->count > 0 && recent->bytes + size > BELAY__RECENT_BYTES)) {
        drop(recent, recent->oldest);
    }
    entry = belay__alloc(recent->memory, size);
    if (entry == NULL) {
        return;
    }
    *entry = (struct belay__recent_entry){
        .mixed = mix_key(key),
        .hash = *hash,
        .has_parent = key->parent != NULL,
        .role_len = key->role.len,
        .body_len = key->body.len,
    };
    if (key->parent != NULL) {
        entry->parent = *key->parent;
    }
    texts = (char *)(entry + 1);
    if (key->role.len > 0) {
        memcpy(texts, key->role.data, key->role.len);
    }
    if (key->body.len > 0) {
        memcpy(texts + key->role.len, key->body.data, key->body.len);
    }
    bucket = bucket_of(recent, entry->mixed);
    shorten(recent, bucket);
    entry->chain = *bucket;
    *bucket = entry;
    make_newest(recent, entry);
    recent->count++;
    recent->bytes += size;
}
