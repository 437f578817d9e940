/* hash.h - SHA-256 of what is recorded (private to llm/record/).
 *
 * By libcrypto, which comes along with libcurl anyway and takes the
 * processor's own instructions where it has them. A hasher is one thread's at
 * a time.
 */
#ifndef BELAY_LLM_RECORD_HASH_H
#define BELAY_LLM_RECORD_HASH_H

#include <belay/base.h>

#define BELAY__HASH_BYTES 32

struct belay__hash {
    uint8_t bytes[BELAY__HASH_BYTES];
};

/* libcrypto's, kept: to make one takes longer than to hash a message. */
struct belay__hasher {
    struct evp_md_ctx_st *context;
};

/* Errors: BELAY_ENOMEM, here and below; then nothing has been given. */
int belay__hasher_init(struct belay__hasher *hasher);
void belay__hasher_fini(struct belay__hasher *hasher); /* {0} is fine */

int belay__hash_of(struct belay__hasher *hasher, struct belay_slice bytes,
    struct belay__hash *ret);

/* Of a message behind `parent`, which may be NULL. */
int belay__hash_message(struct belay__hasher *hasher,
    const struct belay__hash *parent, struct belay_slice role,
    struct belay_slice body, struct belay__hash *ret);

#endif
