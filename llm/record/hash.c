/* hash.c - SHA-256 by libcrypto. */
#include "llm/record/hash.h"

#include <openssl/evp.h>

int
belay__hasher_init(struct belay__hasher *hasher)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    if (context == NULL) {
        return BELAY_ENOMEM;
    }
    /* The algorithm is looked up here, once; each hash begins with NULL. */
    if (EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(context);
        return BELAY_ENOMEM;
    }
    hasher->context = context;
    return 0;
}

void
belay__hasher_fini(struct belay__hasher *hasher)
{
    EVP_MD_CTX_free(hasher->context);
    hasher->context = NULL;
}

static int
begin(struct belay__hasher *hasher)
{
    return EVP_DigestInit_ex(hasher->context, NULL, NULL) == 1 ? 0
                                                               : BELAY_ENOMEM;
}

static int
add(struct belay__hasher *hasher, const void *data, size_t len)
{
    return len == 0 || EVP_DigestUpdate(hasher->context, data, len) == 1
               ? 0
               : BELAY_ENOMEM;
}

/* Lengths go in too, so that no two messages run together. */
static int
add_part(struct belay__hasher *hasher, const void *data, size_t len)
{
    uint8_t size[8];
    int code;

    for (int i = 0; i < 8; i++) {
        size[i] = (uint8_t)((uint64_t)len >> (8 * i));
    }
    code = add(hasher, size, sizeof(size));
    return code == 0 ? add(hasher, data, len) : code;
}

static int
end(struct belay__hasher *hasher, struct belay__hash *ret)
{
    struct belay__hash hash;

    if (EVP_DigestFinal_ex(hasher->context, hash.bytes, NULL) != 1) {
        return BELAY_ENOMEM;
    }
    *ret = hash;
    return 0;
}

int
belay__hash_of(struct belay__hasher *hasher, struct belay_slice bytes,
    struct belay__hash *ret)
{
    int code = begin(hasher);

    if (code == 0) {
        code = add(hasher, bytes.data, bytes.len);
    }
    return code == 0 ? end(hasher, ret) : code;
}

int
belay__hash_message(struct belay__hasher *hasher,
    const struct belay__hash *parent, struct belay_slice role,
    struct belay_slice body, struct belay__hash *ret)
{
    int code = begin(hasher);

    if (code == 0) {
        code = add_part(hasher, parent != NULL ? parent->bytes : NULL,
            parent != NULL ? sizeof(parent->bytes) : 0);
    }
    if (code == 0) {
        code = add_part(hasher, role.data, role.len);
    }
    if (code == 0) {
        code = add_part(hasher, body.data, body.len);
    }
    return code == 0 ? end(hasher, ret) : code;
}
